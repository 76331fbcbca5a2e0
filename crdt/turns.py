"""Turns for jobs of very different size: a small one need not wait for all the large ones before it."""

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator

_SECONDS_PER_BYTE = 10 / (1 << 20)
"""By how much a job stands back for its size. More than a job takes, so that many large ones don't keep the
small waiting; and finite, so that many small ones don't keep a large one waiting for ever."""


class Turns:
    """At most ``places`` jobs at a time. Who waits is let in by the time it came and the size of its job."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def place(self, size: int) -> AsyncIterator[None]:
        """Wait for a place for a job of ``size`` bytes, and hold it while the block runs."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(size)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        heapq.heappush(self._waiting, (loop.time() + size * _SECONDS_PER_BYTE, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place was given in the moment in which nobody wanted it any more.
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
