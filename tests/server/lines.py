"""Real sockets under real transports, without WebSocket on them."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

from roomful.server.audience import Write


class Line(asyncio.Protocol):
    """A server's socket under a real transport, and the client's bare end of it."""

    def __init__(self) -> None:
        self._ours, self.client = socket.socketpair()
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        self.client.settimeout(5)
        self.congested = False
        self.drained = asyncio.Event()
        self.lost = asyncio.Event()

    async def open(self) -> "Line":
        self.transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, sock=self._ours)
        self.transport.set_write_buffer_limits(high=0)
        self.descriptor: int = self.transport.get_extra_info("socket").fileno()
        self.write: Write = self.transport.write
        return self

    @property
    def socket(self) -> "Line":
        return self

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self.drained.set()

    def connection_lost(self, exc: Exception | None) -> None:
        # Fails if the number could belong to somebody else already.
        os.fstat(self.descriptor)
        self.lost.set()

    async def read(self, count: int) -> bytes:
        """Return what the client gets, while the transport goes on writing."""
        data = b""
        while len(data) < count:
            data += await asyncio.to_thread(self.client.recv, count - len(data))
        return data

    def leave_room_for(self, count: int) -> bytes:
        """Fill the kernel's buffer but for less than so many bytes. Returns what fills it."""
        filled = b""
        while True:
            try:
                filled += bytes(self._ours.send(bytes(count)))
            except BlockingIOError:
                return filled


Opening = Callable[[], Awaitable[Line]]
