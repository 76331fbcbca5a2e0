"""What other processes write to a room, on its way from the log to the room.

Small entries are walked at once. A large one is walked by a worker, and what follows it waits. Where the log
says that something was missed, the whole room is read again: it takes what is new, and gives back its tail if
the log lacks any of it, because it has come back older than what it had told to be durable.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from roomful.crdt.check import Contents, check_update
from roomful.crdt.log import Log, LogError, Position
from roomful.crdt.merge import merge
from roomful.crdt.snapshot import decode_snapshot
from roomful.crdt.state import DocumentState, Part
from roomful.crdt.sync import EMPTY_UPDATE
from roomful.crdt.varint import Malformed
from roomful.crdt.worker import WorkerFailed, WorkerPool

from .metrics import Metrics
from .room import Room

_log = structlog.get_logger()

_RETRY_SECONDS = 0.5


class Following:
    """One room's follower of the log (crdt/log.py)."""

    def __init__(self, room: Room, log: Log, checks: WorkerPool, inline_bytes: int, metrics: Metrics) -> None:
        self._room = room
        self._log = log
        self._checks = checks
        self._inline_bytes = inline_bytes
        self._metrics = metrics
        self._waiting: deque[tuple[Position, bytes | None]] = deque()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Hear of what follows what the room was loaded with."""
        self._log.follow(self._room.name, self)
        self._room.awareness.start()
        self._room.presence.start()

    def stop(self) -> None:
        """Hear no more."""
        self._room.stop()
        self._log.release(self._room.name)
        if self._task is not None:
            self._task.cancel()

    def heard(self, position: Position, update: bytes | None) -> None:
        if self._task is not None or (update is not None and len(update) > self._inline_bytes):
            self._waiting.append((position, update))
            if self._task is None:
                self._spawn(self._take_waiting())
        elif update is None:
            self._room.heard(position, None)
        else:
            try:
                part = update, check_update(update)
            except Malformed as error:
                self._refused(position, error)
            else:
                self._room.heard(position, part)

    def missed(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        self._spawn(self._read_again())

    def told(self, message: bytes) -> None:
        try:
            self._room.told(message)
        except Exception:  # noqa: BLE001 - a fault of ours; whoever calls listens for all other rooms as well
            _log.exception("what another process told failed", room=self._room.name)

    def relinked(self) -> None:
        try:
            self._room.relinked()
        except Exception:  # noqa: BLE001 - likewise
            _log.exception("asking other processes failed", room=self._room.name)

    async def _take_waiting(self) -> None:
        while self._waiting:
            position, update = self._waiting.popleft()
            try:
                part = None if update is None else (update, await self._walk(update))
            except (Malformed, WorkerFailed) as error:
                self._refused(position, error)
            else:
                self._room.heard(position, part)
        # Not left to the task's end, which is told a turn later.
        self._task = None

    async def _read_again(self) -> None:
        room, failed = self._room, False
        while True:
            try:
                history = await self._log.open(room.name)
                pieces = decode_snapshot(history.snapshot).pieces if history.snapshot is not None else []
                held = DocumentState(None)
                theirs = await self._merged([*pieces, *history.entries])
                held.append(theirs[0], [theirs])
                # It may have been further: the log has come back with less.
                room.position = history.position
                room.heard(history.position, theirs)
                state = room.state
                rest = [*state.lacking(held.state_vector), state.since(state.base) or EMPTY_UPDATE]
                update, contents = await self._merged(rest)
                if not held.adds_nothing(update, contents):
                    room.give_back(update)
            except (LogError, Malformed, WorkerFailed) as error:
                # Once is enough, and what is wrong with storage is said for all rooms.
                say = _log.debug if failed or self._log.condition.failing else _log.warning
                say("room can't be read again", room=room.name, error=str(error))
                failed = True
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                break
        _log.info("room read again", room=room.name, epoch=room.position.epoch, offset=room.position.offset)
        # No news comes before this; none waits, so that the next is taken in its turn.
        self._task = None
        self._log.follow(room.name, self)
        # What was told while the room was read again has reached nobody.
        room.relinked()

    async def _walk(self, update: bytes) -> Contents:
        return await self._checks.check(update) if len(update) > self._inline_bytes else check_update(update)

    async def _merged(self, updates: Sequence[bytes]) -> Part:
        """Merge updates, and walk the result, where that takes no more time than is fair."""
        if sum(map(len, updates)) > self._inline_bytes:
            return await self._checks.merge(list(updates))
        update = merge([EMPTY_UPDATE, *updates])
        contents: Contents = check_update(update)
        return update, contents

    def _refused(self, position: Position, error: Malformed | WorkerFailed) -> None:
        # Whoever put it there. Another server may be able to read it, and whoever loads the room tries again.
        self._room.incomplete = True
        self._metrics.refused["log"] += 1
        _log.error("entry of the log refused", room=self._room.name, error=str(error))
        self._room.heard(position, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._task = asyncio.create_task(work)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("following failed", room=self._room.name, exc_info=error)
