"""Redis is lost, slow or read-only under running servers, as their clients and their operator see it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from roomful.server.close_codes import CloseCode
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess
from tests.waiting import until, until_equal

LOST = '{"type":"roomful:storage","state":"lost"}'
BACK = '{"type":"roomful:storage","state":"back"}'

Trouble = Callable[[], Awaitable[None]]


class Place:
    """A server on a Redis of its own, and people who come to it."""

    def __init__(self, redis: RedisProcess, server: ServerProcess, stack: AsyncExitStack) -> None:
        self.redis = redis
        self.server = server
        self._stack = stack

    async def person(self, dialect: Dialect, room: str = "room") -> PycrdtClient:
        client = PycrdtClient(dialect, room)
        self._stack.push_async_callback(client.drop)
        await client.connect(self.server.port)
        await client.synchronised()
        return client

    async def ready(self, path: str = "/readyz") -> tuple[int, str]:
        async with aiohttp.ClientSession() as http, http.get(self.server.http_url + path) as answer:
            return answer.status, await answer.text()

    async def failing(self, failing: bool = True) -> None:
        """Wait until the server knows."""
        await until_equal(partial(self.server.metric, "roomful_storage_failing"), float(failing), within=15)

    async def refusal(self, dialect: Dialect, room: str) -> tuple[int | None, str]:
        """What somebody hears who wants to enter now."""
        async with await RawClient.open(self.server.port, dialect.path(room)) as socket:
            socket.send(*dialect.login(room), dialect.step_1(room))
            return await socket.closed(), socket.close_reason

    def events(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self.server.logs if entry["event"] == name]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis")
    redis.start()
    yield redis
    redis.kill()


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


async def _admin(place: Place, *command: Any) -> None:
    async with Redis.from_url(place.redis.url, protocol=2) as admin:
        await admin.execute_command(*command)  # type: ignore[no-untyped-call]


def _pause(place: Place) -> tuple[Trouble, Trouble]:
    return partial(asyncio.to_thread, place.redis.pause), partial(asyncio.to_thread, place.redis.resume)


def _of_command(break_it: tuple[Any, ...], mend_it: tuple[Any, ...]) -> Any:
    return lambda place: (partial(_admin, place, *break_it), partial(_admin, place, *mend_it))


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(_pause, id="paused", marks=pytest.mark.slow),
        pytest.param(
            _of_command(("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")), id="read-only"
        ),
        pytest.param(
            _of_command(
                ("CONFIG", "SET", "min-replicas-to-write", "5"),
                ("CONFIG", "SET", "min-replicas-to-write", "0"),
            ),
            id="without its replicas",
        ),
        pytest.param(
            _of_command(("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
            id="out of memory",
        ),
    ],
)
async def test_a_redis_that_does_not_take_writes_is_as_good_as_lost(
    place: Place, trouble: Callable[[Place], tuple[Trouble, Trouble]]
) -> None:
    break_it, mend_it = trouble(place)
    writer, reader = await place.person(HOCUSPOCUS), await place.person(Y_WEBSOCKET)
    await break_it()
    writer.type("meanwhile ")
    reader.type("and ")
    await until(lambda: writer.stateless == [LOST], "telling", within=15)
    await until(lambda: reader.holds_all_of(writer) and writer.holds_all_of(reader))
    assert writer.unanswered == 1
    assert (await place.refusal(Y_WEBSOCKET, "cold"))[0] == CloseCode.STORAGE
    await mend_it()
    await writer.answered(within=15)
    await until(lambda: writer.stateless == [LOST, BACK], "telling")
    await place.server.wait_for_log("storage is back")
    assert (len(place.events("storage refuses")), len(place.events("storage is back"))) == (1, 1)
    await place.server.kill()
    await place.server.restart()
    assert (await place.person(Y_WEBSOCKET)).text == writer.text
