"""What waits to be appended, and in which order it goes to which server."""

import asyncio
import time
from typing import Final

from redis.asyncio import Redis

from .compression import pack
from .log import ENTRY_BYTES, Condition, Durable
from .redis_keys import partition_of

LOOK_SECONDS: Final = 2.0
"""After so long without appends a server is asked whether it is there."""


class Entry:
    """An append on its way: ``number`` is this writer's count of its entries, ``previous`` that of the entry
    of its room before it in the same pipeline, or 0."""

    __slots__ = ("durable", "gone", "number", "packed", "partition", "previous", "room", "size")

    def __init__(self, room: str, number: int, update: bytes, durable: Durable) -> None:
        self.room = room
        self.partition = partition_of(room)
        self.number = number
        self.previous = 0
        self.packed = pack(update)
        self.size = len(update) + ENTRY_BYTES
        self.durable = durable
        self.gone: asyncio.Event | None = None


class Lane:
    """What goes to one server. ``partitions`` have entries for it, none of which is on its way."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.partitions: dict[int, float] = {}
        self.sent_at = 0.0
        self.some = asyncio.Event()
        self.condition = Condition()

    async def wait(self) -> None:
        """Wait for entries, or until it is time to look."""
        self.some.clear()
        look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self.some.set)
        try:
            await self.some.wait()
        finally:
            look.cancel()

    def refused(self, reason: str) -> None:
        since = self.condition.since if self.condition.failing else time.monotonic()
        self.condition = Condition(reason, since)
