"""When a room's tail is folded into its snapshot, and what happens when that goes wrong.

A room that ends its worker is quarantined: it is folded by merging alone from then on, which needs no
document. It is served as before; only its deleted content stays.

Of the processes that hold a room one folds it, and the others take its snapshot from the log.
"""

import asyncio

import structlog

from roomful.crdt.log import FoldTurn, Log, LogError, Position, Stale
from roomful.crdt.snapshot import Snapshot, decode_snapshot, encode_snapshot
from roomful.crdt.state import DocumentState
from roomful.crdt.varint import Malformed
from roomful.crdt.worker import WorkerFailed, WorkerPool

from .config import Folding
from .metrics import Metrics
from .room import Room

_log = structlog.get_logger()

_RETRY_SECONDS = 60.0
_LOOK_SECONDS = 1.0
"""How long to wait for another process' fold before looking again."""
_SPARE_SECONDS = 10.0
"""A turn lasts for the work and so much more; after a crash others wait so long."""
_MOST_DISTRUSTED = 10_000
"""Rooms remembered after they have left memory; trying one again may hold a worker for all of its time."""


class Folder:
    """Folds rooms in the background, one fold a room at a time."""

    def __init__(self, workers: WorkerPool, log: Log, settings: Folding, metrics: Metrics) -> None:
        self._workers = workers
        self._log = log
        self._settings = settings
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._running: dict[Room, asyncio.Task[None]] = {}
        self._not_before: dict[Room, float] = {}
        self._distrusted: dict[str, None] = {}
        self._closed = False

    def distrusts(self, name: str) -> bool:
        """Whether a room has ended its worker before; it is still quarantined when it is loaded again."""
        return name in self._distrusted

    def consider(self, room: Room) -> None:
        """Start a fold when the room's tail has grown long for its size."""
        state, settings = room.state, self._settings
        # A large document is folded more rarely: the fold costs as much as the document is long.
        scale = 1 + (state.pieces_bytes >> 20)
        if (
            len(state.tail) >= settings.fold_entries * scale
            or state.tail_bytes >= settings.fold_bytes * scale
        ):
            self._start(room)

    def consider_empty(self, room: Room) -> None:
        """Start a fold before a room leaves memory, where its tail would make the next load slow."""
        if room.state.tail_bytes > self._settings.inline_check_bytes:
            self._start(room)

    def _start(self, room: Room) -> None:
        if room.incomplete or self._closed:
            return
        if room not in self._running and self._not_before.get(room, 0.0) <= self._loop.time():
            task = self._loop.create_task(self._fold(room))
            self._running[room] = task
            task.add_done_callback(lambda _: self._ended(room))

    def _ended(self, room: Room) -> None:
        del self._running[room]
        if not self._closed:
            # What arrived meanwhile may be long already, and nobody may write again.
            self.consider(room)

    def busy(self, room: Room) -> bool:
        """Whether the room is being folded now."""
        return room in self._running

    def forget(self, room: Room) -> None:
        """The room has left memory."""
        self._not_before.pop(room, None)

    async def close(self) -> None:
        """Stop all folds; what was not folded stays in the log as it is."""
        self._closed = True
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fold(self, room: Room) -> None:
        try:
            seconds = self._settings.worker_seconds + _SPARE_SECONDS
            updates = len(room.state.tail)
            epoch = room.position.epoch
            known = room.folded if room.folded.epoch == epoch else Position(epoch, 0)
            turn = await self._log.claim_fold(room.name, known, seconds)
            if turn is FoldTurn.MINE:
                await self._fold_here(room)
            elif turn is FoldTurn.PAST:
                await self._take_over(room, updates)
            else:
                self._not_before[room] = self._loop.time() + _LOOK_SECONDS
                self._loop.call_later(_LOOK_SECONDS, self._look_again, room)
        except Exception as error:  # noqa: BLE001 - the root of a task; the room lives on with its tail
            self._not_before[room] = self._loop.time() + _RETRY_SECONDS
            # What is wrong with storage is said once for all rooms.
            is_said = self._log.condition.failing and isinstance(error, LogError)
            say = _log.debug if is_said else _log.error
            say("fold failed", room=room.name, error=f"{type(error).__name__}: {error}")

    def _look_again(self, room: Room) -> None:
        # It may have left memory meanwhile.
        if room in self._not_before and not self._closed:
            self.consider(room)

    async def _fold_here(self, room: Room) -> None:
        state = room.state
        # What of the tail is not yet in the log goes into the snapshot as well; it may be there twice.
        upto = room.position
        pieces, tail = list(state.pieces), list(state.tail)
        updates = len(tail)
        snapshot = await self._fold_or_merge(room, pieces, tail)
        try:
            await self._log.fold(room.name, upto, encode_snapshot(snapshot))
            room.folded = upto
        except Stale:
            # Another process has folded it further; what is in memory here is folded all the same.
            _log.debug("fold was late", room=room.name, upto=tuple(upto))
        state.fold(updates, snapshot)
        self._metrics.folds += 1
        _log.debug("folded", room=room.name, upto=tuple(upto), updates=updates, bytes=state.size)

    async def _take_over(self, room: Room, updates: int) -> None:
        """Take the snapshot that another process has made, and what the log holds after it, in the place of
        the pieces and of the oldest updates of the tail.

        All of these were in the log. A log that has come back with less may lack some until those are read
        again who hold them; then what is here is folded for itself.
        """
        ours, tail = list(room.state.pieces), list(room.state.tail)[:updates]
        history = await self._log.load(room.name)
        if history.snapshot is None or history.epoch != room.position.epoch:
            return
        snapshot = decode_snapshot(history.snapshot)
        theirs = DocumentState(snapshot)
        if history.entries:
            part = await self._workers.merge(history.entries)
            theirs.append(part[0], [part])
            snapshot = Snapshot([*snapshot.pieces, part[0]], snapshot.state_vector)
        room.folded = Position(history.epoch, history.folded)
        if not theirs.adds_nothing(*await self._workers.merge([*ours, *tail])):
            room.state.fold(updates, await self._fold_or_merge(room, ours, tail))
            _log.debug("fold not taken over", room=room.name, updates=updates)
            return
        room.state.fold(updates, snapshot)
        self._metrics.folds_taken += 1
        _log.debug("fold taken over", room=room.name, upto=tuple(room.folded), updates=updates)

    async def _fold_or_merge(self, room: Room, pieces: list[bytes], tail: list[bytes]) -> Snapshot:
        """Fold in a worker; merge where folding fails."""
        if not room.quarantined:
            try:
                return await self._workers.fold(pieces, tail, merge_only=False)
            except (WorkerFailed, Malformed) as error:
                self._metrics.worker_failures[error.reason] += 1
                _log.error("room quarantined", room=room.name, reason=error.reason, error=str(error))
            room.quarantined = True
            if len(self._distrusted) >= _MOST_DISTRUSTED:
                self._distrusted.pop(next(iter(self._distrusted)))
            self._distrusted[room.name] = None
        return await self._workers.fold(pieces, tail, merge_only=True)
