"""Who is seen by whom when people are connected to different servers on one Redis."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from roomful.crdt.redis_keys import node_keys, room_keys
from roomful.server.cluster.view import LEASE_SECONDS
from tests.awareness_client import AwarenessClient
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess
from tests.tcp_proxy import TcpProxy
from tests.waiting import until, until_equal

GRACE = 2
DEAD_WITHIN = LEASE_SECONDS + 2 + GRACE + 2
"""A server's lease, the pause between two looks at it, the grace, and some time for a slow machine."""


@dataclass
class Place:
    """Three servers, each with a link of its own to one Redis."""

    redis: RedisProcess
    servers: list[ServerProcess]
    links: list[TcpProxy]
    stack: AsyncExitStack

    async def person(
        self, client: int, server: int, dialect: Dialect = Y_WEBSOCKET, **state: Any
    ) -> AwarenessClient:
        person = AwarenessClient(client, "room", dialect)
        self.stack.push_async_callback(person.lose)
        await person.connect(self.servers[server].port, **(state or {"name": client}))
        return person


@pytest.fixture
async def place(redis: RedisProcess, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(TcpProxy(redis.port, random.Random(1))) for _ in range(3)]
        servers = [
            ServerProcess(
                tmp_path / str(number),
                options=[
                    f"--redis=redis://127.0.0.1:{link.port}/0", "--idle-room-seconds=0.1",
                    f"--grace-seconds={GRACE}", "--log-level=debug",
                ],
            )
            for number, link in enumerate(links)
        ]  # fmt: skip
        await asyncio.gather(*map(stack.enter_async_context, servers))
        yield Place(redis, servers, links, stack)


async def test_what_one_says_is_seen_at_all_servers_until_one_leaves(place: Place) -> None:
    people = [await place.person(number, number % 3, DIALECTS[number % 2]) for number in range(1, 7)]
    for person in people:
        await person.sees(*({1, 2, 3, 4, 5, 6} - {person.client}))
    people[0].say(cursor=5)
    await until(lambda: all(person.state(1) == '{"cursor":5}' for person in people[1:]), "seeing a cursor")
    await people[0].leave()
    for person in people[1:]:
        await person.sees(*({2, 3, 4, 5, 6} - {person.client}), within=2)
        assert person.vanished == [1]


async def test_one_who_loses_the_connection_and_comes_back_elsewhere_never_vanishes(place: Place) -> None:
    ann, bob, eve = [await place.person(number, number - 1) for number in (1, 2, 3)]
    for watcher, others in ((bob, (1, 3)), (eve, (1, 2))):
        await watcher.sees(*others)
    for server in (1, 2, 0, 0):
        await ann.lose()
        await ann.connect(place.servers[server].port)
        await ann.sees(2, 3, within=5)
    await asyncio.sleep(GRACE + 1)
    assert (bob.seen, eve.seen) == ({1, 3}, {1, 2})
    assert (bob.vanished, eve.vanished) == ([], [])
    await ann.leave()
    await bob.sees(3)
    await eve.sees(2)


async def test_one_who_loses_the_connection_for_good_is_gone_after_the_grace(place: Place) -> None:
    ann, bob = [await place.person(number, number) for number in (1, 2)]
    await bob.sees(1)
    await ann.lose()
    late = await place.person(3, 0, user="another")
    await asyncio.sleep(GRACE / 2)
    assert bob.seen >= {1}
    await bob.sees(3, within=GRACE)
    await late.sees(2)
    assert bob.vanished == [1]


@pytest.mark.slow
async def test_the_people_of_a_server_that_is_killed_are_gone_everywhere_or_come_back_unnoticed(
    place: Place,
) -> None:
    ann, dan = [await place.person(number, 0) for number in (1, 4)]
    bob, eve = [await place.person(number, number - 1) for number in (2, 3)]
    await bob.sees(1, 3, 4)
    await eve.sees(1, 2, 4)
    await place.servers[0].kill()
    await ann.connect(place.servers[1].port)
    await asyncio.gather(bob.sees(1, 3, within=DEAD_WITHIN), eve.sees(1, 2, within=DEAD_WITHIN))
    assert bob.vanished == eve.vanished == [dan.client]
    await ann.sees(2, 3, within=5)
    late = await place.person(5, 2)
    await late.sees(1, 2, 3)


