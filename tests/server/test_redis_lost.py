"""Redis is lost, slow or read-only under running servers, as their clients and their operator see it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from roomful.server.close_codes import CloseCode
from roomful.server.protocols.roomful import ServerFrame
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET
from tests.redis_process import RedisProcess
from tests.roomful_client import RefusedByServer, RoomfulClient
from tests.server.members import written
from tests.server.redis_place import BACK, LOST, Place
from tests.server_process import ServerProcess
from tests.waiting import until


@pytest.fixture
async def place(redis: RedisProcess, tmp_path: Path) -> AsyncIterator[Place]:
    options = [f"--redis={redis.url}", "--idle-room-seconds=0.1", "--log-level=debug"]
    async with ServerProcess(tmp_path / "data", options=options) as server, AsyncExitStack() as stack:
        yield Place(redis, server, stack)


async def test_while_redis_is_lost_people_go_on_are_told_and_nothing_is_acknowledged(place: Place) -> None:
    writer, reader = await place.person(HOCUSPOCUS), await place.person(Y_WEBSOCKET)
    writer.type("before ")
    await writer.answered()
    place.redis.kill()
    writer.type("meanwhile ")
    await until(lambda: writer.stateless == [LOST], "telling")
    late = await place.person(HOCUSPOCUS)
    assert (late.text, late.stateless) == ("before meanwhile ", [LOST])
    await until(lambda: reader.text == "before meanwhile ")
    for dialect in DIALECTS:
        assert await place.refusal(dialect, "cold") == (CloseCode.STORAGE, "storage is not available")
    assert writer.unanswered == 1
    assert await place.server.metric("roomful_cold_rooms_refused_total") == 2
    assert await place.server.metric("roomful_log_backlog_entries") >= 1
    assert await place.server.metric("roomful_log_backlog_peak_bytes") > 0
    assert await place.server.metric("roomful_storage_failing_seconds") > 0
    status, text = await place.ready()
    assert (status, text.split("\n")[0]) == (200, "ready")
    assert "storage: " in text
    assert (await place.ready("/readyz?strict"))[0] == 503
    assert "storage: " in (await place.ready("/healthz"))[1]

    place.redis.start()
    await writer.answered()
    await until(lambda: (writer.stateless, late.stateless) == ([LOST, BACK], [LOST, BACK]), "telling")
    assert reader.connected
    assert await place.ready() == (200, "ready\n")
    await place.server.kill()
    await place.server.restart()
    assert (await place.person(Y_WEBSOCKET)).text == writer.text


async def test_while_redis_is_lost_a_roomful_client_is_told_once_and_loses_no_room(place: Place) -> None:
    async with await RoomfulClient.connect(place.server.port) as ann:
        one, other = await ann.join("one"), await ann.join("other")
        first, second, third = written(3)
        one.write(first)
        await one.durable()
        assert one.facts["durability"] == "redis"
        place.redis.kill()
        one.write(second)
        await ann.until(lambda: ann.notices == [{"storage": "lost"}], "a notice")
        with pytest.raises(RefusedByServer) as refused:
            await ann.join("cold")
        assert refused.value.code == "storage"
        other.write(third)
        assert (one.acknowledged, other.acknowledged) == (0, -1)

        place.redis.start()
        await one.durable()
        await other.durable()
        await ann.until(lambda: ann.notices == [{"storage": "lost"}, {"storage": "back"}], "a notice")
        assert (await ann.join("cold")).number > other.number
        assert one.of(ServerFrame.ACK)[-1] == [1, "redis"]


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        pytest.param("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", id="read-only"),
        pytest.param(
            "CONFIG SET min-replicas-to-write 5",
            "CONFIG SET min-replicas-to-write 0",
            id="without its replicas",
        ),
        pytest.param("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", id="out of memory"),
    ],
)
async def test_a_redis_that_does_not_take_writes_is_as_good_as_lost(
    place: Place, break_it: str, mend_it: str
) -> None:
    writer, reader = await place.person(HOCUSPOCUS), await place.person(Y_WEBSOCKET)
    async with Redis.from_url(place.redis.url, protocol=2) as admin:
        await admin.execute_command(*break_it.split())  # type: ignore[no-untyped-call]
        writer.type("meanwhile ")
        reader.type("and ")
        await until(lambda: writer.stateless == [LOST], "telling")
        await until(lambda: reader.holds_all_of(writer) and writer.holds_all_of(reader))
        assert writer.unanswered == 1
        assert (await place.refusal(Y_WEBSOCKET, "cold"))[0] == CloseCode.STORAGE
        await admin.execute_command(*mend_it.split())  # type: ignore[no-untyped-call]
    await writer.answered()
    await until(lambda: writer.stateless == [LOST, BACK], "telling")
    await place.server.wait_for_log("storage is back")
    assert len(place.events("storage refuses")) == len(place.events("storage is back")) == 1
    await place.server.kill()
    await place.server.restart()
    assert (await place.person(Y_WEBSOCKET)).text == writer.text
