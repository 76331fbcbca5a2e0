"""What a Redis server is and promises, as its own words say: asked once, when a log is opened."""

import contextlib
from typing import Any, NamedTuple, Self

from redis.asyncio import Redis
from redis.exceptions import ResponseError


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
        """Ask a server. Raises RedisError or OSError."""
        said: dict[str, Any] = {}
        fsync, eviction = "unknown", "unknown"
        # Not every user may ask, and managed services let nobody see some of it.
        with contextlib.suppress(ResponseError):
            said = await redis.info()
            # Without a bound on its memory nothing is evicted.
            eviction = said.get("maxmemory_policy", "unknown") if said.get("maxmemory") else "noeviction"
            fsync = "none"
            if said.get("aof_enabled"):
                fsync = "unknown"
                fsync = str((await redis.config_get("appendfsync"))["appendfsync"])
        return cls(str(said.get("redis_version", "unknown")), fsync, eviction)

    @property
    def warnings(self) -> list[str]:
        """What an operator should know before people write."""
        found = []
        if self.fsync == "none":
            found.append("Redis has no append-only file: documents are lost when it ends")
        if self.eviction not in ("noeviction", "unknown"):
            found.append(f"Redis may evict rooms: maxmemory-policy is {self.eviction}, not noeviction")
        return found
