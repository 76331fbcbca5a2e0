"""A room joined over the Roomful protocol: updates are acknowledged by number, and there are events."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from roomful.crdt.varint import Malformed

from .auth import Access
from .config import Limits
from .events import EventFeed
from .metrics import Metrics
from .protocols import roomful
from .protocols.roomful import ErrorCode, Join, PageRequest, RoomfulEnvelope
from .room import Room
from .session import Carrier, Session
from .token_bucket import TokenBucket
from .websocket import WebSocket


class Line(Carrier, Protocol):
    """The connection, as its Roomful sessions see it."""

    def tell_storage(self, *, lost: bool) -> None:
        """Tell the client, once for all its rooms, that updates can't be stored now, or can again."""


class RoomfulSession(Session):
    """``name`` is what others know it by. Document, awareness and events come as ``asked``, and not unasked.

    Updates carry numbers that rise; ``level`` is what an acknowledgement promises.
    """

    __slots__ = (
        "_asked", "_events", "_hears_awareness", "_is_present", "_level", "_line", "_loop",
        "_most_event_bytes", "_most_presence_bytes", "_pace", "_page_pace",
        "_presence_missed", "_seq", "_unanswered", "instance", "name",
    )  # fmt: skip

    envelope: RoomfulEnvelope

    def __init__(
        self, asked: Join, name: str, instance: str, level: str, limits: Limits, room: Room, access: Access,
        socket: WebSocket, envelope: RoomfulEnvelope, line: Line, inline_check_bytes: int, metrics: Metrics,
    ) -> None:  # fmt: skip
        self.name = name
        self.instance = instance
        self._is_present = False
        self._presence_missed = False
        self._level = level
        self._line = line
        self._hears_awareness = asked.awareness
        self._most_event_bytes = limits.max_event_bytes
        self._most_presence_bytes = limits.max_presence_bytes
        self._loop = asyncio.get_running_loop()
        self._pace = TokenBucket(limits.events_per_second, self._loop.time())
        self._page_pace = TokenBucket(limits.presence_pages_per_second, self._loop.time())
        # The question who is here that waits for the socket to drain.
        self._asked: PageRequest | None = None
        self._seq = -1
        # Numbers of updates that are neither acknowledged nor refused, in the order in which they came.
        self._unanswered: deque[int] = deque()
        super().__init__(room, access, socket, envelope, line, inline_check_bytes, metrics)
        self._events = EventFeed(room.events, socket) if asked.events else None
        if self._events is not None:
            self._events.pump()
        if asked.presence is not None:
            self.present(asked.presence)
        if asked.vector is not None and socket.is_open:
            self._feed.start(asked.vector)

    def write_update(self, step: int, seq: int, update: bytes) -> None:
        """Take a numbered update. Raises Malformed or Refused."""
        if seq <= self._seq:
            raise Malformed("content", f"update {seq} after update {self._seq}")
        self._seq = seq
        self._unanswered.append(seq)
        self.take(step, update)

    def send_event(self, message: bytes, at: int, unknown: int) -> None:
        """Take an EVENT frame whose event is at ``at``. Raises Malformed."""
        if not self.access.may_send_events:
            self.refuse(ErrorCode.READ_ONLY, "you may not send events here")
        elif not self._pace.take(self._loop.time()):
            self.refuse(ErrorCode.TOO_FAST, "too many events in a second")
        elif len(message) > self._most_event_bytes:
            self.refuse(ErrorCode.TOO_LARGE, f"an event has at most {self._most_event_bytes} bytes")
        else:
            event, events = roomful.read_event(message, at, unknown), self.room.events
            if not events.publish(event, self.name, self.access.user):
                self.refuse(
                    ErrorCode.TOO_MANY_KEPT, f"a room keeps events of at most {events.most_kept} names"
                )

    def patch_presence(self, message: bytes, at: int, unknown: int) -> None:
        """Take a PRESENCE frame whose map is at ``at``. Raises Malformed."""
        if len(message) > self._most_presence_bytes:
            self.refuse(ErrorCode.TOO_LARGE, f"presence has at most {self._most_presence_bytes} bytes")
        else:
            self.present(roomful.read_fields(message, at, unknown))

    def present(self, fields: Mapping[str, Any]) -> None:
        """Take what this session says of itself: a patch by name, in which None removes.

        The first makes it seen, and lets it hear of others. Raises Malformed.
        """
        try:
            if self._is_present:
                self.room.presence.change(self, fields)
            else:
                self.room.presence.enter(self, fields)
                self._is_present = True
        except Malformed as error:
            if error.reason != "limit":
                raise
            self.refuse(ErrorCode.TOO_LARGE, str(error))

    def ask_people(self, asked: PageRequest) -> None:
        """Answer who is here, once the socket can carry it."""
        if not self._page_pace.take(self._loop.time()):
            self.refuse(ErrorCode.TOO_FAST, "too many pages in a second", asked.request)
        elif self._asked is not None:
            self.refuse(ErrorCode.TOO_FAST, "a page waits to be taken", asked.request)
        elif self.socket.is_congested:
            self._asked = asked
        else:
            self._tell_people(asked)

    def refuse(self, code: ErrorCode, reason: str, request: int | None = None) -> None:
        """Say that something this session sent is not done."""
        self._metrics.refused[code] += 1
        self.say(roomful.error(code, reason, request=request, room=self.room.number))

    # What the room tells

    def acknowledge(self, updates: int) -> None:
        for _ in range(updates):
            seq = self._unanswered.popleft()
        self.say(self.envelope.acknowledged(seq, self._level))

    def refuse_update(self) -> None:
        # It is refused before anything that follows it is taken.
        seq = self._unanswered.pop()
        self.say(roomful.error(ErrorCode.READ_ONLY, "you may only read", room=self.room.number, seq=seq))

    def awareness(self, frame: bytes) -> None:
        if self._hears_awareness:
            super().awareness(frame)

    def presence(self, frame: bytes) -> None:
        """Write a presence frame, unless the socket has enough to carry; then all of it comes later."""
        if self.socket.is_congested:
            self._presence_missed = True
        else:
            self.write(frame)

    def storage(self, *, lost: bool) -> None:
        self._line.tell_storage(lost=lost)

    # What the socket tells

    def congested(self) -> None:
        super().congested()
        if self._events is not None:
            self._events.fall_behind()

    def drained(self) -> None:
        if self._events is not None:
            self._events.pump()
        if self._presence_missed:
            self._presence_missed = False
            self.write(self.room.presence.everything())
        if self._asked is not None and not self.socket.is_congested:
            asked, self._asked = self._asked, None
            self._tell_people(asked)
        super().drained()

    def _tell_people(self, asked: PageRequest) -> None:
        page = self.room.presence.page(asked.after, asked.limit)
        self.say(self.envelope.people(asked.request, page.encode()))

    def leave(self, *, lost: bool = False) -> None:
        if self._events is not None:
            self._events.stop()
        super().leave(lost=lost)
