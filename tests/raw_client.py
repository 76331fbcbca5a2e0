"""A WebSocket client made of bytes, for tests that must send what no library would.

It speaks both protocols, or nothing at all: any frame, any bytes, any pause. What comes in is taken apart and
kept; pings are answered, unless told otherwise.
"""

import asyncio
import base64
import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self, cast
from urllib.parse import quote

from roomful.crdt.sync import AUTH, AWARENESS, STEP_1, STEP_2, UPDATE, awareness_head, sync_head
from roomful.crdt.varint import read_varuint, write_varstring
from tests.black_hole import swallow

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NO_STATE: Final = b"\x00"
DEADLINE: Final = 10.0
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

NO_CLOSE_FRAME: Final = 1006
"""What ``close_code`` is when the connection ended without a word (RFC 6455, section 7.1.5)."""


@dataclass(frozen=True)
class Dialect:
    """How one protocol names a room and wraps a message."""

    name: str
    keyed: bool

    def path(self, room: str, token: str = "") -> str:
        return "/hocuspocus" if self.keyed else f"/sync/{quote(room)}?token={quote(token)}"

    def key(self, room: str) -> bytes:
        return write_varstring(room) if self.keyed else b""

    def login(self, room: str, token: str = "") -> list[bytes]:
        """The messages that log in; y-websocket has its token in the URL."""
        return [self.key(room) + bytes((AUTH, 0)) + write_varstring(token)] if self.keyed else []

    def step_1(self, room: str, vector: bytes = NO_STATE) -> bytes:
        return self.key(room) + sync_head(STEP_1, len(vector)) + vector

    def step_2(self, room: str, update: bytes) -> bytes:
        return self.key(room) + sync_head(STEP_2, len(update)) + update

    def update(self, room: str, update: bytes) -> bytes:
        return self.key(room) + sync_head(UPDATE, len(update)) + update

    def awareness(self, room: str, entries: bytes) -> bytes:
        return self.key(room) + awareness_head(len(entries)) + entries


Y_WEBSOCKET: Final = Dialect("y-websocket", keyed=False)
HOCUSPOCUS: Final = Dialect("hocuspocus", keyed=True)
DIALECTS: Final = (Y_WEBSOCKET, HOCUSPOCUS)


def frame(payload: bytes, opcode: int = BINARY, *, fin: bool = True) -> bytes:
    """One frame from a client. Its mask is 0, which RFC 6455 lets a client pick."""
    size = len(payload)
    first = opcode | (0x80 if fin else 0)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65_536:
        head = struct.pack(">BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", first, 0x80 | 127, size)
    return head + bytes(4) + payload


