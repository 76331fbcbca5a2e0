"""Leases on a real Redis: who is there, who has gone, and what happens while Redis is away."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from roomful.crdt.redis_keys import node_keys
from roomful.crdt.redis_servers import servers
from roomful.server.cluster import nodes as module
from roomful.server.cluster.nodes import Nodes
from roomful.server.cluster.view import Process, View
from roomful.server.metrics import Metrics
from tests.redis_process import RedisProcess, shared_redis
from tests.waiting import until, until_equal

LEASE = 0.6


class Member:
    """A process with its lease. ``view`` and ``ready`` are what it heard last."""

    def __init__(self, redis: RedisProcess, prefix: str, name: str, url: str = "") -> None:
        self.process = Process(name, url or f"http://{name}", 1, 1_000.0)
        self.metrics = Metrics()
        self.is_ready = True
        self.view = View.of(())
        self.ready: frozenset[str] = frozenset()
        self.processes: frozenset[str] = frozenset()
        self.times_heard = 0
        self.nodes = Nodes(
            servers(redis.url), prefix, self.process, lambda: self.is_ready, self._heard, self.metrics
        )

    def _heard(self, view: View, ready: frozenset[str], processes: frozenset[str]) -> None:
        self.view, self.ready, self.processes = view, ready, processes
        self.times_heard += 1

    def sees(self, *others: "Member") -> bool:
        return self.view == View.of(other.process for other in others)

    async def die(self) -> None:
        """Renew no more, and say nothing."""
        assert self.nodes._task is not None
        self.nodes._task.cancel()
        await asyncio.wait([self.nodes._task])
        self.nodes._task = None


@pytest.fixture(autouse=True)
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roomful.server.cluster.view.LEASE_SECONDS", LEASE)
    monkeypatch.setattr(module, "LEASE_SECONDS", LEASE)
    monkeypatch.setattr(module, "_RENEW_SECONDS", LEASE / 3)
    monkeypatch.setattr(module, "_RETRY_SECONDS", LEASE / 12)


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(4)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def members(
    stack: AsyncExitStack, prefix: str, names: str, redis: RedisProcess | None = None
) -> list[Member]:
    """Processes that all see each other."""
    all_of_them = [Member(redis or shared_redis(), prefix, name) for name in names]
    for member in all_of_them:
        await stack.enter_async_context(member.nodes)
    await until(lambda: all(member.sees(*all_of_them) for member in all_of_them))
    return all_of_them


async def test_who_joins_is_seen_by_all_within_a_renewal(stack: AsyncExitStack, prefix: str) -> None:
    a, b = await members(stack, prefix, "ab")
    with capture_logs() as lines:
        c = Member(shared_redis(), prefix, "c")
        await stack.enter_async_context(c.nodes)
        assert c.sees(a, b, c)
        await until(lambda: a.sees(a, b, c) and b.sees(a, b, c), within=LEASE)
    seen = [line for line in lines if line["event"] == "node joined" and line["url"] == "http://c"]
    assert len(seen) == 2
    assert (seen[0]["nodes"], seen[0]["view"]) == (3, c.view.hash)


async def test_who_leaves_is_gone_at_once_and_does_not_come_back(stack: AsyncExitStack, prefix: str) -> None:
    a, b = await members(stack, prefix, "ab")
    await b.nodes.leave()
    assert b.sees(a)
    changes = a.metrics.view_changes
    with capture_logs() as lines:
        await until(lambda: a.sees(a), within=LEASE)
        times = a.times_heard
        await until(lambda: a.times_heard > times + 3)
    assert a.sees(a)
    assert a.metrics.view_changes == changes + 1
    assert [line["event"] for line in lines] == ["node left"]


async def test_who_leaves_still_has_people_until_it_ends(prefix: str) -> None:
    a, b = Member(shared_redis(), prefix, "a"), Member(shared_redis(), prefix, "b")
    async with a.nodes:
        async with b.nodes:
            await until(lambda: a.sees(a, b))
            await b.nodes.leave()
            await until(lambda: a.sees(a))
            times = a.times_heard
            await until(lambda: a.times_heard > times + 3)
            assert a.processes == {"a", "b"}
        await until(lambda: a.processes == {"a"}, within=LEASE)


async def test_who_is_killed_is_gone_when_its_lease_has_lapsed(stack: AsyncExitStack, prefix: str) -> None:
    a, b = await members(stack, prefix, "ab")
    await b.die()
    died_at = asyncio.get_running_loop().time()
    await until(lambda: a.sees(a))
    assert LEASE / 2 < asyncio.get_running_loop().time() - died_at < 2 * LEASE + 0.5


async def test_processes_of_one_url_are_one_node_and_a_change_of_its_weight_is_told(
    stack: AsyncExitStack, prefix: str
) -> None:
    (a,) = await members(stack, prefix, "a")
    with capture_logs() as lines:
        worker = Member(shared_redis(), prefix, "worker", url=a.process.url)
        await stack.enter_async_context(worker.nodes)
        await until(lambda: a.sees(a, worker))
    assert [(member.name, member.weight) for member in a.view.members] == [("http://a", 2)]
    assert {"event": "node changed", "url": "http://a", "weight": 2} in [
        {key: line.get(key) for key in ("event", "url", "weight")} for line in lines
    ]


async def test_the_others_hear_who_is_not_ready(stack: AsyncExitStack, prefix: str) -> None:
    a, b = await members(stack, prefix, "ab")
    b.is_ready = False
    await until(lambda: a.ready == {"http://a"})
    assert a.sees(a, b)
    b.is_ready = True
    await until(lambda: a.ready == {"http://a", "http://b"})


@pytest.mark.parametrize("stop", ["kill", "pause"])
async def test_while_redis_is_away_the_last_view_stays_and_afterwards_nobody_was_gone(
    stack: AsyncExitStack, prefix: str, redis: RedisProcess, stop: str
) -> None:
    a, b = await members(stack, prefix, "ab", redis)
    changes = a.metrics.view_changes
    with capture_logs() as lines:
        getattr(redis, stop)()
        await until(lambda: len([line for line in lines if line["event"] == "lease lapsed"]) == 2)
        assert a.sees(a, b)
        redis.start() if stop == "kill" else redis.resume()
        await until(lambda: len([line for line in lines if line["event"] == "lease renewed"]) == 2)
        times = a.times_heard
        await until(lambda: a.times_heard > times + 4)
    assert a.sees(a, b)
    assert b.sees(a, b)
    assert a.metrics.view_changes == changes
    assert a.metrics.lease_lateness_seconds.sum > LEASE / 2
    assert {line["event"] for line in lines} == {"lease lapsed", "lease renewed"}


async def test_a_process_that_stood_still_is_told_and_takes_nobody_else_for_gone(
    stack: AsyncExitStack, prefix: str
) -> None:
    a, b = await members(stack, prefix, "ab")
    await b.die()
    async with Redis.from_url(shared_redis().url, protocol=2) as admin:
        with capture_logs() as lines:
            await admin.delete(node_keys(prefix)[0])
            await until(lambda: len(lines) == 2)
            assert a.sees(a, b)
            await until(lambda: a.sees(a))
    assert [line["event"] for line in lines] == ["lease lapsed", "lease renewed", "node left"]


async def test_a_redis_that_answers_nothing_does_not_hold_up_who_leaves(
    stack: AsyncExitStack, prefix: str, redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAVE_SECONDS", 0.2)
    monkeypatch.setattr(module, "_RENEW_SECONDS", 60)
    a = Member(redis, prefix, "a")
    await stack.enter_async_context(a.nodes)
    redis.pause()
    async with asyncio.timeout(1):
        await a.nodes.leave()


async def test_a_redis_that_is_not_there_at_the_start_is_waited_for(
    stack: AsyncExitStack, prefix: str, redis: RedisProcess
) -> None:
    redis.kill()
    a = Member(redis, prefix, "a")
    with capture_logs() as lines:
        await stack.enter_async_context(a.nodes)
        redis.start()
        await until(lambda: a.sees(a))
    assert [line["event"] for line in lines] == ["lease lapsed", "lease renewed"]


async def test_a_clock_of_redis_that_was_set_back_keeps_no_dead_process_alive(
    stack: AsyncExitStack, prefix: str
) -> None:
    a, b = await members(stack, prefix, "ab")
    await b.die()
    async with Redis.from_url(shared_redis().url, protocol=2) as admin:
        await admin.zadd(node_keys(prefix)[0], {"b": 4e12})
        await until(lambda: a.sees(a), within=3 * LEASE)


async def test_what_can_not_be_read_is_told_once_and_passed_over(stack: AsyncExitStack, prefix: str) -> None:
    (a,) = await members(stack, prefix, "a")
    async with Redis.from_url(shared_redis().url, protocol=2) as admin:
        with capture_logs() as lines:
            await admin.hset(node_keys(prefix)[1], "strange", "no JSON")
            await admin.zadd(node_keys(prefix)[0], {"strange": 4e12})
            times = a.times_heard
            await until(lambda: a.times_heard > times + 2)
    assert a.sees(a)
    assert [line["event"] for line in lines] == ["a lease can't be read"]


async def test_when_all_have_gone_nothing_stays_in_redis(stack: AsyncExitStack, prefix: str) -> None:
    a, b = await members(stack, prefix, "ab")
    async with Redis.from_url(shared_redis().url, protocol=2) as admin:
        assert len(await admin.keys(f"{prefix}:*")) == 2
        await a.die()
        await b.die()

        async def kept() -> object:
            return await admin.keys(f"{prefix}:*")

        await until_equal(kept, [], within=3 * LEASE)
