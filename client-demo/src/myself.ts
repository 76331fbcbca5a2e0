/** My name and colour: chosen ones are remembered, otherwise each tab is given its own. */

import { PALETTE } from "./palette";

export interface Myself {
  readonly name: string;
  readonly colour: string;
}

export const LONGEST_NAME = 40;
const KEY = "roomful.myself";

const MANNERS = [
  "Amber", "Brisk", "Calm", "Clever", "Curious", "Gentle", "Happy", "Keen",
  "Lively", "Lucky", "Mellow", "Nimble", "Patient", "Quiet", "Sunny", "Witty",
];
const ANIMALS = [
  "Badger", "Crane", "Dolphin", "Falcon", "Fox", "Hare", "Heron", "Ibis",
  "Lynx", "Magpie", "Marten", "Otter", "Owl", "Robin", "Seal", "Wren",
];

function oneOf<T>(choices: readonly T[]): T {
  return choices[Math.floor(Math.random() * choices.length)]!;
}

/** Two tabs of a newcomer are two people; once a name is chosen, every new tab bears it. */
export function rememberedOrNew(): Myself {
  const remembered = read();
  return {
    name: tidyName(remembered.name) || `${oneOf(MANNERS)} ${oneOf(ANIMALS)}`,
    colour: PALETTE.find((each) => each.value === remembered.colour)?.value ?? oneOf(PALETTE).value,
  };
}

export function remember(choice: Partial<Myself>): void {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...read(), ...choice }));
  } catch {
    // Storage may be full or forbidden; the choice then lasts as long as the tab.
  }
}

/** A wish, not a claim: somebody who is here already keeps the colour, and I take a free one. */
export function freeColour(wish: string, taken: ReadonlySet<string>): string {
  if (!taken.has(wish)) return wish;
  const free = PALETTE.filter((each) => !taken.has(each.value));
  return free.length > 0 ? oneOf(free).value : wish;
}

export function tidyName(name: unknown): string {
  return typeof name === "string" ? name.trim().replace(/\s+/g, " ").slice(0, LONGEST_NAME) : "";
}

function read(): Partial<Myself> {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return typeof stored === "object" && stored !== null ? stored : {};
  } catch {
    return {};
  }
}
