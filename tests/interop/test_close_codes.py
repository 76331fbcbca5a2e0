"""What clients do with the ways in which the server ends a socket."""

import asyncio

import pytest

from tests.interop.client import HOCUSPOCUS, Y_WEBSOCKET
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

THAT_GIVES_UP = "y-websocket@3.1.0"
THAT_RETURN_ALWAYS = [library for library in Y_WEBSOCKET if library != THAT_GIVES_UP]


async def test_a_denied_client_that_understands_gives_up(
    driver: YjsDriver, server: ServerProcess, room: str
) -> None:
    client = await driver.client(THAT_GIVES_UP, server.ws_url, room, token="denied")

    await client.wait_for(gave_up=True, connected=False)

    status = await client.status()
    assert status["gaveUp"] == {"code": 4403, "reason": "this token is no good"}
    assert status["opens"] == 1
    assert not status["synced"]


@pytest.mark.parametrize("library", THAT_RETURN_ALWAYS)
async def test_a_denied_client_that_returns_is_denied_again_and_told_nothing(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann = await driver.client(library, server.ws_url, room)
    await ann.append("secret")
    await ann.set_awareness(name="ann")

    client = await driver.client(library, server.ws_url, room, token="denied")
    await client.wait_for(opens=3)

    assert {close["code"] for close in (await client.status())["closes"]} == {4403}
    assert await client.text() == ""
    assert await client.peers() == {}


@pytest.mark.parametrize("library", Y_WEBSOCKET)
async def test_every_client_returns_while_the_authorizer_fails(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    client = await driver.client(library, server.ws_url, room, token="broken")

    await client.wait_for(opens=3, closed=4500, gave_up=False)

    assert not (await client.status())["synced"]


@pytest.mark.parametrize("library", Y_WEBSOCKET)
async def test_a_room_without_a_name_is_refused(
    driver: YjsDriver, server: ServerProcess, library: str
) -> None:
    client = await driver.client(library, server.ws_url, "")

    await client.wait_for(closed=4404)


@pytest.mark.parametrize("library", HOCUSPOCUS)
async def test_a_denied_document_leaves_the_socket_and_its_other_documents_alone(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    socket = await driver.socket(library, server.ws_url)
    writer = await driver.client(library, server.ws_url, room)
    await writer.append("secret")
    welcome = await driver.client(library, server.ws_url, f"{room}-open", socket=socket)
    await welcome.wait_for(synced=True)

    denied = await driver.client(library, server.ws_url, room, token="denied", socket=socket)
    await denied.wait_for(denied=True)
    await denied.append("INTRUDED")
    await welcome.append("still here")

    await welcome.wait_for(unsynced=0)
    status = await denied.status()
    assert status["denials"] == ["this token is no good"]
    assert status["opens"] == 1 and status["closes"] == []
    assert await denied.text() == "INTRUDED"
    assert await writer.text() == "secret"


async def test_a_refused_client_that_is_still_sending_hears_why(server: ServerProcess, room: str) -> None:
    # A socket that is closed with bytes on their way to it is reset, which can take the close code along.
    size = 60_000
    message = bytes((0x82, 0xFE)) + size.to_bytes(2) + bytes(4) + bytes(size)
    closing = bytes((0x88, 0x82)) + bytes(4) + (4403).to_bytes(2)

    async def be_refused() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(
                f"GET /sync/{room}?token=denied HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            await reader.readuntil(b"\r\n\r\n")
            frame = await reader.readexactly(4)
            # More than the kernels' buffers take: it must be read.
            writer.write(message * 200 + closing)
            await writer.drain()
            await reader.read()
        finally:
            writer.close()
        return int.from_bytes(frame[2:])

    async with asyncio.timeout(10):
        assert await be_refused() == 4403
