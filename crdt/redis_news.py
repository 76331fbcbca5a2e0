"""What other processes append to the rooms that are open in this one.

One connection to each Redis server serves all its rooms. What it says may be lost (a cut connection, a full
buffer, a room that has gone to another server of a Cluster), and the stream is the truth: offsets without a
hole say that nothing is missing, and where something is, or may be, it is read from the stream before
anything after it is handed on.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import msgpack
import structlog
from redis.asyncio import Redis

from .compression import unpack
from .log import Follower, Gap, LogError, Position
from .redis_channels import Channels
from .redis_greeting import words
from .redis_keys import partition_of, room_keys
from .redis_servers import FAILURES, PATIENCE_SECONDS, Servers

_log = structlog.get_logger()

_LARGEST_PAYLOAD = 1 << 30
_RETRY_SECONDS = 0.2
_MOST_READS = 16
NOWHERE = Position("", 0)
_NEWS = [bytes, int, bytes, bytes, bytes]
_TOLD = [bytes, bytes]


class News(NamedTuple):
    """An entry, by the number that its place in the stream gives it."""

    epoch: str
    offset: int
    writer: str
    packed: bytes
    moment: str

    @property
    def mark(self) -> str:
        """What tells this entry from any other at its offset; fold.lua makes it as well."""
        return f"{self.writer} {self.moment}"


class Told(NamedTuple):
    """What a process says beside the stream."""

    writer: str
    message: bytes


def decode(message: bytes) -> News | Told:
    """Return what was published on a room's channel. Raises ValueError when it is neither of these.

    news    := [epoch, offset, writer, packed update, moment]      append.lua, in msgpack
    told    := [writer, message]                                   redis_teller.py
    """
    parts = msgpack.unpackb(message, raw=True)
    # A match statement would take ten times as long.
    kinds = list(map(type, parts)) if isinstance(parts, list) else []
    if kinds == _NEWS:
        epoch, offset, writer, packed, moment = parts
        return News(epoch.decode(), offset, writer.decode(), packed, moment.decode())
    if kinds == _TOLD:
        writer, told = parts
        return Told(writer.decode(), told)
    raise ValueError("neither news nor told")


class _OpenRoom:
    """Where a room stands: all up to ``position`` has been handed on; ``kept`` has not."""

    __slots__ = (
        "follower", "is_doubtful", "kept", "name", "newest", "partition", "position", "redis", "repair",
        "subscribed",
    )  # fmt: skip

    def __init__(self, name: str, redis: Redis) -> None:
        self.name = name
        self.partition = partition_of(name)
        self.redis = redis
        self.position: Position | None = None
        # The mark of the entry there; None when it was read as part of a snapshot.
        self.newest: str | None = None
        self.follower: Follower | None = None
        self.kept: list[News] = []
        self.is_doubtful = False
        self.repair: asyncio.Task[None] | None = None
        self.subscribed = asyncio.Event()

    def is_followed(self) -> bool:
        """Whether it has been loaded, and somebody is to be told what follows."""
        return self.position is not None and self.follower is not None

    def take(self, news: News, writer: str) -> bool:
        """Hand on the entry that follows. Returns False when there is one missing before it."""
        assert self.position is not None
        assert self.follower is not None
        # The room's first entry names its epoch.
        is_first = self.position.epoch == "" and news.offset == 1
        if news.epoch != self.position.epoch and not is_first:
            return False
        if news.offset > self.position.offset + 1:
            return False
        if news.offset == self.position.offset + 1:
            self.position, self.newest = Position(news.epoch, news.offset), news.mark
            own = news.writer == writer
            self.follower.heard(self.position, None if own else unpack(news.packed, _LARGEST_PAYLOAD))
        return True

    def forget_known(self) -> None:
        """Drop what has been read from the stream meanwhile, or belongs to an earlier life of the room."""
        assert self.position is not None
        epoch, offset = self.position
        self.kept = [news for news in self.kept if news.epoch == epoch and news.offset > offset]


Read = Callable[[str, Position, str | None], Awaitable[list[News]]]


class Subscriber:
    """Hears the news of all open rooms.

    ``read`` gives the entries after a position; it raises as a log's, and Gap as well when the entry at the
    position is not, or not known to be, the one with this mark; without one, when no snapshot ends there.
    """

    def __init__(self, servers: Servers, prefix: str, writer: str, read: Read) -> None:
        self._servers = servers
        self._prefix = prefix
        self._writer = writer
        self._read = read
        self._channels: dict[Redis, Channels] = {}
        self._rooms: dict[str, _OpenRoom] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = asyncio.Semaphore(_MOST_READS)
        self._is_unreadable = False
        self._moving: asyncio.Task[None] | None = None

    async def open(self, name: str) -> None:
        """Keep a room's news from now on. Raises LogError when that can't be."""
        channel = self._channel(name)
        room = self._rooms.get(channel)
        if room is None:
            redis = self._servers.of(partition_of(name))
            room = self._rooms[channel] = _OpenRoom(name, redis)
        room.position, room.follower = None, None
        room.subscribed.clear()
        try:
            await self._channels_of(room.redis).subscribe(channel)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await room.subscribed.wait()
            # What is read from now on holds all that was said before.
            room.is_doubtful = False
        except FAILURES as error:
            raise LogError(words(error)) from error

    def loaded(self, name: str, position: Position, newest: News | None) -> None:
        """Say how far the room has been loaded since it was opened, and with which entry at its end."""
        room = self._rooms[self._channel(name)]
        room.position, room.newest = position, None if newest is None else newest.mark

    def follow(self, name: str, follower: Follower) -> None:
        """Hand on what has been kept, and from now on each entry as it comes."""
        room = self._rooms[self._channel(name)]
        room.follower = follower
        self._hand_on(room)

    def position(self, name: str) -> Position:
        """Return up to where a room's follower has heard everything; NOWHERE when there is none."""
        room = self._rooms.get(self._channel(name))
        return NOWHERE if room is None or room.position is None else room.position

    def newest(self, name: str) -> str | None:
        """Return the mark of the entry at ``position``; None where a snapshot ends."""
        room = self._rooms.get(self._channel(name))
        return None if room is None else room.newest

    def relinked(self, name: str) -> None:
        """Tell a room's follower that something told, to it or by it, may have reached nobody."""
        room = self._rooms.get(self._channel(name))
        if room is not None and room.follower is not None:
            room.follower.relinked()

    def release(self, name: str) -> None:
        """Hear no more of a room."""
        channel = self._channel(name)
        if (room := self._rooms.pop(channel, None)) is not None:
            # A repair under way ends at its next step, and tells nobody.
            room.position, room.follower = None, None
            self._spawn(self._unsubscribe(channel, room.redis))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(channels.close() for channels in self._channels.values()))

    # What the channels tell

    def said(self, channel: str, message: bytes) -> None:
        if (room := self._rooms.get(channel)) is None:
            return
        try:
            said = decode(message)
        except ValueError as error:
            # Somebody else's word. Should it have been an entry's news, the stream has the entry.
            _log.warning("news can't be read", room=room.name, error=str(error))
            room.is_doubtful = True
            self._hand_on(room)
            return
        if isinstance(said, News):
            room.kept.append(said)
            self._hand_on(room)
        elif room.follower is not None and said.writer != self._writer:
            room.follower.told(said.message)

    def subscribed(self, channel: str) -> None:
        if (room := self._rooms.get(channel)) is not None:
            # Something may have been said before.
            room.is_doubtful = True
            room.subscribed.set()
            self._hand_on(room)
            self.relinked(room.name)

    def moved(self) -> None:
        if self._moving is None:
            self._moving = self._spawn(self._move())

    async def _move(self) -> None:
        """Listen to each room where it is now, until all are heard again."""
        try:
            while True:
                with contextlib.suppress(*FAILURES):
                    await self._servers.refresh()
                for channel, room in tuple(self._rooms.items()):
                    with contextlib.suppress(*FAILURES):
                        await self._place(channel, room)
                await asyncio.sleep(_RETRY_SECONDS)
                if all(self._is_heard(channel, room) for channel, room in self._rooms.items()):
                    break
        finally:
            self._moving = None
        for redis, channels in tuple(self._channels.items()):
            if not len(channels) and redis not in self._servers.all():
                del self._channels[redis]
                await channels.close()

    def _is_heard(self, channel: str, room: _OpenRoom) -> bool:
        is_here = room.redis is self._servers.of(room.partition)
        return is_here and self._channels_of(room.redis).is_confirmed(channel)

    async def _place(self, channel: str, room: _OpenRoom) -> None:
        redis = self._servers.of(room.partition)
        if room.redis is not redis:
            before, room.redis = room.redis, redis
            await self._channels_of(redis).subscribe(channel)
            await self._channels_of(before).unsubscribe(channel)
        elif not self._channels_of(redis).is_confirmed(channel):
            await self._channels_of(redis).subscribe(channel)

    def _channels_of(self, redis: Redis) -> Channels:
        channels = self._channels.get(redis)
        if channels is None:
            channels = self._channels[redis] = Channels(redis, self)
        return channels

    def _channel(self, name: str) -> str:
        return room_keys(self._prefix, name).news

    async def _unsubscribe(self, channel: str, redis: Redis) -> None:
        # Opened again meanwhile, it must stay.
        room = self._rooms.get(channel)
        if room is None or room.redis is not redis:
            with contextlib.suppress(*FAILURES):
                await self._channels_of(redis).unsubscribe(channel)

    # What is missing

    def _hand_on(self, room: _OpenRoom) -> None:
        if not room.is_followed() or room.repair is not None:
            return
        if room.is_doubtful:
            self._mend(room)
            return
        kept, room.kept = room.kept, []
        for at, news in enumerate(kept):
            if not room.take(news, self._writer):
                room.kept = kept[at:] + room.kept
                self._mend(room)
                return

    def _mend(self, room: _OpenRoom) -> None:
        if room.repair is None:
            room.repair = self._spawn(self._repair(room))

    async def _repair(self, room: _OpenRoom) -> None:
        """Read what is missing from the stream."""
        try:
            while (position := room.position) is not None and room.is_followed():
                # A subscription that is lost and made again meanwhile is a reason to read again.
                room.is_doubtful = False
                try:
                    # After an outage all rooms are doubtful at once; each read at a time has a connection.
                    async with self._reading:
                        entries = await self._read(room.name, position, room.newest)
                except Gap:
                    # Meanwhile the room may have been released, or opened again: then it has been read anew.
                    if (follower := room.follower) is not None:
                        room.position, room.follower = None, None
                        follower.missed()
                    return
                except LogError as error:
                    room.is_doubtful = True
                    if not self._is_unreadable:
                        self._is_unreadable = True
                        _log.warning("stream can't be read", room=room.name, error=str(error))
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    self._is_unreadable = False
                    if not room.is_followed():
                        return
                    for news in entries:
                        room.take(news, self._writer)
                    room.forget_known()
                    return
        finally:
            room.repair = None
            self._hand_on(room)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
