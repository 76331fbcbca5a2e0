"""The parent's end of the socket pair that ties a worker to it; worker_channel.py says what goes over it."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .worker_channel import CONNECTION, DRAINING, ENDED, READY

_READ_BYTES = 4_096


class ParentChannel:
    """Passes connections to one worker, and hears what has become of them.

    :param changed: called when ``handshakes`` has gone down, and when ``is_ready`` has changed
    """

    def __init__(self, end: socket.socket, changed: Callable[[], None]) -> None:
        self.handshakes = 0
        """Connections passed whose handshakes have not ended. It bounds what waits here to be passed."""
        self.is_ready = False
        self.was_ready = False
        self._socket = end
        self._socket.setblocking(False)
        self._changed = changed
        # What the socket pair has no room for.
        self._unsent: deque[socket.socket] = deque()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._read)

    async def ready(self, within: float) -> bool:
        """Wait until the worker takes connections; False when it is gone, or time is over, before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._news.wait()
        return self.is_ready

    def take(self, connection: socket.socket) -> None:
        """Pass a connection on, and close it here."""
        self.handshakes += 1
        self._unsent.append(connection)
        if len(self._unsent) == 1:
            self._write()

    def close(self) -> None:
        """Hang up on the worker, and on those who still waited to be passed: they come again."""
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
        self._changed()

    def _read(self) -> None:
        try:
            said = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            said = b""
        if not said:
            self.close()
            return
        self.handshakes -= said.count(ENDED)
        if READY in said:
            self.is_ready = self.was_ready = True
            self._news.set()
        if DRAINING in said:
            self.is_ready = False
        self._changed()

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
