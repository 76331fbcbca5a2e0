"""The Roomful wire format, version 1, as docs/PROTOCOL.md states it.

    frame := [type, element*]        one MessagePack array in each binary WebSocket message

What every keystroke brings is read and written by hand; of the rest only what is small and has been walked
(strict_msgpack.py) is given to a library. Elements after those that are known are passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from msgpack import packb

from roomful.crdt.varint import Malformed
from roomful.presence.record import LONGEST_ID

from ..frames import BINARY, binary, head
from .strict_msgpack import read_array, read_bin, read_bool, read_map, read_text, read_uint, walk

SUBPROTOCOL = "roomful.v1"
VERSION = 1
LONGEST_TOKEN = 16 << 10
LONGEST_LABEL = 128
"""Bytes of what names a client, its instance or an event."""

_MOST_VALUES = 1_000
"""Of an event, or of a map. A walk over so many takes less than a millisecond."""
_NIL, _FALSE, _TRUE = b"\xc0", b"\xc2", b"\xc3"


class ClientFrame(IntEnum):
    """What clients send."""

    HELLO = 0
    JOIN = 1
    LEAVE = 2
    STEP_1 = 3
    STEP_2 = 4
    UPDATE = 5
    AWARENESS = 6
    PRESENCE = 7
    EVENT = 8
    PEOPLE = 9


class ServerFrame(IntEnum):
    """What the server sends."""

    WELCOME = 16
    JOINED = 17
    LEFT = 18
    STEP_1 = 19
    STEP_2 = 20
    UPDATE = 21
    ACK = 22
    AWARENESS = 23
    PRESENCE = 24
    EVENT = 25
    ERROR = 26
    NOTICE = 27
    PEOPLE = 28


class ErrorCode(StrEnum):
    """Why something was refused, or a room left; docs/PROTOCOL.md says what a client may do."""

    UNKNOWN_TYPE = "unknown-type"
    DENIED = "denied"
    BAD_ROOM = "bad-room"
    ALREADY_JOINED = "already-joined"
    TOO_MANY_ROOMS = "too-many-rooms"
    NOT_JOINED = "not-joined"
    READ_ONLY = "read-only"
    TOO_LARGE = "too-large"
    TOO_FAST = "too-fast"
    TOO_MANY_KEPT = "too-many-kept"
    DOCUMENT_FULL = "document-full"
    FULL = "full"
    STORAGE = "storage"
    UNAVAILABLE = "unavailable"


_LENGTHS: Mapping[int, int] = {
    ClientFrame.HELLO: 2,
    ClientFrame.JOIN: 4,
    ClientFrame.LEAVE: 2,
    ClientFrame.STEP_1: 3,
    ClientFrame.STEP_2: 4,
    ClientFrame.UPDATE: 4,
    ClientFrame.AWARENESS: 3,
    ClientFrame.PRESENCE: 3,
    ClientFrame.EVENT: 5,
    ClientFrame.PEOPLE: 5,
}
"""Elements of each, its type included."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who connects. ``token`` is for joins that bring none of their own."""

    token: str
    client: str
    instance: str


@dataclass(frozen=True, slots=True)
class Join:
    """What a client wants of a room. Without a ``vector`` it does not want the document now."""

    request: int
    room: str
    token: str
    vector: bytes | None
    awareness: bool
    presence: Mapping[str, Any] | None
    events: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell everybody in a room. ``payload`` is the MessagePack of any value."""

    name: str
    payload: bytes
    keep: bool

    @property
    def forgets(self) -> bool:
        """Whether it takes a kept value back."""
        return self.keep and self.payload == _NIL


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A question who is in a room: at most ``limit`` people, whose ids follow ``after``."""

    request: int
    after: str
    limit: int


