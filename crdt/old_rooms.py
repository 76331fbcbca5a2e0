"""The rooms in Redis that nobody has written to for long, and how they leave it.

What stays of a room is its hash: the offset where its numbering stands, and the key of the object that holds
its snapshot. Appends go on without the snapshot; loading fetches it (log_redis.py).

An object that is not put yet is named in the hash, and named there until it is deleted. So whatever ends the
process in between leaves no object that nothing names, unless Redis itself comes back older.
"""

import re
from collections.abc import AsyncGenerator
from typing import Any, Final

from redis.asyncio import Redis

from .log import Position
from .redis_keys import FORGET_SECONDS, partition_of, room_keys
from .redis_scripts import Scripts
from .redis_servers import Servers

_PAGE: Final = 100
"""Keys asked for in one command: a fraction of a millisecond of Redis' time."""


class OldRooms:
    """The rooms under ``prefix`` to which nobody has written for ``unwritten`` seconds.

    One that somebody has opened in the last ``untouched`` seconds is not old, nor is one then that Redis has
    loaded since.
    """

    def __init__(
        self, servers: Servers, scripts: Scripts, prefix: str, *, unwritten: float, untouched: float
    ) -> None:
        self._servers = servers
        self._scripts = scripts
        self._prefix = prefix
        self._unwritten = unwritten
        self._untouched = untouched

    async def pages(self) -> AsyncGenerator[list[str], None]:
        """Yield the names of rooms that may be old, a page at a time; a name may come twice.

        Raises RedisError or OSError. A room on its way between servers of a Cluster may be left out.
        """
        start = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix)
        ours = re.compile(re.escape(self._prefix) + r":\{\d+\}:room:(.+)", re.DOTALL)
        for redis in self._servers.all():
            names: list[str] = []
            async for key in redis.scan_iter(match=f"{start}:{{*}}:room:*", count=_PAGE):
                if found := ours.fullmatch(key.decode(errors="replace")):
                    names.append(found[1])
                if len(names) == _PAGE:
                    yield await self._untouched_of(redis, names)
                    names = []
            yield await self._untouched_of(redis, names)

    async def begin(self, room: str, key: str) -> Position | None:
        """Name the object that the snapshot of an old room will be, and return up to where it must reach.

        Returns None when the room is not old, or has nothing left in Redis. Raises LogError.
        """
        at = await self._run("storing", room, key, self._unwritten, self._untouched)
        return None if at is None else Position(at[0].decode(), at[1])

    async def end(self, room: str, at: Position, key: str) -> list[str] | None:
        """Let the object stand for all that Redis has of the room.

        Returns the keys of objects to delete; None, and nothing is done, when the room has changed since.
        Raises LogError.
        """
        unneeded = await self._run("stored", room, at.epoch, at.offset, key, FORGET_SECONDS)
        return None if unneeded is None else [each.decode() for each in unneeded]

    async def deleted(self, room: str, keys: list[str]) -> None:
        """Say that objects are gone, so that the room need not name them. Raises LogError."""
        if keys:
            await self._run("deleted", room, *keys)

    async def _run(self, script: str, room: str, *args: Any) -> Any:
        keys = room_keys(self._prefix, room)[:2]
        return await self._scripts.run(script, partition_of(room), keys, args)

    async def _untouched_of(self, redis: Redis, names: list[str]) -> list[str]:
        """Return those that nobody has touched lately. To ask touches none of them."""
        pipeline = redis.pipeline(transaction=False)
        for name in names:
            pipeline.object("IDLETIME", room_keys(self._prefix, name).room)
        idle = await pipeline.execute(raise_on_error=False)
        return [
            name
            for name, seconds in zip(names, idle, strict=True)
            if isinstance(seconds, int) and seconds >= self._untouched
        ]
