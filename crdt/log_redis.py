"""The log of many processes: a stream in Redis for each room, appended to by scripts (lua/).

Appends of all rooms that come while an answer is awaited share the next pipeline. When Redis is away, refuses
(read-only, out of memory) or does not answer, what is queued stays queued, in order, and is sent again until
it goes in; entries carry their writer's count, so that one whose answer was lost is not appended twice.
"Durable" is what Redis has accepted: what that survives is the policy of its append-only file.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from .archive import Archive, SnapshotLost
from .compression import pack, unpack
from .log import Condition, Durable, Follower, Gap, History, LogError, LogUnusable, Position, Stale
from .redis_keys import room_keys
from .redis_news import News, Subscriber

_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_LARGEST_PIPELINE = 1_000
_PATIENCE_SECONDS = 5.0
"""For an answer. What was asked may have been done nevertheless."""
_LARGEST_PAYLOAD = 1 << 30


_Room = tuple[str, int, int, bytes | None, list[Any], bytes | None]
"""What load.lua gives."""


class _Entry:
    """An append on its way: ``number`` is this writer's count of its entries for the room."""

    __slots__ = ("durable", "gone", "number", "packed", "room", "size")

    def __init__(self, room: str, number: int, update: bytes, durable: Durable) -> None:
        self.room = room
        self.number = number
        self.packed = pack(update)
        self.size = len(update)
        self.durable = durable
        self.gone: asyncio.Event | None = None


