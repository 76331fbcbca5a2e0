"""The store is lost, and is back: said in the log and to the clients, who are sent away at last."""

import structlog

from .close_codes import CloseCode
from .connection import Connection
from .node import Node

_log = structlog.get_logger()

_REMIND_SECONDS = 10.0
"""A server that waits for its store at the start says so again and again; later once is enough."""


class StorageWatch:
    """Looks at the log's condition again and again, and says once what has changed."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lost_since: float | None = None
        self._has_been_there = False
        self._said_at = 0.0
        self._waiting = 0
        self._was_full = False

    async def look(self, now: float) -> None:
        """Compare with the last look. ``now`` in monotonic seconds."""
        log = self._node.log
        if log.condition.failing:
            self._waiting = log.backlog_entries
            await self._find_lost(now)
        elif self._lost_since is not None:
            await self._find_back(now, self._lost_since)
        self._has_been_there |= not log.condition.failing
        if log.full and not self._was_full:
            _log.error("backlog is full, writers are sent away", bytes=log.backlog_bytes)
        self._was_full = log.full
        if self._node.storage_lost:
            for connection in self._node.heartbeat.connections:
                if isinstance(connection, Connection):
                    connection.close(CloseCode.STORAGE, "updates can't be stored now")
        elif not (log.condition.failing or log.full):
            for told in tuple(self._node.awaiting_storage):
                told()
            self._node.awaiting_storage.clear()

    async def _find_lost(self, now: float) -> None:
        condition = self._node.log.condition
        if self._lost_since is None:
            self._lost_since = condition.since
            self._said_at = now
            _log.error("storage refuses", reason=condition.reason)
            await self._node.rooms.tell_storage(lost=True)
        elif not self._has_been_there and now - self._said_at >= _REMIND_SECONDS:
            self._said_at = now
            _log.warning("still waiting for storage", reason=condition.reason)

    async def _find_back(self, now: float, lost_since: float) -> None:
        self._lost_since = None
        _log.info("storage is back", seconds=round(now - lost_since, 1), entries=self._waiting)
        await self._node.rooms.tell_storage(lost=False)
