"""Bytes that kill, hang, bloat or poison, each under a name: for the check and for a running server.

Most come from what is known of the CRDT library (yrs in pycrdt 0.14.13) and of Yjs. Layouts: crdt/check.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from roomful.crdt.varint import write_varbytes, write_varstring, write_varuint

Kind = Literal["update", "state vector", "awareness"]
Outcome = Literal["rejected", "quarantined", "astray", "served"]


@dataclass(frozen=True, slots=True)
class Attack:
    """A payload and what must become of it.

    ``rejected``: it never passes the check. ``quarantined``: it is a good update, and a document that takes
    it in dies with its worker. ``served``: a good update that folds well; reading it on the server hangs.
    """

    name: str
    payload: bytes
    """The bare update, state vector or awareness update, as it stands inside a message."""
    kind: Kind
    outcome: Outcome
    before: tuple[bytes, ...] = ()
    """Updates that must be in the room first."""


_NO_DELETES = b"\x00"
_ROOT = b"\x01\x01t"  # parent: the root named t
_HUGE = write_varuint(2**28)
_BEYOND_32_BITS = write_varuint(2**32 + 1)


def update(*structs: bytes, client: int = 1, clock: int = 0, deletes: bytes = _NO_DELETES) -> bytes:
    """Return an update of one section."""
    return b"\x01" + section(*structs, client=client, clock=clock) + deletes


def section(*structs: bytes, client: int = 1, clock: int = 0) -> bytes:
    """Return the structs of one client under their header."""
    return write_varuint(len(structs)) + write_varuint(client) + write_varuint(clock) + b"".join(structs)


def item(content: int, body: bytes) -> bytes:
    """Return a struct with a content, at the start of the root named t."""
    return bytes([content]) + _ROOT + body


def _any(*values: bytes) -> bytes:
    return item(8, write_varuint(len(values)) + b"".join(values))


def _json(text: str) -> bytes:
    return item(5, write_varstring(text))


def nested_types(depth: int) -> bytes:
    """Arrays inside each other, ``depth`` of them, and the deletion of the outermost."""
    inner = (b"\x07\x00\x01" + write_varuint(clock) + b"\x00" for clock in range(depth - 1))
    return update(item(7, b"\x00"), *inner, deletes=b"\x01\x01\x01\x00\x01")


NESTED_TYPES = nested_types(50_000)
"""Deleting it recurses into each level until the stack is gone. Small updates can build it up, too."""

PENDING = bytes.fromhex(
    "0201060300010805000801056c69737465017e83050000830501004905000167760047050304c805030500027e7ec3050605000049"
    "05040167760000"
)
RELEASING = bytes.fromhex("010206000701056c69737465060400060003786d6c00")
"""``PENDING`` waits for these clocks of client 6. When they come, the library reads astray and dies.

