"""What is said to a room's other processes beside its stream: published once, and kept nowhere.

It goes over a connection of its own, so that no append ever waits for it. What can't be said for want of a
server is dropped; when there is one again, the rooms are told whose messages these were.
"""

import asyncio
import contextlib
from collections.abc import Callable
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

    __slots__ = ("dropped", "redis", "size", "task", "waiting")

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.waiting: list[tuple[str, bytes]] = []
        self.size = 0
        # Rooms with messages that were never sent.
        self.dropped: set[str] = set()
        self.task: asyncio.Task[None] | None = None


class Teller:
    """Publishes on the rooms' news channels. ``untold`` counts what was dropped.

    ``missed`` is called with a room of which something was dropped, when its server answers again.
    """

    def __init__(self, servers: Servers, prefix: str, writer: str, missed: Callable[[str], None]) -> None:
        self.untold = 0
        self._servers = servers
        self._prefix = prefix
        self._writer = writer
        self._missed = missed
        self._outboxes: dict[Redis, _Outbox] = {}
        self._closing = False

    def tell(self, room: str, message: bytes) -> None:
        """Say something to all others that listen to a room."""
        redis = self._servers.of(partition_of(room))
        outbox = self._outboxes.get(redis)
        if outbox is None:
            outbox = self._outboxes[redis] = _Outbox(redis)
        if self._closing or outbox.size + len(message) > _MOST_BYTES:
            self.untold += 1
            outbox.dropped.add(room)
            return
        # An entry's news is an array of five (append.lua).
        outbox.waiting.append((room, msgpack.packb((self._writer, message))))
        outbox.size += len(message)
        if outbox.task is None:
            outbox.task = asyncio.create_task(self._send(outbox))

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

    async def _send(self, outbox: _Outbox) -> None:
        try:
            while outbox.waiting or (outbox.dropped and not self._closing):
                told, outbox.waiting, outbox.size = outbox.waiting, [], 0
                failed = await self._publish(outbox, told)
                # A server that has left a Cluster is waited for no more: others have its rooms.
                if failed is None or outbox.redis not in self._servers.all():
                    self.untold += len(failed or ())
                    missed, outbox.dropped = outbox.dropped, set()
                    for room in missed:
                        self._missed(room)
                else:
                    self.untold += len(failed)
                    outbox.dropped.update(failed)
                if not self._closing:
                    await asyncio.sleep(_PACE_SECONDS if failed is None else _RETRY_SECONDS)
        finally:
            outbox.task = None
            if outbox.redis not in self._servers.all():
                self._outboxes.pop(outbox.redis, None)

    async def _publish(self, outbox: _Outbox, told: list[tuple[str, bytes]]) -> list[str] | None:
        """Publish messages, or see whether the server is there.

        Returns the rooms of the messages that failed, or None when all is well.
        """
        commands = [("SPUBLISH", room_keys(self._prefix, room).news, packed) for room, packed in told]
        try:
            answers = await exchange(outbox.redis, commands or [("PING",)])
        except FAILURES as error:
            await distrust(outbox.redis, error)
            return [room for room, _ in told]
        if not any(isinstance(answer, Exception) for answer in answers):
            return None
        if any(isinstance(answer, (MovedError, ClusterDownError)) for answer in answers):
            with contextlib.suppress(*FAILURES):
                await self._servers.refresh()
        return [
            room for (room, _), answer in zip(told, answers, strict=False) if isinstance(answer, Exception)
        ]
