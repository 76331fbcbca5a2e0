"""Events as processes that have a room open tell them to each other.

    told := [EVENT, last]               it has just happened
          | [KEPT, [last*]]             the last values that are known, to one who asked
          | [ASK]                       of everybody, what they keep
    last := [stamp, writer, name, payload, keep, session, user]

In msgpack; the payload is a bin that holds some. A name's last value is that of the greatest (stamp, writer).
Stamps count milliseconds, and go on from the latest that was heard, so that what is said after something was
heard comes after it.
"""

from typing import Any, Final, NamedTuple

import msgpack

from roomful.crdt.varint import MAX_UINT, Malformed

from .roomful import LONGEST_LABEL, Event
from .strict_msgpack import walk

EVENT, KEPT, ASK = range(3)
ASKED: Final[bytes] = msgpack.packb([ASK])
_LONGEST_TEXT: Final = 1 << 10
_MOST_KEPT: Final = 10_000


class Last(NamedTuple):
    """An event, when it was said, by whom, and which process took it."""

    stamp: int
    writer: str
    event: Event
    session: str
    user: str

    @property
    def order(self) -> tuple[int, str]:
        return self.stamp, self.writer


def encode_event(last: Last) -> bytes:
    """Return what tells an event that has just happened."""
    packed: bytes = msgpack.packb([EVENT, _parts(last)])
    return packed


def encode_kept(kept: list[Last]) -> bytes:
    """Return what tells the values that are kept."""
    packed: bytes = msgpack.packb([KEPT, [_parts(last) for last in kept]])
    return packed


def decode(message: bytes) -> tuple[int, list[Last]]:
    """Return the kind of a message, and the events in it. Raises Malformed."""
    try:
        match msgpack.unpackb(message):
            case [0, list(parts), *_]:
                return EVENT, [_last(parts)]
            case [1, list(kept), *_] if len(kept) <= _MOST_KEPT:
                return KEPT, [_last(parts) for parts in kept]
            case [2, *_]:
                return ASK, []
    except (ValueError, RecursionError) as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed("type", "no msgpack") from error
    raise Malformed("type", "no message about events")


def _parts(last: Last) -> list[Any]:
    event = last.event
    return [last.stamp, last.writer, event.name, event.payload, event.keep, last.session, last.user]


def _last(parts: object) -> Last:
    match parts:
        case [int(stamp), str(writer), str(name), bytes(payload), bool(keep), str(session), str(user), *_]:
            if not 0 < stamp <= MAX_UINT or len(name.encode()) > LONGEST_LABEL:
                raise Malformed("limit", "an event with a stamp or a name that is none")
            if max(map(len, (writer, session, user))) > _LONGEST_TEXT:
                raise Malformed("limit", "an event of somebody with too long a name")
            if walk(payload, 0, len(payload)) != len(payload):
                raise Malformed("trailing", "bytes after the payload of an event")
            return Last(stamp, writer, Event(name, payload, keep), session, user)
    raise Malformed("type", "no event")
