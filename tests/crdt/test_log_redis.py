"""The log on a real Redis that is killed, paused, cut off and restarted under it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from roomful.crdt.compression import pack
from roomful.crdt.log import LogError, Position
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.redis_keys import partition_of, room_keys
from roomful.crdt.redis_news import NOWHERE, News, Subscriber
from roomful.crdt.redis_servers import servers
from tests.contract.backends import SECONDS, Writer
from tests.crdt.ear import Ear
from tests.redis_process import RedisProcess
from tests.waiting import until


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


async def append(
    log: RedisLog, number: int, update: bytes, *, previous: int = 0, heard: Position = NOWHERE
) -> Any:
    """Run the script as a writer called ann would."""
    keys = room_keys("roomful", "room")
    args: list[Any] = ["ann", number, pack(update), previous, f"epoch {number}", keys.news]
    args += (heard.offset, heard.epoch)
    return await log._scripts.run("append", partition_of("room"), keys[:2], args)


async def test_an_append_that_is_sent_again_is_told_where_it_is_and_not_appended_twice(log: RedisLog) -> None:
    answers = [await append(log, number, b"%d" % number) for number in (1, 2, 3, 2, 1, 3)]
    assert [offset for _, offset in answers] == [1, 2, 3, 2, 1, 3]
    assert (await log.load("room")).entries == [b"1", b"2", b"3"]


async def test_an_append_that_was_folded_away_meanwhile_is_durable_nobody_knows_where(log: RedisLog) -> None:
    await append(log, 1, b"1")
    epoch, _ = await append(log, 2, b"2")
    await log.fold("room", Position(epoch.decode(), 2), b"1+2")
    assert await append(log, 1, b"1") == [epoch, 0]
    assert (await log.load("room")).entries == []


async def test_nothing_goes_in_after_an_append_that_was_refused(log: RedisLog) -> None:
    await append(log, 1, b"1")
    with pytest.raises(LogError, match="HOLE"):
        await append(log, 3, b"3", previous=2)
    assert (await log.load("room")).entries == [b"1"]
    await append(log, 2, b"2")
    await append(log, 3, b"3", previous=2)
    assert (await log.load("room")).entries == [b"1", b"2", b"3"]


async def test_a_writer_that_knows_of_more_than_redis_begins_a_new_epoch(log: RedisLog) -> None:
    """Redis was restored from an older state, which has neither entries 2 to 9 nor their writers' counts."""
    old, _ = await append(log, 1, b"1")
    new, offset = await append(log, 7, b"7", heard=Position(old.decode(), 9))
    assert (offset, new != old) == (2, True)
    history = await log.load("room")
    assert (history.position, history.entries) == (Position(new.decode(), 2), [b"1", b"7"])
    # Once is enough: what is known of the old epoch says nothing of the new one.
    assert await append(log, 8, b"8", heard=Position(old.decode(), 9)) == [new, 3]


async def test_rooms_that_are_opened_at_once_are_all_heard(log: RedisLog) -> None:
    """Before there was a connection to hear by."""
    names = [f"room {number}" for number in range(20)]
    ears = {name: Ear() for name in names}
    await asyncio.gather(*map(log.open, names))
    for name, ear in ears.items():
        log.follow(name, ear)
        Writer(log).append(name, b"1")
    await until(lambda: all(ear.updates == [None] for ear in ears.values()))


async def test_a_follower_that_is_cut_off_again_and_again_hears_everything_once(
    redis: RedisProcess, log: RedisLog
) -> None:
    ear = Ear()
    async with RedisLog(redis.url) as other, Redis.from_url(redis.url, protocol=2) as admin:
        await log.open("room")
        log.follow("room", ear)
        writer = Writer(other)
        expected = []
        for number in range(60):
            update = b"%d" % number
            expected.append(update)
            await writer.write("room", update)
            if number % 10 == 5:
                await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        await until(lambda: len(ear.updates) == 60, "hearing", within=SECONDS)
        assert (ear.updates, ear.missed_times) == (expected, 0)


async def test_a_subscription_made_anew_while_the_stream_is_read_is_a_reason_to_read_it_again(
    redis: RedisProcess,
) -> None:
    reads: list[asyncio.Future[list[News]]] = []

    async def read(room: str, after: Position, newest: str | None) -> list[News]:
        reads.append(asyncio.get_running_loop().create_future())
        return await reads[-1]

    both = servers(redis.url)
    subscriber, ear = Subscriber(both, "roomful", "me", read), Ear()
    await subscriber.open("room")
    subscriber.loaded("room", NOWHERE, None)
    subscriber.follow("room", ear)
    channel = room_keys("roomful", "room").news
    subscriber.subscribed(channel)
    await until(lambda: len(reads) == 1)
    subscriber.subscribed(channel)
    reads[0].set_result([])
    await until(lambda: len(reads) == 2)
    reads[1].set_result([News("epoch", 1, "you", pack(b"1"), "1.0")])
    await until(lambda: ear.updates == [b"1"])
    await subscriber.close()
    await both.close()


async def test_a_follower_that_was_cut_off_while_the_room_was_folded_is_told(
    redis: RedisProcess, log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful.crdt.redis_news._RETRY_SECONDS", 0.5)
    ear = Ear()
    async with RedisLog(redis.url) as other, Redis.from_url(redis.url, protocol=2) as admin:
        await log.open("room")
        log.follow("room", ear)
        writer = Writer(other)
        await writer.write("room", b"1")
        await until(lambda: ear.updates == [b"1"])
        await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        position = await writer.write("room", b"2", b"3")
        await other.fold("room", position, b"1+2+3")
        await until(lambda: ear.missed_times > 0 or len(ear.updates) == 3, "an end", within=SECONDS)
        # Who was back before the fold has heard; who was not reads the room again.
        history = await log.open("room")
        assert (history.snapshot, history.entries) == (b"1+2+3", [])


async def test_a_room_released_while_it_is_mended_tells_nobody(log: RedisLog) -> None:
    ear = Ear()
    await log.open("room")
    log.follow("room", ear)
    await Writer(log).write("room", b"1")
    await until(lambda: ear.updates == [None])
    room = next(iter(log._subscriber._rooms.values()))
    for reset in (False, True):
        if reset:
            await log.reset("room")
        log._subscriber._mend(room)
        repair = room.repair
        assert repair is not None
        await asyncio.sleep(0)
        log.release("room")
        await repair
        assert (ear.updates, ear.missed_times) == ([None], 0)
        if not reset:
            await log.open("room")
            log.follow("room", ear)
            room = next(iter(log._subscriber._rooms.values()))
