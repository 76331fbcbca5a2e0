"""The store is lost, and is back: said in the log and to the clients, who are sent away at last."""

import structlog

from .close_codes import CloseCode
from .connection import Connection
from .node import Node

_log = structlog.get_logger()

_REMIND_SECONDS = 10.0
"""A server that waits for its store at the start says so again and again; later once is enough."""


class StorageWatch:
    """Looks at the log's condition. What it finds is told once, when it changes."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._has_begun = False
        self._lost_since: float | None = None
        self._said_at = 0.0
        self._waited = 0
        self._was_full = False

    async def look(self, now: float) -> None:
        """Compare with the last look. ``now`` in monotonic seconds."""
        log = self._node.log
        if log.condition.failing:
            self._waited = log.backlog_entries
            await self._find_lost(now)
        elif self._lost_since is not None:
            await self._find_back(now, self._lost_since)
        else:
            self._has_begun = True
        if log.full and not self._was_full:
            _log.error("backlog is full, writers are sent away", bytes=log.backlog_bytes)
        self._was_full = log.full
        if self._node.storage_lost:
            for connection in self._connections():
                connection.close(CloseCode.STORAGE, "updates can't be stored now")

    async def _find_lost(self, now: float) -> None:
        condition = self._node.log.condition
        if self._lost_since is None:
            self._lost_since = condition.since
            self._said_at = now
            _log.error("storage refuses", reason=condition.reason)
            await self._node.rooms.tell_storage(lost=True)
        elif not self._has_begun and now - self._said_at >= _REMIND_SECONDS:
            self._said_at = now
            _log.warning("still waiting for storage", reason=condition.reason)

    async def _find_back(self, now: float, lost_since: float) -> None:
        self._has_begun = True
        self._lost_since = None
        _log.info("storage is back", seconds=round(now - lost_since, 1), waited=self._waited)
        await self._node.rooms.tell_storage(lost=False)
        for connection in self._connections():
            connection.storage_is_back()

    def _connections(self) -> list[Connection]:
        return [each for each in self._node.heartbeat.connections if isinstance(each, Connection)]