def read_head(message: bytes) -> tuple[int, int, int]:
    """Return (type, number of elements behind those that are known, where the second element begins).

    Raises Malformed, also when a known type has too few elements. Of an unknown type nothing is known.
    """
    if len(message) > 2 and message[0] & 0xF0 == 0x90 and message[1] < 0x80:
        # Any client's: its length and its type are in one byte each.
        count, kind, at = message[0] & 0x0F, message[1], 2
    else:
        count, at = read_array(message, 0)
        kind, at = read_uint(message, at)
    # An empty array has no type either.
    known = _LENGTHS.get(kind, 1)
    if count < known:
        raise Malformed("truncated", f"a frame of type {kind} with {count} elements, not {known}")
    return kind, count - known, at


def end(message: bytes, at: int, unknown: int) -> None:
    """Raise Malformed when something follows a frame that has no elements but those known."""
    if not unknown and at != len(message):
        raise Malformed("trailing", f"{len(message) - at} bytes after the frame")


def read_hello(message: bytes, at: int, unknown: int) -> Hello:
    """Return what a HELLO frame says, whose options are at ``at``. Raises Malformed."""
    options, at = read_map(message, at, _MOST_VALUES)
    end(message, at, unknown)
    return Hello(
        _text(options, "token", LONGEST_TOKEN),
        _text(options, "client", LONGEST_LABEL),
        _text(options, "instance", LONGEST_LABEL),
    )


def read_join(message: bytes, at: int, unknown: int) -> Join:
    """Return what a JOIN frame says, whose request number is at ``at``. Raises Malformed."""
    request, at = read_uint(message, at)
    room, at = read_text(message, at, len(message))
    options, at = read_map(message, at, _MOST_VALUES)
    end(message, at, unknown)
    return Join(
        request,
        room,
        _text(options, "token", LONGEST_TOKEN),
        _option(options, "vector", bytes, None),
        _option(options, "awareness", bool, False),
        _option(options, "presence", dict, None),
        _option(options, "events", bool, False),
    )


def read_payload(message: bytes, at: int, unknown: int) -> bytes:
    """Return the byte string at ``at`` that a STEP_1 or AWARENESS frame ends with. Raises Malformed."""
    payload, at = read_bin(message, at)
    end(message, at, unknown)
    return payload


def read_update(message: bytes, at: int, unknown: int) -> tuple[int, bytes]:
    """Return (sequence number, update) of a STEP_2 or UPDATE frame. Raises Malformed."""
    seq, at = read_uint(message, at)
    return seq, read_payload(message, at, unknown)


def read_fields(message: bytes, at: int, unknown: int) -> dict[str, Any]:
    """Return the map of a PRESENCE frame. Raises Malformed."""
    fields, at = read_map(message, at, _MOST_VALUES)
    end(message, at, unknown)
    return fields


def read_event(message: bytes, at: int, unknown: int) -> Event:
    """Return the event of an EVENT frame, whose name is at ``at``. Raises Malformed."""
    name, at = read_text(message, at, LONGEST_LABEL)
    start = at
    at = walk(message, at, _MOST_VALUES)
    payload = message[start:at]
    keep, at = read_bool(message, at)
    end(message, at, unknown)
    return Event(name, payload, keep)


def read_people(message: bytes, at: int, unknown: int) -> PageRequest:
    """Return what a PEOPLE frame asks, whose request number is at ``at``. Raises Malformed."""
    request, at = read_uint(message, at)
    after, at = read_text(message, at, LONGEST_ID)
    limit, at = read_uint(message, at)
    end(message, at, unknown)
    if not limit:
        raise Malformed("limit", "a page of nobody")
    return PageRequest(request, after, limit)


def _frame(kind: ServerFrame, *elements: object) -> bytes:
    message: bytes = packb([int(kind), *elements])
    return binary(message)


def welcome(facts: Mapping[str, object]) -> bytes:
    """The answer to a HELLO."""
    return _frame(ServerFrame.WELCOME, dict(facts))


def joined(request: int, room: int, facts: Mapping[str, object]) -> bytes:
    """A room is open; ``room`` is its number from here on."""
    return _frame(ServerFrame.JOINED, request, room, dict(facts))


