"""Events of a room: told to those who are there and want them, and the last of some to those who come later.

An event is framed once, and the same bytes go to every session, the sender's included: so all of them hear
the events of one name in one order. As with updates the first after a pause goes out at once, and those that
follow within a window together. Nothing of it reaches the log.

Other processes that have the room open are told each event, and whoever opens it, or may have missed some, is
told what is kept. Of two values of a name the later one stays, whoever hears of it in which order.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from time import perf_counter, time_ns

import structlog

from roomful.crdt.varint import Malformed

from .audience import Audience
from .metrics import Metrics
from .protocols.roomful import Event, RoomfulEnvelope, kept
from .protocols.told_events import ASK, ASKED, KEPT, Last, decode, encode_event, encode_kept
from .websocket import WebSocket

_log = structlog.get_logger()

_ANSWER_SECONDS = 0.1
"""Between a question and its answer: all that ask meanwhile hear the same one."""
_MOST_REMEMBERED = 4_096
"""Names of which the last value was taken back, so that an earlier one does not come again."""
_LONGEST_WINDOW = 1.0
"""Seconds, even if the process stood still while it told a crowd."""
_MOST_PENDING_BYTES = 64 << 10
"""Events go out before their window is over when they are more than this."""


class Events:
    """The events of one room.

    ``kept`` holds by name the frames that newcomers get; it changes when events go out, so that whoever knows
    it lacks what goes out from then on, and nothing else. At most ``most_kept`` names are kept, as ``start``
    says. ``window`` says how many seconds events wait for each other when so many listen.
    """

    def __init__(self, envelope: RoomfulEnvelope, window: Callable[[int], float], metrics: Metrics) -> None:
        self.kept: Mapping[str, bytes] = {}
        self.most_kept = 0
        self.audience = Audience(envelope)
        self._envelope = envelope
        self._window = window
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._rests_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        # What will be kept once all that is pending has gone out.
        self._latest: dict[str, bytes] = {}
        # Of each name, those taken back included.
        self._last: dict[str, Last] = {}
        self._stamp = 0
        self._writer = secrets.token_hex(4)
        self._tell: Callable[[bytes], None] | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    # What other processes have to do with it

    def start(self, most_kept: int, tell: Callable[[bytes], None] | None = None) -> None:
        """Keep so many names. Where there are other processes, tell them all, and ask what they keep."""
        self.most_kept = most_kept
        self._tell = tell
        if tell is not None:
            tell(ASKED)

    def stop(self) -> None:
        """The room is let go; nobody is in it."""
        self._tell = None
        for timer in (self._answer_timer, self._timer):
            if timer is not None:
                timer.cancel()

    def told(self, message: bytes) -> None:
        """Take what another process has told."""
        try:
            kind, events = decode(message)
        except Malformed as error:
            self._metrics.refused["gossip"] += 1
            _log.warning("what another process told is refused", error=str(error))
            return
        if kind == ASK:
            self._answer_later()
        for last in events:
            if not (last.event.keep and self._is_full_for(last.event)):
                self._take(last, late=kind == KEPT)

    def relinked(self) -> None:
        """What was told, by others or by this process, may have reached nobody."""
        if self._tell is not None:
            self._tell(ASKED)
            self._answer_later()

    def _answer_later(self) -> None:
        if self._answer_timer is None and self._tell is not None:
            self._answer_timer = self._loop.call_later(_ANSWER_SECONDS, self._answer)

    def _answer(self) -> None:
        self._answer_timer = None
        if self._tell is not None and self._last:
            self._tell(encode_kept(list(self._last.values())))

    # What sessions say and hear

    def publish(self, event: Event, session: str, user: str) -> bool:
        """Tell everybody. Returns False, and does nothing, when ``most_kept`` other names are kept."""
        if event.keep and self._is_full_for(event):
            return False
        last = Last(max(self._stamp + 1, time_ns() // 1_000_000), self._writer, event, session, user)
        self._metrics.events += 1
        self._take(last)
        if self._tell is not None:
            self._tell(encode_event(last))
        return True

    def _is_full_for(self, event: Event) -> bool:
        return not event.forgets and event.name not in self._latest and len(self._latest) >= self.most_kept

    def _take(self, last: Last, *, late: bool = False) -> None:
        """Tell an event to all here; ``late`` says that it has not just happened."""
        event = last.event
        self._stamp = max(self._stamp, last.stamp)
        frame = self._envelope.event(event, last.session, last.user)
        if event.keep:
            known = self._last.get(event.name)
            if known is not None and known.order >= last.order:
                return
            self._remember(last)
            if event.forgets:
                self._latest.pop(event.name, None)
            else:
                self._latest[event.name] = kept(frame)
        self._pending.append(kept(frame) if late else frame)
        self._pending_bytes += len(frame)
        self._schedule()

    def _remember(self, last: Last) -> None:
        self._last[last.event.name] = last
        if len(self._last) > _MOST_REMEMBERED:
            gone = next((name for name, each in self._last.items() if each.event.forgets), None)
            if gone is not None:
                del self._last[gone]

    def forgotten(self, name: str) -> bytes:
        """Return the frame for one who missed that a value is kept no longer."""
        return self._envelope.forgotten(name)

    def _schedule(self) -> None:
        if self._pending_bytes > _MOST_PENDING_BYTES:
            self._flush()
        elif self._timer is None:
            rest = self._rests_until - self._loop.time()
            if rest <= 0:
                self._flush()
            else:
                self._timer = self._loop.call_later(rest, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, started = self._loop.time(), perf_counter()
        frames, self._pending, self._pending_bytes = self._pending, [], 0
        # Before the first write: a socket that it congests has been told all of this.
        self.kept = dict(self._latest)
        receivers = self.audience.receivers
        self._metrics.event_deliveries += len(receivers) * len(frames)
        receivers.send(frames[0] if len(frames) == 1 else b"".join(frames), None)
        window = self._window(len(receivers))
        # Even the largest crowd leaves a third of the loop's time to others.
        share = min(1.5 * (perf_counter() - started), _LONGEST_WINDOW)
        self._rests_until = now + (window and max(window, share))


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
