"""What is said to a room's other processes beside its stream: published once, and kept nowhere.

It goes over a connection of its own, so that no append ever waits for it. What can't be said for want of a
server is dropped: whoever listens finds out by itself what it has missed.
"""

import asyncio
import contextlib
from typing import Final

import msgpack
from redis.asyncio import Redis
from redis.exceptions import ClusterDownError, MovedError

from .redis_keys import partition_of, room_keys
from .redis_servers import FAILURES, Servers, distrust, exchange

_PACE_SECONDS: Final = 0.005
"""Between two pipelines to a server: a pipeline costs more than the messages in it."""
_RETRY_SECONDS: Final = 0.2
_CLOSE_SECONDS: Final = 1.0
_MOST_BYTES: Final = 4 << 20
"""What may wait for a server; it is never more than a few milliseconds' worth while the server is there."""


class _Outbox:
    """What waits for one server, and the task that sends it, while there is something."""

    __slots__ = ("size", "task", "waiting")

    def __init__(self) -> None:
        self.waiting: list[tuple[str, str, bytes]] = []
        self.size = 0
        self.task: asyncio.Task[None] | None = None


class Teller:
    """Publishes on the rooms' news channels. ``untold`` counts what was dropped."""

    def __init__(self, servers: Servers, prefix: str, writer: str) -> None:
        self.untold = 0
        self._servers = servers
        self._prefix = prefix
        self._writer = writer
        self._outboxes: dict[Redis, _Outbox] = {}
        self._closing = False

    def tell(self, room: str, message: bytes) -> None:
        """Say something to all others that listen to a room."""
        redis = self._servers.of(partition_of(room))
        outbox = self._outboxes.get(redis)
        if outbox is None:
            outbox = self._outboxes[redis] = _Outbox()
        if self._closing or outbox.size + len(message) > _MOST_BYTES:
            self.untold += 1
            return
        # An entry's news is an array of four (append.lua).
        packed = msgpack.packb((self._writer, message))
        outbox.waiting.append(("SPUBLISH", room_keys(self._prefix, room).news, packed))
        outbox.size += len(message)
        if outbox.task is None:
            outbox.task = asyncio.create_task(self._send(redis, outbox))

    async def close(self) -> None:
        """Say what waits, where that is quickly done."""
        self._closing = True
        tasks = [outbox.task for outbox in self._outboxes.values() if outbox.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _send(self, redis: Redis, outbox: _Outbox) -> None:
        try:
            while outbox.waiting:
                waiting, outbox.waiting, outbox.size = outbox.waiting, [], 0
                pause = _PACE_SECONDS
                try:
                    answers = await exchange(redis, waiting)
                except FAILURES as error:
                    self.untold += len(waiting)
                    await distrust(redis, error)
                    pause = _RETRY_SECONDS
                else:
                    refusals = [answer for answer in answers if isinstance(answer, Exception)]
                    self.untold += len(refusals)
                    if any(isinstance(each, (MovedError, ClusterDownError)) for each in refusals):
                        with contextlib.suppress(*FAILURES):
                            await self._servers.refresh()
                if not self._closing:
                    await asyncio.sleep(pause)
        finally:
            outbox.task = None
            if redis not in self._servers.all():
                self._outboxes.pop(redis, None)