def left(room: int, code: ErrorCode | None, reason: str) -> bytes:
    """The session in a room is over: as asked, without a code, or because of what the code says."""
    return _frame(ServerFrame.LEFT, room, code and code.value, reason)


def error(
    code: ErrorCode, reason: str, *, request: int | None = None, room: int | None = None,
    seq: int | None = None,
) -> bytes:  # fmt: skip
    """Something was refused: a join (``request``), a question (``room`` and ``request``), an update (``room``
    and ``seq``), or another frame.
    """
    return _frame(ServerFrame.ERROR, request, room, code.value, reason, seq)


def notice(**facts: object) -> bytes:
    """Something that concerns the whole connection."""
    return _frame(ServerFrame.NOTICE, facts)


NOTHING_NEW = notice()
"""Says that the server is there: pages can't see pings."""


class RoomfulEnvelope:
    """Frames messages of one room, by its number in this process."""

    __slots__ = ("_room", "_sync_starts", "prefix")

    def __init__(self, room: int) -> None:
        self._room = room
        # No key of a Hocuspocus document begins with the length zero and goes on.
        self.prefix = b"\x00roomful"
        number: bytes = packb(room)
        steps = (ServerFrame.STEP_1, ServerFrame.STEP_2, ServerFrame.UPDATE)
        self._sync_starts = tuple(bytes((0x93, kind)) + number for kind in steps)

    def sync(self, step: int, payload: bytes) -> bytes:
        return self.sync_start(step, len(payload)) + payload

    def sync_start(self, step: int, length: int) -> bytes:
        start = self._sync_starts[step] + _bin_head(length)
        return head(BINARY, len(start) + length) + start

    def awareness(self, entries: bytes) -> bytes:
        return _frame(ServerFrame.AWARENESS, self._room, entries)

    def acknowledged(self, seq: int, level: str) -> bytes:
        """All updates up to this one but the refused are durable; ``level`` says what that survives."""
        return _frame(ServerFrame.ACK, self._room, seq, level)

    def presence(self, body: bytes) -> bytes:
        """Return the frame of what is new about who is here; ``body`` is a map in MessagePack."""
        start: bytes = bytes((0x93, ServerFrame.PRESENCE)) + packb(self._room)
        return binary(start + body)

    def people(self, request: int, page: bytes) -> bytes:
        """Return the answer to a question who is here; ``page`` is a map in MessagePack."""
        start: bytes = bytes((0x94, ServerFrame.PEOPLE)) + packb(self._room) + packb(request)
        return binary(start + page)

    def event(self, event: Event, session: str, user: str) -> bytes:
        """Return the frame of an event that has just happened."""
        payload: bytes = (
            bytes((0x97, ServerFrame.EVENT)) + packb(self._room) + packb(event.name) + event.payload
            + packb(session) + packb(user) + _FALSE
        )  # fmt: skip
        return binary(payload)

    def forgotten(self, name: str) -> bytes:
        """Return the frame that takes a kept value back."""
        return _frame(ServerFrame.EVENT, self._room, name, None, "", "", True)


def kept(frame: bytes) -> bytes:
    """Return the frame of an event as those get it who come after it."""
    return frame[:-1] + _TRUE


def _bin_head(length: int) -> bytes:
    if length < 1 << 8:
        return bytes((0xC4, length))
    if length < 1 << 16:
        return b"\xc5" + length.to_bytes(2, "big")
    return b"\xc6" + length.to_bytes(4, "big")


def _text(options: Mapping[str, Any], name: str, longest: int) -> str:
    text: str = _option(options, name, str, "")
    if len(text.encode()) > longest:
        raise Malformed("limit", f"{name} has more than {longest} bytes")
    return text


def _option(options: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    """Return an option of a map; nil is as good as nothing."""
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise Malformed("type", f"{name} is no {kind.__name__}")
    return value