Yjs is well, and so is the library if they come the other way round or merged into one: they must reach a
document one after the other, as a snapshot and its tail do. Cut down from a session of Yjs clients.
"""

TEXT_IN_ARRAY = update(item(7, b"\x00"), b"\x04\x00\x01\x00" + write_varstring("text"))
"""Text where values belong: whoever reads the array by index or whole in the library never comes back."""


_BAD_UPDATES: dict[str, bytes] = {
    "nothing at all": b"",
    "no delete set": b"\x00",
    "deletion cut off": b"\x00\x01\x01\x02\x80\x01\x01\x05",
    "bytes after the end": b"\x00\x00\x00",
    # Memory or stack for a mere announcement
    "2^28 sections announced": _HUGE + _NO_DELETES,
    "2^28 structs announced": b"\x01" + _HUGE + b"\x01\x00",
    "2^28 values announced": update(item(8, _HUGE)),
    "2^28 elements announced": update(_any(b"\x75" + _HUGE)),
    "2^28 keys announced": update(_any(b"\x76" + _HUGE)),
    "2^28 clients with deletions announced": b"\x00" + _HUGE,
    "2^28 deletions announced": b"\x00\x01\x01" + _HUGE,
    "a string of 2^28 bytes announced": update(item(4, _HUGE)),
    "a buffer of 2^28 bytes announced": update(item(3, _HUGE)),
    "arrays 30,000 deep": update(_any(b"\x75\x01" * 30_000 + b"\x7e")),
    "objects 30,000 deep": update(_any(b"\x76\x01\x00" * 30_000 + b"\x7e")),
    "arrays 65 deep": update(_any(b"\x75\x01" * 65 + b"\x7e")),
    "options of a subdocument 30,000 deep": update(item(9, b"\x00" + b"\x76\x01\x00" * 30_000 + b"\x7e")),
    "JSON 1,000 deep": update(_json("[" * 1_000 + "]" * 1_000)),
    "JSON 65 deep after a string of brackets": update(_json('["' + "]" * 99 + '",' + "[" * 64 + "]" * 65)),
    "JSON 100,000 deep without an end": update(_json('{"":' * 100_000)),
    "JSON of a string without an end": update(_json("[" * 65 + '"a' + '\\"' * 50_000)),
    # Numbers that the library wraps to 32 bits
    "clock of 2^32 + 1": update(b"\x00\x01", clock=2**32 + 1),
    "clocks up to 2^31": update(b"\x00\x02", clock=2**31 - 2),
    "length of 2^32 + 1": update(b"\x00" + _BEYOND_32_BITS),
    "skip of 2^32 + 1": update(b"\x00\x01", b"\x0a" + _BEYOND_32_BITS, b"\x00\x01"),
    "deleted content of 2^32 + 1": update(item(1, _BEYOND_32_BITS)),
    "string of 2^32 + 1 bytes": update(item(4, _BEYOND_32_BITS + b"a")),
    "origin at 2^32 + 1": update(b"\x84\x02" + _BEYOND_32_BITS + b"\x01a"),
    "deletion at 2^32 + 1": b"\x00\x01\x01\x01" + _BEYOND_32_BITS + b"\x01",
    "deletion of 2^32 + 1": b"\x00\x01\x01\x01\x00" + _BEYOND_32_BITS,
    "client of 2^53": b"\x01\x01" + b"\xff" * 7 + b"\x10" + b"\x00\x00\x01\x00",
    "origin of client 2^53": update(b"\x84" + b"\xff" * 7 + b"\x10" + b"\x00\x01a"),
    "number of 100,000 bytes": b"\x01\x01" + b"\xff" * 100_000,
    "integer value of 100,000 bytes": update(_any(b"\x7d" + b"\xff" * 100_000 + b"\x00")),
    # What panics the library, breaks peers, or both
    "string of no length": bytes.fromhex("010201000101017403840103000101010004"),
    "GC of no length": update(b"\x00\x00"),
    "skip of no length": update(b"\x00\x01", b"\x0a\x00", b"\x00\x01"),
    "deleted content of no length": update(item(1, b"\x00")),
    "no values": update(_any()),
    "deletion of no length": b"\x00\x01\x01\x01\x00\x00",
    "two sections of one client": b"\x02"
    + section(b"\x00\x01")
    + section(b"\x00\x01", clock=1)
    + _NO_DELETES,
    "two delete sets of one client": b"\x00\x02\x01\x01\x00\x01\x01\x01\x01\x01",
    "section of no structs": b"\x01\x00\x01\x00\x00",
    # What no Yjs writes, and the two libraries read differently or not at all
    "content 10 with an origin": update(b"\x8a\x02\x00\x01"),
    "content 0 with an origin": update(b"\x80\x02\x00\x01"),
    "content 11": update(item(11, b"\x00")),
    "content 31": update(item(31, b"\x00")),
    "type 7": update(item(7, b"\x07")),
    "type 15": update(item(7, b"\x0f")),
    "type 0 in two bytes": update(item(7, b"\x80\x00")),
    "type of 2^28": update(item(7, _HUGE)),
    "parent of kind 2": update(b"\x04\x02\x01t\x01a"),
    "value of kind 115": update(_any(b"\x73")),
    "value of kind 128": update(_any(b"\x80")),
    "subdocument whose options are null": update(item(9, b"\x01g\x7e")),
    "text that is not UTF-8": update(item(4, b"\x01\xff")),
    "text of half a surrogate pair": update(item(4, b"\x03\xed\xa0\xbd")),
    "root name that is not UTF-8": update(b"\x04\x01\x01\xff\x01a"),
    "key that is not UTF-8": update(_any(b"\x76\x01\x01\xff\x7e")),
    "embed that is not UTF-8": update(item(5, b"\x03\x22\xff\x22")),
    "embed that is not JSON": update(_json("{")),
    "embed of nothing": update(_json("")),
    "embed of NaN": update(_json("NaN")),
    "embed of 1e999": update(_json("1e999")),
    "format that is not JSON": update(item(6, write_varstring("bold") + write_varstring("yes"))),
    # Relics that Yjs reads well, while the library misreads them: they would spoil every merge of the room
    "XmlHook": update(item(7, b"\x05" + write_varstring("hook"))),
    "content JSON": update(item(2, b"\x01" + write_varstring("1"))),
    "embed with half a surrogate pair": update(_json(r'"\ud83d"')),
}


def _entries(*entries: tuple[int, int, bytes]) -> bytes:
    parts = (
        write_varuint(client) + write_varuint(clock) + write_varbytes(state)
        for client, clock, state in entries
    )
    return write_varuint(len(entries)) + b"".join(parts)


_BAD_AWARENESS: dict[str, bytes] = {
    "number of 1,000,000 bytes": b"\xff" * 1_000_000,
    "2^28 entries announced": _HUGE,
    "state of 2^28 bytes announced": b"\x01\x01\x01" + _HUGE,
    "state that is not UTF-8": _entries((1, 1, b'"\xff"')),
    "state that is not JSON": _entries((1, 1, b"{")),
    "state nested 10,000 deep": _entries((1, 1, b"[" * 10_000 + b"]" * 10_000)),
    "entry cut off": _entries((1, 1, b"{}"))[:-1],
}

_BAD_STATE_VECTORS: dict[str, bytes] = {
    "nothing at all": b"",
    "2^28 clients announced": bytes.fromhex("8080808001"),
    "bytes after the end": b"\x00\x00",
    "clock of 2^32 + 1": b"\x01\x01" + _BEYOND_32_BITS,
    "client of 2^53": b"\x01" + b"\xff" * 7 + b"\x10\x01",
    "one client twice": b"\x02\x01\x01\x01\x02",
    "client without a clock": b"\x01\x01",
}


def _all(kind: Kind, named: dict[str, bytes]) -> Sequence[Attack]:
    return [Attack(name, payload, kind, "rejected") for name, payload in named.items()]


ATTACKS: list[Attack] = [
    *_all("update", _BAD_UPDATES),
    *_all("state vector", _BAD_STATE_VECTORS),
    *_all("awareness", _BAD_AWARENESS),
    Attack("types nested 50,000 deep, and deleted", NESTED_TYPES, "update", "quarantined"),
    # What the library then does differs from run to run; mostly it dies.
    Attack("update that releases a pending one", RELEASING, "update", "astray", before=(PENDING,)),
    Attack("text in an array", TEXT_IN_ARRAY, "update", "served"),
]
