"""Accepts connections, waits until each has said what it wants, and hands it on without having read a byte.

The head of the request is peeked at. While it is incomplete the socket stays readable, and a loop that waits
for readable sockets would spin; so the socket is told to count as readable only when it holds more than has
been seen (SO_RCVLOWAT, ``socket(7)``), or, where that is not honoured, is looked at again after a moment.

Clients that say nothing cost a socket each, for ``pre_auth_seconds`` and only so many: then the one that has
been silent for longest, and for more than a moment, makes room. Clients that spoke are handed on while the
taker has a place; while it has none nothing is accepted, and newcomers wait in the kernel. Those who have
left meanwhile are not handed on.
"""

import asyncio
import select
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Protocol

import structlog

from ..config import Limits
from ..metrics import Arrivals
from .request_key import LONGEST_HEAD, is_enough

_log = structlog.get_logger()

SILENT_PER_HANDSHAKE = 4
"""How many clients may be silent for each one that may be in hand."""

_BATCH = 32
"""Connections accepted before the loop's other business has its turn."""
_MOMENT_SECONDS = 1.0
"""A silence that means nothing: in a storm many requests are a round trip behind their connections."""
_LOOK_AGAIN_SECONDS = 0.05
_EXHAUSTED_SECONDS = 1.0
"""A rest after the system had no descriptor or memory left for a connection."""
_LOG_INTERVAL_SECONDS = 1.0
_HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Taker(Protocol):
    """Who serves the connections."""

    def has_place(self) -> bool:
        """Whether `take` may be called. When it turns true, `Acceptor.go_on` must be called."""

    def take(self, connection: socket.socket, head: bytes) -> None:
        """Own a connection from now on. Nothing was read from it; `head` is what was seen of it."""


class _Arrival:
    __slots__ = ("connection", "due", "is_ready", "is_watched", "seen", "timer")

    def __init__(self, connection: socket.socket, due: float) -> None:
        self.connection = connection
        self.due = due
        self.seen = 0
        self.is_watched = False
        self.is_ready = False
        self.timer: asyncio.TimerHandle | None = None


