"""Awareness as bytes: who said what last, without parsing it for each receiver.

    entries := varUint(count) . entry{count}
    entry   := varUint(clientID) . varUint(clock) . varString(JSON, "null" = gone)

An entry replaces an older one of its client when its clock is higher, or equal and it says "gone"
(y-protocols, awareness.js). States are kept and sent as the very bytes they came in.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from roomful.crdt.varint import Malformed, read_varuint, write_varuint

_NULL = b"\x04null"
_DEEPEST = 64
_LONGEST_LEAP = 1 << 31
"""How far a clock may rise at once. Were it pushed to the last number there is while its client is away,
that client could not say any more that it is back."""
_REMEMBERED_GONE = 1_024


class Entry(NamedTuple):
    """One client's state; ``state`` is its varString as it came, ``raw`` the whole entry."""

    client: int
    clock: int
    state: bytes
    raw: bytes

    @property
    def gone(self) -> bool:
        return self.state == _NULL


def gone_entry(client: int, clock: int) -> Entry:
    """Return the entry that says a client has left."""
    return Entry(client, clock, _NULL, write_varuint(client) + write_varuint(clock) + _NULL)


def decode_entries(data: bytes, *, most: int, largest: int) -> list[Entry]:
    """Return the entries of an awareness message, at most ``most``, each state at most ``largest`` bytes.

    Raises Malformed. Whether a state is JSON is checked by ``check_state``, once it is known to be news.
    """
    count, at = read_varuint(data, 0)
    if count > most:
        raise Malformed("count", f"{count} awareness entries; at most {most} are taken")
    entries = []
    for _ in range(count):
        start = at
        client, at = read_varuint(data, at)
        clock, at = read_varuint(data, at)
        state_at = at
        length, at = read_varuint(data, at)
        if length > largest:
            raise Malformed("limit", f"awareness state of {length} bytes; at most {largest} are taken")
        at += length
        if at > len(data):
            raise Malformed("truncated", "awareness state is cut short")
        entries.append(Entry(client, clock, data[state_at:at], data[start:at]))
    if at != len(data):
        raise Malformed("trailing", "bytes after the awareness entries")
    return entries


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """Return the awareness entries as one message body."""
    raw = [entry.raw for entry in entries]
    return write_varuint(len(raw)) + b"".join(raw)


def check_state(entry: Entry) -> None:
    """Raise Malformed unless the state is a JSON object or null that every client's parser takes."""
    if entry.gone:
        return
    _, at = read_varuint(entry.state, 0)
    text = entry.state[at:]
    try:
        # Decoded here: Python's parser would also take UTF-16, a byte order mark and half surrogates.
        state = json.loads(text.decode(), parse_constant=_refuse_constant)
    except RecursionError:
        raise Malformed("depth", "awareness state is nested too deep") from None
    except ValueError as error:
        raise Malformed("json", "awareness state is not JSON") from error
    if not isinstance(state, dict):
        raise Malformed("json", "awareness state is not an object")
    if text.count(b"{") + text.count(b"[") > _DEEPEST and _depth(state) > _DEEPEST:
        raise Malformed("depth", "awareness state is nested too deep")


def _refuse_constant(name: str) -> object:
    # Python reads NaN and Infinity; no browser does.
    raise ValueError(name)


def _check_leap(entry: Entry, clock: int) -> None:
    if entry.clock - clock > _LONGEST_LEAP:
        raise Malformed("clock", f"awareness clock rises from {clock} to {entry.clock}")


def _depth(value: object) -> int:
    """Return how many objects and lists lie inside each other."""
    depth = 0
    level = [value]
    while nested := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [part for each in nested for part in (each.values() if isinstance(each, dict) else each)]
    return depth


class Awareness:
    """The awareness states of one room, and which session each client id belongs to.

    A session may speak only for client ids that it was the first to use; stock clients repeat what
    they hear of others, and such echoes are dropped. Clocks of clients that have left are remembered
    for a while, so that a late echo does not bring them back.
    """

    def __init__(self, *, clients_per_session: int) -> None:
        self._clients_per_session = clients_per_session
        self._entries: dict[int, Entry] = {}
        self._owners: dict[int, object] = {}
        self._owned: dict[object, set[int]] = {}
        self._gone: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Entry]:
        """Return the state of everybody who is here."""
        return list(self._entries.values())

    def departed(self) -> list[Entry]:
        """Return who has left lately, for one who may have missed it."""
        return [
            gone_entry(client, clock) for client, clock in self._gone.items() if client not in self._entries
        ]

    def apply(self, session: object, entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
        """Take what a session says. Returns (news for the room, corrections for the session alone).

        A correction tells a client that it was declared gone under its present clock; stock clients then
        raise the clock and announce themselves again. Whoever is new to the room gets one, since peers
        may remember its clock from before they, it or the server were away, and would not take the same
        clock for news. Raises Malformed for a state that is no JSON object, for a clock that leaps, or for
        more client ids than a session may own; what stood before the offending entry has been taken.
        """
        news: list[Entry] = []
        corrections: list[Entry] = []
        for entry in entries:
            owner = self._owners.get(entry.client)
            if owner is None:
                # Peers take an unknown client's clock for 0, so a state at clock 0 is news to nobody.
                if entry.gone or entry.clock == 0:
                    continue
                gone = self._gone.get(entry.client)
                if gone is not None and entry.clock <= gone:
                    corrections.append(gone_entry(entry.client, gone))
                    continue
                _check_leap(entry, gone or 0)
                check_state(entry)
                self._own(session, entry.client)
                corrections.append(gone_entry(entry.client, entry.clock))
            elif owner is not session:
                continue
            else:
                known = self._entries[entry.client]
                if entry.clock < known.clock or (entry.clock == known.clock and not entry.gone):
                    continue
                _check_leap(entry, known.clock)
                check_state(entry)
            if entry.gone:
                self._forget(session, entry)
            else:
                self._entries[entry.client] = entry
            news.append(entry)
        return news, corrections

    def leave(self, session: object) -> list[Entry]:
        """Forget a session; returns what tells the others that its clients are gone."""
        departures = []
        for client in self._owned.pop(session, ()):
            entry = gone_entry(client, self._entries[client].clock)
            del self._entries[client], self._owners[client]
            self._remember_gone(client, entry.clock)
            departures.append(entry)
        return departures

    def _own(self, session: object, client: int) -> None:
        owned = self._owned.setdefault(session, set())
        if len(owned) >= self._clients_per_session:
            raise Malformed("limit", f"a session speaks for at most {self._clients_per_session} client ids")
        owned.add(client)
        self._owners[client] = session

    def _forget(self, session: object, entry: Entry) -> None:
        # The id stays this session's no longer: the same editor may come back on another socket.
        del self._entries[entry.client], self._owners[entry.client]
        self._owned[session].discard(entry.client)
        self._remember_gone(entry.client, entry.clock)

    def _remember_gone(self, client: int, clock: int) -> None:
        self._gone.pop(client, None)
        if len(self._gone) >= _REMEMBERED_GONE:
            self._gone.pop(next(iter(self._gone)))
        self._gone[client] = clock
