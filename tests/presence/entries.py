"""Awareness entries by what they say, and y-protocols' rules in the plainest form, to compare with."""

import json
from collections.abc import Iterable

from roomful.crdt.varint import write_varstring, write_varuint
from roomful.presence.awareness import Entry, decode_entries, encode_entries


def entry(client: int, clock: int, state: object) -> Entry:
    """Return the entry in which a client says this state (None = gone)."""
    text = json.dumps(state, separators=(",", ":"), ensure_ascii=False)
    return raw_entry(client, clock, text)


def raw_entry(client: int, clock: int, text: str) -> Entry:
    raw = write_varuint(client) + write_varuint(clock) + write_varstring(text)
    return Entry(client, clock, write_varstring(text), raw)


class Peer:
    """awareness.js of y-protocols 1.0.7: ``applyAwarenessUpdate`` as it stands there, without the events."""

    def __init__(self, client: int | None = None, state: object = None) -> None:
        self.client = client
        self.states: dict[int, str] = {}
        self.clocks: dict[int, int] = {}
        if client is not None:
            self.say(state)

    def say(self, state: object) -> Entry:
        """Set the local state; returns what is announced."""
        assert self.client is not None
        # The first local state of a new client has clock 0, and is not sent before the next change.
        self.clocks[self.client] = self.clocks.get(self.client, -1) + 1
        self._set(self.client, json.dumps(state, separators=(",", ":")))
        return self.own()

    def own(self) -> Entry:
        """Return the entry of the local state as it is."""
        assert self.client is not None
        return raw_entry(self.client, self.clocks[self.client], self.states.get(self.client, "null"))

    def hear(self, entries: Iterable[Entry]) -> None:
        """Take an awareness message."""
        for client, clock, state, _ in decode_entries(encode_entries(entries), most=99, largest=9_999):
            text = state[1:].decode()
            gone = text == "null"
            current = self.clocks.get(client, 0)
            if current < clock or (current == clock and gone and client in self.states):
                if gone and client == self.client and client in self.states:
                    # Never let a remote client remove this local state.
                    clock += 1
                else:
                    self._set(client, text)
                self.clocks[client] = clock

    def _set(self, client: int, text: str) -> None:
        if text == "null":
            self.states.pop(client, None)
        else:
            self.states[client] = text
