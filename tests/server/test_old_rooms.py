"""Rooms that nobody has written to for long leave Redis, and come back when somebody opens them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from roomful.crdt.redis_keys import room_keys
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import HOCUSPOCUS, Y_WEBSOCKET, Dialect
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess
from tests.waiting import until, until_equal

OLD_AFTER = 1.0
NAME = "../room é:{1}"
"""Nothing of it may reach a path or a pattern."""


class Place:
    """Servers on one Redis, with a folder for old rooms, and people who come to them."""

    def __init__(self, redis: RedisProcess, folder: Path, stack: AsyncExitStack) -> None:
        self.url = redis.url
        self.store = folder / "store"
        self._folder = folder
        self._stack = stack
        self._redis = Redis.from_url(redis.url, protocol=2)
        stack.push_async_callback(self._redis.aclose)

    async def server(self, name: str, **settings: Any) -> ServerProcess:
        given = {
            "redis": self.url,
            "snapshot_store": f"file://{self.store}",
            "archive_after_seconds": OLD_AFTER,
            "idle_room_seconds": 0.1,
            "log_level": "debug",
            **settings,
        }
        options = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
        return await self._stack.enter_async_context(ServerProcess(self._folder / name, options=options))

    async def person(self, server: ServerProcess, dialect: Dialect = HOCUSPOCUS) -> PycrdtClient:
        client = PycrdtClient(dialect, NAME)
        self._stack.push_async_callback(client.drop)
        await client.connect(server.port)
        await client.synchronised()
        return client

    async def left(self) -> set[str]:
        """Which keys of the room are in Redis."""
        keys = room_keys("roomful", NAME)
        return {kind for kind in ("room", "log", "snapshot") if await self._redis.exists(getattr(keys, kind))}

    async def marker(self) -> dict[str, str]:
        fields = await self._redis.hgetall(room_keys("roomful", NAME).room)
        return {cast("bytes", name).decode(): cast("bytes", fields[name]).decode() for name in fields}

    async def archived(self) -> dict[str, str]:
        """Wait until the room has left Redis, and return what stays of it."""
        await until_equal(self.left, {"room"}, within=15)
        return await self.marker()

    def objects(self) -> set[str]:
        return {str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file()}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis")
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
async def place(redis: RedisProcess, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield Place(redis, tmp_path, stack)


async def write(person: PycrdtClient, text: str) -> None:
    person.type(text)
    await person.answered()
    await person.drop()


async def test_a_room_leaves_redis_and_comes_back_the_same_again_and_again(place: Place) -> None:
    here, there = await place.server("here"), await place.server("there", archive_after_seconds=3600)
    await write(await place.person(here), "one ")
    first = await place.archived()
    assert first.keys() == {"epoch", "last", "folded", "stored"}
    assert first["last"] == first["folded"] == "1"
    assert place.objects() == {first["stored"]}

    # Appended to while it is away: the same life of the room goes on.
    await write(await place.person(there, HOCUSPOCUS), "two ")
    second = await place.archived()
    assert (second["epoch"], second["last"], second["before"]) == (first["epoch"], "2", first["stored"])
    assert place.objects() == {first["stored"], second["stored"]}

    await write(await place.person(here), "three ")
    third = await place.archived()
    assert third["before"] == second["stored"]
    await until(lambda: place.objects() == {second["stored"], third["stored"]}, "deleting the first")
    reader = await place.person(there, Y_WEBSOCKET)
    assert sorted(reader.text.split()) == ["one", "three", "two"]
    assert sum([await each.metric("roomful_archived_rooms_total") for each in (here, there)]) == 3
    assert await there.metric("roomful_store_get_seconds_count") >= 2
