"""The balancers' files that are shipped, in real balancers, before two nodes on one Redis."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.balancer_process import BALANCERS, BalancerProcess
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient
from tests.redis_process import shared_redis
from tests.server_process import ServerProcess
from tests.waiting import until, until_equal

USERS = [f"user-{number}" for number in range(16)]
AWAY_SECONDS = 5.0


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[ServerProcess]]:
    options = (f"--redis={shared_redis().url}", f"--redis-prefix={secrets.token_hex(4)}")
    async with AsyncExitStack() as stack:
        both = [ServerProcess(tmp_path / name, options=options) for name in ("one", "two")]
        await asyncio.gather(*map(stack.enter_async_context, both))
        yield both


@pytest.fixture(params=BALANCERS)
def balancer(
    request: pytest.FixtureRequest, nodes: list[ServerProcess], tmp_path: Path
) -> Iterator[BalancerProcess]:
    balancer = BalancerProcess(request.param, tmp_path / "balancer", [node.port for node in nodes])
    balancer.start()
    yield balancer
    balancer.stop()


async def connections(nodes: list[ServerProcess]) -> list[float]:
    return [await node.metric("roomful_connections") for node in nodes]


async def person(
    stack: AsyncExitStack, balancer: BalancerProcess, user: str, dialect: Dialect = Y_WEBSOCKET
) -> PycrdtClient:
    client = PycrdtClient(dialect, "room")
    stack.push_async_callback(client.drop)
    await client.connect(balancer.port, query=f"user={user}")
    await client.synchronised()
    return client


async def test_each_user_has_one_node_and_the_users_are_spread_over_both(
    balancer: BalancerProcess, nodes: list[ServerProcess]
) -> None:
    placed = []
    for user in USERS:
        async with AsyncExitStack() as stack:
            for query in (f"/sync/a?user={user}", f"/hocuspocus?user={user}", f"/sync/b?token=t&user={user}"):
                for _ in range(2):
                    await stack.enter_async_context(await RawClient.open(balancer.port, query))
            counts = await connections(nodes)
            assert sorted(counts) == [0, 6], (user, counts)
            placed.append(counts.index(6))
        await until_equal(lambda: connections(nodes), [0, 0])
    assert 0 < sum(placed) < len(USERS)


async def test_who_says_no_user_is_placed_by_the_token_and_who_says_neither_is_spread(
    balancer: BalancerProcess, nodes: list[ServerProcess]
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(await RawClient.open(balancer.port, "/sync/a?token=secret"))
        assert sorted(await connections(nodes)) == [0, 4]
    await until_equal(lambda: connections(nodes), [0, 0])
    async with AsyncExitStack() as stack:
        for _ in range(16):
            await stack.enter_async_context(await RawClient.open(balancer.port, "/hocuspocus"))
        assert min(await connections(nodes)) > 0


async def test_the_users_of_a_node_that_is_killed_write_on_at_the_other_one_at_once(
    balancer: BalancerProcess, nodes: list[ServerProcess], stack: AsyncExitStack
) -> None:
    people = [
        await person(stack, balancer, user, dialect)
        for user, dialect in zip(USERS, (HOCUSPOCUS, Y_WEBSOCKET) * 8, strict=True)
    ]
    for client, user in zip(people, USERS, strict=True):
        client.type(f"{user} was here ")
    for client in people:
        if client.dialect is HOCUSPOCUS:
            await client.answered()
    first, other = nodes
    cut_off, _ = counts = await connections(nodes)
    assert min(counts) > 0
    await first.kill()
    await until(lambda: sum(not client.connected for client in people) == cut_off)
    async with asyncio.timeout(AWAY_SECONDS):
        for client, user in zip(people, USERS, strict=True):
            if not client.connected:
                # Nobody is refused: who is sent to the dead node is sent on.
                await client.connect(balancer.port, query=f"user={user}")
                await client.synchronised()
    assert await other.metric("roomful_connections") == len(people)
    for client, user in zip(people, USERS, strict=True):
        client.type(f"{user} is back ")
    for client in people:
        await until(lambda client=client: all(client.holds_all_of(each) for each in people))  # type: ignore[misc]
    assert all(f"{user} is back" in people[0].text for user in USERS)


async def test_a_node_that_drains_hands_its_users_over(
    balancer: BalancerProcess, nodes: list[ServerProcess], stack: AsyncExitStack
) -> None:
    people = [await person(stack, balancer, user) for user in USERS]
    draining = asyncio.create_task(nodes[0].stop())
    for client, user in zip(people, USERS, strict=True):
        while not draining.done() or not client.connected:
            if client.connected:
                await asyncio.sleep(0.01)
                continue
            try:
                await client.connect(balancer.port, query=f"user={user}")
                await client.synchronised()
            except (ConnectionError, AssertionError):
                await asyncio.sleep(0.05)
    assert await draining == 0
    assert await nodes[1].metric("roomful_connections") == len(people)
