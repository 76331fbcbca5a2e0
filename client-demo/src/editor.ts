/** The editor: CodeMirror on a shared text, with everybody's cursor and one's own undo. */

import { defaultKeymap } from "@codemirror/commands";
import { markdownKeymap, markdownLanguage } from "@codemirror/lang-markdown";
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";

const INVITATION =
  "Write something. Then open this page in a second tab, or send somebody the link: " +
  "you will see each other’s words and cursors as they come.";

/** Markdown stays as it is typed; it is only set a little like what it means. */
const markdownStyle = HighlightStyle.define([
  { tag: tags.heading1, class: "md-heading md-heading-1" },
  { tag: tags.heading2, class: "md-heading md-heading-2" },
  { tag: tags.heading, class: "md-heading" },
  { tag: tags.strong, class: "md-strong" },
  { tag: tags.emphasis, class: "md-emphasis" },
  { tag: tags.strikethrough, class: "md-struck" },
  { tag: tags.monospace, class: "md-code" },
  { tag: tags.quote, class: "md-quote" },
  { tag: [tags.link, tags.url], class: "md-link" },
  { tag: [tags.processingInstruction, tags.contentSeparator], class: "md-mark" },
]);

export class Editor {
  readonly undoManager: Y.UndoManager;
  private readonly view: EditorView;
  private readonly writable = new Compartment();

  constructor(
    parent: HTMLElement,
    private readonly text: Y.Text,
    private readonly awareness: Awareness,
    room: string,
  ) {
    this.undoManager = new Y.UndoManager(text);
    this.view = new EditorView({
      parent,
      state: EditorState.create({
        doc: text.toString(),
        extensions: [
          // Other clients may have written \r. Only \n ends a line here, so positions stay those of Yjs.
          EditorState.lineSeparator.of("\n"),
          EditorView.clipboardInputFilter.of((pasted) => pasted.replace(/\r\n?/g, "\n")),
          keymap.of([...yUndoManagerKeymap, ...markdownKeymap, ...defaultKeymap]),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({
            "aria-label": `Text of the room ${room}`,
            autocapitalize: "sentences",
            autocorrect: "on",
            spellcheck: "true",
          }),
          placeholder(INVITATION),
          markdownLanguage,
          syntaxHighlighting(markdownStyle),
          this.writable.of([]),
          yCollab(text, awareness, { undoManager: this.undoManager }),
        ],
      }),
    });
  }

  forbidWriting(): void {
    const readOnly = [EditorState.readOnly.of(true), EditorView.editable.of(false)];
    this.view.dispatch({ effects: this.writable.reconfigure(readOnly) });
  }

  focus(): void {
    this.view.focus();
  }

  /** Scrolls to where somebody's cursor is; does nothing if they have none. */
  showCursorOf(client: number): void {
    const head: unknown = this.awareness.getStates().get(client)?.["cursor"]?.head;
    if (head === null || head === undefined) return;
    const position = Y.createAbsolutePositionFromRelativePosition(
      Y.createRelativePositionFromJSON(head),
      this.text.doc!,
    );
    if (position === null || position.type !== this.text) return;
    this.view.dispatch({ effects: EditorView.scrollIntoView(position.index, { y: "center" }) });
  }
}
