"""Which Redis is waited for, and which is refused."""

from typing import Any

import pytest
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from roomful.crdt.redis_greeting import greet, may_come, words


class Greeted:
    def __init__(self, version: str | None) -> None:
        self._version = version

    async def info(self, section: str) -> dict[str, str]:
        assert section == "server"
        if self._version is None:
            raise NoPermissionError("this user has no permissions to run the 'info' command")
        return {"redis_version": self._version}


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.10.1", None])
async def test_a_redis_from_version_7_on_will_do(version: str | None) -> None:
    redis: Any = Greeted(version)
    await greet(redis)


@pytest.mark.parametrize("version", ["6.2.14", "5.0.7"])
async def test_an_older_redis_is_refused_and_not_waited_for(version: str) -> None:
    redis: Any = Greeted(version)
    with pytest.raises(ResponseError, match=f"it is version {version}, and 7.0 is needed") as caught:
        await greet(redis)
    assert not may_come(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "refused"),
        TimeoutError(),
        BusyLoadingError("Redis is loading the dataset in memory"),
        ClusterDownError("Hash slot not served"),
        MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        ResponseError("BUSY Redis is busy running a script."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_that_is_away_or_not_ready_is_waited_for(error: RedisError | OSError) -> None:
    assert may_come(error)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("invalid username-password pair"),
        AuthorizationError("no"),
        NoPermissionError("no"),
        ResponseError("DB index is out of range"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_that_refuses_us_is_not_waited_for(error: RedisError) -> None:
    assert not may_come(error)


def test_an_error_without_words_is_named() -> None:
    assert words(TimeoutError()) == "Redis: TimeoutError"
    assert words(ReadOnlyError("You can't write against a read only replica.")).startswith("Redis: You can't")
