/** The page: one room, its text, its people, and how it stands with the server. */

import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";

import { readAddress } from "./address";
import { ConnectionWatch } from "./connection";
import { Editor } from "./editor";
import { freeColour, rememberedOrNew } from "./myself";
import { People } from "./people";
import { PeoplePanel } from "./people-panel";
import { showRoom } from "./room-header";
import { StatusLine } from "./status-line";
import { offerUndo } from "./undo-buttons";

const page = new URL(location.href);
const address = readAddress(page);

const doc = new Y.Doc();
const text = doc.getText("text");
const provider = new WebsocketProvider(address.syncUrl, encodeURIComponent(address.room), doc, {
  connect: false,
  // Two tabs of one browser would talk past the server. Here, what you see is what the server does.
  disableBc: true,
  params: address.token === null ? {} : { token: address.token },
});

const people = new People(provider.awareness);
const editor = new Editor(document.getElementById("editor")!, text, provider.awareness, address.room);
const panel = new PeoplePanel(rememberedOrNew(), people, editor);
const statusLine = new StatusLine(text, editor, () => provider.connect());
const watch = new ConnectionWatch(provider, statusLine);

showRoom(page, address);
offerUndo(editor.undoManager);
provider.once("sync", () => {
  panel.choose({ colour: freeColour(panel.myself.colour, people.coloursOfOthers()) });
});
provider.on("status", ({ status }) => {
  // Others ignore a state that they have heard before, even if they forgot it while the line was cut: say it anew.
  if (status === "connected") people.introduce(panel.myself);
});
addEventListener("beforeunload", (event) => {
  if (watch.wouldLoseWords) event.preventDefault();
});
provider.connect();
// On a phone this would cover half of the page with the keyboard.
if (matchMedia("(pointer: fine)").matches) editor.focus();
