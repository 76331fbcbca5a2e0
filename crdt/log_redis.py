"""The log of many processes: a stream in Redis for each room, appended to by scripts (lua/).

Appends of all rooms that come while an answer is awaited share the next pipeline. When Redis is away, refuses
(read-only, out of memory) or does not answer, what is queued stays queued, in order, and is sent again until
it goes in; entries carry their writer's count, so that one whose answer was lost is not appended twice.
A Redis that is away or not ready yet is waited for, from the start on; ``condition`` says why.
"Durable" is what Redis has accepted: what that survives is the policy of its append-only file.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Self, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from .compression import pack, unpack
from .log import (
    ENTRY_BYTES,
    Condition,
    Durable,
    Follower,
    Gap,
    History,
    LogError,
    LogUnusable,
    Position,
    Stale,
)
from .redis_greeting import greet, may_come, words
from .redis_keys import room_keys
from .redis_news import News, Subscriber

_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
_LARGEST_PIPELINE = 1_000
_LARGEST_PIPELINE_BYTES = 4 << 20
"""What a slow line carries within the patience. A single entry may be larger."""
_PATIENCE_SECONDS = 5.0
"""For an answer. What was asked may have been done nevertheless."""
_LOOK_SECONDS = 2.0
"""After so long without appends Redis is asked whether it is there."""
_CLOSE_SECONDS = 2.0
"""After so long, what is refused while the log closes is not tried again."""
_LARGEST_PAYLOAD = 1 << 30

_log = structlog.get_logger()


class _Entry:
    """An append on its way: ``number`` is this writer's count of its entries for the room."""

    __slots__ = ("durable", "gone", "number", "packed", "room", "size")

    def __init__(self, room: str, number: int, update: bytes, durable: Durable) -> None:
        self.room = room
        self.number = number
        self.packed = pack(update)
        self.size = len(update) + ENTRY_BYTES
        self.durable = durable
        self.gone: asyncio.Event | None = None


