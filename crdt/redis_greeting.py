"""Whether a Redis will do, and whether one that does not do now is worth waiting for."""

import contextlib

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    NoPermissionError,
    ResponseError,
    TryAgainError,
)

_OLDEST = 7


async def greet(redis: Redis) -> None:
    """Make sure that Redis is there and new enough. Raises RedisError or OSError."""
    # A user that may not ask is believed to have chosen well.
    with contextlib.suppress(NoPermissionError):
        version = str((await redis.info("server"))["redis_version"])
        if int(version.partition(".")[0]) < _OLDEST:
            raise ResponseError(f"it is version {version}, and {_OLDEST}.0 is needed")


def may_come(error: Exception) -> bool:
    """Whether Redis is only away, loading or busy. Else it refuses us, and waiting does not help."""
    if isinstance(error, AuthenticationError | AuthorizationError):
        return False
    if isinstance(error, ClusterDownError | TryAgainError) or str(error).startswith("BUSY"):
        return True
    return not isinstance(error, ResponseError)


def words(error: Exception) -> str:
    """Return what an error says; a timeout says nothing but its name."""
    return f"Redis: {str(error) or type(error).__name__}"
