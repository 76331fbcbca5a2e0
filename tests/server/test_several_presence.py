"""Who is in a room whose people are connected to different servers on one Redis, and who has left it."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.awareness_client import AwarenessClient
from tests.presence_client import PresenceClient
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess
from tests.tcp_proxy import TcpProxy

AUTHORIZE = "tests.hostile.guard:authorize"
OPTIONS = ["--idle-room-seconds=0.1", "--grace-seconds=2", "--presence-interval=0.5"]


@pytest.fixture
async def links(redis: RedisProcess) -> AsyncIterator[list[TcpProxy]]:
    """The way to Redis of each server."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(TcpProxy(redis.port, random.Random(1))) for _ in range(3)]


@pytest.fixture
async def servers(links: list[TcpProxy], tmp_path: Path) -> AsyncIterator[list[ServerProcess]]:
    servers = [
        ServerProcess(
            tmp_path / str(number),
            options=[f"--redis=redis://127.0.0.1:{link.port}", *OPTIONS],
            authorize=AUTHORIZE,
        )
        for number, link in enumerate(links)
    ]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*map(stack.enter_async_context, servers))
        yield servers


async def people_at(port: int) -> list[str]:
    address = f"http://127.0.0.1:{port}/v1/rooms/room/presence"
    async with aiohttp.ClientSession() as http, http.get(address, params={"token": "ann"}) as response:
        body = await response.json()
    assert body["people"] == body["sessions"] == len(body["page"])
    return [person["id"] for person in body["page"]]


async def everybody(client: PresenceClient) -> list[str]:
    """Go through all people, two at a time."""
    ids: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await client.room.people(after, 2)
        assert (page["people"], len(page["page"])) == (4, 2)
        ids, after = [*ids, *(person["id"] for person in page["page"])], page["next"]
    return ids


async def test_people_on_three_servers_see_each_other_come_change_move_and_go(
    servers: list[ServerProcess],
) -> None:
    ports = [server.port for server in servers]
    ann, bob = [
        await PresenceClient.connect(port, "room", token=name, instance=name)
        for port, name in zip(ports, ("ann", "bob"), strict=False)
    ]
    eve = await AwarenessClient(7, "room").connect(ports[2], token="eve", user={"name": "Eve"})
    for each in (ann, bob):
        await each.sees("u:ann", "u:bob", "u:eve")
        await each.sees_that("u:eve", state={"user": {"name": "Eve"}})
    bob.say(hand=True, typing="title")
    await ann.sees_that("u:bob", hand=True, typing="title")

    bob.lose()
    again = await PresenceClient.connect(ports[0], "room", token="bob", instance="bob", hand=True)
    await ann.sees_that("u:bob", sessions={again.room.facts["session"]: None}, hand=True, typing=None)
    late = await PresenceClient.connect(ports[1], "room", token="late")
    await late.sees("u:ann", "u:bob", "u:eve", "u:late")
    assert ann.left == []
    assert await everybody(late) == await everybody(ann) == ["u:ann", "u:bob", "u:eve", "u:late"]

    await eve.leave()
    await late.leave()
    await again.leave()
    await ann.sees("u:ann", within=5)
    assert sorted(ann.left) == ["u:bob", "u:eve", "u:late"]
    ann.lose()


@pytest.mark.slow
async def test_the_people_of_a_server_that_dies_leave_once_unless_they_come_back(
    servers: list[ServerProcess],
) -> None:
    ann = await PresenceClient.connect(servers[0].port, "room", token="ann")
    bob = await PresenceClient.connect(servers[1].port, "room", token="bob")
    cid = await PresenceClient.connect(servers[1].port, "room", token="cid")
    for each in (ann, bob, cid):
        await each.sees("u:ann", "u:bob", "u:cid")
    # This server has nobody of the room, and has to ask.
    assert await people_at(servers[2].port) == ["u:ann", "u:bob", "u:cid"]
    await servers[1].kill()
    again = await PresenceClient.connect(servers[2].port, "room", token="cid")
    await ann.sees("u:ann", "u:cid", within=20)
    await again.sees("u:ann", "u:cid", within=20)
    assert ann.left == ["u:bob"]
    ann.lose()
    again.lose()


@pytest.mark.parametrize("seconds", [1.0, pytest.param(12.0, marks=pytest.mark.slow)])
async def test_after_a_cut_of_a_link_everybody_sees_everybody_again_and_nobody_who_has_left(
    servers: list[ServerProcess], links: list[TcpProxy], seconds: float
) -> None:
    """The longer cut outlasts the lease and the grace: the people behind it have left, and come again."""
    ann, bob, dan = [
        await PresenceClient.connect(servers[number].port, "room", token=name)
        for number, name in ((0, "ann"), (1, "bob"), (1, "dan"))
    ]
    for each in (ann, bob, dan):
        await each.sees("u:ann", "u:bob", "u:dan")
    links[1].refuse()
    links[1].reset()
    await dan.leave()
    bob.say(hand=True)
    await asyncio.sleep(seconds)
    await links[1].accept()
    await ann.sees_that("u:bob", within=20, hand=True)
    await ann.sees("u:ann", "u:bob", within=20)
    await bob.sees("u:ann", "u:bob", within=20)
    assert ann.left.count("u:dan") == 1
    if seconds < 2:
        assert ann.left == ["u:dan"]
    ann.lose()
    bob.lose()
