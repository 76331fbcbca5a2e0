"""Appends on their way to Redis: queued by partition, sent in pipelines, one at a time to each server.

Appends of all rooms of a server that come while an answer is awaited share its next pipeline. When a server
is away, refuses (read-only, out of memory) or does not answer, what is queued stays queued, in order, and is
sent again until it goes in, to whichever server has the partition by then; entries carry their writer's
count, so that one whose answer was lost is not appended twice.

A server that is away is waited for, from the start on, and asked whether it is there before it is sent
anything again: one that wakes up shall not find the same pipeline many times.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    RedisError,
    TryAgainError,
)

from .log import Condition, Durable, Position
from .redis_greeting import greet, words
from .redis_keys import PARTITIONS, partition_of, room_keys
from .redis_lane import Entry, Lane
from .redis_scripts import Scripts
from .redis_servers import FAILURES, PATIENCE_SECONDS, Servers, distrust, exchange
from .redis_survey import Survey

_log = structlog.get_logger()

_RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
_PACE_SECONDS: Final = 0.004
"""Between two pipelines to a server: a pipeline costs more than the entries in it."""
_LARGEST_PIPELINE: Final = 1_000
_LARGEST_PIPELINE_BYTES: Final = 4 << 20
"""What a slow line carries within the patience. A single entry may be larger."""
_CLOSE_SECONDS: Final = 2.0
"""After so long, what is refused while the log closes is not tried again."""
_PASSING: Final = (NoScriptError, MovedError, AskError, TryAgainError)
"""What a server says that has just come, or a slot that is on its way to another one."""


class Appender:
    """Appends to the rooms' streams; see Log in log.py for what its members promise.

    ``replicas`` must have an entry, beside the server itself, before it counts as durable. ``heard`` tells up
    to which offset this process has heard of a room's entries. ``observe_commit`` gets the seconds from a
    pipeline's first append to its answer, and the number of appends, on the loop.
    """

    def __init__(
        self, servers: Servers, scripts: Scripts, prefix: str, writer: str, heard: Callable[[str], Position],
        *, replicas: int, backlog_limit: int, observe_commit: Callable[[float, int], None] | None,
    ) -> None:  # fmt: skip
        self._servers = servers
        self._scripts = scripts
        self._prefix = prefix
        self._writer = writer
        self._heard = heard
        self._replicas = replicas
        self._backlog_limit = backlog_limit
        self._observe_commit = observe_commit
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._attempts = 0
        self._queues: list[list[Entry]] = [[] for _ in range(PARTITIONS)]
        # Partitions of which a pipeline with entries is on its way, or waits in its lane.
        self._offered: set[int] = set()
        self._lanes: dict[Redis, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._backlog_bytes = 0
        self._peak_bytes = 0
        self._surveys: dict[Redis, Survey] = {}
        self._closing = False
        self._closing_since = 0.0
        servers.on_change = self._rearrange

    async def start(self) -> None:
        """Make sure that all servers will do. Raises FAILURES; then ``start_later`` waits for them."""
        await self._servers.refresh()
        for redis in self._servers.all():
            await self._greet(redis)
            self._lane_of(redis)

    def start_later(self, reason: str) -> None:
        """Wait for servers that are away."""
        for redis in self._servers.all():
            self._lane_of(redis).refused(reason)

    def look(self) -> None:
        """Ask all servers whether they are there; somebody has found that one is not."""
        for lane in self._lanes.values():
            lane.some.set()

    @property
    def condition(self) -> Condition:
        """That of the server which refuses for longest."""
        failing = [lane.condition for lane in self._lanes.values() if lane.condition.failing]
        return min(failing, key=lambda condition: condition.since, default=Condition())

    @property
    def backlog_bytes(self) -> int:
        return self._backlog_bytes

    @property
    def backlog_peak_bytes(self) -> int:
        return self._peak_bytes

    @property
    def backlog_entries(self) -> int:
        return sum(map(len, self._queues))

    @property
    def full(self) -> bool:
        return self._backlog_bytes > self._backlog_limit

    def append(self, room: str, update: bytes, durable: Durable) -> None:
        self._count += 1
        entry = Entry(room, self._count, update, durable)
        self._queues[entry.partition].append(entry)
        self._backlog_bytes += entry.size
        self._peak_bytes = max(self._peak_bytes, self._backlog_bytes)
        if entry.partition not in self._offered:
            self._offer(entry.partition)

    async def caught_up(self, room: str) -> None:
        """Wait until what was appended to a room before now is in."""
        queue = self._queues[partition_of(room)]
        last = next((entry for entry in reversed(queue) if entry.room == room), None)
        if last is not None:
            last.gone = last.gone or asyncio.Event()
            await last.gone.wait()

    async def close(self) -> None:
        """Send what is queued, or give it up where a server still refuses."""
        self._closing = True
        self._closing_since = time.monotonic()
        self.look()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._give_up([entry for queue in self._queues for entry in queue])

    def _give_up(self, entries: list[Entry]) -> None:
        """Say what could not be stored; nothing of it has been acknowledged."""
        if not entries:
            return
        _log.error(
            "unacknowledged updates given up",
            entries=len(entries), rooms=len({entry.room for entry in entries}),
            bytes=self._backlog_bytes, reason=self.condition.reason,
        )  # fmt: skip
        for entry in entries:
            if entry.gone is not None:
                entry.gone.set()

    def _lane_of(self, redis: Redis) -> Lane:
        lane = self._lanes.get(redis)
        if lane is None:
            lane = self._lanes[redis] = Lane(redis)
            task = self._loop.create_task(self._write(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return lane

    def _offer(self, partition: int) -> None:
        """Put a partition that has entries into the lane of its server."""
        self._offered.add(partition)
        lane = self._lane_of(self._servers.of(partition))
        if not lane.partitions:
            lane.some.set()
        lane.partitions[partition] = time.monotonic()

    def _rearrange(self) -> None:
        """Put partitions that wait in the lane of a server that no longer has them into the right one."""
        for redis, lane in tuple(self._lanes.items()):
            for partition in tuple(lane.partitions):
                if self._servers.of(partition) is not redis:
                    del lane.partitions[partition]
                    self._offer(partition)
        for redis in self._servers.all():
            self._lane_of(redis)
        self.look()

    async def _write(self, lane: Lane) -> None:
        attempt = refusals = 0
        while not self._closing or (lane.partitions and self._tries_on(refusals)):
            if not (lane.partitions or lane.condition.failing or self._closing):
                await lane.wait()
            if not lane.partitions and (self._closing or lane.redis not in self._servers.all()):
                break
            # Rooms that are written to now and then share a pipeline; busy ones have a longer window anyway.
            if (rest := lane.sent_at + _PACE_SECONDS - time.monotonic()) > 0 and not self._closing:
                await asyncio.sleep(rest)
            refused = await self._turn(lane)
            if not refused:
                attempt = 0
                lane.condition = Condition()
                continue
            serious = next((error for error in refused if not isinstance(error, _PASSING)), None)
            if serious is not None:
                lane.refused(words(serious))
            await asyncio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
            attempt += 1
            refusals += self._closing
        if not self._closing:
            # It is no server of ours any more.
            del self._lanes[lane.redis]

    def _tries_on(self, refusals: int) -> bool:
        """Whether what has been refused so often since the log began to close is tried once more."""
        late = time.monotonic() - self._closing_since > _CLOSE_SECONDS
        return refusals < (1 if late else 3)

    async def _turn(self, lane: Lane) -> Sequence[Exception]:
        """Ask a server that was away, or had nothing to do, and send what waits. Returns the refusals."""
        if lane.condition.failing or not lane.partitions:
            try:
                await self._look(lane)
            except FAILURES as error:
                return [error]
        if not lane.partitions:
            return ()
        lane.sent_at = time.monotonic()
        since, batch = self._take(lane)
        refused = await self._send(lane.redis, batch)
        if not refused and self._observe_commit is not None:
            self._observe_commit(time.monotonic() - since, len(batch))
        return refused

    async def _look(self, lane: Lane) -> None:
        if not lane.condition.failing:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await lane.redis.ping()
            return
        await self._servers.refresh()
        if lane.redis in self._servers.all():
            # One that comes back may be another one, and have forgotten the scripts.
            await self._greet(lane.redis)

    async def _greet(self, redis: Redis) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await greet(redis)
            survey = await Survey.of(redis)
        await self._scripts.load(redis)
        if survey != self._surveys.get(redis):
            self._surveys[redis] = survey
            _log.info("redis", **survey._asdict())
            for warning in survey.warnings:
                _log.warning(warning)

    def _take(self, lane: Lane) -> tuple[float, list[Entry]]:
        """Take partitions out of a lane, and return their entries and since when the first waits."""
        batch: list[Entry] = []
        since, size = min(lane.partitions.values()), 0
        while lane.partitions and len(batch) < _LARGEST_PIPELINE:
            partition = next(iter(lane.partitions))
            fitting = 0
            for entry in self._queues[partition][: _LARGEST_PIPELINE - len(batch)]:
                size += entry.size
                if batch and size > _LARGEST_PIPELINE_BYTES:
                    break
                batch.append(entry)
                fitting += 1
            if not fitting:
                break
            # What did not fit is offered again with what is refused.
            del lane.partitions[partition]
            if fitting < len(self._queues[partition]):
                break
        return since, batch

    async def _send(self, redis: Redis, batch: list[Entry]) -> list[Exception]:
        """Append a batch. What went in leaves the queue. Returns why the rest did not go in."""
        answers: Sequence[Any]
        try:
            answers = await self._ask(redis, batch)
            await self._recover(redis, answers)
        except FAILURES as error:
            answers = [error] * len(batch)
            await distrust(redis, error)
            with contextlib.suppress(*FAILURES):
                await self._servers.refresh()
        accepted: list[tuple[Entry, Any]] = []
        refused: list[Exception] = []
        taken: dict[int, int] = {}
        waiting: dict[int, list[Entry]] = {}
        for entry, answer in zip(batch, answers, strict=True):
            taken[entry.partition] = taken.get(entry.partition, 0) + 1
            if isinstance(answer, Exception):
                refused.append(answer)
                waiting.setdefault(entry.partition, []).append(entry)
            else:
                accepted.append((entry, answer))
        for partition, count in taken.items():
            queue = self._queues[partition]
            queue[:count] = waiting.get(partition, ())
            self._offered.discard(partition)
            if queue:
                self._offer(partition)
        for entry, (epoch, offset) in accepted:
            self._tell(entry, Position(epoch.decode(), offset))
        return refused

    def _tell(self, entry: Entry, position: Position) -> None:
        self._backlog_bytes -= entry.size
        if entry.gone is not None:
            entry.gone.set()
        try:
            entry.durable(position)
        except Exception as error:  # noqa: BLE001 - one room's fault; the others' entries are durable too
            context = {"message": "durable failed", "exception": error}
            self._loop.call_exception_handler(context)

    async def _ask(self, redis: Redis, batch: list[Entry], *, asking: bool = False) -> list[Any]:
        """Return the answer to each entry of a batch: [epoch, offset] or an error."""
        commands: list[tuple[Any, ...]] = []
        sha = self._scripts.sha("append")
        self._attempts += 1
        before: dict[str, int] = {}
        for entry in batch:
            room, log, news = room_keys(self._prefix, entry.room)
            if asking:
                # What was before it in the whole batch may have been refused.
                commands.append(("ASKING",))
            else:
                entry.previous = before.get(entry.room, 0)
                before[entry.room] = entry.number
            heard = self._heard(entry.room)
            # Of its own for each attempt: a room may begin twice, should Redis forget it in between.
            epoch = f"{self._writer}{self._attempts:x}-{entry.number:x}"
            args = (self._writer, entry.number, entry.packed, entry.previous, epoch, news)
            commands.append(("EVALSHA", sha, 2, room, log, *args, heard.offset, heard.epoch))
        if self._replicas:
            # For less time than the connection waits for the answer.
            commands.append(("WAIT", self._replicas, int(PATIENCE_SECONDS * 500)))
        answers = await exchange(redis, commands)
        reached = answers.pop() if self._replicas else 0
        if asking:
            answers = answers[1::2]
        if self._replicas and (isinstance(reached, Exception) or reached < self._replicas):
            lacking = RedisError(f"{reached} of {self._replicas} replicas have it")
            answers = [answer if isinstance(answer, Exception) else lacking for answer in answers]
        asked = [at for at, answer in enumerate(answers) if isinstance(answer, AskError)]
        if asked and not asking:
            # Their slots are on their way to another server, and these rooms are there already.
            error = answers[asked[0]]
            target = self._servers.at(error.host, error.port)
            found = await self._ask(target, [batch[at] for at in asked], asking=True)
            await self._recover(target, found)
            for at, answer in zip(asked, found, strict=True):
                answers[at] = answer
        return answers

    async def _recover(self, redis: Redis, answers: Sequence[Any]) -> None:
        """Do what the next try of refused entries needs. Raises FAILURES."""
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # The server has been restarted, or has taken over from another one.
            await self._scripts.load(redis)
        if any(isinstance(answer, (MovedError, ClusterDownError)) for answer in answers):
            await self._servers.refresh()
