"""Who is seen by whom when people are connected to different servers on one Redis."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.awareness_client import AwarenessClient
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis")
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
async def servers(redis: RedisProcess, tmp_path: Path) -> AsyncIterator[list[ServerProcess]]:
    options = [f"--redis={redis.url}", "--idle-room-seconds=0.1", "--grace-seconds=2"]
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ServerProcess(tmp_path / str(number), options=options))
            for number in range(2)
        ]


async def test_what_one_says_at_one_server_is_seen_at_the_others(servers: list[ServerProcess]) -> None:
    one, other = (server.port for server in servers)
    ann = await AwarenessClient(1, "room").connect(one, name="Ann")
    bob = await AwarenessClient(2, "room").connect(other, name="Bob")
    await ann.sees(2)
    await bob.sees(1)
    assert bob.state(1) == '{"name":"Ann"}'
    await ann.leave()
    await bob.sees(within=2)
