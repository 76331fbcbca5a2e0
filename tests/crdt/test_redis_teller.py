"""What is told beside a room's stream while Redis is there, and while it is not; and when others speak."""

import msgpack
import pytest
from redis.asyncio import Redis

from roomful.crdt import redis_teller as module
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.redis_keys import room_keys
from tests.contract.backends import Writer
from tests.crdt.ear import Ear
from tests.redis_process import RedisProcess
from tests.waiting import until

CHANNEL = room_keys("roomful", "room").news


async def follow(log: RedisLog) -> Ear:
    ear = Ear()
    await log.open("room")
    log.follow("room", ear)
    return ear


async def test_what_is_told_while_redis_is_lost_is_dropped_and_counted_and_delays_no_entry(
    redis: RedisProcess,
) -> None:
    async with RedisLog(redis.url) as log, RedisLog(redis.url) as other:
        ear, own, writer = await follow(other), await follow(log), Writer(log)
        redis.kill()
        writer.append("room", b"1")
        for number in range(100):
            log.tell("room", b"%d" % number)
        await until(lambda: log.untold == 100)
        assert log.backlog_entries == 1
        redis.start()
        await writer.settle()
        await until(lambda: ear.updates == [b"1"])
        await until(lambda: own.relinked_times > 0)
        log.tell("room", b"back")
        await until(lambda: b"back" in ear.messages)
        assert ear.messages == [b"back"]


async def test_what_waits_for_a_server_that_says_nothing_is_bounded(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 1_000)
    async with RedisLog(redis.url) as log, RedisLog(redis.url) as other:
        ear = await follow(other)
        redis.pause()
        log.tell("room", b"on its way")
        await until(lambda: not any(outbox.waiting for outbox in log._teller._outboxes.values()))
        for _ in range(5):
            log.tell("room", bytes(300))
        assert log.untold == 2
        redis.resume()
        await until(lambda: len(ear.messages) == 4)


async def test_a_follower_is_told_that_it_may_have_missed_something(redis: RedisProcess) -> None:
    async with RedisLog(redis.url) as log, Redis.from_url(redis.url, protocol=2) as admin:
        ear = await follow(log)
        assert ear.relinked_times == 0
        await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        await until(lambda: ear.relinked_times == 1)


@pytest.mark.parametrize(
    "message",
    [b"", b"\xc1", b"\x92\xa1x", msgpack.packb(["x", 5]), msgpack.packb({"a": 1}), msgpack.packb(["x"] * 4)],
)
async def test_what_nobody_of_ours_has_published_stops_nobody(redis: RedisProcess, message: bytes) -> None:
    async with (
        RedisLog(redis.url) as log, RedisLog(redis.url) as other, Redis.from_url(redis.url) as admin,
    ):  # fmt: skip
        ear = await follow(other)
        await admin.execute_command("SPUBLISH", CHANNEL, message)  # type: ignore[no-untyped-call]
        await Writer(log).write("room", b"1")
        log.tell("room", b"told")
        await until(lambda: (ear.updates, ear.messages) == ([b"1"], [b"told"]))
