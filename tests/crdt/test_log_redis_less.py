"""A Redis that comes back with less than it had: restored from an older state, or a replica that lagged."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from roomful.crdt.compression import pack
from roomful.crdt.log import Position, Stale
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.redis_keys import room_keys
from tests.contract.backends import Writer
from tests.crdt.ear import Ear
from tests.redis_process import RedisProcess
from tests.waiting import until


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis", ["--appendfsync", "always"])
    redis.start()
    yield redis
    redis.kill()


async def test_whoever_heard_an_entry_that_another_has_taken_the_place_of_is_told_to_read_again(
    redis: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other is back first.
    monkeypatch.setattr("roomful.crdt.redis_channels._RETRY_SECONDS", 1.0)
    ear = Ear()
    async with RedisLog(redis.url) as log:
        await log.open("room")
        log.follow("room", ear)
        writer = Writer(log)
        await writer.write("room", b"kept")
        shutil.copytree(redis.folder, tmp_path / "older")
        await writer.write("room", b"lost")
        await until(lambda: len(ear.updates) == 2)
        redis.kill()
        shutil.rmtree(redis.folder)
        (tmp_path / "older").rename(redis.folder)
        redis.start()
        async with RedisLog(redis.url) as other:
            await Writer(other).write("room", b"in its place")
            await until(lambda: ear.missed_times == 1)
            history = await log.open("room")
            assert history.entries == [b"kept", b"in its place"]


async def test_whoever_has_not_noticed_yet_can_put_no_snapshot_in_the_place_of_what_others_wrote_since(
    redis: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other is back first, and the one that folds has heard nothing yet.
    monkeypatch.setattr("roomful.crdt.redis_channels._RETRY_SECONDS", 2.0)
    async with RedisLog(redis.url) as log:
        ear = Ear()
        await log.open("room")
        log.follow("room", ear)
        writer = Writer(log)
        await writer.write("room", b"kept")
        shutil.copytree(redis.folder, tmp_path / "older")
        upto = await writer.write("room", b"lost")
        await until(lambda: len(ear.updates) == 2)
        redis.kill()
        shutil.rmtree(redis.folder)
        (tmp_path / "older").rename(redis.folder)
        redis.start()
        async with RedisLog(redis.url) as other:
            await Writer(other).write("room", b"in its place")
            with pytest.raises(Stale):
                await log.fold("room", upto, b"kept and lost")
            assert (await other.load("room")).entries == [b"kept", b"in its place"]
            assert ear.missed_times == 0


async def test_an_entry_sent_again_does_not_hide_that_the_one_before_it_is_another(
    redis: RedisProcess,
) -> None:
    """Its writer has had no answer; the same bytes come into the same place, behind somebody else's."""
    keys = room_keys("roomful", "room")
    async with RedisLog(redis.url) as log, Redis.from_url(redis.url) as admin:
        sha = log._scripts.sha("append")

        async def append(writer: str, number: int, update: bytes) -> None:
            news = (keys.news, 0, "")
            await admin.evalsha(sha, 2, keys.room, keys.log, writer, number, pack(update), 0, "life", *news)

        await append("ann", 1, b"kept")
        before = [await admin.dump(key) for key in keys[:2]]
        await append("bob", 1, b"lost")
        await append("eve", 1, b"sent again")
        ear = Ear()
        await log.open("room")
        log.follow("room", ear)
        for key, dump in zip(keys[:2], before, strict=True):
            assert dump is not None
            await admin.restore(key, 0, dump, replace=True)
        await append("joe", 1, b"in its place")
        await append("eve", 1, b"sent again")
        await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        await until(lambda: ear.missed_times == 1)


async def test_whoever_was_loaded_where_a_snapshot_ends_notices_that_it_is_not_there_any_more(
    redis: RedisProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful.crdt.redis_channels._RETRY_SECONDS", 1.0)
    async with RedisLog(redis.url) as log:
        writer = Writer(log)
        await writer.write("room", b"kept")
        shutil.copytree(redis.folder, tmp_path / "older")
        upto = await writer.write("room", b"lost")
        await log.fold("room", upto, b"kept and lost")
        ear = Ear()
        assert (await log.open("room")).entries == []
        log.follow("room", ear)
        redis.kill()
        shutil.rmtree(redis.folder)
        (tmp_path / "older").rename(redis.folder)
        redis.start()
        async with RedisLog(redis.url) as other:
            theirs = Writer(other)
            await theirs.write("room", b"in its place")
            with pytest.raises(Stale):
                await log.fold("room", upto, b"kept and lost")
            await theirs.write("room", b"and one more")
            await until(lambda: ear.missed_times == 1)
        assert (await log.open("room")).entries == [b"kept", b"in its place", b"and one more"]


async def test_entries_that_a_snapshot_stands_for_are_passed_over_when_they_are_still_there(
    redis: RedisProcess,
) -> None:
    async with RedisLog(redis.url) as log:
        writer = Writer(log)
        for update in (b"one", b"two", b"three"):
            await writer.write("room", update)
        async with RedisLog(redis.url) as other:
            await other.fold("room", Position((await log.load("room")).epoch, 2), b"one and two")
        # As a Redis does it that has lost the trimming to power loss.
        keys = room_keys("roomful", "room")
        async with Redis.from_url(redis.url) as admin:
            await admin.delete(keys.log)
            for offset, update in enumerate((b"one", b"two", b"three"), 1):
                await admin.xadd(
                    keys.log, {"w": "me", "n": offset, "u": pack(update), "t": "1.0"}, f"{offset}-0"
                )
        history = await log.open("room")
        assert (history.entries, history.position.offset) == ([b"three"], 3)
