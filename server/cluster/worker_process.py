"""A worker process, as its parent sees it, from its start to its end."""

import asyncio
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

import structlog

from .parent_channel import ParentChannel

_log = structlog.get_logger()

_KILL_AFTER_SECONDS = 5.0
"""Beyond what the process itself takes for its drain."""


class WorkerProcess:
    """A process and the channel to it. ``start`` makes one."""

    def __init__(self, process: Process, channel: ParentChannel) -> None:
        self.channel = channel
        self._process = process
        self._ended = asyncio.create_task(process.wait())
        self._is_draining = False

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        settings: bytes,
        environment: Mapping[str, str],
        changed: Callable[[], None],
    ) -> Self:
        """Start the command with two more arguments: a descriptor to read `settings` from, which must fit
        into a pipe, and one that is its end of the channel. Raises OSError.
        """
        ours, theirs = socket.socketpair()
        source, sink = os.pipe()
        try:
            try:
                os.write(sink, settings)
            finally:
                os.close(sink)
            process = await asyncio.create_subprocess_exec(
                *command, str(source), str(theirs.fileno()),
                stdin=DEVNULL, pass_fds=(source, theirs.fileno()), env=environment,
            )  # fmt: skip
        except BaseException:
            # Should the process have been started, it finds nobody at the other end.
            ours.close()
            raise
        finally:
            os.close(source)
            theirs.close()
        return cls(process, ParentChannel(ours, changed))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    @property
    def is_open(self) -> bool:
        """Whether it takes connections."""
        return self.channel.is_ready and not self._is_draining

    async def ended(self) -> int:
        """Wait for its end, and return its exit code, negative for a signal."""
        code = await asyncio.shield(self._ended)
        self.channel.close()
        return code

    async def drained(self, seconds: float) -> int:
        """Have it close its connections and end, which takes it so long at most. Returns its exit code."""
        if not self._is_draining:
            self._is_draining = True
            self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds + _KILL_AFTER_SECONDS):
                return await self.ended()
        except TimeoutError:
            _log.error("worker killed", pid=self.pid, reason="it did not end in time")
            self.signal(signal.SIGKILL)
            return await self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs. A second SIGTERM cuts its drain short."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
