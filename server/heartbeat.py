"""Keeps connections alive, and notices the dead and the stuck.

Every connection has its turn once an interval. In its turn it is sent a data frame, because stock
clients hang up after 30 s without one (protocol pings do not count for them), and a ping, which any
WebSocket client answers by itself. One that sent nothing, not even a pong, from one turn to the next
is gone: no later than two intervals after the last that came of it. One for which more waits than it
takes is slow: it gets no pings, and is cut off at the turn when it has taken nothing for
``stall_seconds``. It stays slow for as long after it has taken all, since what the kernel still holds for
it is ahead of a ping. But one whose host has not even acknowledged what it was sent before its last turn is
not slow; it is gone as well.
"""

import asyncio
import time
from collections import OrderedDict
from typing import Protocol

from . import frames
from .close_codes import CloseCode
from .websocket import WebSocket

_PING = frames.control(frames.PING)
_IMPRECISION_SECONDS = 0.1
"""Of the kernel's clock, and of what passes between the look at ours and what is sent."""


class Beating(Protocol):
    """A connection as the heartbeat sees it."""

    socket: WebSocket

    def keep_alive(self) -> None:
        """Write a data frame that says nothing."""

    def cut_off(self, code: CloseCode, reason: str) -> None:
        """Hang up without waiting for the client."""


class _Turn:
    __slots__ = ("buffered", "due", "progress_at", "taken_at")

    def __init__(self, due: float) -> None:
        self.due = due
        # By the clock that goes on while the loop is busy.
        self.taken_at: float | None = None
        self.buffered = 0
        self.progress_at = 0.0


class Heartbeat:
    """Runs all connections' turns from one timer. ``len`` is the number of open connections."""

    def __init__(self, interval: float, stall_seconds: float) -> None:
        self._interval = interval
        self._stall_seconds = stall_seconds
        # Who was not asked at one turn can't have answered by the next.
        self._slow_seconds = max(stall_seconds, interval)
        self._loop = asyncio.get_running_loop()
        # Ordered by ``due``: the interval is the same for all, so a turn taken goes to the end.
        self._turns: OrderedDict[Beating, _Turn] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._turns)

    @property
    def connections(self) -> tuple[Beating, ...]:
        """Return the open connections."""
        return tuple(self._turns)

    def add(self, connection: Beating) -> None:
        """Give a connection its turns until it is removed."""
        self._turns[connection] = _Turn(self._loop.time() + self._interval)
        self._schedule()

    def remove(self, connection: Beating) -> None:
        """Forget a connection."""
        self._turns.pop(connection, None)

    def stop(self) -> None:
        """Give nobody a turn any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._turns.clear()

    def _schedule(self) -> None:
        if self._timer is None and self._turns:
            first = next(iter(self._turns.values()))
            self._timer = self._loop.call_at(first.due, self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._turns:
            connection, turn = next(iter(self._turns.items()))
            if turn.due > now:
                break
            turn.due = now + self._interval
            self._turns.move_to_end(connection)
            self._take(connection, turn, now)
        self._schedule()

    def _take(self, connection: Beating, turn: _Turn, now: float) -> None:
        socket = connection.socket
        # Who is not read can't be heard.
        is_silent = socket.is_reading and not socket.alive
        socket.alive = False
        if (socket.is_congested or is_silent) and self._is_gone(socket, turn):
            connection.cut_off(CloseCode.NORMAL, "silent")
            return
        turn.taken_at = time.monotonic()
        if socket.is_congested:
            # What waits for the client keeps it alive; what matters is whether any of it leaves. More may
            # wait than before, because answers are written to a congested socket as well.
            buffered = socket.buffered
            progress_at = now if buffered < turn.buffered else socket.congested_since
            turn.progress_at = max(turn.progress_at, progress_at)
            turn.buffered = buffered
            if now - turn.progress_at >= self._stall_seconds:
                connection.cut_off(CloseCode.SLOW, "took nothing for too long")
        elif is_silent and now - socket.drained_at >= self._slow_seconds:
            connection.cut_off(CloseCode.NORMAL, "silent")
        else:
            turn.buffered = 0
            connection.keep_alive()
            socket.write(_PING)

    @staticmethod
    def _is_gone(socket: WebSocket, turn: _Turn) -> bool:
        """Whether the client's host has not acknowledged what it was sent in its last turn."""
        if turn.taken_at is None:
            return False
        return socket.unacknowledged_seconds > time.monotonic() - turn.taken_at + _IMPRECISION_SECONDS
