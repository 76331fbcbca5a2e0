"""A Redis that comes back with less than it had: restored from an older state, or a replica that lagged."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from roomful.crdt.log_redis import RedisLog
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
