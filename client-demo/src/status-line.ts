/** Says how the page stands with the server: always in the footer, and loudly when something must be done. */

import type { Text } from "yjs";

import { copyText } from "./clipboard";
import { inWords, type Connection } from "./connection";
import type { Editor } from "./editor";

export class StatusLine {
  private readonly line = document.getElementById("status")!;
  private readonly notice = document.getElementById("notice")!;
  private readonly retry = document.getElementById("retry")!;
  private readonly copy = document.getElementById("copy-text")!;
  private isReadOnly = false;

  constructor(
    private readonly text: Text,
    private readonly editor: Editor,
    reconnect: () => void,
  ) {
    this.retry.addEventListener("click", reconnect);
    this.copy.addEventListener("click", () => void copyText(text.toString()));
  }

  show(connection: Connection): void {
    this.line.dataset["state"] = connection.state;
    this.line.textContent = inWords(connection);
    this.announce(connection.state);
    if (connection.state === "refused") {
      this.warn(`The server refused: ${connection.reason}.`, true);
    } else if (connection.state === "connected" && !this.isReadOnly) {
      this.notice.hidden = true;
    }
  }

  showReadOnly(reason: string): void {
    this.isReadOnly = true;
    this.editor.forbidWriting();
    this.warn(`You are reading along: ${reason || "writing is not allowed"}.`, false);
  }

  private warn(words: string, isRefused: boolean): void {
    const hasText = isRefused && this.text.length > 0;
    const rest = hasText ? " Your text is still on this page; copy it before you leave." : "";
    this.notice.querySelector("p")!.textContent = words + rest;
    this.retry.hidden = !isRefused;
    this.copy.hidden = !hasText;
    this.notice.hidden = false;
  }

  /** Screen readers hear of a change of state, not of every "sent". */
  private announce(state: Connection["state"]): void {
    const heard = document.getElementById("status-heard")!;
    if (heard.dataset["state"] === state) return;
    heard.dataset["state"] = state;
    heard.textContent = this.line.textContent;
  }
}
