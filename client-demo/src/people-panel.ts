/** The list of who is here, and the two things people may choose about themselves. */

import type { Editor } from "./editor";
import { remember, tidyName, type Myself } from "./myself";
import { PALETTE } from "./palette";
import type { People, Person } from "./people";

/** Beyond this many, names are shown on touch only, so that the text stays readable. */
const CROWD = 6;

export class PeoplePanel {
  private readonly list = document.getElementById("people")!;
  private readonly name = document.getElementById("my-name") as HTMLInputElement;
  private readonly colours = document.getElementById("my-colours")!;

  constructor(
    public myself: Myself,
    private readonly people: People,
    private readonly editor: Editor,
  ) {
    this.colours.append(...PALETTE.map(swatch));
    people.watch((here) => this.show(here));
    this.choose({});
    this.name.addEventListener("change", () => {
      const name = tidyName(this.name.value) || this.myself.name;
      this.choose({ name });
      remember({ name });
    });
    this.name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // or it would fall into the text as a new line
      editor.focus();
    });
    this.colours.addEventListener("change", (event) => {
      const colour = (event.target as HTMLInputElement).value;
      this.choose({ colour });
      remember({ colour });
    });
  }

  choose(choice: Partial<Myself>): void {
    this.myself = { ...this.myself, ...choice };
    this.people.introduce(this.myself);
    document.body.style.setProperty("--mine", this.myself.colour);
    this.name.value = this.myself.name;
    for (const radio of this.colours.querySelectorAll("input")) radio.checked = radio.value === this.myself.colour;
  }

  private show(here: readonly Person[]): void {
    for (const count of document.querySelectorAll(".people-count")) count.textContent = String(here.length);
    document.getElementById("alone")!.hidden = here.length > 1;
    document.body.classList.toggle("crowded", here.length > CROWD);
    this.list.replaceChildren(...here.map((person) => this.entry(person)));
  }

  private entry(person: Person): HTMLLIElement {
    const entry = document.createElement("li");
    const body = document.createElement(person.isMe ? "span" : "button");
    body.className = "person";
    body.style.setProperty("--colour", person.colour);
    body.append(part("person-name", person.name));
    if (person.isMe) {
      body.append(part("person-note", "you"));
    } else {
      body.title = `Go to ${person.name}’s cursor`;
      body.addEventListener("click", () => this.editor.showCursorOf(person.client));
    }
    entry.append(body);
    return entry;
  }
}

function part(className: string, text: string): HTMLSpanElement {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = text;
  return span;
}

function swatch({ name, value }: (typeof PALETTE)[number]): HTMLLabelElement {
  const label = document.createElement("label");
  const radio = document.createElement("input");
  radio.type = "radio";
  radio.name = "colour";
  radio.value = value;
  radio.setAttribute("aria-label", name);
  label.title = name;
  label.style.setProperty("--colour", value);
  label.append(radio);
  return label;
}
