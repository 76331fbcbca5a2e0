"""A worker process, as its parent sees it: started, ready, given connections, ended."""

import asyncio
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from .channel import CONNECTION, ENDED

_log = structlog.get_logger()

_READ_BYTES = 4_096
_KILL_AFTER_SECONDS = 5.0
"""Beyond what the process itself takes for its drain."""


class WorkerProcess:
    """One process from its start to its end.

    :param freed: called when ``handshakes`` has gone down, or the worker has become ready or gone
    """

    def __init__(self, freed: Callable[[], None]) -> None:
        self.handshakes = 0
        """Connections given to it whose handshakes have not ended."""
        self.is_ready = False
        self.has_served = False
        self._is_draining = False
        self._freed = freed
        self._unsent: deque[socket.socket] = deque()
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._process: Process
        self._socket: socket.socket
        self._ended: asyncio.Task[int]

    async def start(self, command: Sequence[str], settings: bytes, environment: dict[str, str]) -> None:
        """Start the command with two more arguments: a descriptor to read `settings` from, which must fit
        into a pipe, and one that is its end of the channel. Raises OSError.
        """
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        source, sink = os.pipe()
        try:
            os.write(sink, settings)
            os.close(sink)
            self._process = await asyncio.create_subprocess_exec(
                *command, str(source), str(theirs.fileno()),
                stdin=DEVNULL, pass_fds=(source, theirs.fileno()), env=environment,
            )  # fmt: skip
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(source)
            theirs.close()
        self._ended = asyncio.create_task(self._process.wait())
        self._loop.add_reader(self._socket, self._read)

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self, within: float) -> bool:
        """Wait until it takes connections; False when it ends or time is over before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._news.wait()
        return self.is_ready

    async def ended(self) -> int:
        """Wait for its end and return its exit code, negative for a signal."""
        code = await asyncio.shield(self._ended)
        self._hang_up()
        return code

    def take(self, connection: socket.socket) -> None:
        """Pass a connection on, and close it here."""
        self.handshakes += 1
        self._unsent.append(connection)
        if len(self._unsent) == 1:
            self._write()

    async def drained(self, seconds: float) -> int:
        """Have it close its connections and end, which takes it so long at most. Returns its exit code."""
        self.is_ready = False
        if not self._is_draining:
            self._is_draining = True
            self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds + _KILL_AFTER_SECONDS):
                return await self.ended()
        except TimeoutError:
            _log.error("worker killed", pid=self.pid, reason="it did not end in time")
            self.kill()
            return await self.ended()

    def hurry(self) -> None:
        """Cut its drain short."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self.is_ready = False
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _read(self) -> None:
        try:
            said = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            said = b""
        if not said:
            self._hang_up()
            return
        ended = said.count(ENDED)
        self.handshakes -= ended
        if ended < len(said):
            self.is_ready = self.has_served = True
            self._news.set()
        self._freed()

    def _write(self) -> None:
        while self._unsent:
            try:
                socket.send_fds(self._socket, [CONNECTION], [self._unsent[0].fileno()])
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket, self._write)
                return
            except OSError:
                # The worker is gone, or too many descriptors are on their way (ETOOMANYREFS).
                self.handshakes -= 1
            self._unsent.popleft().close()
        self._loop.remove_writer(self._socket)

    def _hang_up(self) -> None:
        """Nothing more comes or goes; those who still waited come again."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for connection in self._unsent:
            connection.close()
        self._unsent.clear()
        self.handshakes = 0
        self.is_ready = False
        self._news.set()
        self._freed()
