"""Two servers on one Redis: one document, whoever is connected where."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from roomful.crdt.redis_keys import room_keys
from tests.documents import differences
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import HOCUSPOCUS, Y_WEBSOCKET, Dialect
from tests.redis_cluster import RedisCluster
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess
from tests.speech import PROTOCOLS
from tests.waiting import until, until_equal


@pytest.fixture
async def nodes(redis: RedisProcess, tmp_path: Path) -> AsyncIterator[list[ServerProcess]]:
    options = (f"--redis={redis.url}", "--idle-room-seconds=0.2", "--fold-entries=50", "--log-level=debug")
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ServerProcess(tmp_path / name, options=options))
            for name in ("one", "other")
        ]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def person(
    stack: AsyncExitStack, node: ServerProcess, dialect: Dialect, room: str = "room"
) -> PycrdtClient:
    client = PycrdtClient(dialect, room)
    stack.push_async_callback(client.drop)
    await client.connect(node.port)
    await client.synchronised()
    return client


async def disagreements(people: list[PycrdtClient]) -> list[str]:
    """Return what the first one's document and the others' do not share, in words."""
    first, *others = (person.replica.document() for person in people)
    return [each for other in others for each in differences(first, other)]


async def test_what_is_written_on_one_node_is_seen_on_the_other(
    nodes: list[ServerProcess], stack: AsyncExitStack
) -> None:
    here, there = nodes
    ann = await person(stack, here, HOCUSPOCUS)
    bob = await person(stack, there, Y_WEBSOCKET)
    ann.type("hello ")
    await until(lambda: bob.text == "hello ")
    bob.type("world ")
    await until(lambda: ann.text == bob.text != "hello ")
    await ann.answered()
    late = await person(stack, there, HOCUSPOCUS)
    assert late.text == ann.text


async def test_an_acknowledged_update_outlives_the_node_that_took_it(
    nodes: list[ServerProcess], stack: AsyncExitStack
) -> None:
    here, there = nodes
    ann = await person(stack, here, HOCUSPOCUS)
    ann.type("kept")
    await ann.answered()
    await here.kill()
    bob = await person(stack, there, HOCUSPOCUS)
    assert bob.text == "kept"


async def test_rooms_are_folded_while_both_nodes_write(
    nodes: list[ServerProcess], stack: AsyncExitStack
) -> None:
    people = [await person(stack, node, dialect) for node in nodes for dialect in PROTOCOLS]
    rng = random.Random(3)
    for _ in range(400):
        rng.choice(people).edit(rng)
        await asyncio.sleep(0.002)
    await until_equal(partial(disagreements, people), [])
    assert sum([await node.metric("roomful_folds_total") for node in nodes]) > 0

    async def is_taken_over() -> bool:
        return sum([await node.metric("roomful_folds_taken_total") for node in nodes]) > 0

    await until_equal(is_taken_over, True)
    for client in people:
        await client.drop()
    for node in nodes:
        await node.wait_for_log("room let go")
    late = await person(stack, nodes[0], Y_WEBSOCKET)
    assert late.text == people[0].text


@pytest.mark.slow
async def test_redis_killed_and_started_again_costs_nobody_a_letter(
    redis: RedisProcess, nodes: list[ServerProcess], stack: AsyncExitStack
) -> None:
    people = [await person(stack, node, dialect) for node in nodes for dialect in PROTOCOLS]
    rng = random.Random(4)

    async def write(times: int) -> None:
        for _ in range(times):
            rng.choice(people).edit(rng)
            await asyncio.sleep(0.002)

    await write(100)
    redis.kill()
    await write(100)
    for node in nodes:
        await until_equal(partial(node.metric, "roomful_storage_failing"), 1.0)
    redis.start()
    await write(100)
    await until_equal(partial(disagreements, people), [], within=20)
    for client in people:
        if client.dialect is not Y_WEBSOCKET:
            await client.answered()
    await nodes[0].kill()
    await nodes[1].kill()
    await nodes[1].restart()
    late = await person(stack, nodes[1], Y_WEBSOCKET)
    assert late.text == people[0].text


@pytest.mark.slow
async def test_a_master_of_a_cluster_killed_costs_nobody_a_letter(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    cluster = RedisCluster(tmp_path / "cluster")
    stack.callback(cluster.kill)
    cluster.start()
    options = (f"--redis={cluster.url}", "--storage-patience-seconds=60")
    nodes = [
        await stack.enter_async_context(ServerProcess(tmp_path / name, options=options))
        for name in ("one", "other")
    ]
    rooms = [f"room {number}" for number in range(6)]
    people = {room: [await person(stack, node, HOCUSPOCUS, room) for node in nodes] for room in rooms}
    rng = random.Random(5)

    async def write(times: int) -> None:
        for _ in range(times):
            rng.choice(people[rng.choice(rooms)]).edit(rng)
            await asyncio.sleep(0.002)

    await write(200)
    cluster.master_of(room_keys("roomful", rooms[0]).room).kill()
    await write(300)
    for room in rooms:
        await until_equal(partial(disagreements, people[room]), [], within=30)
        for client in people[room]:
            await client.answered()
    for room in rooms:
        late = await person(stack, nodes[0], Y_WEBSOCKET, room)
        assert late.text == people[room][0].text
