"""One WebSocket: frames in, frames out, nothing in between.

After aiohttp has answered the upgrade this protocol takes the transport over, so that a message is
handled in the very callback that read it: no queue, no task wake-up. The frame parser is aiohttp's
own (compiled) ``WebSocketReader``; its private queue class must be subclassed because the parser
insists on its type. Those two names are why aiohttp is pinned to a minor version.
"""

import asyncio
import base64
import hashlib
import socket
from math import inf
from typing import Any, Protocol

from aiohttp import WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.http import WebSocketError
from aiohttp.web_protocol import RequestHandler

from . import frames
from .close_codes import CloseCode
from .tcp_info import unacknowledged_seconds

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CLOSE_GRACE_SECONDS = 2.0
_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)
"""Bounds what the kernel takes beyond what it has sent, where it knows of it. By itself it takes up to 4 MiB
for a client that doesn't read; and where that much waits, one that reads slowly looks as if it didn't."""
_LEAVING = (0, 1000, 1001)
"""Codes with which clients leave for good: none, normal closure, going away (a tab that is closed)."""
_LARGE_READ = 64
"""Bytes in which there may be more messages than others should have to wait for."""


class Handler(Protocol):
    """What a socket tells of itself. Called on the loop; must not raise."""

    def received(self, message: bytes) -> None:
        """A binary message arrived."""

    def turn(self) -> None:
        """Much has arrived at once; others wait for their turn."""

    def turn_over(self) -> None:
        """All of it has been handed over."""

    def congested(self) -> None:
        """The kernel takes no more, and the transport holds the rest; write no more documents."""

    def drained(self) -> None:
        """The transport holds nothing any more."""

    def close(self, code: CloseCode, reason: str) -> None:
        """What came breaks the rules of WebSocket: count it, log it, and close the socket."""

    def lost(self) -> None:
        """The socket is gone or going; nothing written from now on arrives."""


