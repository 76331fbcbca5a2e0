/** What the page's own address says: which room, with which token, and where the server listens. */

export interface Address {
  readonly room: string;
  readonly token: string | null;
  /** `ws(s)://…/sync`, beside the page, so that a path prefix in front of both changes nothing. */
  readonly syncUrl: string;
}

export const DEFAULT_ROOM = "welcome";

export function readAddress(page: URL): Address {
  const sync = new URL("sync", page);
  sync.protocol = page.protocol === "https:" ? "wss:" : "ws:";
  return {
    room: page.searchParams.get("room")?.trim() || DEFAULT_ROOM,
    token: page.searchParams.get("token"),
    syncUrl: sync.href,
  };
}

/** A link for somebody else. It leaves the token out: that says who *you* are. */
export function linkToShare(page: URL, room: string): string {
  const link = new URL(page);
  link.search = new URLSearchParams({ room }).toString();
  link.hash = "";
  return link.href;
}
