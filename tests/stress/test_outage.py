"""Redis goes away under a crowd that types on two servers, and comes back.

``OUTAGE_SECONDS`` says for how long (3), ``OUTAGE_SEED`` repeats a run's decisions (not its timing).
``make outage`` takes a minute and prints the figures.
"""

import asyncio
import os
import random
import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.documents import differences
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess

SECONDS = float(os.environ.get("OUTAGE_SECONDS", "3"))
SEED = int(os.environ.get("OUTAGE_SEED", secrets.randbits(32)))
PEOPLE = 200
ROOMS = 8
KEYSTROKES = 60
"""A second, of all people together."""
HEALED_WITHIN = 10.0
"""Until every client holds everything; after a long outage most of it is the clients' own work."""
NOTICED_AFTER = 6.5
"""How long a Redis that answers nothing must do so for servers to call it lost."""

pytestmark = pytest.mark.slow


class Crowd:
    """People on two servers, both protocols in each room of each."""

    def __init__(self, nodes: list[ServerProcess], rng: random.Random) -> None:
        self.nodes = nodes
        self.rooms: list[list[PycrdtClient]] = [[] for _ in range(ROOMS)]
        self.people: list[PycrdtClient] = []
        self._rng = rng
        self._typing = True
        self._task: asyncio.Task[None] | None = None

    async def enter(self, stack: AsyncExitStack) -> None:
        for number in range(PEOPLE):
            at = number % ROOMS
            client = PycrdtClient(DIALECTS[number // ROOMS % 2], f"room {at}")
            stack.push_async_callback(client.drop)
            await client.connect(self.nodes[number // ROOMS // 2 % 2].port)
            self.rooms[at].append(client)
            self.people.append(client)
        for client in self.people:
            await client.synchronised()

    def start(self) -> None:
        self._typing = True
        self._task = asyncio.create_task(self._type())

    async def stop(self) -> None:
        self._typing = False
        assert self._task is not None
        await self._task

    async def _type(self) -> None:
        began, typed = time.monotonic(), 0
        while self._typing:
            await asyncio.sleep(0.01)
            while typed < (time.monotonic() - began) * KEYSTROKES:
                typed += 1
                client = self._rng.choice(self.people)
                if self._rng.random() < 0.8:
                    client.type(self._rng.choice("etaoin shrdlu"))
                else:
                    client.edit(self._rng)

    def is_one(self) -> bool:
        """Whether everybody in each room holds the same, and everything has been acknowledged."""
        return all(
            first.replica.equals(other.replica) for first, *others in self.rooms for other in others
        ) and not any(client.unanswered for client in self.people if client.dialect is HOCUSPOCUS)

    def unanswered(self) -> int:
        return sum(client.unanswered for client in self.people if client.dialect is HOCUSPOCUS)

    async def assert_one(self) -> None:
        assert all(client.connected for client in self.people)
        for first, *others in self.rooms:
            document = first.replica.document()
            for other in others:
                assert not differences(document, other.replica.document())
                await asyncio.sleep(0)


async def sum_of(nodes: list[ServerProcess], metric: str) -> list[int]:
    return [int(await node.metric(metric)) for node in nodes]


async def outage(redis: RedisProcess, crowd: Crowd, kind: str) -> None:
    """Take Redis away while people type, give it back, and measure how long it takes until all is well."""
    if kind == "killed":
        take, give, seconds = redis.kill, redis.start, SECONDS
    else:
        take, give, seconds = redis.pause, redis.resume, max(SECONDS, NOTICED_AFTER)
    seen = [len(node.logs) for node in crowd.nodes]
    crowd.start()
    await asyncio.sleep(1)
    await asyncio.to_thread(take)
    await asyncio.sleep(seconds)
    held, unanswered = await sum_of(crowd.nodes, "roomful_log_backlog_entries"), crowd.unanswered()
    assert min(held) > 0
    assert unanswered > 0
    await asyncio.to_thread(give)
    back = time.monotonic()
    # They don't stop for it.
    await asyncio.sleep(1)
    await crowd.stop()
    while not crowd.is_one():
        assert time.monotonic() - back < HEALED_WITHIN, f"not healed {HEALED_WITHIN} s after the return"
        await asyncio.sleep(0.05)
    healed = time.monotonic() - back
    peaks = await sum_of(crowd.nodes, "roomful_log_backlog_peak_bytes")
    assert min(peaks) > 0
    assert await sum_of(crowd.nodes, "roomful_log_backlog_bytes") == [0, 0]
    for node, since in zip(crowd.nodes, seen, strict=True):
        told = [entry for entry in node.logs[since:] if entry["level"] in ("warning", "error")]
        events = [entry["event"] for entry in told]
        print(node.data.name, "logged", events)
        assert events.count("storage refuses") == 1
        assert len(events) <= 3, told
    print(
        f"{kind} for {seconds:g} s: held {held} entries, peak {peaks} bytes, {unanswered} updates unanswered;"
        f" healed {healed:.2f} s after the return"
    )


async def test_a_crowd_on_two_servers_loses_nothing_while_redis_is_away(
    redis: RedisProcess, tmp_path: Path
) -> None:
    print("seed", SEED)
    # Left with an error, it has the servers' logs printed.
    async with AsyncExitStack() as stack:
        await outages(redis, stack, tmp_path)


async def outages(redis: RedisProcess, stack: AsyncExitStack, tmp_path: Path) -> None:
    options = (f"--redis={redis.url}", "--fold-entries=100")
    nodes = [
        await stack.enter_async_context(ServerProcess(tmp_path / name, options=options))
        for name in ("one", "other")
    ]
    crowd = Crowd(nodes, random.Random(SEED))
    await crowd.enter(stack)
    for kind in ("killed", "paused"):
        await outage(redis, crowd, kind)
    await crowd.assert_one()
    # Nor is anything in the servers' memory alone.
    for node in nodes:
        await node.kill()
    await nodes[0].restart()
    for room in crowd.rooms:
        late = PycrdtClient(Y_WEBSOCKET, room[0].room)
        stack.push_async_callback(late.drop)
        await late.connect(nodes[0].port)
        await late.synchronised()
        assert not differences(late.replica.document(), room[0].replica.document())
