"""Keeps one worker running: starts its process, another when it dies, and a fresh one when asked to."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog

from .sharding import Member
from .worker_process import WorkerProcess

_log = structlog.get_logger()

READY_SECONDS = 60.0
"""How long a process may take to become ready."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_SOUND_SECONDS = 60.0
"""A process that lived this long did not die of its start."""

Start = Callable[[int], Awaitable[WorkerProcess]]
"""Starts a process for the worker of a number. Raises OSError."""


class Supervisor:
    """The worker of one number. ``process`` is the one that gets connections, if it is ready.

    :param changed: called when ``process`` has become another
    """

    def __init__(self, number: int, start: Start, drain_seconds: float, changed: Callable[[], None]) -> None:
        self.number = number
        self.member = Member(str(number))
        self.process: WorkerProcess | None = None
        self.restarts = 0
        self._start = start
        self._drain_seconds = drain_seconds
        self._changed = changed
        self._keeping: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    async def start(self) -> bool:
        """Start the first process, and keep the worker running from then on. False when it is not ready."""
        return self._change(await self._fresh())

    async def renew(self) -> bool:
        """Put a fresh process in the place of this one, and drain this one. False when there is none."""
        async with self._changing:
            previous = self.process
            if not self._change(await self._fresh()):
                return False
        if previous is not None:
            await previous.drained(self._drain_seconds)
        return True

    def let_go(self) -> None:
        """Start no process any more. Those that run are the caller's to end."""
        if self._keeping is not None:
            self._keeping.cancel()

    def _change(self, fresh: WorkerProcess | None) -> bool:
        if fresh is not None:
            self.process = fresh
            self._changed()
            self.let_go()
            self._keeping = asyncio.create_task(self._keep(fresh))
        return fresh is not None

    async def _keep(self, process: WorkerProcess) -> None:
        """Wait for the end of a process, and start others until one lives."""
        loop = asyncio.get_running_loop()
        pause, since = _FIRST_PAUSE, loop.time()
        while True:
            code = await process.ended()
            if loop.time() - since > _SOUND_SECONDS:
                pause = _FIRST_PAUSE
            _log.error("worker died", worker=self.number, pid=process.pid, code=code)
            fresh = None
            while fresh is None:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                async with self._changing:
                    self.restarts += 1
                    fresh = self.process = await self._fresh()
            self._changed()
            process, since = fresh, loop.time()

    async def _fresh(self) -> WorkerProcess | None:
        """Start a process and wait until it is ready, or None."""
        try:
            process = await self._start(self.number)
        except OSError as error:
            _log.error("worker not started", worker=self.number, reason=str(error))
            return None
        try:
            if await process.channel.ready(READY_SECONDS):
                return process
        finally:
            if not process.channel.is_ready:
                process.signal(signal.SIGKILL)
        code = await process.ended()
        _log.error(
            "worker not started", worker=self.number, reason=f"it ended with {code} before it was ready"
        )
        return None
