"""A WebSocket client that costs as little as Python allows, so that the servers are the limit and not it.

It offers no extensions, so nothing is compressed. Frames it sends carry the mask key 0, which RFC 6455
permits a client to pick and which makes masking the identity. Frames it receives are walked by their headers;
payloads are looked at after the run. Pings are answered.
"""

import asyncio
import base64
import os
import time
from array import array
from collections.abc import Callable
from typing import TypeVar, cast

_BINARY, _CLOSE, _PING = 0x2, 0x8, 0x9
_CLOSED = "closed by the server"

clock = time.perf_counter

C = TypeVar("C", bound="Connection")


def frame(payload: bytes, opcode: int = _BINARY) -> bytes:
    """One final, masked frame."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


class Connection(asyncio.BufferedProtocol):
    """One client. What it does with frames is up to its subclass: ``begin`` and ``end`` of each data frame.

    All connections of a generator read into one buffer: it is emptied before the loop turns to the next.
    """

    buffer = bytearray(256 * 1024)
    peek = 0
    """How many bytes of a frame's payload ``begin`` wants to see."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.received = 0
        self.frames = 0
        self.last_arrival = 0.0
        self.lost: str | None = None
        self._handshake = b""
        self._rest = b""
        self._left = 0
        self._writable = asyncio.Event()
        self._writable.set()

    def begin(self, opcode: int, head: bytes) -> None:
        """A data frame starts with these first payload bytes (as many as ``peek``, or all there are)."""

    def end(self) -> None:
        """The data frame that began last is complete."""

    def chunk(self, data: bytes) -> None:
        """Bytes arrived, before they are walked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(memoryview(self.buffer)[:nbytes])
        if not self.opened.done():
            data = self._shake(data)
            if not data:
                return
        self.received += len(data)
        self.last_arrival = clock()
        self.chunk(data)
        self._walk(data)

    def _shake(self, data: bytes) -> bytes:
        self._handshake += data
        head, found, rest = self._handshake.partition(b"\r\n\r\n")
        if not found:
            return b""
        status = head.split(b"\r\n")[0]
        if b" 101 " in status + b" ":
            self.opened.set_result(None)
        else:
            self.opened.set_exception(ConnectionError(f"handshake refused: {status.decode()}"))
        return rest

    def _walk(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        size = len(data)
        at = self._left
        if at > size:
            self._left = at - size
            return
        if at:
            self._left = 0
            self.end()
        peek = self.peek
        while size - at >= 2:
            first, length = data[at], data[at + 1]
            start = at + 2
            if length > 125:
                width = 2 if length == 126 else 8
                start += width
                length = int.from_bytes(data[at + 2 : start], "big") if size >= start else -1
            control = first & 0x8
            needed = length if control or length < peek else peek
            if length < 0 or size - start < needed:
                break
            if control:
                self._control(first & 0xF, data[start : start + length])
                at = start + length
                continue
            self.frames += 1
            if peek:
                self.begin(first & 0xF, data[start : start + needed])
            at = start + length
            if at > size:
                self._left = at - size
                return
            self.end()
        self._rest = data[at:]

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.transport.write(frame(payload, 0xA))
        elif opcode == _CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self.lost = f"{_CLOSED}: {code} {payload[2:].decode(errors='replace')}"

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def drain(self) -> None:
        await self._writable.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.lost or f"{_CLOSED}: no close frame ({exc})"
        self._writable.set()
        self.gone.set_result(None)
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(self.lost))

    def send(self, payload: bytes) -> None:
        self.transport.write(frame(payload))

    def close(self) -> None:
        """Say goodbye and go, without waiting for the answer."""
        self.transport.write(frame((1000).to_bytes(2, "big"), _CLOSE))
        self.transport.close()


class Recorder(Connection):
    """While ``recording``, keeps the bytes with their times of arrival, to be taken apart afterwards.

    Recording may start or stop only between frames, which is where a connection stands while it is quiet.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recording = False
        self.chunks: list[bytes] = []
        self.times = array("d")

    def chunk(self, data: bytes) -> None:
        if self.recording:
            self.chunks.append(data)
            self.times.append(self.last_arrival)

    def forget(self) -> None:
        self.chunks = []
        self.times = array("d")

    def messages(self) -> list[tuple[float, bytes]]:
        """Each complete message with the time at which its last byte arrived."""
        stream = b"".join(self.chunks)
        arrived: list[tuple[float, bytes]] = []
        part, edge = 0, len(self.chunks[0]) if self.chunks else 0
        for start, stop in whole_frames(stream):
            while edge < stop:
                part += 1
                edge += len(self.chunks[part])
            arrived.append((self.times[part], stream[start:stop]))
        return arrived


def whole_frames(stream: bytes | bytearray) -> list[tuple[int, int]]:
    """Where the payloads of the complete data frames in a stream lie; control frames are passed over.

    A server of today sends each message as one frame; a fragment is an error here, not a message.
    """
    found: list[tuple[int, int]] = []
    at, size = 0, len(stream)
    while size - at >= 2:
        first, length = stream[at], stream[at + 1]
        start = at + 2
        if length > 125:
            start += 2 if length == 126 else 8
            if size < start:
                break
            length = int.from_bytes(stream[at + 2 : start], "big")
        if size - start < length:
            break
        if not first & 0x8:
            if not first & 0x80 or not first & 0xF:
                raise ValueError("the server sent a fragmented message")
            found.append((start, start + length))
        at = start + length
    return found


async def upgrade(make: Callable[[], C], port: int, path: str, subprotocol: str = "") -> C:
    """Connect to 127.0.0.1 and upgrade; raises ConnectionError when the server will not."""
    offer = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(make, "127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.transport.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{offer}\r\n".encode()
    )
    await connection.opened
    return connection
