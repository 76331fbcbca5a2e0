/** Which room this is, the way to another one, and what to hand to others: a link, or code. */

import { linkToShare, type Address } from "./address";
import { copyText } from "./clipboard";

export function showRoom(page: URL, address: Address): void {
  document.title = `${address.room} · Roomful`;
  document.getElementById("room-name")!.textContent = address.room;
  (document.getElementById("second-tab") as HTMLAnchorElement).href = page.href;
  document.getElementById("code")!.textContent = codeFor(address);
  offerOtherRooms(page);
  offerCopy("copy-link", () => linkToShare(page, address.room));
  offerCopy("copy-code", () => codeFor(address));
}

/** Another room is another page, opened as the same person: everything but the room stays in the address. */
function offerOtherRooms(page: URL): void {
  const input = document.getElementById("room-input") as HTMLInputElement;
  document.getElementById("room-panel")!.addEventListener("submit", (event) => {
    event.preventDefault();
    const other = new URL(page);
    other.searchParams.set("room", input.value.trim());
    location.assign(other);
  });
}

function offerCopy(id: string, text: () => string): void {
  const button = document.getElementById(id) as HTMLButtonElement;
  const label = button.querySelector(".label")!;
  const usual = label.textContent;
  let timer = 0;
  button.addEventListener("click", async () => {
    label.textContent = (await copyText(text())) ? "Copied" : "Not allowed here";
    button.classList.add("told");
    clearTimeout(timer);
    timer = setTimeout(() => {
      label.textContent = usual;
      button.classList.remove("told");
    }, 2000);
  });
}

function codeFor({ syncUrl, room }: Address): string {
  return [
    'import { WebsocketProvider } from "y-websocket";',
    'import * as Y from "yjs";',
    "",
    "const doc = new Y.Doc();",
    "const provider = new WebsocketProvider(",
    `  ${JSON.stringify(syncUrl)}, ${JSON.stringify(encodeURIComponent(room))}, doc);`,
    'const text = doc.getText("text"); // what this page edits',
  ].join("\n");
}
