"""The Hocuspocus and y-websocket wire, byte by byte, where stock clients would hide a fault.

Frames are written out here on their own, not with the server's codec.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pycrdt
import pytest

from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

SYNC, AWARENESS, AUTH, SYNC_REPLY, STATELESS, BROADCAST, CLOSE, STATUS = 0, 1, 2, 4, 5, 6, 7, 8
EMPTY_STATE_VECTOR: Final = b"\x00"
EMPTY_UPDATE: Final = b"\x00\x00"
SECONDS: Final = 5.0


def varuint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return encoded + bytes((number,))


def prefixed(content: bytes) -> bytes:
    return varuint(len(content)) + content


def without_length(content: bytes) -> bytes:
    """What follows a length prefix of at most two bytes."""
    return content[2 if content[0] > 0x7F else 1 :]


def updates(count: int, letter: str = "x") -> list[bytes]:
    """So many updates of one new document, each adding a letter."""
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    text = doc.get("text", type=pycrdt.Text)
    made: list[bytes] = []
    doc.observe(lambda event: made.append(event.update))
    for _ in range(count):
        text += letter
    return made


class Wire:
    """One document on one Hocuspocus socket. ``get`` skips what the caller does not ask for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, room: str) -> None:
        self.socket = socket
        self.key = prefixed(room.encode())

    async def send(self, kind: int, body: bytes = b"") -> None:
        await self.socket.send_bytes(self.key + bytes((kind,)) + body)

    async def login(self, token: str) -> None:
        await self.send(AUTH, b"\x00" + prefixed(token.encode()) + prefixed(b"4.8.0"))

    async def receive(self) -> bytes:
        """The next frame, without its key."""
        async with asyncio.timeout(SECONDS):
            frame = await self.socket.receive_bytes()
        assert frame.startswith(self.key)
        return frame.removeprefix(self.key)

    async def get(self, *kinds: int) -> bytes:
        while (frame := await self.receive())[0] not in kinds:
            pass
        return frame


@asynccontextmanager
async def wire(server: ServerProcess, room: str) -> AsyncIterator[Wire]:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(server.ws_url + "/hocuspocus") as socket,
    ):
        yield Wire(socket, room)


async def test_a_ping_gets_a_pong_before_and_after_the_login(server: ServerProcess, room: str) -> None:
    async with wire(server, room) as client:
        await client.socket.send_bytes(b"\x09")
        assert await client.socket.receive_bytes(timeout=SECONDS) == b"\x0a"

        await client.login("ann")
        assert (await client.get(AUTH))[1:] == b"\x02" + prefixed(b"read-write")
        await client.socket.send_bytes(b"\x09")
        assert await client.socket.receive_bytes(timeout=SECONDS) == b"\x0a"


async def test_the_answers_to_a_joiner_come_in_the_order_providers_rely_on(
    server: ServerProcess, room: str
) -> None:
    async with wire(server, room) as client:
        await client.login("ann")
        await client.send(SYNC, b"\x00" + prefixed(EMPTY_STATE_VECTOR))
        await client.send(SYNC, b"\x01" + prefixed(EMPTY_UPDATE))

        frames = [await client.receive() for _ in range(4)]

    assert [frame[:2] for frame in frames] == [
        bytes((AUTH, 2)),
        bytes((SYNC, 0)),
        bytes((SYNC, 1)),
        bytes((STATUS, 1)),
    ]


async def test_what_is_sent_before_the_token_is_kept_until_it_is_judged(
    server: ServerProcess, room: str
) -> None:
    async with wire(server, room) as client:
        for update in updates(3):
            await client.send(SYNC, b"\x02" + prefixed(update))
        await client.login("ann")

        assert (await client.receive())[:2] == bytes((AUTH, 2))
        assert [await client.get(STATUS) for _ in range(3)] == [bytes((STATUS, 1))] * 3


