"""The bounds of an outage: before Redis has ever been there, past the server's patience, at its own end."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from roomful.server.close_codes import CloseCode
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET
from tests.redis_process import RedisProcess
from tests.server.redis_place import BACK, LOST, Place
from tests.server_process import ServerProcess
from tests.waiting import until, until_equal


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def place(redis: RedisProcess, stack: AsyncExitStack, folder: Path, *options: str) -> Place:
    server = ServerProcess(folder / "data", options=[f"--redis={redis.url}", *options])
    await stack.enter_async_context(server)
    return Place(redis, server, stack)


async def test_a_server_that_starts_before_its_redis_waits_for_it_and_says_so(
    redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path
) -> None:
    redis.kill()
    here = await place(redis, stack, tmp_path)
    status, text = await here.ready("/healthz")
    assert (status, text.startswith("ok\nstorage: Redis: Error 111")) == (200, True)
    status, reason = await here.ready()
    assert status == 503
    assert reason.startswith("storage: Redis: Error 111 connecting to 127.0.0.1")
    await here.server.wait_for_log("storage refuses", level="error")
    for dialect in DIALECTS:
        assert await here.refusal(dialect, "room") == (CloseCode.STORAGE, "storage is not available")
    redis.start()
    await until_equal(here.ready, (200, "ready\n"))
    writer, reader = await here.person(HOCUSPOCUS), await here.person(Y_WEBSOCKET)
    writer.type("hello")
    await writer.answered()
    assert writer.stateless == []
    await until(lambda: reader.text == "hello")


async def test_beyond_the_bound_those_who_write_are_sent_away_and_those_who_read_stay(
    redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path
) -> None:
    here = await place(redis, stack, tmp_path, "--backlog-bytes=64KiB")
    writer, reader = await here.person(HOCUSPOCUS), await here.person(Y_WEBSOCKET)
    bystander = await here.person(Y_WEBSOCKET, "other")
    writer.type("before ")
    await writer.answered()
    redis.kill()
    while writer.connected:
        writer.type(secrets.token_hex(5_000))
        await asyncio.sleep(0.02)
    assert (writer.socket.close_code, writer.socket.close_reason) == (4507, "storage is not available")
    assert (await here.ready())[0] == 503
    assert await here.refusal(HOCUSPOCUS, "room") == (CloseCode.STORAGE, "storage is not available")
    await here.server.wait_for_log("backlog is full, writers are sent away")
    accepted = reader.replica.merged
    assert reader.connected
    assert bystander.connected
    peak = await here.server.metric("roomful_log_backlog_peak_bytes")
    assert 64 << 10 < peak < 128 << 10

    redis.start()
    await until_equal(here.ready, (200, "ready\n"))
    assert await here.server.metric("roomful_log_backlog_peak_bytes") == peak
    # Before the writer is back, who could bring it again.
    assert (await here.person(Y_WEBSOCKET)).replica.covers(accepted)
    await writer.connect(here.server.port)
    await writer.synchronised()
    await writer.answered()
    await until(lambda: reader.holds_all_of(writer))
    await here.server.kill()
    await here.server.restart()
    assert (await here.person(Y_WEBSOCKET)).text == writer.text


async def test_beyond_its_patience_the_server_sends_everybody_away_until_redis_is_back(
    redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path
) -> None:
    here = await place(redis, stack, tmp_path, "--redis-patience-seconds=1", "--storage-patience-seconds=0")
    writer, reader = await here.person(HOCUSPOCUS), await here.person(Y_WEBSOCKET)
    redis.kill()
    writer.type("meanwhile")
    await until(lambda: reader.text == "meanwhile")
    for client in (writer, reader):
        assert await client.socket.closed() == CloseCode.STORAGE
        assert client.socket.close_reason == "updates can't be stored now"
    assert (await here.ready())[0] == 503
    assert await here.refusal(Y_WEBSOCKET, "room") == (CloseCode.STORAGE, "storage is not available")
    redis.start()
    await until_equal(here.ready, (200, "ready\n"))
    # What was taken is there though nobody brings it.
    assert (await here.person(Y_WEBSOCKET)).text == "meanwhile"


async def test_a_room_that_all_have_left_keeps_what_waits(
    redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path
) -> None:
    here = await place(redis, stack, tmp_path, "--idle-room-seconds=0", "--log-level=debug")
    writer = await here.person(HOCUSPOCUS)
    quiet = await here.person(Y_WEBSOCKET, "quiet")
    redis.kill()
    writer.type("meanwhile")
    await until(lambda: writer.stateless == [LOST])
    for client in (writer, quiet):
        await client.drop()
    await until_equal(lambda: here.server.metric("roomful_connections"), 0)
    assert await here.server.metric("roomful_rooms") == 2
    again = await here.person(HOCUSPOCUS)
    assert (again.text, again.stateless) == ("meanwhile", [LOST])
    await again.drop()
    # One with nothing that waits could not be loaded again either.
    await (await here.person(Y_WEBSOCKET, "quiet")).drop()
    redis.start()
    await until_equal(lambda: here.server.metric("roomful_rooms"), 0)
    assert (await here.person(Y_WEBSOCKET)).text == "meanwhile"


async def test_a_document_that_can_t_be_loaded_waits_where_others_live_on_its_socket(
    redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path
) -> None:
    here = await place(redis, stack, tmp_path)
    writer = await here.person(HOCUSPOCUS, "warm")
    redis.kill()
    writer.type("a")
    await until(lambda: writer.stateless == [LOST])
    writer.socket.send(*HOCUSPOCUS.login("cold"), HOCUSPOCUS.step_1("cold"))
    await until_equal(lambda: here.server.metric("roomful_cold_rooms_refused_total"), 1)
    writer.type("b")
    await writer.heard_out()
    assert (writer.connected, writer.unanswered) == (True, 2)
    redis.start()
    assert await writer.socket.closed() == CloseCode.STORAGE
    assert writer.socket.close_reason == "storage is back"
    assert writer.stateless == [LOST, BACK]


async def test_a_server_that_stops_while_redis_is_lost_says_what_it_could_not_store(
    redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path
) -> None:
    here = await place(redis, stack, tmp_path)
    writer, reader = await here.person(HOCUSPOCUS), await here.person(Y_WEBSOCKET)
    writer.type("before ")
    await writer.answered()
    redis.kill()
    writer.type("meanwhile ")
    await until(lambda: reader.holds_all_of(writer))
    assert await here.server.stop() == 0
    (given_up,) = here.events("unacknowledged updates given up")
    assert (given_up["entries"], given_up["rooms"]) == (1, 1)
    assert writer.socket.close_code == CloseCode.RESTART
    redis.start()
    await here.server.restart()
    witness = await here.person(Y_WEBSOCKET)
    assert all(witness.replica.covers(update) for update in writer.acknowledged)
    await writer.connect(here.server.port)
    await writer.answered()
    await until(lambda: witness.text == "before meanwhile ")
