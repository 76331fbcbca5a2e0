"""Connections that were taken and are not yet admitted: the server's work in hand at its door.

A storm of clients does harm where their handshakes queue inside the server: first come, first served, it goes
on to answer those who have given up waiting, and they come again. So a bounded number is in hand at a time
(``max_handshakes``), and the rest wait in the kernel, where they cost nothing and can leave.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable

PATIENCE_SECONDS = 2.0
"""A handshake counts no longer than this: clients that say nothing more must not keep others out. Whoever
waits for a slow login service after that is still served."""


class Handshakes:
    """Counts handshakes from ``begin`` to ``end``; ``on_end`` is called whenever one is over."""

    def __init__(self) -> None:
        self.on_end: Callable[[], object] = _nobody_waits
        # Ordered by the time at which patience ends.
        self._ends: OrderedDict[Hashable, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._ends)

    def begin(self, who: Hashable) -> None:
        """Count a handshake, under a key that `end` will name."""
        loop = asyncio.get_running_loop()
        self._ends[who] = loop.time() + PATIENCE_SECONDS
        if self._timer is None:
            self._timer = loop.call_later(PATIENCE_SECONDS, self._run_out)

    def go_on(self, who: Hashable, successor: Hashable) -> None:
        """Count on under another key, with fresh patience; if it counts still."""
        if self._ends.pop(who, None) is not None:
            self.begin(successor)

    def end(self, who: Hashable) -> None:
        """The handshake is over, whichever way. More than once is no harm."""
        if self._ends.pop(who, None) is not None:
            self.on_end()

    def stop(self) -> None:
        """Tell nobody anything any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.on_end = _nobody_waits

    def _run_out(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._ends:
            who, ends = next(iter(self._ends.items()))
            if ends > loop.time():
                self._timer = loop.call_at(ends, self._run_out)
                break
            self.end(who)


def _nobody_waits() -> None:
    """Stand in until somebody wants to know."""
