"""When busy rooms send what they have gathered: many of them together, once a window."""

import asyncio
from typing import Protocol

import structlog

from .timers import LoopTimer, MakeTimer

_log = structlog.get_logger()

_SECONDS_PER_MEMBER = 0.000_16
"""Of the window, at least. A delivery costs about 10 µs, so that no room takes more than a sixteenth of the
loop's time from the others, however many hear it."""


class Flushed(Protocol):
    """A room as its flusher sees it."""

    @property
    def name(self) -> str: ...

    def flush(self) -> None: ...


class Due:
    """Rooms that are flushed together, and when; who is taken out of them is not."""

    __slots__ = ("at", "rooms")

    def __init__(self, at: float) -> None:
        self.at = at
        self.rooms: dict[Flushed, None] = {}


class Flusher:
    """Flushes busy rooms together, once a window; the window of a crowd is longer, up to ``longest``."""

    def __init__(self, window: float, longest: float = 0.0, timer: MakeTimer = LoopTimer) -> None:
        self._window = window
        self._longest = longest
        self._loop = asyncio.get_running_loop()
        self._timer = timer(self._flush_together)
        self._together = Due(0.0)

    def window(self, members: int) -> float:
        """Return the window of a room of this size."""
        if not self._window:
            return 0.0
        return max(self._window, min(_SECONDS_PER_MEMBER * members, self._longest))

    def add(self, room: Flushed, window: float, rest: float) -> Due:
        """Flush a room of whose window so much is left: a crowd then, others with those whose timer runs.

        Returns those that it is flushed with.
        """
        due = self._together
        if window > self._window:
            due = Due(self._loop.time() + rest)
            self._loop.call_later(rest, self._flush, due)
        elif not due.rooms:
            due.at = self._loop.time() + self._window
            self._timer.start(self._window)
        due.rooms[room] = None
        return due

    def close(self) -> None:
        self._timer.close()

    def _flush_together(self) -> None:
        due, self._together = self._together, Due(0.0)
        self._flush(due)

    def _flush(self, due: Due) -> None:
        while due.rooms:
            room = next(iter(due.rooms))
            del due.rooms[room]
            try:
                room.flush()
            except BaseException:  # noqa: BLE001 - a panic of the CRDT library is one; the other rooms go on
                _log.exception("flush failed", room=room.name)
