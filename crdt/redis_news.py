"""What other processes append to the rooms that are open in this one.

One subscriber connection serves all rooms. What it says may be lost (a cut connection, a full buffer), and
the stream is the truth: offsets without a hole say that nothing is missing, and where something is, or may
be, it is read from the stream before anything after it is handed on.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Self, cast

import msgpack
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from .compression import unpack
from .log import Follower, Gap, LogError, Position
from .redis_greeting import words
from .redis_keys import room_keys

_log = structlog.get_logger()

_LARGEST_PAYLOAD = 1 << 30
_RETRY_SECONDS = 0.2
_MOST_READS = 16
_LOOK_SECONDS = 5.0
"""After so long without news the connection is asked whether it is there."""


class News(NamedTuple):
    """An entry, by the number that its place in the stream gives it."""

    epoch: str
    offset: int
    writer: str
    packed: bytes

    @classmethod
    def decode(cls, message: bytes) -> Self:
        """Return the news that append.lua published: msgpack [epoch, offset, writer, packed update]."""
        epoch, offset, writer, packed = msgpack.unpackb(message, raw=True)
        return cls(epoch.decode(), offset, writer.decode(), packed)


class _OpenRoom:
    """Where a room stands: all up to ``position`` has been handed on; ``kept`` has not."""

    __slots__ = ("follower", "is_doubtful", "kept", "name", "position", "repair", "subscribed")

    def __init__(self, name: str) -> None:
        self.name = name
        self.position: Position | None = None
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
            self.position = Position(news.epoch, news.offset)
            own = news.writer == writer
            self.follower.heard(self.position, None if own else unpack(news.packed, _LARGEST_PAYLOAD))
        return True

    def forget_known(self) -> None:
        """Drop what has been read from the stream meanwhile, or belongs to an earlier life of the room."""
        assert self.position is not None
        epoch, offset = self.position
        self.kept = [news for news in self.kept if news.epoch == epoch and news.offset > offset]


Read = Callable[[str, Position], Awaitable[list[News]]]


class Subscriber:
    """Hears the news of all open rooms. ``read`` gives the entries after a position; it raises as a log's."""

    def __init__(self, redis: Redis, prefix: str, writer: str, read: Read) -> None:
        self._pubsub = redis.pubsub()
        self._prefix = prefix
        self._writer = writer
        self._read = read
        self._rooms: dict[str, _OpenRoom] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = asyncio.Event()
        self._subscribing = asyncio.Lock()
        self._reading = asyncio.Semaphore(_MOST_READS)
        self._is_unreadable = False
        self._listener = asyncio.create_task(self._listen())

    async def open(self, name: str) -> None:
        """Keep a room's news from now on. Raises LogError when that can't be."""
        channel = self._channel(name)
        room = self._rooms.get(channel)
        if room is None:
            room = self._rooms[channel] = _OpenRoom(name)
        room.position, room.follower = None, None
        room.subscribed.clear()
        try:
            # Two that subscribe at once before there is a connection get one each, and only one is heard.
            async with self._subscribing:
                await self._pubsub.subscribe(channel)
            self._begun.set()
            async with asyncio.timeout(5):
                await room.subscribed.wait()
        except (RedisError, OSError) as error:
            raise LogError(words(error)) from error

    def loaded(self, name: str, position: Position) -> None:
        """Say how far the room has been loaded since it was opened."""
        room = self._rooms[self._channel(name)]
        room.position = position
        room.is_doubtful = False

    def follow(self, name: str, follower: Follower) -> None:
        """Hand on what has been kept, and from now on each entry as it comes."""
        room = self._rooms[self._channel(name)]
        room.follower = follower
        self._hand_on(room)

    def offset(self, name: str) -> int:
        """Return the offset up to which a room's follower has heard everything; 0 when nobody follows it."""
        room = self._rooms.get(self._channel(name))
        return room.position.offset if room is not None and room.position is not None else 0

    def release(self, name: str) -> None:
        """Hear no more of a room."""
        channel = self._channel(name)
        if (room := self._rooms.pop(channel, None)) is not None:
            # A repair under way ends at its next step, and tells nobody.
            room.position, room.follower = None, None
            self._spawn(self._unsubscribe(channel))

    async def close(self) -> None:
        self._listener.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(self._listener, *self._tasks, return_exceptions=True)
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    def _channel(self, name: str) -> str:
        return room_keys(self._prefix, name).news

    async def _unsubscribe(self, channel: str) -> None:
        # Opened again meanwhile, it must stay.
        if channel not in self._rooms:
            with contextlib.suppress(RedisError, OSError):
                await self._pubsub.unsubscribe(channel)

    async def _listen(self) -> None:
        # The library must not be asked for messages before the first subscription.
        await self._begun.wait()
        is_lost = False
        while True:
            try:
                message = await self._pubsub.get_message(timeout=_LOOK_SECONDS)
            except (RedisError, OSError) as error:
                if not is_lost:
                    is_lost = True
                    _log.warning("subscription lost", error=words(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if message is None:
                continue
            if is_lost:
                is_lost = False
                _log.info("subscription is back")
            room = self._rooms.get(message["channel"].decode())
            if room is None:
                continue
            if message["type"] == "message":
                room.kept.append(News.decode(cast("bytes", message["data"])))
                self._hand_on(room)
            elif message["type"] == "subscribe":
                # If it has been loaded already, the connection is another one; something may have been said.
                room.is_doubtful = room.position is not None
                room.subscribed.set()
                self._hand_on(room)

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
                try:
                    # After an outage all rooms are doubtful at once; each read at a time has a connection.
                    async with self._reading:
                        entries = await self._read(room.name, position)
                except Gap:
                    # Meanwhile the room may have been released, or opened again: then it has been read anew.
                    if (follower := room.follower) is not None:
                        room.position, room.follower = None, None
                        follower.missed()
                    return
                except LogError as error:
                    if not self._is_unreadable:
                        self._is_unreadable = True
                        _log.warning("stream can't be read", room=room.name, error=str(error))
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    self._is_unreadable = False
                    if not room.is_followed():
                        return
                    room.is_doubtful = False
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
