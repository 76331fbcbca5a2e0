"""An event loop on which time passes only when everybody waits for it, and then at once."""

import asyncio
import selectors
from typing import Any

STUCK_SECONDS = 5.0


class Stuck(Exception):
    """Everybody waits, and nothing is under way that could wake anybody."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its clock stands still while callbacks run, and jumps to the next timer when none is ready.

    ``await asyncio.sleep(3600)`` returns at once, after all that happens in that hour.
    """

    def __init__(self) -> None:
        self._now = 1_000.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now

    def pass_over(self, seconds: float) -> None:
        """Let time jump."""
        self._now += seconds


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            # Another thread may still have something to say, as when the loop closes.
            events = super().select(STUCK_SECONDS)
            if not events:
                raise Stuck
            return events
        events = super().select(0)
        if not events and timeout > 0:
            self._loop.pass_over(timeout)
        return events
