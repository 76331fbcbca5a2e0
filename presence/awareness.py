"""Awareness as bytes: what clients say of themselves, without parsing it for each receiver.

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
        state = _DECODER.decode(text.decode())
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


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _depth(value: object) -> int:
    """Return how many objects and lists lie inside each other."""
    depth = 0
    level = [value]
    while nested := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [part for each in nested for part in (each.values() if isinstance(each, dict) else each)]
    return depth
