"""What a log keeps as a room's snapshot.

    snapshot := msgpack [version = 1, state vector, [piece, ...]]

Pieces are Yjs updates of at most about 256 KiB, so that a join can be sent, and diffed, in steps.
"""

from typing import NamedTuple

import msgpack

from .compression import Unreadable

_VERSION = 1


class Snapshot(NamedTuple):
    """Updates that together say all that was folded, and the state vector of what they hold."""

    pieces: list[bytes]
    state_vector: bytes


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the bytes of a snapshot."""
    packed: bytes = msgpack.packb([_VERSION, snapshot.state_vector, snapshot.pieces])
    return packed


def decode_snapshot(stored: bytes) -> Snapshot:
    """Return the snapshot of these bytes. Raises Unreadable for another version or broken bytes."""
    try:
        version, *fields = msgpack.unpackb(stored)
    except (ValueError, TypeError) as error:
        raise Unreadable("not a snapshot") from error
    if version != _VERSION:
        raise Unreadable(f"snapshot version {version!r}; this release reads {_VERSION}")
    match fields:
        case [bytes(state_vector), list(pieces)] if all(isinstance(piece, bytes) for piece in pieces):
            return Snapshot(pieces, state_vector)
    raise Unreadable("not a snapshot")
