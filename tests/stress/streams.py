"""Looks into the rooms' streams in Redis while they are written: no hole, nothing twice."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from roomful.crdt.redis_keys import node_keys, room_keys

PREFIX = "roomful"
_EVERY_SECONDS = 0.3


class Streams:
    """What has been seen of each room: at which offset of which epoch a writer's entry is."""

    def __init__(self, url: str, rooms: Sequence[str]) -> None:
        self._redis: Redis = Redis.from_url(url, protocol=2, socket_timeout=1.0)
        self._rooms = rooms
        self._places: dict[tuple[str, str, bytes, int], int] = {}
        self.looks = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def watch(self) -> None:
        """Look again and again, whenever Redis answers."""
        while True:
            try:
                for room in self._rooms:
                    await self.look(room)
            except (RedisError, OSError):
                pass
            await asyncio.sleep(_EVERY_SECONDS)

    async def look(self, room: str) -> list[tuple[bytes, int]]:
        """Check a stream against all that was seen before. Returns each entry's writer and number."""
        keys = room_keys(PREFIX, room)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(keys.room, "epoch", "folded", "last")
            pipeline.xrange(keys.log)
            (epoch, folded, last), entries = await pipeline.execute()
        self.looks += 1
        first = int(folded or 0) + 1
        # What a snapshot stands for may be there still, after Redis did half of a fold (see load.lua).
        entries = [
            (entry_id, fields) for entry_id, fields in entries if int(entry_id.split(b"-")[0]) >= first
        ]
        ids = [entry_id.decode() for entry_id, _ in entries]
        assert ids == [f"{offset}-0" for offset in range(first, int(last or 0) + 1)], (
            f"{room}: folded {folded}, last {last}, {ids}"
        )
        numbers: list[tuple[bytes, int]] = [(fields[b"w"], int(fields[b"n"])) for _, fields in entries]
        for offset, (writer, number) in enumerate(numbers, first):
            place = self._places.setdefault((room, epoch, writer, number), offset)
            assert place == offset, f"{room}: entry {number} of {writer!r} is at {place} and at {offset}"
        return numbers

    async def leases(self) -> int:
        """Return how many servers hold a lease, or held one lately."""
        return int(await self._redis.zcard(node_keys(PREFIX)[0]))

    async def channels(self) -> list[Any]:
        """Return the news channels that anybody listens to."""
        return list(await self._redis.pubsub_shardchannels(f"{PREFIX}:*:news:*"))