class RedisLog:
    """A Log (see log.py) on a Redis server. Enter it to connect; raises LogUnusable then.

    ``prefix`` begins all its keys (redis_keys.py). ``archive`` has the snapshots of rooms that have left it
    (old_rooms.py). ``observe_commit`` gets the seconds from a pipeline's first append to its answer, and the
    number of appends, on the loop.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "roomful",
        archive: Archive | None = None,
        backlog_limit: int = 64 << 20,
        observe_commit: Callable[[float, int], None] | None = None,
    ) -> None:
        # Protocol 2: its client reads a sixth more replies a second. No retries but ours: they keep order.
        settings: dict[str, Any] = {
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": 2.0,
        }
        self._redis: Redis = Redis.from_url(url, socket_timeout=_PATIENCE_SECONDS, **settings)
        self._listening: Redis = Redis.from_url(url, health_check_interval=5, **settings)
        self._prefix = prefix
        self._archive = archive
        self._backlog_limit = backlog_limit
        self._observe_commit = observe_commit
        self._writer = secrets.token_hex(8)
        self._numbers: dict[str, int] = {}
        self._queue: list[_Entry] = []
        self._queue_since = 0.0
        self._backlog_bytes = 0
        self._condition = Condition()
        self._work = asyncio.Event()
        self._closing = False
        scripts = {name: _script(name) for name in ("append", "load", "fold", "reset")}
        self._scripts = {name: self._redis.register_script(text) for name, text in scripts.items()}

    async def __aenter__(self) -> Self:
        try:
            await self._load_scripts()
        except (RedisError, OSError) as error:
            await self._redis.aclose()
            await self._listening.aclose()
            raise LogUnusable(f"Redis: {error}") from error
        self._task = asyncio.create_task(self._write())
        self._subscriber = Subscriber(self._listening, self._prefix, self._writer, self._news)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def condition(self) -> Condition:
        return self._condition

    @property
    def backlog_bytes(self) -> int:
        return self._backlog_bytes

    @property
    def full(self) -> bool:
        return self._backlog_bytes > self._backlog_limit

    def append(self, room: str, update: bytes, durable: Durable) -> None:
        number = self._numbers[room] = self._numbers.get(room, 0) + 1
        if not self._queue:
            self._queue_since = time.monotonic()
        self._queue.append(_Entry(room, number, update, durable))
        self._backlog_bytes += len(update)
        self._work.set()

    @property
    def redis(self) -> Redis:
        """The connection, for what is kept in Redis beside the log."""
        return self._redis

    async def load(self, room: str) -> History:
        asked, lost = None, None
        while True:
            epoch, folded, _, packed, entries, key = await self._read(room, "")
            if lost is not None and packed is None and key == asked:
                raise lost
            try:
                snapshot = await self._snapshot(room, folded, packed, key)
            except SnapshotLost as error:
                # Since Redis named the object, the room may have been stored anew, and the object deleted.
                asked, lost = key, error
            else:
                return History(epoch, folded, snapshot, _updates(entries))

    async def open(self, room: str) -> History:
        if self._closing:
            raise LogError("the log is closed")
        await self._subscriber.open(room)
        history = await self.load(room)
        self._subscriber.loaded(room, history.position)
        return history

    def follow(self, room: str, follower: Follower) -> None:
        self._subscriber.follow(room, follower)

    def release(self, room: str) -> None:
        self._subscriber.release(room)

    async def read(self, room: str, after: Position) -> list[bytes]:
        return [unpack(news.packed, _LARGEST_PAYLOAD) for news in await self._news(room, after)]

    async def _news(self, room: str, after: Position) -> list[News]:
        epoch, folded, last, _, entries, _ = await self._read(room, after.offset)
        if epoch != after.epoch or not folded <= after.offset <= last:
            raise Gap(f"{room!r} can't be read on from {after}")
        first = last - len(entries) + 1
        return [
            News(epoch, first + at, fields[1].decode(), fields[5]) for at, (_, fields) in enumerate(entries)
        ]

    async def fold(self, room: str, upto: Position, snapshot: bytes) -> None:
        await self._catch_up(room)
        keys = room_keys(self._prefix, room)
        done = await self._run("fold", keys[:3], (upto.epoch, upto.offset, pack(snapshot)))
        if not done:
            raise Stale(f"{room!r} is not at {upto}, or has moved past it")

    async def reset(self, room: str) -> Position:
        await self._catch_up(room)
        epoch = secrets.token_hex(8)
        objects = await self._run("reset", room_keys(self._prefix, room)[:3], (epoch,))
        if self._archive is not None:
            await self._archive.forget(key.decode() for key in objects)
        return Position(epoch, 0)

    async def close(self) -> None:
        """Send what is queued, or give it up if Redis still refuses, and hang up."""
        if self._closing:
            return
        self._closing = True
        self._work.set()
        await self._task
        await self._subscriber.close()
        await self._listening.aclose()
        await self._redis.aclose()

    async def _read(self, room: str, after: int | str) -> _Room:
        keys = room_keys(self._prefix, room)
        epoch, *rest = await self._run("load", keys[:3], (after,))
        return (epoch.decode(), *rest)

    async def _snapshot(
        self, room: str, folded: int, packed: bytes | None, key: bytes | None
    ) -> bytes | None:
        if packed is not None:
            return unpack(packed, _LARGEST_PAYLOAD)
        if key is not None and self._archive is not None:
            return await self._archive.get(key.decode(), room, folded)
        if folded:
            raise LogError(
                f"Redis has no snapshot of {room!r}, and "
                + ("this server has no snapshot_store" if key is not None else "knows of none in a store")
            )
        return None

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        if self._closing:
            raise LogError("the log is closed")
        try:
            return await self._scripts[script](keys=list(keys), args=list(args))
        except (RedisError, OSError) as error:
            raise LogError(f"Redis: {error}") from error

    async def _catch_up(self, room: str) -> None:
        """Wait until what was appended to a room before now is in."""
        last = next((entry for entry in reversed(self._queue) if entry.room == room), None)
        if last is not None:
            last.gone = last.gone or asyncio.Event()
            await last.gone.wait()

    async def _load_scripts(self) -> None:
        for script in self._scripts.values():
            await self._redis.script_load(script.script)

    # The writer's task

    async def _write(self) -> None:
        attempt = 0
        while not (self._closing and (not self._queue or attempt > 2)):
            if not self._queue:
                self._work.clear()
                await self._work.wait()
                continue
            since, batch = self._queue_since, self._queue[:_LARGEST_PIPELINE]
            refused = await self._send(batch)
            if refused is None:
                attempt = 0
                self._condition = Condition()
                if self._observe_commit is not None:
                    self._observe_commit(time.monotonic() - since, len(batch))
            else:
                if not self._condition.failing:
                    self._condition = Condition(refused, time.monotonic())
                await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
                attempt += 1

    async def _send(self, batch: list[_Entry]) -> str | None:
        """Append a batch. What went in leaves the queue. Returns why something did not go in."""
        script = self._scripts["append"]
        pipeline: Pipeline = self._redis.pipeline(transaction=False)
        begun: set[str] = set()
        for entry in batch:
            keys = room_keys(self._prefix, entry.room)
            is_first = int(entry.room not in begun)
            begun.add(entry.room)
            heard = self._subscriber.offset(entry.room)
            fresh = secrets.token_hex(8)
            args = (self._writer, entry.number, entry.packed, is_first, fresh, keys.news, heard)
            pipeline.evalsha(script.sha, 2, keys.room, keys.log, *args)
        try:
            answers = await pipeline.execute(raise_on_error=False)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                # Redis has been restarted, or another one has taken over.
                await self._load_scripts()
        except (RedisError, OSError) as error:
            return str(error) or type(error).__name__
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        accepted = [
            (entry, answer)
            for entry, answer in zip(batch, answers, strict=True)
            if not isinstance(answer, Exception)
        ]
        waiting = [
            entry for entry, answer in zip(batch, answers, strict=True) if isinstance(answer, Exception)
        ]
        self._queue[: len(batch)] = waiting
        self._queue_since = time.monotonic()
        for entry, (epoch_bytes, offset) in accepted:
            self._backlog_bytes -= entry.size
            if entry.gone is not None:
                entry.gone.set()
            try:
                entry.durable(Position(epoch_bytes.decode(), offset))
            except Exception as error:  # noqa: BLE001 - one room's fault; the others' entries are durable too
                context = {"message": "durable failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)
        return str(refused[0]) if refused else None


def _updates(entries: list[Any]) -> list[bytes]:
    """Return the updates of stream entries: (id, [field, value, ...])."""
    return [unpack(cast("bytes", fields[5]), _LARGEST_PAYLOAD) for _, fields in entries]


def _script(name: str) -> str:
    return resources.files(__package__).joinpath("lua", name + ".lua").read_text("utf-8")