def upgrade(path: str, **headers: str) -> bytes:
    """The request that opens a WebSocket; ``headers`` replace or add (``Sec_WebSocket_Key="..."``)."""
    fields = {
        "Host": "127.0.0.1",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


class RawClient(asyncio.Protocol):
    """One TCP connection to the server, and the frames that came over it.

    ``async with await RawClient.join(...)`` hangs up in the end.
    """

    def __init__(self, *, answers_pings: bool = True, keeps: bool = True) -> None:
        self.messages: list[bytes] = []
        self.received = 0
        self.status: int | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self.on_message: Callable[[bytes], object] | None = self.messages.append if keeps else None
        self.on_control: Callable[[int, bytes], object] | None = None
        self.answers_pings = answers_pings
        self._transport = cast("asyncio.Transport", None)
        self._buffer = bytearray()
        self._needed = 0
        self._news = asyncio.Event()
        self._ended = asyncio.get_running_loop().create_future()
        self._writable = asyncio.Event()
        self._writable.set()

    # Opening

    @classmethod
    async def connect(
        cls, port: int, *, receive_buffer: int | None = None, answers_pings: bool = True, keeps: bool = True
    ) -> Self:
        """Connect and say nothing. ``receive_buffer`` is what the kernel takes while nobody reads."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        _, client = await loop.create_connection(
            lambda: cls(answers_pings=answers_pings, keeps=keeps), sock=sock
        )
        return client

    @classmethod
    async def open(
        cls,
        port: int,
        path: str,
        *,
        receive_buffer: int | None = None,
        answers_pings: bool = True,
        keeps: bool = True,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Self:
        """Connect and upgrade; raises ConnectionError with the status when the server will not."""
        client = await cls.connect(
            port, receive_buffer=receive_buffer, answers_pings=answers_pings, keeps=keeps
        )
        client.write(upgrade(path, **headers))
        try:
            await client._wait(lambda: client.status is not None, "an answer to the upgrade")
        except BaseException:
            client.abort()
            raise
        if client.status != 101:
            client.abort()
            raise ConnectionError(f"upgrade refused with {client.status}")
        return client

    @classmethod
    async def join(
        cls,
        port: int,
        dialect: Dialect,
        room: str,
        *,
        token: str = "",
        vector: bytes = NO_STATE,
        receive_buffer: int | None = None,
        keeps: bool = True,
    ) -> Self:
        """Open a room as a stock client does, and return when its first sync is complete."""
        path = dialect.path(room, token)
        client = await cls.open(port, path, receive_buffer=receive_buffer)
        client.send(*dialect.login(room, token), dialect.step_1(room, vector))
        synced = dialect.key(room) + b"\x00\x01"
        try:
            await client.wait_for(lambda message: message.startswith(synced))
        except BaseException:
            client.abort()
            raise
        if not keeps:
            client.on_message = None
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()
        await self._ended

    # Sending

    def send(self, *messages: bytes) -> None:
        self.write(b"".join(map(frame, messages)))

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    @property
    def unsent(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    async def drained(self) -> None:
        """Wait until what was written has left, or the connection has ended."""
        await self._writable.wait()

    def pause(self) -> None:
        """Read nothing more, until ``resume``."""
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    def lose_power(self) -> None:
        """Take nothing more, and acknowledge nothing, as a host that is gone."""
        swallow(self._transport.get_extra_info("socket"))

    # Receiving

    @property
    def is_open(self) -> bool:
        return not self._ended.done()

    async def wait_for(self, wanted: Callable[[bytes], bool], *, within: float = DEADLINE) -> bytes:
        """The first message that is wanted, from those kept or still to come."""
        seen = 0
        found: list[bytes] = []

        def look() -> bool:
            nonlocal seen
            found.extend(filter(wanted, self.messages[seen:]))
            seen = len(self.messages)
            return bool(found)

        await self._wait(look, "a message", within)
        return found[0]

    async def until(self, done: Callable[[], bool], *, within: float = DEADLINE) -> None:
        """Wait until something is true that what comes in, or the end, makes true."""
        async with asyncio.timeout(within):
            while not done():
                self._news.clear()
                await self._news.wait()

    async def closed(self, within: float = DEADLINE) -> int | None:
        """Wait for a close frame or the end; returns the server's code, or None when it is still open."""
        with suppress(TimeoutError):
            await self.until(lambda: self.close_code is not None, within=within)
        return self.close_code

    async def _wait(self, done: Callable[[], bool], what: str, within: float = DEADLINE) -> None:
        try:
            async with asyncio.timeout(within):
                while not done():
                    if self._ended.done():
                        raise ConnectionError(
                            f"closed with {self.close_code} {self.close_reason!r} before {what}"
                        )
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {within} s") from None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.close_code is None:
            self.close_code = NO_CLOSE_FRAME
        self._writable.set()
        self._ended.set_result(None)
        self._news.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._buffer += data
        if self.status is None:
            self._read_status()
        if self.status == 101:
            self._read_frames()
        self._news.set()

    def _read_status(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if found:
            self.status = int(head.split(maxsplit=2)[1])
            self._buffer = rest

    def _read_frames(self) -> None:
        if len(self._buffer) < self._needed:
            return
        buffer = bytes(self._buffer)
        at, size = 0, len(buffer)
        self._needed = 0
        while size - at >= 2:
            opcode, length = buffer[at] & 0xF, buffer[at + 1]
            start = at + 2
            if length > 125:
                start += 2 if length == 126 else 8
                if size < start:
                    break
                length = int.from_bytes(buffer[at + 2 : start], "big")
            if size - start < length:
                self._needed = start + length - at
                break
            at = start + length
            self._take(opcode, buffer[start:at])
        del self._buffer[:at]

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == BINARY:
            if self.on_message is not None:
                self.on_message(payload)
            return
        if self.on_control is not None:
            self.on_control(opcode, payload)
        if opcode == PING and self.answers_pings:
            self.write(frame(payload, PONG))
        elif opcode == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.close_reason = payload[2:].decode()
            self.write(frame(payload[:2], CLOSE))
        elif opcode not in (PING, PONG):
            # Ends the connection, and is in the log.
            raise ValueError(f"a frame with opcode {opcode}: the server's bytes are no stream of its frames")


def sync_payload(dialect: Dialect, room: str, message: bytes) -> bytes | None:
    """What a sync message for this room carries as update, or None for any other message."""
    key = dialect.key(room)
    if not message.startswith((key + b"\x00\x01", key + b"\x00\x02")):
        return None
    return message[read_varuint(message, len(key) + 2)[1] :]


def awareness_messages(dialect: Dialect, room: str, messages: Iterable[bytes]) -> list[bytes]:
    """The entries of each awareness message for this room."""
    start = dialect.key(room) + bytes((AWARENESS,))
    return [
        message[read_varuint(message, len(start))[1] :] for message in messages if message.startswith(start)
    ]
