"""The one port: which path speaks what."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from .close_codes import CloseCode
from .connection import Connection
from .hocuspocus_connection import HocuspocusConnection
from .metrics import exposition
from .node import Node
from .presence_api import PresenceApi
from .protocols.roomful import SUBPROTOCOL
from .roomful_connection import RoomfulConnection
from .route import Router
from .websocket import WebSocket, offered_protocols, upgrade
from .ywebsocket_connection import YWebSocketConnection

_PAGE = Path(__file__).parent / "page"
_PAGE_HEADERS = {
    # style-mod, under CodeMirror, writes its rules into style elements.
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:;"
    " style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Gateway:
    """Routes requests of one node.

    :param figures: gathers those of all processes behind this port, if there are others
    """

    def __init__(self, node: Node, figures: Callable[[], Awaitable[bytes]] | None = None) -> None:
        self._node = node
        self._exposition = exposition(node.metrics)
        self._router = Router(node)
        self._figures = figures

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(middlewares=[self._admit])
        app.router.add_get("/sync/{room:.*}", self._sync)
        app.router.add_get("/hocuspocus", self._hocuspocus)
        app.router.add_get("/v1/connect", self._connect)
        app.router.add_get("/v1/rooms/{room:.+}/presence", PresenceApi(self._node).answer)
        app.router.add_get("/v1/route", self._router.answer)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/", self._page)
        app.router.add_get("/{file:[a-z.-]+}", self._page)
        return app

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """An answer ends the handshake of those who upgrade nothing."""
        try:
            return await handler(request)
        finally:
            self._node.handshakes.end(request.protocol)

    async def _sync(self, request: web.Request) -> web.StreamResponse:
        room, token = request.match_info["room"], request.query.get("token", "")
        node, address = self._node, request.remote or ""
        return await self._serve(request, lambda ws: YWebSocketConnection(ws, node, address, room, token))

    async def _hocuspocus(self, request: web.Request) -> web.StreamResponse:
        node, address = self._node, request.remote or ""
        return await self._serve(request, lambda ws: HocuspocusConnection(ws, node, address))

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        node, address = self._node, request.remote or ""
        return await self._serve(request, lambda ws: RoomfulConnection(ws, node, address), SUBPROTOCOL)

    async def _serve(
        self, request: web.Request, connect: Callable[[WebSocket], Connection], protocol: str = ""
    ) -> web.StreamResponse:
        """Upgrade a request, and let the connection begin; ``protocol`` is the subprotocol it must offer."""
        limits = self._node.config.limits
        try:
            socket, response = await upgrade(request, limits.max_message_bytes, limits.outbox_bytes, protocol)
        except ConnectionError:
            # The client has left during its handshake; nobody gets this answer.
            return web.Response(status=400)
        if len(self._node.heartbeat) >= limits.max_connections:
            self._node.metrics.closed[CloseCode.FULL] += 1
            socket.close(CloseCode.FULL, "the server is full")
        elif protocol and protocol not in offered_protocols(request):
            # Said in a close code, because a page can't read an HTTP status.
            self._node.metrics.closed[CloseCode.NOT_SPOKEN] += 1
            socket.close(CloseCode.NOT_SPOKEN, f"this address speaks {protocol}")
        else:
            connection = connect(socket)
            connection.place(request.query.get(self._node.config.listen.shard_by, ""))
            self._node.handshakes.go_on(request.protocol, connection)
            self._node.heartbeat.add(connection)
            socket.start(connection)
        await socket.closed
        return response

    async def _health(self, _: web.Request) -> web.Response:
        # Never anything but 200: to start a server anew that waits for its store helps nobody, and what it
        # keeps in memory meanwhile would be lost.
        return web.Response(text=_lines("ok", self._node.degraded))

    async def _ready(self, request: web.Request) -> web.Response:
        node = self._node
        reason = node.unready or ("strict" in request.query and node.degraded)
        if reason:
            return web.Response(status=503, text=_lines(reason))
        return web.Response(text=_lines("ready", node.degraded))

    async def _metrics(self, _: web.Request) -> web.Response:
        body = await self._figures() if self._figures else self._exposition()
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _page(self, request: web.Request) -> web.StreamResponse:
        # The route's pattern has no slash and no leading dot, so a name can't leave the folder.
        path = _PAGE / request.match_info.get("file", "index.html")
        if not path.is_file():
            raise web.HTTPNotFound(text="There is nothing here.\n")
        return web.FileResponse(path, headers=_PAGE_HEADERS)


def _lines(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines if line)
