"""Old rooms leave Redis: their snapshots go to the store, and a marker stays (crdt/old_rooms.py).

    old -> load -> merge the tail -> put the object -> let it stand for the room -> delete what nothing needs

All servers of one Redis take turns: who holds the lease looks through all rooms once, one at a time. The
lease spares work and nothing depends on it, since scripts see whether a room has changed.
"""

import asyncio
import contextlib
import random
from collections.abc import Container, Sequence

import structlog
from redis.exceptions import RedisError

from roomful.crdt.archive import Archive, object_key
from roomful.crdt.check import check_update
from roomful.crdt.compression import Unreadable
from roomful.crdt.log import History, LogError
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.redis_lease import Lease
from roomful.crdt.snapshot import decode_snapshot, encode_snapshot
from roomful.crdt.snapshot_store import StoreError
from roomful.crdt.varint import Malformed
from roomful.crdt.worker import WorkerFailed, WorkerPool

from .config import Config
from .metrics import Metrics

_log = structlog.get_logger()

_LONGEST_INTERVAL = 3600.0
"""Between the beginnings of two looks at all rooms."""
_LEASE_SECONDS = 60.0
_UNTOUCHED_SECONDS = 86_400.0
"""Rooms that are only read stay where they are read quickly, as long as it happens once a day."""
_PAUSE_SECONDS = 0.01
"""After each page of names, so that rooms in use do not notice."""


class Archiver:
    """Looks for old rooms, and moves them. ``open_rooms`` are left alone."""

    def __init__(
        self, log: RedisLog, archive: Archive, workers: WorkerPool, open_rooms: Container[str],
        config: Config, metrics: Metrics,
    ) -> None:  # fmt: skip
        seconds = config.storage.archive_after_seconds
        self._log = log
        self._archive = archive
        self._workers = workers
        self._open_rooms = open_rooms
        self._inline_bytes = config.folding.inline_check_bytes
        self._metrics = metrics
        untouched = min(seconds, _UNTOUCHED_SECONDS)
        self._rooms = log.old_rooms(unwritten=seconds, untouched=untouched)
        self._interval = min(seconds / 2, _LONGEST_INTERVAL)
        self._turn = min(self._interval, _LEASE_SECONDS)

    async def run(self) -> None:
        """Do so again and again. Cancelled, it leaves what is under way where it was."""
        while True:
            lease = self._log.lease("archiver")
            try:
                if await lease.hold(self._turn):
                    await self._look(lease)
                    # Not let go: when it ends, the next look is due, whoever takes it.
                    await lease.hold(self._interval)
            except (LogError, RedisError, OSError) as error:
                _log.warning("old rooms can't be looked for now", error=str(error) or type(error).__name__)
            except Exception:  # noqa: BLE001 - the root of a task; the next look may do better
                _log.exception("archiver failed")
            # Not all at the same time, nor the same one always: it leaves alone what it has open.
            await asyncio.sleep(self._turn * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    async def _look(self, lease: Lease) -> None:
        """Look at all rooms once, and move the old ones, while the lease is held and the store takes them."""
        async with contextlib.aclosing(self._rooms.pages()) as pages:
            async for names in pages:
                for name in names:
                    if not await lease.hold(self._turn):
                        return
                    try:
                        await self.consider(name)
                    except StoreError as error:
                        _log.warning("old rooms can't be archived now", room=name, error=str(error))
                        return
                await asyncio.sleep(_PAUSE_SECONDS)

    async def consider(self, name: str) -> None:
        """Move a room if it is old; one that can't be stays, and is told. Raises StoreError."""
        try:
            if name not in self._open_rooms:
                await self._move(name)
        except (LogError, Malformed, Unreadable, WorkerFailed) as error:
            self._metrics.archive_failures += 1
            _log.error("room can't be archived", room=name, error=f"{type(error).__name__}: {error}")

    async def _move(self, name: str) -> None:
        key = object_key(name)
        at = await self._rooms.begin(name, key)
        if at is None:
            return
        # What comes from here on is noticed at the end, which is then none.
        snapshot = await self._snapshot(await self._log.load(name))
        await self._archive.put(key, name, at, snapshot)
        unneeded = await self._rooms.end(name, at, key)
        if unneeded is None:
            await self._archive.forget([key])
            return
        await self._rooms.deleted(name, await self._archive.forget(unneeded))
        self._metrics.archived += 1
        _log.debug("room archived", room=name, offset=at.offset, bytes=len(snapshot), key=key)

    async def _snapshot(self, history: History) -> bytes:
        """Return a snapshot of all entries, merged without a document."""
        if history.snapshot is not None and not history.entries:
            return history.snapshot
        pieces = decode_snapshot(history.snapshot).pieces if history.snapshot is not None else []
        await self._check(history.entries)
        return encode_snapshot(await self._workers.fold(pieces, history.entries, merge_only=True))

    async def _check(self, entries: Sequence[bytes]) -> None:
        """Walk entries: one that can't be read must not vanish in a snapshot."""
        for entry in entries:
            if len(entry) > self._inline_bytes:
                await self._workers.check(entry)
            else:
                check_update(entry)
                await asyncio.sleep(0)
