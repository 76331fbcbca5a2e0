"""A pool of worker processes for what may crash, hang or eat memory (see worker_main.py).

Each process does one job at a time. A job that ends its process, or outlives its time, costs that
process and that job; the pool starts another for the next.
"""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any

import msgpack

from .check import Contents
from .snapshot import Snapshot
from .turns import Turns
from .varint import Malformed

_GRACE_SECONDS = 1.0
"""What a worker gives its pool before it ends a job by itself."""


class WorkerFailed(Exception):
    """The job could not be done. ``reason`` is "crash", "timeout", "memory" or "failed" (a metric label)."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class WorkerPool:
    """At most ``size`` processes of ``memory`` bytes each, ``seconds`` for a job. Close it when done."""

    def __init__(self, size: int, *, memory: int, seconds: float) -> None:
        self._memory = memory
        self._seconds = seconds
        self._turns = Turns(size)
        self._idle: list[Process] = []
        self._busy: set[Process] = set()
        self._closed = False
        self.crashes = 0

    async def start(self) -> None:
        """Start the first process now, so that the first job need not wait for it."""
        self._idle.append(await self._spawn())

    async def check(self, update: bytes) -> Contents:
        """Walk an update as ``check_update`` does. Raises Malformed, WorkerFailed."""
        ranges, deletes_at = await self._run(["check", update], len(update))
        return Contents([tuple(run) for run in ranges], deletes_at)

    async def merge(self, updates: list[bytes]) -> tuple[bytes, Contents]:
        """Merge checked updates as ``merge.merge`` does, and walk the outcome. Raises WorkerFailed."""
        merged, ranges, deletes_at = await self._run(["merge", updates], sum(map(len, updates)))
        return merged, Contents([tuple(run) for run in ranges], deletes_at)

    async def fold(self, pieces: list[bytes], tail: list[bytes], *, merge_only: bool) -> Snapshot:
        """Fold as ``folding.fold`` does. Raises WorkerFailed."""
        size = sum(map(len, pieces)) + sum(map(len, tail))
        folded, state_vector = await self._run(["fold", pieces, tail, merge_only], size)
        return Snapshot(folded, state_vector)

    async def close(self) -> None:
        """End the processes; jobs under way fail."""
        self._closed = True
        for process in self._busy:
            process.kill()
        for process in self._idle:
            await self._end(process)
        self._idle.clear()

    async def _run(self, job: list[Any], size: int) -> list[Any]:
        async with self._turns.place(size):
            process = await self._take()
            reusable = False
            try:
                async with asyncio.timeout(self._seconds):
                    result = await self._exchange(process, job)
                reusable = result[0] != "failed"
            except TimeoutError:
                self.crashes += 1
                raise WorkerFailed("timeout", f"no result within {self._seconds:g} s") from None
            except (OSError, EOFError):
                self.crashes += 1
                code = await process.wait()
                # The library has no other answer than SIGABRT to an allocation that is refused.
                reason = "memory" if code == -signal.SIGABRT else "crash"
                raise WorkerFailed(reason, f"the worker ended with {code}") from None
            finally:
                self._busy.discard(process)
                if reusable and not self._closed:
                    self._idle.append(process)
                else:
                    await self._end(process)
        match result:
            case ["ok", *values]:
                return values
            case ["malformed", reason, text]:
                raise Malformed(reason, text)
            case [_, text]:
                self.crashes += 1
                raise WorkerFailed("memory" if text.startswith("MemoryError") else "failed", text)
            case _:
                raise AssertionError(f"a worker answers in one of three forms, not {result[0]!r}")

    async def _take(self) -> Process:
        """Give a process that lives, started if need be, and marked as busy."""
        process = self._idle.pop() if self._idle else None
        if process is not None and process.returncode is not None:
            # It ended between jobs; perhaps the kernel needed memory.
            await self._end(process)
            process = None
        if process is None:
            try:
                process = await self._spawn()
            except OSError as error:
                raise WorkerFailed("failed", f"a worker can't be started: {error}") from error
        if self._closed:
            await self._end(process)
            raise WorkerFailed("failed", "the pool is closed")
        self._busy.add(process)
        return process

    @staticmethod
    async def _exchange(process: Process, job: list[Any]) -> list[Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        body: bytes = msgpack.packb(job)
        process.stdin.write(len(body).to_bytes(4, "big"))
        process.stdin.write(body)
        # A job may be as large as a document, and so may its result: not both at once.
        del body
        await process.stdin.drain()
        head = await process.stdout.readexactly(4)
        packed = await process.stdout.readexactly(int.from_bytes(head, "big"))
        result: list[Any] = msgpack.unpackb(packed)
        return result

    async def _spawn(self) -> Process:
        # The worker's own words (a Rust panic prints a trace) go to the server's standard error.
        module = f"{__package__}.worker_main"
        limits = (str(self._memory), str(self._seconds + _GRACE_SECONDS))
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *limits, stdin=PIPE, stdout=PIPE, limit=1 << 20
        )

    @staticmethod
    async def _end(process: Process) -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # Closes the pipes now; left to the garbage collector they would warn.
        process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001
