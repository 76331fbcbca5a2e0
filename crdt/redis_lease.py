"""A lease in Redis: one process at a time does what all could do."""

import secrets
from importlib import resources

from redis.asyncio import Redis


class Lease:
    """One attempt to hold ``key``; another one, of this process too, is somebody else's.

    It spares work. Whoever has been paused for longer than it lasts believes to hold it still, so what is
    done under it must be right when two do it.
    """

    def __init__(self, redis: Redis, key: str) -> None:
        self._key = key
        self._holder = secrets.token_hex(8)
        script = resources.files(__package__).joinpath("lua", "hold.lua").read_text("utf-8")
        self._hold = redis.register_script(script)

    async def hold(self, seconds: float) -> bool:
        """Take it, or hold it for so much longer from now. Returns whether it is held. Raises RedisError."""
        return bool(await self._hold(keys=[self._key], args=[self._holder, max(1, round(seconds * 1000))]))
