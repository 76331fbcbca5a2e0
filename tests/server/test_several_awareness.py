"""Who is seen by whom when people are connected to different servers on one Redis."""

import asyncio
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


async def test_one_who_loses_the_connection_and_comes_back_elsewhere_never_vanishes(
    servers: list[ServerProcess],
) -> None:
    one, other = (server.port for server in servers)
    ann = await AwarenessClient(1, "room").connect(one, name="Ann")
    bob = await AwarenessClient(2, "room").connect(other, name="Bob")
    eve = await AwarenessClient(3, "room").connect(one, name="Eve")
    await bob.sees(1, 3)
    await eve.sees(1, 2)
    await ann.lose()
    await ann.connect(other)
    await ann.sees(2, 3, within=5)
    await asyncio.sleep(3)
    assert (bob.seen, eve.seen) == ({1, 3}, {1, 2})
    assert (bob.vanished, eve.vanished) == ([], [])
    await ann.leave()
    await bob.sees(3)
    await eve.sees(2)


async def test_one_who_loses_the_connection_for_good_is_gone_after_the_grace(
    servers: list[ServerProcess],
) -> None:
    one, other = (server.port for server in servers)
    ann = await AwarenessClient(1, "room").connect(one, name="Ann")
    bob = await AwarenessClient(2, "room").connect(other, name="Bob")
    await bob.sees(1)
    await ann.lose()
    await asyncio.sleep(1)
    assert bob.seen == {1}
    await bob.sees(within=3)


async def test_the_people_of_a_server_that_is_killed_are_gone_everywhere_or_come_back_unnoticed(
    servers: list[ServerProcess],
) -> None:
    one, other = servers
    ann = await AwarenessClient(1, "room").connect(one.port, name="Ann")
    await AwarenessClient(4, "room").connect(one.port, name="Dan")
    bob = await AwarenessClient(2, "room").connect(other.port, name="Bob")
    await bob.sees(1, 4)
    await one.kill()
    await ann.connect(other.port)
    await bob.sees(1, within=2 + 6 + 2 + 2)
    assert bob.vanished == [4]
    await ann.sees(2, within=5)
