"""The balancers' files that are shipped, in real balancers, before two nodes on one Redis."""

import asyncio
import random
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession

from roomful.server.config import Config
from tests.balancer_process import BALANCERS, DEPLOY, BalancerProcess
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import HOCUSPOCUS, Y_WEBSOCKET, RawClient
from tests.redis_process import shared_redis
from tests.server_process import ServerProcess
from tests.tcp_proxy import TcpProxy
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


@pytest.fixture
def balancers(nodes: list[ServerProcess], tmp_path: Path) -> Iterator[list[BalancerProcess]]:
    """nginx and HAProxy, both before the same nodes."""
    both = [BalancerProcess(name, tmp_path / name, [node.port for node in nodes]) for name in BALANCERS]
    for balancer in both:
        balancer.start()
    yield both
    for balancer in both:
        balancer.stop()


def test_silence_is_shorter_than_what_a_balancer_bears() -> None:
    wanted = {"nginx.conf": r"proxy_(?:read|send)_timeout (\d+)s;", "haproxy.cfg": r"timeout tunnel (\d+)s"}
    for name, pattern in wanted.items():
        timeouts = [int(seconds) for seconds in re.findall(pattern, (DEPLOY / name).read_text("utf-8"))]
        assert timeouts
        assert min(timeouts) > 2 * Config().timing.keepalive_seconds


async def connections(nodes: list[ServerProcess]) -> list[float]:
    return [await node.metric("roomful_connections") for node in nodes]


async def test_each_user_has_one_node_and_the_users_are_spread_over_both(
    balancers: list[BalancerProcess], nodes: list[ServerProcess]
) -> None:
    for balancer in balancers:
        placed = []
        for user in USERS[:12]:
            paths = (f"/sync/a?user={user}", f"/hocuspocus?user={user}", f"/sync/b?token=t&user={user}")
            async with AsyncExitStack() as stack:
                for path in paths * 2:
                    await stack.enter_async_context(await RawClient.open(balancer.port, path))
                counts = await connections(nodes)
                assert sorted(counts) == [0, 6], (balancer.name, user, counts)
                placed.append(counts.index(6))
            await until_equal(lambda: connections(nodes), [0, 0])
        assert 0 < sum(placed) < len(placed), balancer.name


async def test_who_says_no_user_is_placed_by_the_token_and_who_says_neither_is_spread(
    balancers: list[BalancerProcess], nodes: list[ServerProcess]
) -> None:
    for balancer in balancers:
        async with AsyncExitStack() as stack:
            for query in ("token=secret", "token=secret&user=") * 2:
                await stack.enter_async_context(await RawClient.open(balancer.port, f"/sync/a?{query}"))
            assert sorted(await connections(nodes)) == [0, 4], balancer.name
        await until_equal(lambda: connections(nodes), [0, 0])
        async with AsyncExitStack() as stack:
            for _ in range(16):
                await stack.enter_async_context(await RawClient.open(balancer.port, "/hocuspocus"))
            assert min(await connections(nodes)) > 0, balancer.name
        await until_equal(lambda: connections(nodes), [0, 0])


async def test_pages_and_questions_pass_and_figures_do_not(balancers: list[BalancerProcess]) -> None:
    for balancer in balancers:
        async with ClientSession(f"http://127.0.0.1:{balancer.port}") as http:
            for path, status in (
                ("/", 200),
                ("/readyz", 200),
                ("/v1/route?user=ann", 200),
                ("/metrics", 404),
            ):
                async with http.get(path) as response:
                    assert (balancer.name, path, response.status) == (balancer.name, path, status)


class Person(PycrdtClient):
    """Comes through the same balancer each time; of four, each in another way."""

    def __init__(self, number: int, balancers: list[BalancerProcess]) -> None:
        super().__init__((HOCUSPOCUS, Y_WEBSOCKET)[number % 2], "room")
        self.user = USERS[number]
        self._port = balancers[number // 2 % 2].port

    async def come(self) -> None:
        await self.connect(self._port, query=f"user={self.user}")
        await self.synchronised()


async def people(stack: AsyncExitStack, balancers: list[BalancerProcess]) -> list[Person]:
    everybody = [Person(number, balancers) for number in range(len(USERS))]
    for person in everybody:
        stack.push_async_callback(person.drop)
        await person.come()
    return everybody


async def test_the_users_of_a_node_that_is_killed_write_on_at_the_other_one_at_once(
    balancers: list[BalancerProcess], nodes: list[ServerProcess], stack: AsyncExitStack
) -> None:
    everybody = await people(stack, balancers)
    for person in everybody:
        person.type(f"{person.user} was here ")
    for person in everybody:
        if person.dialect is HOCUSPOCUS:
            await person.answered()
    first, other = nodes
    cut_off, _ = counts = await connections(nodes)
    assert min(counts) > 0
    await first.kill()
    await until(lambda: sum(not person.connected for person in everybody) == cut_off)
    async with asyncio.timeout(AWAY_SECONDS):
        for person in everybody:
            if not person.connected:
                # Nobody is refused: who is sent to the dead node is sent on.
                await person.come()
    assert await other.metric("roomful_connections") == len(everybody)
    for person in everybody:
        person.type(f"{person.user} is back ")
    for person in everybody:
        await until(lambda person=person: all(map(person.holds_all_of, everybody)))  # type: ignore[misc]
    assert all(f"{user} was here" in everybody[0].text for user in USERS)
    assert all(f"{user} is back" in everybody[0].text for user in USERS)


async def test_a_node_that_drains_hands_its_users_over(
    balancers: list[BalancerProcess], nodes: list[ServerProcess], stack: AsyncExitStack
) -> None:
    everybody = await people(stack, balancers)
    leaver, other = nodes
    draining = asyncio.create_task(leaver.stop())

    async def stay(person: Person) -> None:
        while not (draining.done() and person.connected):
            if person.connected:
                await asyncio.sleep(0.01)
                continue
            try:
                await person.come()
            except (ConnectionError, AssertionError):
                await asyncio.sleep(0.05)

    async with asyncio.timeout(20):
        await asyncio.gather(*map(stay, everybody))
    assert await draining == 0
    assert await other.metric("roomful_connections") == len(everybody)


async def test_a_node_that_cannot_store_gets_nobody_new_until_it_can(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    link = await stack.enter_async_context(TcpProxy(shared_redis().port, random.Random(1)))
    options = (f"--redis-prefix={secrets.token_hex(4)}", "--idle-room-seconds=0.1")
    cut_off, other = [
        await stack.enter_async_context(ServerProcess(tmp_path / name, options=(f"--redis={url}", *options)))
        for name, url in (("one", f"redis://127.0.0.1:{link.port}/0"), ("two", shared_redis().url))
    ]
    # nginx has no word for it in what is shipped: it asks nobody how they are.
    balancer = BalancerProcess("haproxy", tmp_path / "haproxy", [cut_off.port, other.port])
    balancer.start()
    stack.callback(balancer.stop)

    async def newcomers() -> float:
        """Return how many of some who come now get to the node that may be cut off."""
        async with AsyncExitStack() as visit:
            for user in USERS:
                await visit.enter_async_context(await RawClient.open(balancer.port, f"/sync/a?user={user}"))
            return (await connections([cut_off, other]))[0]

    assert await newcomers() > 0
    # One with rooms in memory is of use without Redis, and says that it is ready.
    await until_equal(lambda: cut_off.metric("roomful_rooms"), 0)
    link.refuse()
    link.reset()
    await until_equal(newcomers, 0)
    await link.accept()

    async def are_spread() -> bool:
        return await newcomers() > 0

    await until_equal(are_spread, True)
