"""Somebody who writes marks into a room's text, moves from node to node, and keeps count."""

import asyncio
import contextlib
import random
import re
from collections.abc import Sequence
from typing import Final

from tests.pycrdt_client import PycrdtClient
from tests.raw_client import Dialect

MARK: Final = re.compile(rb"<\w+\.\d+>")
"""A mark is written at once, and nobody writes or erases within it: it is whole wherever it is."""

_CONNECT_SECONDS: Final = 2.0


class Writer:
    """``written`` are the marks that must arrive in the end, by its client's return if need be.

    ``acknowledged`` are updates that a server said are saved: they must arrive without any client.
    """

    def __init__(
        self, name: str, dialect: Dialect, room: str, ports: Sequence[int], rng: random.Random
    ) -> None:
        self.name = name
        self.client = PycrdtClient(dialect, room)
        self.everything: list[bytes] = []
        self.written: list[bytes] = []
        self.acknowledged: list[bytes] = []
        self._ports = ports
        self._rng = rng
        self._over = False
        self._leaving = asyncio.Event()

    @property
    def room(self) -> str:
        return self.client.room

    def finish(self) -> None:
        """Write nothing more, and stay connected."""
        self._over = True

    async def run(self, pause: float, loyal: bool) -> None:
        """Write until told to finish, and stay connected until told to leave.

        Who is not loyal sometimes leaves for good, and somebody else comes.
        """
        actions = {
            self._mark: 60,
            self._adorn: 15,
            self._move: 3,
            self._rest: 3,
            self._replace: 0 if loyal else 1,
        }
        while not self._over:
            if not self.client.connected:
                await self._come()
                continue
            (action,) = self._rng.choices(list(actions), list(actions.values()))
            await action()
            await asyncio.sleep(2 * pause * self._rng.random())
        while not self._leaving.is_set():
            if not self.client.connected:
                await self._come()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._leaving.wait()
        await self.client.drop()

    async def _come(self) -> None:
        """Try to connect to a node, any."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self.client.connect(self._rng.choice(self._ports))
        except (OSError, TimeoutError):
            await asyncio.sleep(0.3 * self._rng.random())

    async def _mark(self) -> None:
        mark = f"<{self.name}.{len(self.everything)}>"
        shown = self.client.shown
        at = shown.find("<", self._rng.randint(0, len(shown)))
        self.everything.append(mark.encode())
        self.written.append(mark.encode())
        self.client.insert(at if at >= 0 else len(shown), mark)

    async def _adorn(self) -> None:
        self.client.adorn(self._rng)

    async def _move(self) -> None:
        await self.client.drop()

    async def _rest(self) -> None:
        """Be away, for longer than an empty room stays in memory."""
        await self.client.drop()
        await asyncio.sleep(self._rng.random())

    async def _replace(self) -> None:
        """What the one who leaves has not been told is saved may be lost."""
        await self.client.drop()
        self.acknowledged += self.client.acknowledged
        self.client.forget()
        self.written.clear()
        self.client = PycrdtClient(self.client.dialect, self.client.room)

    def leave(self) -> None:
        """Hang up."""
        self._over = True
        self._leaving.set()

    def saved(self) -> list[bytes]:
        """All updates that were acknowledged."""
        return self.acknowledged + self.client.acknowledged