class WebSocket(asyncio.Protocol):
    """A socket after its upgrade. ``write`` takes whole frames; ``closed`` ends when the socket is gone."""

    __slots__ = (
        "_congested_at", "_handler", "_http", "_loop", "_lost", "_outbox_bytes", "_ping", "_reader",
        "_transport", "alive", "closed", "congested_since", "descriptor", "drained_at", "has_left",
        "is_congested", "is_reading", "write",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        http: RequestHandler,
        max_message_bytes: int,
        outbox_bytes: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._http = http
        self._handler: Handler | None = None
        self._lost = False
        self._outbox_bytes = outbox_bytes
        self._congested_at = 0
        self._ping: bytes | None = None
        # aiohttp's reader refuses what reaches its limit.
        self._reader = WebSocketReader(_Inbox(self), max_message_bytes + 1, compress=False, decode_text=False)
        self.write = transport.write
        self.closed = self._loop.create_future()
        # Set by each arrival, and when some may not be read yet; cleared by the heartbeat that looks at it.
        self.alive = True
        self.is_reading = True
        # Whether the client has said that it leaves, or was told not to come back.
        self.has_left = False
        self.is_congested = False
        self.congested_since = 0.0
        self.drained_at = -inf
        # So it is congested as soon as it holds anything, and until it holds nothing.
        transport.set_write_buffer_limits(high=0)
        self.descriptor = _descriptor(transport)
        transport.set_protocol(self)

    def start(self, handler: Handler) -> None:
        """Begin handing messages to the handler."""
        self._handler = handler
        # Hands over what arrived together with the upgrade request.
        self._http.set_parser(self._reader)

    @property
    def is_open(self) -> bool:
        """Whether what is written now may arrive."""
        return not self._lost

    @property
    def buffered(self) -> int:
        """Bytes that wait for the client to take them."""
        return self._transport.get_write_buffer_size()

    @property
    def unacknowledged_seconds(self) -> float:
        """For how long the client's host has acknowledged nothing that it was sent (tcp_info.py)."""
        return unacknowledged_seconds(self._transport.get_extra_info("socket"))

    @property
    def is_flooded(self) -> bool:
        """Whether as much again as the outbox holds was written after it was full."""
        return self.is_congested and self.buffered > self._congested_at + self._outbox_bytes

    def pause_reading(self) -> None:
        """Take nothing more from the client until ``resume_reading``."""
        self.is_reading = False
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self.is_reading = True
        # What it has sent meanwhile is not read yet.
        self.alive = True
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, code: CloseCode, reason: str) -> None:
        """Say why, and hang up once the client has heard it.

        What the client is still sending is read and thrown away until its own close frame comes: a socket
        closed over unread bytes is reset, and the client never learns the code.
        """
        if self._lost:
            return
        self.has_left = self.has_left or code.permanent
        self.write(frames.close(code, reason))
        self.resume_reading()
        self._finish()
        self._loop.call_later(_CLOSE_GRACE_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """Hang up without a word; for a client that takes nothing."""
        self._finish()
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.alive = True
        handler = self._handler if len(data) > _LARGE_READ else None
        if handler is not None:
            handler.turn()
        self._reader.feed_data(data)
        if handler is not None:
            handler.turn_over()
        if self._ping is not None:
            self._pong()

    def pause_writing(self) -> None:
        self.is_congested = True
        self._congested_at = self.buffered
        self.congested_since = self._loop.time()
        if self._handler is not None and not self._lost:
            self._handler.congested()

    def resume_writing(self) -> None:
        self.is_congested = False
        self.drained_at = self._loop.time()
        if self._ping is not None:
            self._pong()
        if self._handler is not None and not self._lost:
            self._handler.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()
        self._http.connection_lost(exc)
        # The parser and aiohttp's handler lead back here, and the collector hardly ever looks at what is old
        # (app.py): this connection would stay, and all that it leads to.
        del self._reader, self._http
        if not self.closed.done():
            self.closed.set_result(None)

    def arrived(self, message: Any) -> None:
        """Take one parsed frame."""
        kind, payload = message.type, message.data
        if self._lost or self._handler is None:
            if kind is WSMsgType.CLOSE:
                self._transport.close()
            return
        if kind is WSMsgType.BINARY:
            self._handler.received(payload)
        elif kind is WSMsgType.PING:
            # Of several pings only the latest need be answered (RFC 6455 section 5.5.3).
            self._ping = payload
        elif kind is WSMsgType.CLOSE:
            self.has_left = payload in _LEAVING
            self.close(CloseCode.NORMAL, "")
            self._transport.close()
        elif kind is WSMsgType.TEXT:
            self._handler.close(CloseCode.UNSUPPORTED, "only binary messages are spoken here")

    def broken(self, error: BaseException) -> None:
        """The client's bytes are no WebSocket frames, or a message is too big."""
        if self._handler is None:
            return
        if isinstance(error, WebSocketError) and error.code == CloseCode.TOO_BIG:
            self._handler.close(CloseCode.TOO_BIG, "the message is larger than max_message_bytes")
        else:
            self._handler.close(CloseCode.PROTOCOL_ERROR, str(error))

    def _pong(self) -> None:
        if self._ping is not None and not self.is_congested and not self._lost:
            self.write(frames.control(frames.PONG, self._ping))
            self._ping = None

    def _finish(self) -> None:
        if self._lost:
            return
        self._lost = True
        if self._handler is not None:
            self._handler.lost()
            self._handler = None


class _Inbox(WebSocketDataQueue):
    """Hands parsed frames on at once, where aiohttp's would keep them for a reader task."""

    def __init__(self, socket: WebSocket) -> None:
        super().__init__(socket, 1 << 30, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
        self._socket = socket

    def feed_data(self, data: Any, size: int) -> None:  # noqa: ARG002
        self._socket.arrived(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:  # noqa: ARG002
        self._socket.broken(exc)


def _descriptor(transport: asyncio.Transport) -> int | None:
    """Return the socket's descriptor, where bytes written to it are what the client gets."""
    plain = transport.get_extra_info("sslcontext") is None
    connection = transport.get_extra_info("socket") if plain else None
    return None if connection is None else connection.fileno()


def offered_protocols(request: web.Request) -> list[str]:
    """Return the subprotocols that the client offers, those it likes best first."""
    values = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
    return [name for each in values.split(",") if (name := each.strip())]


async def upgrade(
    request: web.Request, max_message_bytes: int, outbox_bytes: int, preferred: str = ""
) -> tuple[WebSocket, web.StreamResponse]:
    """Answer a WebSocket handshake (RFC 6455 section 4.2) and take the transport over.

    Raises HTTPBadRequest or HTTPUpgradeRequired when the request is no such handshake. Compression is not
    offered. Of the client's subprotocols ``preferred`` is chosen, or else the first, as y-websocket servers
    do: browsers hang up when none is.
    """
    headers = request.headers
    if (
        headers.get("Upgrade", "").lower() != "websocket"
        or "upgrade" not in headers.get("Connection", "").lower()
    ):
        raise web.HTTPUpgradeRequired(
            text="This address speaks WebSocket.\n", headers={"Upgrade": "websocket"}
        )
    key = headers.get("Sec-WebSocket-Key", "")
    try:
        valid = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        valid = False
    if not valid or headers.get("Sec-WebSocket-Version") != "13":
        raise web.HTTPBadRequest(text="Not a WebSocket handshake of version 13.\n")
    accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    answer = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    if offered := offered_protocols(request):
        answer["Sec-WebSocket-Protocol"] = preferred if preferred in offered else offered[0]
    response = web.StreamResponse(status=101, headers=answer)
    response.force_close()
    await response.prepare(request)
    transport, http = request.transport, request.protocol
    if transport is None:
        raise ConnectionResetError("the client left during its handshake")
    if _NOTSENT_LOWAT is not None:
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, outbox_bytes)
    # uvloop's transports are asyncio's in all but ancestry.
    return WebSocket(transport, http, max_message_bytes, outbox_bytes), response
