"""The logs that must keep the promises of crdt/log.py: to test another, add a line to ``BACKENDS``."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from roomful.crdt.log import Log, Position
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.log_sqlite import SqliteLog
from tests.redis_cluster import shared_cluster, shared_sentinels
from tests.redis_process import shared_redis, shared_valkey

Open = Callable[[Path], AbstractAsyncContextManager[Log]]
"""Opens the log that lives in (or is named by) a folder; the same folder is the same log, reopened."""

SECONDS: Final = 10.0
"""For whatever a log does; it takes milliseconds."""


def open_sqlite(folder: Path) -> AbstractAsyncContextManager[Log]:
    return SqliteLog(folder, commit_interval=0.001)


def open_redis(folder: Path) -> AbstractAsyncContextManager[Log]:
    return RedisLog(shared_redis().url, prefix=f"test:{folder}")


def open_valkey(folder: Path) -> AbstractAsyncContextManager[Log]:
    return RedisLog(shared_valkey().url, prefix=f"test:{folder}")


def open_sentinel(folder: Path) -> AbstractAsyncContextManager[Log]:
    return RedisLog(shared_sentinels().url, prefix=f"test:{folder}", replicas=1)


def open_cluster(folder: Path) -> AbstractAsyncContextManager[Log]:
    return RedisLog(shared_cluster().url, prefix=f"test:{folder}")


SHARED: Final[dict[str, Open]] = {
    "redis": open_redis,
    "valkey": open_valkey,
    "sentinel": open_sentinel,
    "cluster": open_cluster,
}
"""Logs that several processes may have open."""

BACKENDS: Final[dict[str, Open]] = {
    "sqlite": open_sqlite,
    **SHARED,
}


class Writer:
    """Appends to a log and keeps what it reports durable, in the order of the reports."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.durable: list[tuple[str, bytes, Position]] = []
        self._outstanding = 0
        self._all_durable = asyncio.Event()
        self._all_durable.set()

    def append(self, room: str, *updates: bytes) -> None:
        for update in updates:
            self._outstanding += 1
            self._all_durable.clear()
            self.log.append(room, update, _Report(self, room, update))

    def report(self, room: str, update: bytes, position: Position) -> None:
        self.durable.append((room, update, position))
        self._outstanding -= 1
        if not self._outstanding:
            self._all_durable.set()

    @property
    def settled(self) -> bool:
        """Whether all that was appended is durable."""
        return self._all_durable.is_set()

    async def settle(self) -> None:
        """Wait until all that was appended is durable."""
        async with asyncio.timeout(SECONDS):
            await self._all_durable.wait()

    async def write(self, room: str, *updates: bytes) -> Position:
        """Append, wait, and return the position after the last."""
        self.append(room, *updates)
        await self.settle()
        return self.durable[-1][2]


class _Report:
    """One append's callback."""

    def __init__(self, writer: Writer, room: str, update: bytes) -> None:
        self._writer = writer
        self._room = room
        self._update = update

    def __call__(self, position: Position) -> None:
        self._writer.report(self._room, self._update, position)
