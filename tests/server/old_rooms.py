"""Servers that move old rooms from Redis to a store, and people who come to them."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from roomful.crdt.redis_keys import room_keys
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import HOCUSPOCUS, Dialect, RawClient
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess
from tests.waiting import until_equal

OLD_AFTER = 1.0
NAME = "../room é:{1}"
"""Nothing of it may reach a path or a pattern."""


class Place:
    """Servers on one Redis, with a store for old rooms, ``store`` being the folder if it is one."""

    def __init__(
        self, redis: RedisProcess, folder: Path, stack: AsyncExitStack, address: str = "", **environment: str
    ) -> None:
        self.url = redis.url
        self.store = folder / "store"
        self._address = address or f"file://{self.store}"
        self._environment = environment
        self._folder = folder
        self._stack = stack
        self.redis = Redis.from_url(redis.url, protocol=2)
        stack.push_async_callback(self.redis.aclose)

    async def server(self, name: str, **settings: Any) -> ServerProcess:
        given = {
            "redis": self.url,
            "snapshot_store": self._address,
            "archive_after_seconds": OLD_AFTER,
            "idle_room_seconds": 0.1,
            "log_level": "debug",
            **settings,
        }
        options = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
        server = ServerProcess(self._folder / name, options=options, environment=self._environment)
        return await self._stack.enter_async_context(server)

    async def person(
        self, server: ServerProcess, dialect: Dialect = HOCUSPOCUS, room: str = NAME
    ) -> PycrdtClient:
        client = PycrdtClient(dialect, room)
        self._stack.push_async_callback(client.drop)
        await client.connect(server.port)
        await client.synchronised()
        return client

    async def write(self, server: ServerProcess, text: str) -> None:
        """Have somebody come, write, and go."""
        person = await self.person(server)
        person.type(text)
        await person.answered()
        await person.drop()

    async def refusal(self, server: ServerProcess, dialect: Dialect = HOCUSPOCUS) -> int | None:
        """With what code somebody is sent away who wants to enter now."""
        async with await RawClient.open(server.port, dialect.path(NAME)) as socket:
            socket.send(*dialect.login(NAME), dialect.step_1(NAME))
            return await socket.closed()

    async def left(self) -> set[str]:
        """What Redis has of the room beside the marker."""
        keys = room_keys("roomful", NAME)
        has_snapshot = await self.redis.hexists(keys.room, "snapshot")
        has_entries = await self.redis.xlen(keys.log)
        return {name for name, has in (("snapshot", has_snapshot), ("entries", has_entries)) if has}

    async def marker(self) -> dict[str, str]:
        fields = await self.redis.hgetall(room_keys("roomful", NAME).room)
        marker = {
            cast("bytes", name).decode(): cast("bytes", fields[name]).decode(errors="replace")
            for name in fields
        }
        return {name: value for name, value in marker.items() if not name.startswith("writer:")}

    async def fields(self) -> set[str]:
        return set(await self.marker())

    async def archived(self) -> dict[str, str]:
        """Wait until the room has left Redis, and return what stays of it."""
        # To ask for more would be to touch the room's hash again and again, so that it would never be old.
        await until_equal(partial(self.redis.xlen, room_keys("roomful", NAME).log), 0, within=8)
        assert await self.left() == set()
        return await self.marker()

    def objects(self) -> set[str]:
        return {str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file()}
