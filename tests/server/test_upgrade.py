"""The handshake, and a socket over a real connection, on asyncio's loop and on uvloop's."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, web

from roomful.server import frames
from roomful.server.close_codes import CloseCode
from roomful.server.websocket import WebSocket, upgrade
from tests.server.fakes import client_frame

pytestmark = pytest.mark.both_loops

SECONDS = 10
OUTBOX = 64 << 10
KEY = base64.b64encode(bytes(16)).decode()
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class Echo:
    """Sends each message back, and keeps what else it is told for the test to wait for."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.socket: WebSocket

    async def next(self) -> str:
        async with asyncio.timeout(SECONDS):
            return await self.told.get()

    def received(self, message: bytes) -> None:
        assert type(message) is bytes
        if message == b"bye":
            self.socket.close(CloseCode.FULL, "come back later")
        else:
            self.socket.write(frames.binary(message))

    def turn(self) -> None: ...

    def turn_over(self) -> None: ...

    def close(self, code: CloseCode, reason: str) -> None:
        self.socket.close(code, reason)

    def congested(self) -> None:
        self.told.put_nowait("congested")

    def drained(self) -> None:
        self.told.put_nowait("drained")

    def lost(self) -> None:
        self.told.put_nowait("lost")


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def port(echo: Echo) -> AsyncIterator[int]:
    """The port of a server that upgrades everything. It is run as app.py runs it."""

    async def serve(request: web.Request) -> web.StreamResponse:
        echo.socket, response = await upgrade(request, max_message_bytes=1 << 20, outbox_bytes=OUTBOX)
        echo.socket.start(echo)
        await echo.socket.closed
        echo.told.put_nowait("the request has ended")
        return response

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Upgrade": None}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Connection": None}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": "not base64!"}, 400),
        ({"Sec-WebSocket-Key": base64.b64encode(bytes(15)).decode()}, 400),
        ({"Sec-WebSocket-Version": None}, 400),
        ({"Sec-WebSocket-Version": "8"}, 400),
    ],
    ids=str,
)
async def test_what_is_no_handshake_is_refused_over_http(
    port: int, http: ClientSession, changed: dict[str, str | None], status: int
) -> None:
    headers = {name: value for name, value in {**HANDSHAKE, **changed}.items() if value is not None}
    async with http.get(f"http://127.0.0.1:{port}/", headers=headers) as response:
        assert response.status == status
        assert ("Upgrade" in response.headers) == (status == 426)


async def opened(port: int, extra: str = "", behind: bytes = b"") -> tuple[Any, Any, dict[str, str]]:
    """Shake hands byte by byte. Returns reader, writer and the headers of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())
    writer.write(f"GET / HTTP/1.1\r\nHost: test\r\n{headers}{extra}\r\n".encode() + behind)
    async with asyncio.timeout(SECONDS):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    assert lines[0].split()[1] == "101"
    return reader, writer, dict(line.split(": ", 1) for line in lines[1:] if line)


async def exactly(reader: asyncio.StreamReader, count: int) -> bytes:
    async with asyncio.timeout(SECONDS):
        return await reader.readexactly(count)


async def hang_up(writer: asyncio.StreamWriter, echo: Echo) -> None:
    writer.close()
    while await echo.next() != "the request has ended":
        pass


async def test_the_key_is_answered_as_the_rfc_says(port: int, echo: Echo) -> None:
    _, writer, headers = await opened(port)
    digest = hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    assert headers["Sec-WebSocket-Accept"] == base64.b64encode(digest).decode()
    assert "Sec-WebSocket-Protocol" not in headers
    assert "Sec-WebSocket-Extensions" not in headers
    await hang_up(writer, echo)


async def test_of_the_subprotocols_the_first_is_chosen_and_compression_is_not(port: int, echo: Echo) -> None:
    offer = "Sec-WebSocket-Protocol: yjs , other\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    _, writer, headers = await opened(port, offer)
    assert headers["Sec-WebSocket-Protocol"] == "yjs"
    assert "Sec-WebSocket-Extensions" not in headers
    await hang_up(writer, echo)


async def test_what_arrives_together_with_the_upgrade_is_handled(port: int, echo: Echo) -> None:
    early = client_frame(b"early") + client_frame(b"split")
    reader, writer, _ = await opened(port, behind=early[:-3])
    writer.write(early[-3:])
    assert await exactly(reader, 14) == frames.binary(b"early") + frames.binary(b"split")
    await hang_up(writer, echo)


async def test_a_real_client_is_answered_and_says_goodbye(port: int, http: ClientSession, echo: Echo) -> None:
    async with http.ws_connect(f"http://127.0.0.1:{port}/") as client:
        for size in (0, 125, 126, 65_535, 65_536, 1 << 20):
            payload = os.urandom(size)
            await client.send_bytes(payload)
            assert await client.receive_bytes(timeout=SECONDS) == payload
        await client.ping(b"?")
        await client.send_bytes(b"after the ping")
        assert await client.receive_bytes(timeout=SECONDS) == b"after the ping"
    assert client.close_code == CloseCode.NORMAL
    told = [await echo.next()]
    while told[-1] != "lost":
        told.append(await echo.next())
    assert await echo.next() == "the request has ended"


async def test_a_client_is_told_why_it_is_let_go(port: int, http: ClientSession, echo: Echo) -> None:
    async with http.ws_connect(f"http://127.0.0.1:{port}/") as client:
        await client.send_bytes(b"bye")
        message = await client.receive(timeout=SECONDS)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4503, "come back later")
    assert [await echo.next(), await echo.next()] == ["lost", "the request has ended"]


async def test_a_client_that_reads_nothing_congests_and_drains_and_gets_every_byte(
    port: int, echo: Echo
) -> None:
    reader, writer, _ = await opened(port)
    writer.write(client_frame(b"hello"))
    assert await exactly(reader, 7) == frames.binary(b"hello")
    piece = frames.binary(os.urandom(60_000))
    written = 0
    while not echo.socket.is_congested:
        echo.socket.write(piece)
        written += 1
    assert (await echo.next(), echo.socket.is_congested) == ("congested", True)
    assert echo.socket.buffered > 0
    for _ in range(written):
        assert await exactly(reader, len(piece)) == piece
    assert (await echo.next(), echo.socket.is_congested) == ("drained", False)
    await hang_up(writer, echo)


async def test_a_client_that_hangs_up_is_lost_and_its_request_ends(port: int, echo: Echo) -> None:
    _, writer, _ = await opened(port)
    writer.transport.abort()
    assert [await echo.next(), await echo.next()] == ["lost", "the request has ended"]
