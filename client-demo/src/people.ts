/** Who is here, from awareness. What others say about themselves is tidied before anything shows it. */

import type { Awareness } from "y-protocols/awareness";

import { tidyName, type Myself } from "./myself";
import { safeColour } from "./palette";

export interface Person {
  readonly client: number;
  readonly name: string;
  readonly colour: string;
  readonly isMe: boolean;
}

type Change = { added: number[]; updated: number[] };

export class People {
  /** Make it before the editor: this listener must be first, so that cursors too see tidy values. */
  constructor(private readonly awareness: Awareness) {
    awareness.on("change", ({ added, updated }: Change) => {
      for (const client of [...added, ...updated]) this.tidy(client);
    });
  }

  /** Cursors move all the time; `changed` is called only when the list reads differently. */
  watch(changed: (people: readonly Person[]) => void): void {
    let told = "";
    this.awareness.on("change", () => {
      const here = this.here();
      const reading = JSON.stringify(here);
      if (reading !== told) changed(here);
      told = reading;
    });
  }

  coloursOfOthers(): ReadonlySet<string> {
    return new Set(this.here().flatMap((person) => (person.isMe ? [] : [person.colour])));
  }

  /** Myself first, then the others by name. */
  private here(): Person[] {
    const me = this.awareness.clientID;
    const people = [...this.awareness.getStates()].flatMap(([client, { user }]) =>
      user === undefined ? [] : [{ client, name: user.name, colour: user.color, isMe: client === me }],
    );
    return people.sort((a, b) => Number(b.isMe) - Number(a.isMe) || a.name.localeCompare(b.name));
  }

  introduce({ name, colour }: Myself): void {
    const before = this.awareness.getLocalState()?.["user"];
    // Cursor labels are redrawn only when a cursor appears; mine returns with my next look at the text.
    if (before !== undefined && before.name !== name) this.awareness.setLocalStateField("cursor", null);
    this.awareness.setLocalStateField("user", { name, color: colour, colorLight: lighter(colour) });
  }

  private tidy(client: number): void {
    if (client === this.awareness.clientID) return;
    const state = this.awareness.getStates().get(client);
    if (typeof state !== "object" || state === null) return;
    const said: unknown = state["user"];
    const { name, color } = (typeof said === "object" && said !== null ? said : {}) as Record<string, unknown>;
    const colour = safeColour(color);
    state["user"] = { name: tidyName(name) || "Somebody", color: colour, colorLight: lighter(colour) };
  }
}

/** The same colour, thin enough to read text through. */
function lighter(colour: string): string {
  return `${colour}59`;
}
