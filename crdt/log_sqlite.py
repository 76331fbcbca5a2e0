"""The embedded log: SQLite in WAL mode, one thread that commits in groups, nothing to install.

Appends of all rooms within ``commit_interval`` share one transaction and so one fsync. When the disk
refuses (full, read-only, failing), the group in hand is kept and tried again until it goes in; later
appends queue behind it, ``condition`` says so, and ``full`` does from ``backlog_limit`` bytes on.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

from .log import ENTRY_BYTES, Condition, Durable, FoldTurn, Follower, History, LogError, Position
from .sqlite_store import SqliteReader, SqliteStore

_Result = TypeVar("_Result")
_Append = tuple[str, bytes, Durable]
_SYNCHRONOUS = {"machine": "FULL", "process": "NORMAL"}
_RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0)


class _Job:
    """Something other than an append, done in its turn between the appends."""

    __slots__ = ("done", "work")

    def __init__(self, work: Callable[[SqliteStore], object]) -> None:
        self.work = work
        self.done: Future[object] = Future()


class SqliteLog:
    """A Log (see log.py) in a folder. Enter it to open the folder; raises LogBusy or LogUnusable then.

    ``durability``: "machine" = an acknowledged entry survives loss of power; "process" = it survives
    kill -9, but not loss of power. ``observe_commit`` gets the seconds from a group's first append to
    its commit, and the group's size, on the loop.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durability: str = "machine",
        commit_interval: float = 0.01,
        backlog_limit: int = 64 << 20,
        observe_commit: Callable[[float, int], None] | None = None,
    ) -> None:
        self._folder = folder
        self._synchronous = _SYNCHRONOUS[durability]
        self._commit_interval = commit_interval
        self._backlog_limit = backlog_limit
        self._observe_commit = observe_commit
        self._group: list[_Append] = []
        self._group_since = 0.0
        self._queued_bytes = 0
        self._peak_bytes = 0
        self._queued_entries = 0
        self._condition = Condition()
        self._orders: queue.SimpleQueue[tuple[float, list[_Append]] | _Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._store = await asyncio.to_thread(SqliteStore, self._folder, self._synchronous)
        self._reader = SqliteReader(self._store.path)
        self._read_thread = ThreadPoolExecutor(1, thread_name_prefix="log-reader")
        self._thread = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def condition(self) -> Condition:
        return self._condition

    @property
    def backlog_bytes(self) -> int:
        return self._queued_bytes

    @property
    def backlog_peak_bytes(self) -> int:
        return self._peak_bytes

    @property
    def backlog_entries(self) -> int:
        return self._queued_entries

    @property
    def full(self) -> bool:
        return self._queued_bytes > self._backlog_limit

    def append(self, room: str, update: bytes, durable: Durable) -> None:
        if not self._group:
            self._group_since = time.monotonic()
            self._loop.call_later(self._commit_interval, self._commit_group)
        self._queued_bytes += len(update) + ENTRY_BYTES
        self._peak_bytes = max(self._peak_bytes, self._queued_bytes)
        self._queued_entries += 1
        self._group.append((room, update, durable))

    def tell(self, room: str, message: bytes) -> None:
        """Do nothing: there is no other process."""

    @property
    def untold(self) -> int:
        return 0

    async def load(self, room: str) -> History:
        self._require_open()
        return await self._loop.run_in_executor(self._read_thread, self._reader.load, room)

    async def open(self, room: str) -> History:
        return await self.load(room)

    def follow(self, room: str, follower: Follower) -> None:
        """Tell nothing: the folder is locked, and nobody else appends."""

    def release(self, room: str) -> None:
        """Do nothing."""

    async def read(self, room: str, after: Position) -> list[bytes]:
        self._require_open()
        return await self._loop.run_in_executor(self._read_thread, self._reader.read, room, after)

    async def claim_fold(self, room: str, known: Position, seconds: float) -> FoldTurn:  # noqa: ARG002
        """It is always this process': nobody else has the folder."""
        return FoldTurn.MINE

    async def fold(self, room: str, upto: Position, snapshot: bytes) -> None:
        await self._do(lambda store: store.fold(room, upto, snapshot))

    async def reset(self, room: str) -> Position:
        return await self._do(lambda store: store.reset(room))

    async def close(self) -> None:
        """Commit what is queued, or give it up if the disk still refuses, and let go of the folder."""
        if not self._thread.is_alive():
            return
        self._commit_group()
        self._orders.put(None)
        self._closing.set()
        await asyncio.to_thread(self._thread.join)
        self._read_thread.shutdown()
        self._reader.close()
        self._store.close()

    def _require_open(self) -> None:
        if self._closing.is_set():
            raise LogError("the log is closed")

    def _commit_group(self) -> None:
        if self._group:
            self._orders.put((self._group_since, self._group))
            self._group = []

    async def _do(self, work: Callable[[SqliteStore], _Result]) -> _Result:
        self._require_open()
        self._commit_group()
        job = _Job(work)
        self._orders.put(job)
        return cast("_Result", await asyncio.wrap_future(job.done))

    # The rest runs on the writer's thread, except what it hands to the loop.

    def _write(self) -> None:
        given_up = False
        while (order := self._orders.get()) is not None:
            if isinstance(order, _Job):
                self._run(order)
            elif not given_up:
                # What follows a group that was given up must not take its place.
                given_up = not self._append(*order)

    def _run(self, job: _Job) -> None:
        if not job.done.set_running_or_notify_cancel():
            return
        try:
            job.done.set_result(job.work(self._store))
        except Exception as error:  # noqa: BLE001 - it is the caller's; this thread must go on for all others
            job.done.set_exception(error)

    def _append(self, since: float, group: list[_Append]) -> bool:
        """Write a group, however long it takes. Returns whether it is durable: False only while closing."""
        attempt = 0
        while True:
            try:
                positions = self._store.append([(room, update) for room, update, _ in group])
                break
            except Exception as error:  # noqa: BLE001 - mostly the disk; ending this thread would help nobody
                self._loop.call_soon_threadsafe(self._refused, str(error) or type(error).__name__)
                if self._closing.wait(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]) and attempt > 1:
                    return False
                attempt += 1
        self._loop.call_soon_threadsafe(self._committed, since, group, positions)
        return True

    def _refused(self, reason: str) -> None:
        if not self._condition.failing:
            self._condition = Condition(reason, time.monotonic())

    def _committed(self, since: float, group: list[_Append], positions: list[Position]) -> None:
        self._condition = Condition()
        for (_, update, durable), position in zip(group, positions, strict=True):
            self._queued_bytes -= len(update) + ENTRY_BYTES
            self._queued_entries -= 1
            try:
                durable(position)
            except Exception as error:  # noqa: BLE001 - one room's fault; the others' entries are durable too
                self._loop.call_exception_handler({"message": "durable failed", "exception": error})
        if self._observe_commit is not None:
            self._observe_commit(time.monotonic() - since, len(group))
