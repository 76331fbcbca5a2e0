"""What a Redis server is and promises, as its own words say: asked once, when a log is opened."""

import contextlib
from typing import Any, Final, NamedTuple, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from .log import LogUnusable

_OLDEST: Final = (7, 0)


class Survey(NamedTuple):
    """``version`` of Redis (or the one that another server is compatible with), what survives its death
    (``fsync``: "always", "everysec", "no", or "none" without an append-only file; "unknown" where it may not
    be asked), and what happens when its memory is full (``eviction``; "noeviction" is what a log needs).
    """

    version: str
    fsync: str
    eviction: str

    @classmethod
    async def of(cls, redis: Redis) -> Self:
        """Ask a server. Raises LogUnusable when it is too old, and RedisError or OSError."""
        said: dict[str, Any] = await redis.info()
        version = str(said.get("redis_version", "0.0"))
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
            raise LogUnusable(f"Redis {version} is too old; Roomful needs 7.0 or newer")
        fsync = "none"
        if said.get("aof_enabled"):
            fsync = "unknown"
            # Managed services let nobody ask.
            with contextlib.suppress(RedisError):
                fsync = str((await redis.config_get("appendfsync"))["appendfsync"])
        # Without a bound on its memory nothing is evicted.
        eviction = said.get("maxmemory_policy", "unknown") if said.get("maxmemory") else "noeviction"
        return cls(version, fsync, eviction)

    @property
    def warnings(self) -> list[str]:
        """What an operator should know before people write."""
        found = []
        if self.fsync == "none":
            found.append("Redis has no append-only file: documents are lost when it ends")
        if self.eviction not in ("noeviction", "unknown"):
            found.append(f"Redis may evict rooms: maxmemory-policy is {self.eviction}, not noeviction")
        return found
