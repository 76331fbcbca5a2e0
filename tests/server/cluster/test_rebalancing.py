"""Nodes that come and go under people who write: who is moved, and that nothing is lost."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from roomful.server.cluster.sharding import Member, ranked, slot_of
from roomful.server.cluster.view import LEASE_SECONDS
from tests.documents import differences
from tests.raw_client import HOCUSPOCUS, Y_WEBSOCKET
from tests.redis_process import RedisProcess
from tests.router_client import RoutedClient, route
from tests.server_process import ServerProcess
from tests.waiting import until, until_equal

USERS = 24


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def owner(user: str, nodes: list[ServerProcess]) -> int:
    """The port of the node that the published rules give a user to."""
    members = [Member(node.http_url) for node in nodes]
    return int(ranked(slot_of(user), members)[0].name.rpartition(":")[2])


async def seen_by(nodes: list[ServerProcess]) -> set[str]:
    return {(await route(node, "ann"))["view"] for node in nodes}


async def settled(nodes: list[ServerProcess]) -> None:
    """Wait until all see the same nodes."""
    for node in nodes:
        await until_equal(partial(node.metric, "roomful_nodes"), len(nodes))
    assert len(await seen_by(nodes)) == 1


@pytest.mark.slow
async def test_people_move_with_their_slots_when_a_node_joins_or_drains_and_nothing_is_lost(
    redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path
) -> None:
    options = (f"--redis={redis.url}", "--rebalance-percent-per-second=100")
    nodes: list[ServerProcess] = []

    async def join() -> None:
        nodes.append(
            await stack.enter_async_context(ServerProcess(tmp_path / str(len(nodes)), options=options))
        )

    await join()
    await join()
    await settled(nodes)
    people = [
        RoutedClient((HOCUSPOCUS, Y_WEBSOCKET)[number % 2], "room", f"user-{number}", nodes)
        for number in range(USERS)
    ]
    staying = [asyncio.create_task(person.stay()) for person in people]
    rng = random.Random(1)

    async def write() -> None:
        while True:
            rng.choice(people).edit(rng)
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())

    async def stop() -> None:
        for task in (writing, *staying):
            task.cancel()
        for task in (writing, *staying):
            with suppress(asyncio.CancelledError):
                await task
        for person in people:
            await person.drop()

    stack.push_async_callback(stop)

    def placed() -> bool:
        return all(
            person.connected and person.synced and person.port == owner(person.user, nodes)
            for person in people
        )

    await until(placed, "everybody's place")
    assert [person.opened for person in people] == [1] * USERS

    two = list(nodes)
    await join()
    await settled(nodes)
    movers = [person for person in people if owner(person.user, nodes) != owner(person.user, two)]
    assert movers
    await until(placed, "everybody's place", within=2 * LEASE_SECONDS + 10)
    assert [person.opened - 1 for person in people] == [int(person in movers) for person in people]
    moved = [await node.metric("roomful_moved_connections_total") for node in nodes]
    assert sum(moved) == len(movers)
    assert moved[2] == 0

    leaver = nodes.pop(0)
    stayers = [person for person in people if person.port != leaver.port]
    opened = [person.opened for person in stayers]
    assert await leaver.stop() == 0
    events = [(entry["event"], entry.get("url")) for entry in leaver.logs]
    assert events.index(("node left", leaver.http_url)) < events.index(("draining", None))
    # That its lease lapses would take longer.
    for node in nodes:
        await until_equal(partial(node.metric, "roomful_nodes"), len(nodes), within=LEASE_SECONDS / 2)
    await until(placed, "everybody's place")
    assert [person.opened for person in stayers] == opened

    writing.cancel()
    await until(lambda: all(person.connected and person.synced for person in people))
    for person in people:
        if person.dialect is HOCUSPOCUS:
            await person.answered()

    async def disagreements() -> list[str]:
        documents = [person.replica.document() for person in people]
        return [each for other in documents[1:] for each in differences(documents[0], other)]

    await until_equal(disagreements, [])
    for person in people:
        assert all(people[0].replica.covers(update) for update in person.acknowledged)
    for node in nodes:
        assert not [entry for entry in node.logs if entry["level"] == "error"]


async def test_where_to_connect_is_answered_while_redis_is_away(
    redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path
) -> None:
    options = (f"--redis={redis.url}", "--public-url=https://a.example.org/", "--node-weight=3")
    other = ServerProcess(tmp_path / "other", options=options[:1])
    node = ServerProcess(tmp_path / "node", options=options)
    await asyncio.gather(*map(stack.enter_async_context, (node, other)))
    await settled([node, other])
    users = [f"user-{number}" for number in range(20)]
    before = [await route(each, user) for each in (node, other) for user in users]
    members = [Member("https://a.example.org", 3), Member(other.http_url)]
    for user, answer in zip(users * 2, before, strict=True):
        urls = [member.name for member in ranked(slot_of(user), members)]
        assert (answer["slot"], [answer["node"], *answer["alternatives"]]) == (slot_of(user), urls)
    redis.kill()
    assert [await route(each, user) for each in (node, other) for user in users] == before
