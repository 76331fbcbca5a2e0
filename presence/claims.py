"""Which process has a client in a room, as it tells the others: a value of its gossip.

key    := varUint(client id)
value  := lost . since . user . entry
lost   := 00 | 01                the client's connection is lost, and it may come back
since  := 6 bytes, big-endian    when the client came to the process, in milliseconds of its clock
user   := 8 bytes                BLAKE2b of the user's name; zeros: of nobody
entry  := an awareness entry (awareness.py)
"""

from hashlib import blake2b
from typing import NamedTuple, Self

from roomful.crdt.varint import Malformed, read_varuint, write_varuint

from .awareness import Entry, decode_entries

NOBODY = bytes(8)
_HEAD_BYTES = 15
_LARGEST_STATE = 1 << 20
"""The most that ``max_awareness_bytes`` may be anywhere."""


def user_key(user: str) -> bytes:
    """Return what tells one user from another."""
    return blake2b(user.encode(errors="replace"), digest_size=8).digest() if user else NOBODY


def client_key(client: int) -> bytes:
    """Return the key of a client's claim."""
    return write_varuint(client)


def read_client(key: bytes) -> int:
    """Return the client of a key. Raises Malformed."""
    client, end = read_varuint(key, 0)
    if end != len(key):
        raise Malformed("trailing", "bytes after a client id")
    return client


class Claim(NamedTuple):
    """That ``process`` has a client, what the client says, and for which user. ``since`` in milliseconds."""

    process: str
    entry: Entry
    user: bytes
    since: int
    lost: bool = False

    def encode(self) -> bytes:
        """Return the value that tells it to others; who tells it is known to them."""
        return bytes((self.lost,)) + self.since.to_bytes(6, "big") + self.user + self.entry.raw

    @classmethod
    def decode(cls, process: str, key: bytes, value: bytes) -> Self:
        """Read what a process has told. Raises Malformed."""
        if len(value) <= _HEAD_BYTES or value[0] > 1:
            raise Malformed("truncated", "a claim is cut short")
        (entry,) = decode_entries(b"\x01" + value[_HEAD_BYTES:], most=1, largest=_LARGEST_STATE)
        if entry.client != read_client(key) or entry.gone:
            raise Malformed("client", "a claim is for another client, or for none")
        return cls(process, entry, value[7:_HEAD_BYTES], int.from_bytes(value[1:7], "big"), value[0] == 1)

    def outranks(self, other: "Claim") -> bool:
        """Whether this one holds where both are made; all processes come to the same answer.

        Of one user's the newest word counts: the client has moved, and what it left does not know yet. Of two
        users who speak for one client, one does so for somebody else: it is not the one who was there first.
        """
        if self.lost != other.lost:
            return other.lost
        if self.user == other.user:
            return (self.entry.clock, self.process) > (other.entry.clock, other.process)
        return (self.since, self.process) < (other.since, other.process)