class Acceptor:
    """Accepts between ``listen`` and ``close``."""

    def __init__(self, taker: Taker, arrivals: Arrivals, limits: Limits) -> None:
        self._listeners: Sequence[socket.socket] = ()
        self._taker = taker
        self._arrivals = arrivals
        self._most = limits.max_handshakes * SILENT_PER_HANDSHAKE
        self._seconds = limits.pre_auth_seconds
        self._loop = asyncio.get_running_loop()
        # In the order of their arrival, and so of their deadlines.
        self._waiting: OrderedDict[_Arrival, None] = OrderedDict()
        self._ready: deque[_Arrival] = deque()
        self._is_accepting = False
        self._is_closed = False
        self._deadline: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._crowd: asyncio.TimerHandle | None = None
        self._logged_at = -_LOG_INTERVAL_SECONDS

    def listen(self, listeners: Sequence[socket.socket]) -> None:
        """Accept from these sockets, and own them."""
        self._listeners = listeners
        self.go_on()

    def go_on(self) -> None:
        """Hand on what waits, as far as there is place, and then accept again."""
        while self._ready and self._taker.has_place():
            arrival = self._ready.popleft()
            if arrival in self._waiting:
                self._hand_on(arrival)
        may_accept = (
            not (self._ready or self._rest or self._is_closed)
            and bool(self._listeners)
            and self._taker.has_place()
            and self._has_room()
        )
        if may_accept is not self._is_accepting:
            self._is_accepting = may_accept
            for listener in self._listeners:
                if may_accept:
                    self._loop.add_reader(listener, self._accept, listener)
                else:
                    self._loop.remove_reader(listener)

    def close(self) -> None:
        """Accept nothing more, and hang up on those who were not handed on."""
        self._is_closed = True
        self._ready.clear()
        self.go_on()
        for listener in self._listeners:
            listener.close()
        for arrival in tuple(self._waiting):
            self._forget(arrival)
            arrival.connection.close()
        for timer in (self._deadline, self._rest, self._crowd):
            if timer is not None:
                timer.cancel()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_BATCH):
            if not self._is_accepting:
                return
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._exhausted(error)
                return
            connection.setblocking(False)
            self._arrivals.accepted += 1
            if len(self._waiting) >= self._most:
                self._drop(self._oldest(), "crowded out")
            arrival = _Arrival(connection, self._loop.time() + self._seconds)
            self._waiting[arrival] = None
            if self._deadline is None:
                self._deadline = self._loop.call_at(arrival.due, self._overdue)
            self._look(arrival)
            self.go_on()

    def _look(self, arrival: _Arrival) -> None:
        """See what has arrived, and hand it on or wait for more."""
        if arrival not in self._waiting:
            return
        head = _peek(arrival.connection)
        if head is None:
            self._watch(arrival)
        elif _has_left(arrival.connection):
            self._drop(arrival, "left")
        elif not is_enough(head):
            self._wait_for_more(arrival, len(head))
        else:
            self._unwatch(arrival)
            arrival.is_ready = True
            self._ready.append(arrival)
            self.go_on()

    def _hand_on(self, arrival: _Arrival) -> None:
        # It may have waited for long.
        head = _peek(arrival.connection)
        if _has_left(arrival.connection):
            self._drop(arrival, "left")
            return
        self._forget(arrival)
        if arrival.seen:
            _set_mark(arrival.connection, 1)
        self._taker.take(arrival.connection, head or b"")

    def _wait_for_more(self, arrival: _Arrival, seen: int) -> None:
        if seen > arrival.seen:
            arrival.seen = seen
            if _set_mark(arrival.connection, seen + 1):
                self._watch(arrival)
                return
        self._unwatch(arrival)
        arrival.timer = self._loop.call_later(_LOOK_AGAIN_SECONDS, self._look, arrival)

    def _watch(self, arrival: _Arrival) -> None:
        if not arrival.is_watched:
            arrival.is_watched = True
            self._loop.add_reader(arrival.connection, self._look, arrival)

    def _unwatch(self, arrival: _Arrival) -> None:
        if arrival.is_watched:
            arrival.is_watched = False
            self._loop.remove_reader(arrival.connection)
        if arrival.timer is not None:
            arrival.timer.cancel()

    def _forget(self, arrival: _Arrival) -> None:
        self._unwatch(arrival)
        del self._waiting[arrival]
        if not self._is_accepting:
            self._loop.call_soon(self.go_on)

    def _overdue(self) -> None:
        self._deadline = None
        while self._waiting:
            arrival = self._oldest()
            if arrival.due > self._loop.time():
                self._deadline = self._loop.call_at(arrival.due, self._overdue)
                break
            self._drop(arrival, "unserved" if arrival.is_ready else "slow")

    def _drop(self, arrival: _Arrival, reason: str) -> None:
        self._forget(arrival)
        arrival.connection.close()
        self._arrivals.dropped[reason] += 1
        if reason != "left":
            self._say("connections dropped before their request", reason=reason)

    def _exhausted(self, error: OSError) -> None:
        self._say("can't accept connections", reason=str(error))
        if self._waiting:
            self._drop(self._oldest(), "crowded out")
        self._rest = self._loop.call_later(_EXHAUSTED_SECONDS, self._rested)
        self.go_on()

    def _oldest(self) -> _Arrival:
        return next(iter(self._waiting))

    def _has_room(self) -> bool:
        """Whether another may wait, if need be in the place of one that is silent for more than a moment."""
        if len(self._waiting) < self._most:
            return True
        moment_ends = self._oldest().due - self._seconds + _MOMENT_SECONDS
        if moment_ends <= self._loop.time():
            return True
        if self._crowd is None:
            self._crowd = self._loop.call_at(moment_ends, self._crowd_over)
        return False

    def _crowd_over(self) -> None:
        self._crowd = None
        self.go_on()

    def _rested(self) -> None:
        self._rest = None
        self.go_on()

    def _say(self, event: str, reason: str) -> None:
        """Log at most one line in a while; the counters have the rest."""
        if time.monotonic() - self._logged_at >= _LOG_INTERVAL_SECONDS:
            self._logged_at = time.monotonic()
            _log.warning(event, reason=reason, so_far=sum(self._arrivals.dropped.values()))


def _peek(connection: socket.socket) -> bytes | None:
    """Return what has arrived and leave it there; None when nothing has."""
    try:
        return connection.recv(LONGEST_HEAD, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""


def _set_mark(connection: socket.socket, count: int) -> bool:
    """Have a socket count as readable when it holds so many bytes. False where the system refuses."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
    except OSError:
        return False
    return True


def _has_left(connection: socket.socket) -> bool:
    """Whether the client has hung up already, where the system can tell."""
    poll = select.poll()
    poll.register(connection, _HUNG_UP)
    return bool(poll.poll(0))