async def test_the_people_of_a_server_that_stops_come_back_unnoticed(place: Place) -> None:
    ann, bob = [await place.person(number, number) for number in (1, 2)]
    await bob.sees(1)
    stopping = asyncio.create_task(place.servers[1].stop())
    await ann.socket.closed()
    await ann.connect(place.servers[0].port)
    assert await stopping == 0
    await ann.sees(2)
    await asyncio.sleep(GRACE + 1)
    assert (bob.seen, bob.vanished) == ({1}, [])


async def test_after_a_cut_of_the_links_everybody_sees_everybody_again_and_nobody_who_has_left(
    place: Place,
) -> None:
    ann, bob, eve, dan = [await place.person(number, number % 3) for number in (1, 2, 3, 4)]
    await asyncio.gather(ann.sees(2, 3, 4), bob.sees(1, 3, 4), eve.sees(1, 2, 4))
    for link in place.links:
        link.refuse()
        link.reset()
    await dan.leave()
    ann.say(cursor=9)
    new = await place.person(5, 2, name="new")
    await asyncio.sleep(1)
    for link in place.links:
        await link.accept()
    await asyncio.gather(
        ann.sees(2, 3, 5), bob.sees(1, 3, 5), eve.sees(1, 2, 5), new.sees(1, 2, 3),
    )  # fmt: skip
    await until(lambda: bob.state(1) == eve.state(1) == new.state(1) == '{"cursor":9}', "seeing a cursor")
    assert (bob.vanished, eve.vanished) == ([4], [4])


@pytest.mark.slow
async def test_a_server_that_is_cut_off_for_longer_than_its_lease_is_seen_again(place: Place) -> None:
    ann, bob = [await place.person(number, number) for number in (1, 2)]
    await asyncio.gather(ann.sees(2), bob.sees(1))
    place.links[1].refuse()
    place.links[1].reset()
    await bob.sees(within=DEAD_WITHIN)
    assert ann.seen == {2}
    await place.links[1].accept()
    await until_equal(partial(place.servers[1].metric, "roomful_storage_failing"), 0.0)
    # As stock clients do after 15 s; until then the others take it for what they have heard already.
    ann.renew()
    await asyncio.gather(ann.sees(2), bob.sees(1))


async def test_stateless_messages_reach_everybody_else_once(place: Place) -> None:
    ann, bob, eve = [await place.person(number, number % 3, HOCUSPOCUS) for number in (1, 2, 4)]
    await asyncio.gather(ann.sees(2, 4), bob.sees(1, 4), eve.sees(1, 2))
    for number in range(20):
        ann.send_stateless(f"{number}")
    expected = [f"{number}" for number in range(20)]
    await until(lambda: bob.stateless == eve.stateless == expected, "hearing")
    assert ann.stateless == []


async def test_awareness_leaves_nothing_in_redis_and_hinders_no_edit(place: Place) -> None:
    people = [await place.person(number, number % 3) for number in range(1, 10)]
    await people[0].sees(*range(2, 10))
    writer = PycrdtClient(HOCUSPOCUS, "room")
    place.stack.push_async_callback(writer.drop)
    await writer.connect(place.servers[0].port)
    await writer.synchronised()
    for number in range(20):
        for person in people:
            person.say(cursor=number)
        writer.type(f"{number} ")
        await writer.answered()
    await until(lambda: all(people[0].state(each) == '{"cursor":19}' for each in range(2, 10)), "seeing")
    keys = room_keys("roomful", "room")
    async with Redis.from_url(place.redis.url, protocol=2) as redis:
        assert 0 < await redis.xlen(keys.log) <= 21
        kept = {bytes(key).decode() for key in await redis.keys("*")}  # type: ignore[arg-type]
        assert kept == {keys.room, keys.log, *node_keys("roomful")}
    for server in place.servers:
        assert await server.metric("roomful_untold_messages") == 0
