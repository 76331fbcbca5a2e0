"""A log in memory, which makes durable what it is told to, when it is told to."""

import asyncio
from collections import Counter
from typing import NamedTuple

from roomful.crdt.log import Condition, Durable, FoldTurn, Follower, History, LogError, Position


class Appended(NamedTuple):
    room: str
    update: bytes
    durable: Durable


class MemoryLog:
    """See roomful.crdt.log for what a log is. ``histories`` is what rooms are loaded from."""

    def __init__(self) -> None:
        self.condition = Condition()
        self.full = False
        self.backlog_peak_bytes = 0
        self.queued: list[Appended] = []
        self.durable: list[Appended] = []
        self.histories: dict[str, History] = {}
        self.loads: list[str] = []
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.fault: Exception | None = None
        self.turn = FoldTurn.MINE
        self.folds: list[tuple[str, Position, bytes]] = []
        self.followers: dict[str, Follower] = {}
        self.told: list[tuple[str, bytes]] = []
        self.untold = 0
        self._offsets: Counter[str] = Counter()

    @property
    def backlog_bytes(self) -> int:
        return sum(len(appended.update) for appended in self.queued)

    @property
    def backlog_entries(self) -> int:
        return len(self.queued)

    def append(self, room: str, update: bytes, durable: Durable) -> None:
        self.queued.append(Appended(room, update, durable))

    def commit(self, count: int | None = None) -> None:
        """Make the oldest of what is queued durable, or all of it."""
        done, self.queued = self.queued[:count], [] if count is None else self.queued[count:]
        for appended in done:
            self.durable.append(appended)
            self._offsets[appended.room] += 1
            appended.durable(Position("life", self._offsets[appended.room]))

    def tell(self, room: str, message: bytes) -> None:
        self.told.append((room, message))

    async def load(self, room: str) -> History:
        self.loads.append(room)
        await self.may_load.wait()
        if self.fault is not None:
            raise self.fault
        return self.histories.get(room, History("", 0, None, []))

    async def open(self, room: str) -> History:
        return await self.load(room)

    def follow(self, room: str, follower: Follower) -> None:
        self.followers[room] = follower

    def release(self, room: str) -> None:
        self.followers.pop(room, None)

    async def read(self, room: str, after: Position) -> list[bytes]:
        raise NotImplementedError

    async def claim_fold(self, room: str, known: Position, seconds: float) -> FoldTurn:
        return self.turn

    async def fold(self, room: str, upto: Position, snapshot: bytes) -> None:
        if isinstance(self.fault, LogError):
            raise self.fault
        self.folds.append((room, upto, snapshot))

    async def reset(self, room: str) -> Position:
        raise NotImplementedError

    async def close(self) -> None:
        self.commit()