async def test_each_update_gets_one_status(server: ServerProcess, room: str) -> None:
    async with wire(server, room) as client:
        await client.login("ann")
        await client.get(AUTH)
        for update in updates(40):
            await client.send(SYNC, b"\x02" + prefixed(update))
        # A repeated update is answered like any other.
        await client.send(SYNC, b"\x02" + prefixed(update))
        assert [await client.get(STATUS) for _ in range(41)] == [bytes((STATUS, 1))] * 41

        # One status too many would come before this answer.
        await client.send(SYNC, b"\x00" + prefixed(EMPTY_STATE_VECTOR))
        assert (await client.get(STATUS, SYNC))[:2] == bytes((SYNC, 0))


async def test_a_readers_update_is_refused_and_its_empty_answer_is_not(
    server: ServerProcess, room: str
) -> None:
    async with wire(server, room) as client:
        await client.login("readonly")
        assert (await client.get(AUTH))[1:] == b"\x02" + prefixed(b"readonly")

        await client.send(SYNC, b"\x01" + prefixed(EMPTY_UPDATE))
        assert await client.get(STATUS) == bytes((STATUS, 1))
        for step in (b"\x01", b"\x02"):
            await client.send(SYNC, step + prefixed(updates(1)[0]))
            assert await client.get(STATUS) == bytes((STATUS, 0))


async def test_a_second_token_can_take_writing_away_and_give_it_back(
    server: ServerProcess, room: str
) -> None:
    async with wire(server, room) as client:
        for token, scope, status in [
            ("ann", b"read-write", 1),
            ("readonly", b"readonly", 0),
            ("ann", b"read-write", 1),
        ]:
            await client.login(token)
            assert (await client.get(AUTH))[1:] == b"\x02" + prefixed(scope)
            await client.send(SYNC, b"\x02" + prefixed(updates(1)[0]))
            assert await client.get(STATUS) == bytes((STATUS, status))


@pytest.mark.parametrize("kind", [SYNC_REPLY, BROADCAST, STATUS, 11, 200])
async def test_messages_that_come_from_servers_only_are_refused(
    server: ServerProcess, room: str, kind: int
) -> None:
    async with wire(server, room) as witness, wire(server, room) as client:
        await witness.login("bob")
        await witness.get(AUTH)
        await client.login("ann")
        await client.get(AUTH)

        await client.socket.send_bytes(client.key + varuint(kind) + prefixed(b"forged"))

        async with asyncio.timeout(SECONDS):
            while (await client.socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass
        assert client.socket.close_code == 4400
        await witness.socket.send_bytes(b"\x09")
        assert await witness.socket.receive_bytes(timeout=SECONDS) == b"\x0a"


async def test_documents_that_come_and_go_leave_nothing_behind_on_their_socket(
    server: ServerProcess, room: str
) -> None:
    # What provider 2.x sends when it is destroyed: CLOSE, and only then its goodbye in awareness.
    goodbye = prefixed(varuint(1) + varuint(7) + varuint(3) + prefixed(b"null"))
    async with wire(server, room) as client:
        for number in range(150):
            document = Wire(client.socket, f"{room}/{number}")
            await document.login("ann")
            await document.get(AUTH)
            await document.send(CLOSE)
            await document.send(AWARENESS, goodbye)

        await client.login("ann")
        assert (await client.get(AUTH))[1] == 2


async def test_what_a_leaving_writer_shares_a_window_with_reaches_the_others(
    tmp_path: Path, room: str
) -> None:
    options = ("--flush-window", "0.5")
    async with ServerProcess(tmp_path / "data", options=options) as slow, wire(slow, room) as bob:
        await bob.login("bob")
        await bob.send(SYNC, b"\x00" + prefixed(EMPTY_STATE_VECTOR))
        await bob.get(STATUS, SYNC)
        async with wire(slow, room) as ann:
            await ann.login("ann")
            await ann.get(AUTH)
            written = updates(5)
            for update in written:
                await ann.send(SYNC, b"\x02" + prefixed(update))
        await bob.send(SYNC, b"\x02" + prefixed(updates(1, "y")[0]))

        doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
        text = doc.get("text", type=pycrdt.Text)
        async with asyncio.timeout(SECONDS):
            while str(text).count("x") < len(written):
                frame = await bob.get(SYNC)
                if frame[1] == 2:
                    doc.apply_update(without_length(frame[2:]))
