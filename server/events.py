"""Events of a room: told to those who are there and want them, and the last of some to those who come later.

An event is framed once, and the same bytes go to every session, the sender's included: so all of them hear
the events of one name in one order. Nothing of it reaches the log.
"""

from .audience import Audience
from .metrics import Metrics
from .protocols.roomful import Event, RoomfulEnvelope, kept
from .websocket import WebSocket


class Events:
    """The events of one room. ``kept`` holds by name the frames that newcomers get."""

    def __init__(self, envelope: RoomfulEnvelope, metrics: Metrics) -> None:
        self.kept: dict[str, bytes] = {}
        self.audience = Audience(envelope)
        self._envelope = envelope
        self._metrics = metrics

    def publish(self, event: Event, session: str, user: str, most_kept: int) -> bool:
        """Tell everybody. Returns False, and does nothing, when ``most_kept`` other names are kept."""
        frame = self._envelope.event(event, session, user)
        if event.forgets:
            self.kept.pop(event.name, None)
        elif event.keep:
            if event.name not in self.kept and len(self.kept) >= most_kept:
                return False
            self.kept[event.name] = kept(frame)
        receivers = self.audience.receivers
        self._metrics.events += 1
        self._metrics.event_deliveries += len(receivers)
        receivers.send(frame, None)
        return True

    def forgotten(self, name: str) -> bytes:
        """Return the frame for one who missed that a value is kept no longer."""
        return self._envelope.forgotten(name)


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
