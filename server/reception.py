"""Takes accepted sockets in: aiohttp serves them, and their handshakes are counted until they are over."""

import asyncio
import socket

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from .handshakes import Handshakes


class Reception:
    """Hands sockets to aiohttp's server. ``most`` handshakes are in hand at a time."""

    def __init__(self, server: web.Server, handshakes: Handshakes, most: int) -> None:
        self._server = server
        self._handshakes = handshakes
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._lost = server.connection_lost
        # aiohttp answers what is no HTTP by itself and hangs up, and tells nobody else of it.
        server.connection_lost = self._connection_lost  # type: ignore[method-assign]

    def has_place(self) -> bool:
        """Whether another connection may be accepted now."""
        return len(self._handshakes) < self._most

    def take(self, connection: socket.socket, _: bytes = b"") -> None:
        """Serve a connection from which nothing was read."""
        protocol = self._server()
        self._handshakes.begin(protocol)
        task = self._loop.create_task(self._connect(protocol, connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _connect(self, protocol: RequestHandler, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:
            connection.close()
            self._handshakes.end(protocol)

    def _connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._lost(handler, exc)
        self._handshakes.end(handler)
