"""A client's end of a socket, under a real WebSocket. It takes and says what a test tells it to."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from aiohttp.web_protocol import RequestHandler

from roomful.server.websocket import Handler, WebSocket
from tests.server.wire import Frame, frames

OUTBOX = 1_000
MASK = b"\x01\x02\x03\x04"


class FakeTransport(asyncio.Transport):
    """Keeps each write as the object it is. While the client takes nothing, the kernel takes ``kernel`` bytes
    for it, and what exceeds them waits here.
    """

    def __init__(self, kernel: int = OUTBOX) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.written_late: list[bytes] = []
        self.reading = True
        self.aborted = False
        self._taking = True
        self._paused = False
        self._closing = False
        self._kernel = kernel
        self._unsent = 0
        self._protocol: asyncio.Protocol | None = None

    # What the server does

    def write(self, data: Any) -> None:
        if self._closing:
            self.written_late.append(data)
            return
        self.writes.append(data)
        if not self._taking:
            self._unsent += len(data)
            if self.get_write_buffer_size() and not self._paused:
                self._paused = True
                self.protocol.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert (high, low) == (0, None), "a socket that holds anything is congested"

    def get_write_buffer_size(self) -> int:
        return max(0, self._unsent - self._kernel)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def pause_reading(self) -> None:
        assert not self._closing
        self.reading = False

    def resume_reading(self) -> None:
        assert not self._closing
        self.reading = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if self._taking:
                self._lose()

    def abort(self) -> None:
        self.aborted = True
        self._closing = True
        self._lose()

    # What the client does

    @property
    def protocol(self) -> asyncio.Protocol:
        assert self._protocol is not None
        return self._protocol

    def stall(self) -> None:
        """Take nothing from now on."""
        self._taking = False

    def take(self, count: int) -> None:
        """Take some of what waits, and then nothing again."""
        self._unsent = max(0, self._unsent - count)
        if self._paused and not self.get_write_buffer_size():
            self._paused = False
            self.protocol.resume_writing()

    def drain(self) -> None:
        """Take everything, and go on taking."""
        self._taking = True
        if self._closing:
            self._lose()
        else:
            self.take(self._unsent)

    def vanish(self) -> None:
        """Be gone without a word."""
        self._closing = True
        self._lose()

    def _lose(self) -> None:
        if self._protocol is not None:
            protocol, self._protocol = self._protocol, None
            asyncio.get_running_loop().call_soon(protocol.connection_lost, None)


class FakeHttp:
    """aiohttp's side of the upgrade. ``tail`` is what came behind the request."""

    def __init__(self, tail: bytes = b"") -> None:
        self.tail = tail
        self.lost = False

    def set_parser(self, parser: Any) -> None:
        if self.tail:
            parser.feed_data(self.tail)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost = True


class FakeClient:
    """Both ends of one connection: ``socket`` is the server's, the methods are the client's."""

    def __init__(self, *, outbox: int = OUTBOX, max_message: int = 100_000, tail: bytes = b"") -> None:
        self.transport = FakeTransport(outbox)
        self.http = FakeHttp(tail)
        self.socket = WebSocket(self.transport, cast("RequestHandler", self.http), max_message, outbox)
        self._seen = 0

    def start(self, connect: Callable[[WebSocket], Handler]) -> None:
        self.socket.start(connect(self.socket))

    def send(self, *messages: bytes) -> None:
        """Send these messages so that they arrive together."""
        self.send_bytes(b"".join(map(client_frame, messages)))

    def send_bytes(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.protocol.data_received(data)

    def frames(self) -> list[Frame]:
        """Return the frames written since the last look."""
        writes = self.transport.writes[self._seen :]
        self._seen = len(self.transport.writes)
        return frames(b"".join(writes))

    def received(self) -> list[bytes]:
        """Return the binary messages written since the last look."""
        return [payload for opcode, payload in self.frames() if opcode == 0x82]

    def closed_with(self) -> tuple[int, str] | None:
        """Return code and reason of the close frame since the last look."""
        for opcode, payload in self.frames():
            if opcode == 0x88:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()
        return None


def client_frame(payload: bytes, opcode: int = 0x82) -> bytes:
    """Return a frame as a client sends it: masked. ``opcode`` includes the final bit."""
    length = len(payload)
    if length < 126:
        head = bytes((opcode, 128 | length))
    elif length < 1 << 16:
        head = bytes((opcode, 128 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((opcode, 128 | 127)) + length.to_bytes(8, "big")
    masked = bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload))
    return head + MASK + masked
