"""The log while Redis is away, refuses or does not answer, and when it is back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from roomful.crdt import redis_appender, redis_lane, redis_servers
from roomful.crdt.log import ENTRY_BYTES, LogError, LogUnusable, Position
from roomful.crdt.log_redis import RedisLog
from tests.contract.backends import Writer
from tests.redis_process import RedisProcess
from tests.waiting import until, until_equal


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis", ["--appendfsync", "always"])
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
async def log(redis: RedisProcess) -> AsyncIterator[RedisLog]:
    async with RedisLog(redis.url) as log:
        yield log


async def test_a_redis_that_is_not_there_at_the_start_is_waited_for(redis: RedisProcess) -> None:
    redis.kill()
    async with RedisLog(redis.url) as log:
        assert log.condition.reason.startswith("Redis: Error 111 connecting")
        with pytest.raises(LogError, match="Redis: Error 111 connecting"):
            await log.open("room")
        writer = Writer(log)
        writer.append("room", b"early")
        redis.start()
        await writer.settle()
        await until(lambda: not log.condition.failing)
        assert (await log.open("room")).entries == [b"early"]


@pytest.mark.parametrize(
    ("command", "url", "reason"),
    [
        (("CONFIG", "SET", "requirepass", "secret"), "", "[Aa]uthentication"),
        (("CONFIG", "SET", "requirepass", "secret"), "redis://:wrong@127.0.0.1:{port}/0", "password"),
        (("PING",), "redis://127.0.0.1:{port}/99", "DB index"),
        (("ACL", "SETUSER", "default", "-script"), "", "permission"),
    ],
)
async def test_a_redis_that_refuses_us_is_told_at_the_start(
    redis: RedisProcess, command: tuple[str, ...], url: str, reason: str
) -> None:
    async with Redis.from_url(redis.url, protocol=2) as admin:
        await admin.execute_command(*command)  # type: ignore[no-untyped-call]
    with pytest.raises(LogUnusable, match=reason):
        async with RedisLog(url.format(port=redis.port) or redis.url):
            pass


async def test_what_was_appended_while_redis_was_killed_goes_in_once_and_in_order(
    redis: RedisProcess, log: RedisLog
) -> None:
    writer = Writer(log)
    before = [b"%d" % number for number in range(200)]
    writer.append("room", *before[:100])
    await asyncio.sleep(0)
    redis.kill()
    writer.append("room", *before[100:])
    await until(lambda: log.condition.failing)
    assert log.backlog_bytes > 0
    redis.start()
    await writer.settle()
    assert not log.condition.failing
    assert log.backlog_bytes == 0
    assert (await log.load("room")).entries == before
    assert [position.offset for *_, position in writer.durable] == list(range(1, 201))


async def test_a_redis_that_still_loads_its_file_is_as_good_as_away(tmp_path: Path) -> None:
    slowly = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]
    redis = RedisProcess(tmp_path / "redis", ["--appendfsync", "always", *slowly])
    redis.start()
    try:
        async with RedisLog(redis.url) as log:
            writer = Writer(log)
            for number in range(300):
                writer.append(f"room {number}", b"before")
            await writer.settle()
            async with Redis.from_url(redis.url, protocol=2) as admin:
                await admin.bgrewriteaof()
                await until_equal(partial(_rewriting, admin), 0)
            redis.kill()
            writer.append("room 0", b"meanwhile")
            await until(lambda: log.condition.failing)
            starting = asyncio.create_task(asyncio.to_thread(redis.start))
            await until(lambda: "loading" in log.condition.reason, "loading")
            async with RedisLog(redis.url) as other:
                assert "loading" in other.condition.reason
                await writer.settle()
                await until(lambda: not other.condition.failing)
                assert (await other.load("room 0")).entries == [b"before", b"meanwhile"]
            await starting
    finally:
        redis.kill()


async def _rewriting(admin: Redis) -> int:
    status: int = (await admin.info("persistence"))["aof_rewrite_in_progress"]
    return status


async def test_a_redis_that_is_lost_is_noticed_though_nobody_writes(
    redis: RedisProcess, log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_lane, "LOOK_SECONDS", 0.05)
    await Writer(log).write("room", b"1")
    redis.kill()
    await until(lambda: log.condition.failing)
    since = log.condition.since
    redis.start()
    await until(lambda: not log.condition.failing)
    redis.kill()
    with pytest.raises(LogError, match="Redis"):
        await log.load("room")
    await until(lambda: log.condition.failing)
    assert log.condition.since > since


async def test_a_full_log_loses_nothing_of_what_it_was_given(redis: RedisProcess) -> None:
    async with RedisLog(redis.url, backlog_limit=1 << 20) as log:
        writer = Writer(log)
        await writer.write("room", b"before")
        redis.kill()
        updates = [b"%d" % number + bytes(number % 2_000) for number in range(2_000)]
        taken = 0
        while not log.full:
            writer.append(f"room {taken % 7}", updates[taken])
            taken += 1
        assert (log.backlog_entries, log.backlog_peak_bytes) == (taken, log.backlog_bytes)
        assert 1 << 20 < log.backlog_bytes < (1 << 20) + 2_000 + ENTRY_BYTES
        peak = log.backlog_bytes
        redis.start()
        await writer.settle()
        assert (log.full, log.backlog_entries, log.backlog_bytes, log.backlog_peak_bytes) == (
            False,
            0,
            0,
            peak,
        )
        for number in range(7):
            assert (await log.load(f"room {number}")).entries == updates[number:taken:7]


async def test_what_waits_goes_in_by_portions_that_a_slow_line_can_carry(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_appender, "_LARGEST_PIPELINE_BYTES", 3_000)
    sizes: list[int] = []
    async with RedisLog(redis.url, observe_commit=lambda _, entries: sizes.append(entries)) as log:
        writer = Writer(log)
        writer.append("room", *(bytes(size) for size in (900, 900, 5_000, 100, 100, 100)))
        await writer.settle()
        assert sizes == [2, 1, 3]


async def test_a_log_that_closes_while_redis_answers_nothing_does_not_wait_for_ever(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (redis_appender, redis_servers):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.3)
    async with RedisLog(redis.url) as log:
        writer = Writer(log)
        await writer.write("room", b"1")
        redis.pause()
        writer.append("room", b"2")
        await until(lambda: log.condition.failing)
        async with asyncio.timeout(3):
            await log.close()
    assert not writer.settled


async def test_a_log_that_closes_while_redis_is_lost_says_what_it_gives_up(
    redis: RedisProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    async with RedisLog(redis.url) as log:
        writer = Writer(log)
        await writer.write("room", b"1")
        redis.kill()
        writer.append("room", b"2", b"3")
        writer.append("other", b"4")
        await until(lambda: log.condition.failing)
        fold = asyncio.create_task(log.fold("room", Position("", 1), b"1"))
        await asyncio.sleep(0)
    said = capsys.readouterr().out
    assert "unacknowledged updates given up" in said
    assert "entries=3" in said
    assert "rooms=2" in said
    with pytest.raises(LogError, match="closed"):
        await fold
    assert len(writer.durable) == 1


async def test_a_redis_that_answers_nothing_for_a_while_is_not_written_to_twice(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (redis_appender, redis_servers):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.2)
    async with RedisLog(redis.url) as log:
        writer = Writer(log)
        await writer.write("room", b"1")
        redis.pause()
        writer.append("room", b"2", b"3")
        await until(lambda: log.condition.failing)
        writer.append("room", b"4")
        redis.resume()
        await writer.settle()
        assert (await log.load("room")).entries == [b"1", b"2", b"3", b"4"]


async def test_a_redis_that_answers_nothing_does_not_find_the_same_work_many_times_when_it_wakes_up(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (redis_appender, redis_servers):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    looks = 0
    async with RedisLog(redis.url) as log, Redis.from_url(redis.url, protocol=2) as admin:
        look = log._appender._look

        async def counted(lane: Any) -> None:
            nonlocal looks
            looks += 1
            await look(lane)

        monkeypatch.setattr(log._appender, "_look", counted)
        writer = Writer(log)
        await writer.write("room", b"first")
        redis.pause()
        writer.append("room", *(b"%d" % number for number in range(100)))
        await until(lambda: looks > 4)
        # Once it is awake, that a machine is slow is no reason to send it a third time.
        monkeypatch.undo()
        redis.resume()
        await writer.settle()
        statistics = await admin.info("commandstats")
        assert statistics["cmdstat_evalsha"]["calls"] <= 1 + 2 * 100
