"""The rooms in Redis that nobody has written to for long, and how they leave it.

What stays of a room is its hash: the offset where its numbering stands, and the key of the object that holds
its snapshot. Appends go on without the snapshot; loading fetches it (log_redis.py).

An object that is not put yet is named in the hash, and named there until it is deleted. So whatever ends the
process in between leaves no object that nothing names, unless Redis itself comes back older.
"""

import re
from collections.abc import AsyncGenerator
from importlib import resources

from redis.asyncio import Redis

from .log import Position
from .redis_keys import room_keys

_PAGE = 100
"""Keys asked for in one command: a fraction of a millisecond of Redis' time."""


class OldRooms:
    """The rooms under ``prefix`` to which nobody has written for ``unwritten`` seconds.

    One that somebody has opened in the last ``untouched`` seconds is not old, nor is one then that Redis has
    loaded since. All methods raise RedisError.
    """

    def __init__(self, redis: Redis, prefix: str, *, unwritten: float, untouched: float) -> None:
        self._redis = redis
        self._prefix = prefix
        self._unwritten = unwritten
        self._untouched = untouched
        self._storing, self._stored = (
            redis.register_script(resources.files(__package__).joinpath("lua", name).read_text("utf-8"))
            for name in ("storing.lua", "stored.lua")
        )

    async def pages(self) -> AsyncGenerator[list[str], None]:
        """Yield the names of rooms that may be old, a page at a time; a name may come twice."""
        start = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix)
        ours = re.compile(re.escape(self._prefix) + r":\{\d+\}:(?:log|snapshot):(.+)", re.DOTALL)
        names: set[str] = set()
        async for key in self._redis.scan_iter(match=f"{start}:{{*}}:[ls]*", count=_PAGE):
            if found := ours.fullmatch(key.decode(errors="replace")):
                names.add(found[1])
            if len(names) == _PAGE:
                yield await self._untouched_of(names)
                names = set()
        yield await self._untouched_of(names)

    async def begin(self, room: str, key: str) -> Position | None:
        """Name the object that the snapshot of an old room will be, and return up to where it must reach.

        Returns None when the room is not old, or has nothing left in Redis.
        """
        keys = room_keys(self._prefix, room)[:3]
        at = await self._storing(keys=list(keys), args=[key, self._unwritten, self._untouched])
        return None if at is None else Position(at[0].decode(), at[1])

    async def end(self, room: str, at: Position, key: str) -> list[str] | None:
        """Let the object stand for all that Redis has of the room.

        Returns the keys of objects to delete; None, and nothing is done, when the room has changed since.
        """
        keys = room_keys(self._prefix, room)[:3]
        unneeded = await self._stored(keys=list(keys), args=[at.epoch, at.offset, key])
        return None if unneeded is None else [each.decode() for each in unneeded]

    async def deleted(self, room: str, keys: list[str]) -> None:
        """Say that objects are gone, so that the room need not name them."""
        if keys:
            await self._redis.hdel(room_keys(self._prefix, room).room, *(f"unneeded:{key}" for key in keys))

    async def _untouched_of(self, names: set[str]) -> list[str]:
        """Return those that nobody has touched lately. To ask touches none of them."""
        asked = sorted(names)
        pipeline = self._redis.pipeline(transaction=False)
        for name in asked:
            pipeline.object("IDLETIME", room_keys(self._prefix, name).room)
        idle = await pipeline.execute()
        return [
            name
            for name, seconds in zip(asked, idle, strict=True)
            if seconds is not None and seconds >= self._untouched
        ]
