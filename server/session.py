"""One room joined over one connection: who it is, what it may do, and its commands to the room.

Protocols differ in how bytes are wrapped; what a sync or awareness message does to a room is here.
"""

from typing import Protocol

from roomful.crdt.accept import accept_update
from roomful.crdt.check import Contents, check_state_vector
from roomful.crdt.sync import EMPTY_UPDATE, STEP_1, STEP_2, read_payload, read_sync

from .auth import Access
from .close_codes import CloseCode
from .feed import Feed
from .metrics import Metrics
from .protocols.envelope import Envelope
from .room import Room
from .websocket import WebSocket


class Carrier(Protocol):
    """The connection, as its sessions see it."""

    def check(self, session: "Session", step: int, update: bytes) -> None:
        """Have a large update walked elsewhere, and hand it back when that is done."""

    def fail(self, error: Exception) -> None:
        """Hang up for what is wrong with a message, or went wrong with it."""

    def cut_off(self, code: CloseCode, reason: str) -> None:
        """Hang up without waiting for the client."""


class Session:
    """A member of a room. Its methods take messages, and raise Malformed or Refused."""

    __slots__ = (
        "_awareness_missed", "_carrier", "_feed", "_inline_check_bytes", "_metrics",
        "access", "envelope", "room", "socket", "write",
    )  # fmt: skip

    def __init__(
        self, room: Room, access: Access, socket: WebSocket, envelope: Envelope, carrier: Carrier,
        inline_check_bytes: int, metrics: Metrics,
    ) -> None:  # fmt: skip
        self.room = room
        self.access = access
        self.socket = socket
        self.envelope = envelope
        self.write = socket.write
        self._carrier = carrier
        self._inline_check_bytes = inline_check_bytes
        self._metrics = metrics
        self._awareness_missed = False
        self._feed = Feed(room.state, socket, envelope, room.audience(envelope))
        metrics.joins += 1
        room.enter(self)

    def sync(self, message: bytes, at: int) -> None:
        """Take a sync message whose step is at ``at``."""
        self.take(*read_sync(message, at))

    def take(self, step: int, payload: bytes) -> None:
        """Take a sync message: a state vector to be answered, or an update."""
        if step == STEP_1:
            check_state_vector(payload)
            self._feed.start(payload)
        elif payload == EMPTY_UPDATE:
            self.room.confirm(self)
        elif len(payload) > self._inline_check_bytes:
            self._carrier.check(self, step, payload)
        else:
            self.update(step, payload, accept_update(payload))

    def update(self, step: int, update: bytes, contents: Contents) -> None:
        """Take a checked update."""
        # A step 2 repeats all deletions there ever were; most say nothing new.
        if (step == STEP_2 or self.access.read_only) and self.room.state.adds_nothing(update, contents):
            self.room.confirm(self)
        elif self.access.read_only:
            self._metrics.refused["read-only"] += 1
            self.refuse_update()
        else:
            self.room.take(self, update, contents)

    def awareness(self, frame: bytes) -> None:
        """Write an awareness frame, unless the socket has enough to carry; then all of it comes later."""
        if self.socket.is_congested:
            self._awareness_missed = True
        else:
            self.write(frame)

    def speak(self, message: bytes, at: int) -> None:
        """Take an awareness message whose payload is at ``at``."""
        self.room.awareness.hear(self, read_payload(message, at))

    def tell_everybody(self) -> None:
        """Answer a query for everybody's awareness."""
        self.awareness(self.room.awareness.everybody(self))

    def say(self, *parts: bytes) -> None:
        """Write an answer or notice, in parts or whole; a client that takes none of them is cut off."""
        if self.socket.is_flooded:
            self._carrier.cut_off(CloseCode.SLOW, "takes no answers")
        elif self.socket.is_open:
            for part in parts:
                self.write(part)

    def fail(self, error: Exception) -> None:
        """Something is wrong with a message that was kept for a while."""
        self._carrier.fail(error)

    def acknowledge(self, updates: int) -> None:
        """So many updates of this session are durable. y-websocket has no word for it."""

    def refuse_update(self) -> None:
        """A read-only session tried to write. y-websocket has no word for it."""

    def stateless(self, message: bytes) -> None:
        """Another client's stateless message. y-websocket has no such thing."""

    def storage(self, *, lost: bool) -> None:
        """Updates can't be stored now, or can again. y-websocket has no word for it."""

    def keep_alive(self) -> None:
        """Write a frame that says nothing: stock clients hang up after 30 s without one."""
        self.write(self.envelope.awareness(b"\x00"))

    def congested(self) -> None:
        if self._feed.fall_behind():
            self._metrics.fell_behind += 1

    def drained(self) -> None:
        if self._awareness_missed:
            self._awareness_missed = False
            self.write(self.room.awareness.everybody_and_the_departed(self))
        self._feed.pump()

    def leave(self, *, lost: bool = False) -> None:
        """Leave the room; ``lost`` says that its client has not said so, and may come back."""
        self._feed.stop()
        self.room.leave(self, lost=lost)
