"""Events of a room: told to those who are there and want them, and the last of some to those who come later.

An event is framed once, and the same bytes go to every session, the sender's included: so all of them hear
the events of one name in one order. As with updates the first after a pause goes out at once, and those that
follow within a window together. Nothing of it reaches the log.
"""

import asyncio
from collections.abc import Callable, Mapping

from .audience import Audience
from .metrics import Metrics
from .protocols.roomful import Event, RoomfulEnvelope, kept
from .websocket import WebSocket

_MOST_PENDING_BYTES = 64 << 10
"""Events go out before their window is over when they are more than this."""


class Events:
    """The events of one room.

    ``kept`` holds by name the frames that newcomers get; it changes when events go out, so that whoever knows
    it lacks what goes out from then on, and nothing else. ``window`` says how many seconds events wait for
    each other when so many listen.
    """

    def __init__(self, envelope: RoomfulEnvelope, window: Callable[[int], float], metrics: Metrics) -> None:
        self.kept: Mapping[str, bytes] = {}
        self.audience = Audience(envelope)
        self._envelope = envelope
        self._window = window
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._flushed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        # What will be kept once all that is pending has gone out.
        self._latest: dict[str, bytes] = {}

    def publish(self, event: Event, session: str, user: str, most_kept: int) -> bool:
        """Tell everybody. Returns False, and does nothing, when ``most_kept`` other names are kept."""
        is_new = event.keep and not event.forgets and event.name not in self._latest
        if is_new and len(self._latest) >= most_kept:
            return False
        frame = self._envelope.event(event, session, user)
        if event.forgets:
            self._latest.pop(event.name, None)
        elif event.keep:
            self._latest[event.name] = kept(frame)
        self._metrics.events += 1
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        self._schedule()
        return True

    def forgotten(self, name: str) -> bytes:
        """Return the frame for one who missed that a value is kept no longer."""
        return self._envelope.forgotten(name)

    def _schedule(self) -> None:
        if self._pending_bytes > _MOST_PENDING_BYTES:
            self._flush()
        elif self._timer is None:
            window = self._window(len(self.audience.receivers))
            rest = self._flushed_at + window - self._loop.time()
            if rest <= 0:
                self._flush()
            else:
                self._timer = self._loop.call_later(rest, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flushed_at = self._loop.time()
        frames, self._pending, self._pending_bytes = self._pending, [], 0
        # Before the first write: a socket that it congests has been told all of this.
        self.kept = dict(self._latest)
        receivers = self.audience.receivers
        self._metrics.event_deliveries += len(receivers) * len(frames)
        receivers.send(frames[0] if len(frames) == 1 else b"".join(frames), None)


class EventFeed:
    """One session's events. It is live, or it lacks something: then events pass it by, and when its socket
    has drained it gets the kept values that it does not have.
    """

    __slots__ = ("_events", "_told", "socket")

    def __init__(self, events: Events, socket: WebSocket) -> None:
        self.socket = socket
        self._events = events
        # What it knows of the kept values while it is not live.
        self._told: dict[str, bytes] | None = {}

    def pump(self) -> None:
        """Send what the socket takes."""
        if self._told is None:
            return
        told, kept = self._told, self._events.kept
        for name in (*kept, *(name for name in told if name not in kept)):
            frame = kept.get(name)
            if frame is told.get(name):
                continue
            if self.socket.is_congested or not self.socket.is_open:
                return
            if frame is None:
                del told[name]
                self.socket.write(self._events.forgotten(name))
            else:
                told[name] = frame
                self.socket.write(frame)
        if not self.socket.is_congested and self.socket.is_open:
            self._told = None
            self._events.audience.enter(self)

    def fall_behind(self) -> None:
        """The socket is congested: send nothing until it has drained."""
        if self._told is None:
            self._told = dict(self._events.kept)
            self._events.audience.leave(self)

    def stop(self) -> None:
        """Send nothing more at all."""
        if self._told is None:
            self._events.audience.leave(self)
