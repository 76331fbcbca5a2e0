"""A disk that is full under a running server, as its clients and its operator see it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from roomful.server.close_codes import CloseCode
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient
from tests.server_process import ServerProcess
from tests.small_disk import SmallDisk, small_disk
from tests.waiting import until, until_equal

PATIENCE = 1.5


class Place:
    """A server on a small disk, and people who come to it."""

    def __init__(self, disk: SmallDisk, server: ServerProcess, stack: AsyncExitStack) -> None:
        self.disk = disk
        self.server = server
        self._stack = stack

    async def person(self, dialect: Dialect, room: str = "room") -> PycrdtClient:
        client = PycrdtClient(dialect, room)
        self._stack.push_async_callback(client.drop)
        await client.connect(self.server.port)
        await client.synchronised()
        return client

    async def ready(self) -> tuple[int, str]:
        async with aiohttp.ClientSession() as http, http.get(self.server.http_url + "/readyz") as answer:
            return answer.status, await answer.text()

    async def fill(self, writer: PycrdtClient) -> None:
        """Fill the disk, and write until the server notices."""
        self.disk.fill(self.server.pid)
        for _ in range(300):
            writer.type(secrets.token_hex(10_000))
            await asyncio.sleep(0.005)
            if (await self.ready())[0] != 200:
                return
        raise AssertionError("the disk took everything")

    def free(self) -> None:
        self.disk.free(self.server.pid)

    async def refusal(self, dialect: Dialect, room: str) -> tuple[int | None, str]:
        """What somebody hears who wants to enter now."""
        async with await RawClient.open(self.server.port, dialect.path(room)) as socket:
            socket.send(*dialect.login(room), dialect.step_1(room))
            return await socket.closed(), socket.close_reason


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    with small_disk(tmp_path) as disk:
        options = [f"--storage-patience-seconds={PATIENCE}", "--idle-room-seconds=0.1"]
        async with ServerProcess(disk.folder / "data", options=options) as server, AsyncExitStack() as stack:
            yield Place(disk, server, stack)


async def test_while_the_disk_is_full_people_go_on_and_nothing_is_acknowledged_until_there_is_room(
    place: Place,
) -> None:
    writer, reader = await place.person(HOCUSPOCUS), await place.person(Y_WEBSOCKET)
    writer.type("before ")
    await writer.answered()
    await place.fill(writer)
    status, reason = await place.ready()
    assert status == 503
    assert reason.startswith("storage: ")
    assert await place.server.metric("roomful_storage_failing") == 1
    await place.server.wait_for_log("storage refuses")
    waiting, acknowledged = writer.unanswered, len(writer.acknowledged)
    assert waiting > 0
    writer.type("meanwhile ")
    await until(lambda: reader.holds_all_of(writer), "the reader's seeing it")
    assert (writer.unanswered, len(writer.acknowledged)) == (waiting + 1, acknowledged)
    assert await place.server.metric("roomful_log_backlog_bytes") > 0

    place.free()
    await writer.answered()
    assert (await place.ready())[0] == 200
    assert writer.connected
    assert reader.connected
    assert await place.server.metric("roomful_log_backlog_bytes") == 0
    await place.server.wait_for_log("storage is back")
    events = [entry["event"] for entry in place.server.logs]
    assert (events.count("storage refuses"), events.count("storage is back")) == (1, 1)

    await place.server.kill()
    await place.server.restart()
    assert (await place.person(Y_WEBSOCKET)).text == writer.text


async def test_beyond_its_patience_the_server_sends_everybody_away_until_there_is_room(place: Place) -> None:
    writer, reader = await place.person(HOCUSPOCUS), await place.person(Y_WEBSOCKET)
    bystander = await place.person(HOCUSPOCUS, "other")
    bystander.type("other")
    await bystander.answered()
    await place.fill(writer)
    for client in (writer, reader, bystander):
        assert await client.socket.closed(within=PATIENCE + 5) == CloseCode.STORAGE
        assert client.socket.close_reason == "updates can't be stored now"
    for dialect in DIALECTS:
        for room in ("room", "other", "never opened"):
            assert await place.refusal(dialect, room) == (CloseCode.STORAGE, "storage is not available")
    reader.type("offline ")
    unsaved = writer.unanswered
    assert unsaved > 0
    assert (await place.ready())[0] == 503

    place.free()
    await until_equal(place.ready, (200, "ready\n"))
    # Before anybody has come back who could bring it again.
    witness = await place.person(Y_WEBSOCKET)
    assert witness.text == writer.text
    for client in (writer, reader, bystander):
        await client.connect(place.server.port)
        await client.synchronised()
    await writer.answered()
    await until(lambda: writer.holds_all_of(reader) and witness.holds_all_of(reader))
    assert "offline " in writer.text
    # Answered after all that came before it has been saved.
    writer.type("end")
    await writer.answered()
    await place.server.kill()
    await place.server.restart()
    assert (await place.person(HOCUSPOCUS)).text == writer.text


async def test_who_comes_back_while_the_disk_is_full_is_not_told_that_its_edits_are_saved(
    place: Place,
) -> None:
    """The server has them in memory, and so the client's second step has nothing new."""
    writer = await place.person(HOCUSPOCUS)
    reader = await place.person(Y_WEBSOCKET)
    await place.fill(writer)
    await until(lambda: reader.holds_all_of(writer))
    await writer.drop()
    await writer.connect(place.server.port)
    await writer.synchronised()
    # Its answer to the server's question, which repeats what waits.
    await until(lambda: writer.unanswered == 1)
    await writer.heard_out()
    assert writer.unanswered == 1
    place.free()
    await writer.answered()
    await place.server.kill()
    await place.server.restart()
    assert (await place.person(Y_WEBSOCKET)).text == writer.text


async def test_rooms_that_are_not_in_memory_are_refused_as_long_as_the_disk_refuses(place: Place) -> None:
    writer = await place.person(HOCUSPOCUS)
    await place.fill(writer)
    for dialect in DIALECTS:
        assert (await place.refusal(dialect, "cold"))[0] == CloseCode.STORAGE
    place.free()
    await writer.answered()
    await place.person(Y_WEBSOCKET, "cold")


async def test_a_server_that_stops_while_the_disk_is_full_keeps_what_it_acknowledged(place: Place) -> None:
    writer = await place.person(HOCUSPOCUS)
    writer.type("before ")
    await writer.answered()
    await place.fill(writer)
    assert writer.unanswered > 0
    assert await place.server.stop() == 0
    place.disk.free(0)
    await place.server.restart()
    witness = await place.person(Y_WEBSOCKET)
    assert all(witness.replica.covers(update) for update in writer.acknowledged)
    # What it never acknowledged, the writer still has.
    await writer.connect(place.server.port)
    await writer.synchronised()
    await until(lambda: witness.holds_all_of(writer))
