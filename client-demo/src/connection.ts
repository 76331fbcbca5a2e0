/** How the page and the server stand with each other, as one value and in plain words. */

import { readAuthMessage } from "y-protocols/auth";
import type { WebsocketProvider } from "y-websocket";

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "connected"; readonly sent: boolean }
  | { readonly state: "offline"; readonly reason: string }
  | { readonly state: "refused"; readonly reason: string };

const MESSAGE_AUTH = 2;
/** Sending takes a moment; only a wait that can be felt is worth a word. */
const WORTH_A_WORD_MS = 400;
const LOOK_AGAIN_MS = 50;

/** What a code means when the server closed without saying why; server/close_codes.py has them all. */
const REFUSALS: Readonly<Record<number, string>> = {
  4400: "it could not understand this page",
  4403: "you may not enter this room",
  4404: "no room can have this name",
  4413: "this text has become too long",
};

export interface Display {
  show(connection: Connection): void;
  showReadOnly(reason: string): void;
}

export class ConnectionWatch {
  private connection: Connection = { state: "connecting" };
  private unsent = false;
  private unsentSince = 0;
  private nextLook = 0;

  constructor(
    private readonly provider: WebsocketProvider,
    private readonly display: Display,
  ) {
    display.show(this.connection);
    provider.on("sync", (synced) => {
      if (synced) this.settle();
    });
    provider.on("status", ({ status }) => {
      // Each retry is announced too; to a person it is still the same interruption.
      if (status === "connected") this.become({ state: "connected", sent: false });
    });
    provider.on("connection-close", (event) => {
      this.become({ state: "offline", reason: event?.reason ?? "" });
    });
    provider.on("closed", ({ code, reason }) => {
      this.become({ state: "refused", reason: reason || REFUSALS[code] || `close code ${code}` });
    });
    provider.doc.on("update", (_update: Uint8Array, origin: unknown) => {
      if (origin === provider) return;
      if (!this.unsent) this.unsentSince = performance.now();
      this.unsent = true;
      if (provider.synced) this.settle();
    });
    // The stock provider only logs this message: a reader would type into the void.
    provider.messageHandlers[MESSAGE_AUTH] = (_encoder, decoder, from) =>
      readAuthMessage(decoder, from.doc, (_doc, reason) => display.showReadOnly(reason));
  }

  /** Whether closing the tab now would lose words that nobody else has. */
  get wouldLoseWords(): boolean {
    return this.unsent;
  }

  /** Says "sent" once the socket has taken everything; until then, looks again. */
  private settle(): void {
    clearTimeout(this.nextLook);
    const { synced, ws } = this.provider;
    if (!synced || ws === null) return;
    if (ws.bufferedAmount === 0) {
      this.unsent = false;
      this.become({ state: "connected", sent: true });
      return;
    }
    if (performance.now() - this.unsentSince > WORTH_A_WORD_MS) this.become({ state: "connected", sent: false });
    this.nextLook = setTimeout(() => this.settle(), LOOK_AGAIN_MS);
  }

  private become(connection: Connection): void {
    const same = JSON.stringify(connection) === JSON.stringify(this.connection);
    this.connection = connection;
    if (!same) this.display.show(connection);
  }
}

export function inWords(connection: Connection): string {
  switch (connection.state) {
    case "connecting":
      return "Connecting…";
    case "connected":
      return connection.sent ? "Connected, all changes sent" : "Connected, catching up…";
    case "offline":
      return connection.reason
        ? `Offline (${connection.reason}). Keep writing, it will merge`
        : "Offline. Keep writing, it will merge";
    case "refused":
      return "Not connected";
  }
}
