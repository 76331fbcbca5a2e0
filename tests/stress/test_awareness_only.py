"""Rooms in which nobody writes leave nothing behind, however long people move their cursors and raise hands.

``SOAK_SECONDS`` says for how long (4).
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from redis.asyncio import Redis

from roomful.crdt.redis_keys import node_keys
from roomful.server.protocols.roomful import ClientFrame
from tests.awareness_client import AwarenessClient
from tests.raw_client import DIALECTS
from tests.redis_process import shared_redis
from tests.roomful_client import RoomfulClient, RoomfulRoom
from tests.server_process import ServerProcess

SECONDS = float(os.environ.get("SOAK_SECONDS", "4"))
ROOMS = 4
PEOPLE = 5
PAUSE = 0.02
MOST_GROWTH = 8 << 20
"""Bytes of memory, for what is remembered of those who have gone, and for what an allocator keeps."""

pytestmark = pytest.mark.slow


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def move(
    stack: AsyncExitStack, servers: list[ServerProcess], seconds: float, first: int = 1
) -> Callable[[], int]:
    """Let people of all protocols move, and some of them come and go, with client ids from ``first`` on.

    Returns a count of the frames that they have received.
    """
    rng = random.Random(1)
    people = [
        AwarenessClient(first + number, f"room {number % ROOMS}", DIALECTS[number % 2])
        for number in range(ROOMS * PEOPLE)
    ]
    members: list[RoomfulRoom] = []
    for number, person in enumerate(people):
        stack.push_async_callback(person.lose)
        await person.connect(servers[number % len(servers)].port, name=person.client)
    for number in range(ROOMS):
        client = await stack.enter_async_context(
            await RoomfulClient.connect(servers[number % len(servers)].port, token=f"user {first + number}")
        )
        room = await client.join(f"room {number}", vector=None, presence={"device": "soak"})
        room.on_frame = None
        members.append(room)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        person = rng.choice(people)
        person.say(cursor=rng.random(), name=person.client)
        if rng.random() < 0.02:
            await person.leave()
            await person.connect(rng.choice(servers).port)
        rng.choice(members).send(ClientFrame.PRESENCE, {"cursor": rng.random(), "hand": rng.random() < 0.5})
        await asyncio.sleep(PAUSE)
    return lambda: sum(person.frames for person in people)


def memory(servers: list[ServerProcess]) -> int:
    return sum(psutil.Process(server.pid).memory_info().rss for server in servers)


async def test_a_file_does_not_grow(tmp_path: Path, stack: AsyncExitStack) -> None:
    server = await stack.enter_async_context(ServerProcess(tmp_path))
    await move(stack, [server], SECONDS / 4)
    files = {file.name: file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()}
    before = memory([server])
    frames = await move(stack, [server], SECONDS * 3 / 4, first=1_000)
    assert frames() > SECONDS
    assert {file.name: file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()} == files
    assert await server.metric("roomful_updates_total") == 0
    assert memory([server]) - before < MOST_GROWTH


async def test_redis_keeps_nothing_of_it(tmp_path: Path, stack: AsyncExitStack) -> None:
    prefix = uuid4().hex
    options = (f"--redis={shared_redis().url}", f"--redis-prefix={prefix}")
    servers = [
        await stack.enter_async_context(ServerProcess(tmp_path / name, options=options)) for name in "ab"
    ]
    async with Redis.from_url(shared_redis().url, protocol=2) as admin:
        await move(stack, servers, SECONDS / 4)
        before = memory(servers)
        frames = await move(stack, servers, SECONDS * 3 / 4, first=1_000)
        assert frames() > SECONDS
        keys = {key.decode() async for key in admin.scan_iter(f"{prefix}:*")}
        assert keys == set(node_keys(prefix))
        assert memory(servers) - before < MOST_GROWTH