class RedisLog:
    """A Log (see log.py) on a Redis server. Enter it to connect; raises LogUnusable when waiting can't help.

    ``prefix`` begins all its keys (redis_keys.py). ``observe_commit`` gets the seconds from a pipeline's
    first append to its answer, and the number of appends, on the loop.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "roomful",
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
        self._backlog_limit = backlog_limit
        self._observe_commit = observe_commit
        self._writer = secrets.token_hex(8)
        self._numbers: dict[str, int] = {}
        self._queue: list[_Entry] = []
        self._queue_since = 0.0
        self._backlog_bytes = 0
        self._peak_bytes = 0
        self._condition = Condition()
        self._work = asyncio.Event()
        self._closing = False
        self._closing_since = 0.0
        scripts = {name: _script(name) for name in ("append", "load", "fold", "reset")}
        self._scripts = {name: self._redis.register_script(text) for name, text in scripts.items()}

    async def __aenter__(self) -> Self:
        try:
            await self._greet()
        except (RedisError, OSError) as error:
            if not may_come(error):
                await self._redis.aclose()
                await self._listening.aclose()
                raise LogUnusable(words(error)) from error
            self._refused(words(error))
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
    def backlog_peak_bytes(self) -> int:
        return self._peak_bytes

    @property
    def backlog_entries(self) -> int:
        return len(self._queue)

    @property
    def full(self) -> bool:
        return self._backlog_bytes > self._backlog_limit

    def append(self, room: str, update: bytes, durable: Durable) -> None:
        number = self._numbers[room] = self._numbers.get(room, 0) + 1
        if not self._queue:
            self._queue_since = time.monotonic()
        entry = _Entry(room, number, update, durable)
        self._queue.append(entry)
        self._backlog_bytes += entry.size
        self._peak_bytes = max(self._peak_bytes, self._backlog_bytes)
        self._work.set()

    async def load(self, room: str) -> History:
        epoch, folded, _, snapshot, entries = await self._read(room, "")
        return History(
            epoch, folded, None if snapshot is None else unpack(snapshot, _LARGEST_PAYLOAD), _updates(entries)
        )

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
        epoch, folded, last, _, entries = await self._read(room, after.offset)
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
        await self._run("reset", room_keys(self._prefix, room)[:3], (epoch,))
        return Position(epoch, 0)

    async def close(self) -> None:
        """Send what is queued, or give it up if Redis still refuses, and hang up."""
        if self._closing:
            return
        self._closing = True
        self._closing_since = time.monotonic()
        self._work.set()
        await self._task
        self._give_up()
        await self._subscriber.close()
        await self._listening.aclose()
        await self._redis.aclose()

    async def _read(self, room: str, after: int | str) -> tuple[str, int, int, bytes | None, list[Any]]:
        keys = room_keys(self._prefix, room)
        epoch, *rest = await self._run("load", keys[:3], (after,))
        return (epoch.decode(), *rest)

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        if self._closing:
            raise LogError("the log is closed")
        try:
            return await self._scripts[script](keys=list(keys), args=list(args))
        except (RedisError, OSError) as error:
            # The writer looks whether it is Redis that is lost.
            self._work.set()
            raise LogError(words(error)) from error

    async def _catch_up(self, room: str) -> None:
        """Wait until what was appended to a room before now is in."""
        last = next((entry for entry in reversed(self._queue) if entry.room == room), None)
        if last is not None:
            last.gone = last.gone or asyncio.Event()
            await last.gone.wait()

    async def _greet(self) -> None:
        """Make sure that Redis is ready and new enough, and knows the scripts."""
        await greet(self._redis)
        await self._load_scripts()

    async def _load_scripts(self) -> None:
        for script in self._scripts.values():
            await self._redis.script_load(script.script)

    # The writer's task

    async def _write(self) -> None:
        attempt = refusals = 0
        while not self._closing or (self._queue and self._tries_on(refusals)):
            if not self._queue and not self._condition.failing:
                await self._wait_for_work()
            if self._closing and not self._queue:
                return
            since, batch = self._queue_since, self._next_batch()
            # One that does not answer is not sent the same again and again, to do when it wakes up.
            refused = await self._look() if self._condition.failing or not batch else None
            if refused is None and batch:
                refused = await self._send(batch)
            if refused is None:
                attempt = 0
                self._condition = Condition()
                if batch and self._observe_commit is not None:
                    self._observe_commit(time.monotonic() - since, len(batch))
            else:
                self._refused(refused)
                await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
                attempt += 1
                refusals += self._closing

    def _tries_on(self, refusals: int) -> bool:
        """Whether what has been refused so often since the log began to close is tried once more."""
        late = time.monotonic() - self._closing_since > _CLOSE_SECONDS
        return refusals < (1 if late else 3)

    async def _wait_for_work(self) -> None:
        self._work.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._work.wait()

    def _next_batch(self) -> list[_Entry]:
        batch, size = self._queue[:_LARGEST_PIPELINE], 0
        for count, entry in enumerate(batch):
            size += entry.size
            if count and size > _LARGEST_PIPELINE_BYTES:
                return batch[:count]
        return batch

    async def _look(self) -> str | None:
        """Ask Redis whether it is there. Returns why not."""
        try:
            # One that comes back may have forgotten the scripts.
            await (self._greet() if self._condition.failing else self._redis.ping())
        except (RedisError, OSError) as error:
            return words(error)
        return None

    def _refused(self, reason: str) -> None:
        self._condition = Condition(
            reason, self._condition.since if self._condition.failing else time.monotonic()
        )

    def _give_up(self) -> None:
        """Say what could not be stored; nothing of it has been acknowledged."""
        if not self._queue:
            return
        _log.error(
            "unacknowledged updates given up",
            entries=len(self._queue), rooms=len({entry.room for entry in self._queue}),
            bytes=self._backlog_bytes, reason=self._condition.reason,
        )  # fmt: skip
        for entry in self._queue:
            if entry.gone is not None:
                entry.gone.set()

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
            return words(error)
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
        return words(refused[0]) if refused else None


def _updates(entries: list[Any]) -> list[bytes]:
    """Return the updates of stream entries: (id, [field, value, ...])."""
    return [unpack(cast("bytes", fields[5]), _LARGEST_PAYLOAD) for _, fields in entries]


def _script(name: str) -> str:
    return resources.files(__package__).joinpath("lua", name + ".lua").read_text("utf-8")
