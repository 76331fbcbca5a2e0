"""A server on a Redis of its own, and people who come to it."""

from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

import aiohttp

from tests.pycrdt_client import PycrdtClient
from tests.raw_client import Dialect, RawClient
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess
from tests.waiting import until_equal

LOST: Final = '{"type":"roomful:storage","state":"lost"}'
BACK: Final = '{"type":"roomful:storage","state":"back"}'


class Place:
    """What a test does to all of them."""

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
