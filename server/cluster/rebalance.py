"""Which connections to move to other nodes, and when. Pure: connections, views and the time go in.

A node that joins takes slots from the others, and one that leaves gives its slots to them. Connections of a
slot that has another node now are closed, to be opened there: not before the view has stood still for two
leases, so many a second, and each at most once for a view.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from .sharding import SLOTS
from .view import LEASE_SECONDS, View

_SETTLED_SECONDS = 2 * LEASE_SECONDS
_RANKED_AT_ONCE = 512
"""Slots; with 32 nodes that takes some 15 ms."""


class Placed(Protocol):
    """A connection, as it is moved. Without a key it has no slot, and stays where it is."""

    slot: int | None
    opened_at: float


Connection = TypeVar("Connection", bound=Placed)


class Rebalance:
    """The moves of the node that is reached under ``url``; ``percent`` of its connections a second."""

    def __init__(self, url: str, percent: int) -> None:
        self._url = url
        self._share = percent / 100
        self._view: View | None = None
        self._ready: frozenset[str] = frozenset()
        self._formed_at = 0.0
        self._heard_at = 0.0
        self._looked_at = 0.0
        self._credit = 0.0
        self._next_slot = 0
        self._done = True

    def heard(self, view: View, ready: frozenset[str], now: float) -> None:
        """Take the view in force, each time that the node has renewed its lease."""
        self._ready, self._heard_at = ready, now
        if self._view is None or view.hash != self._view.hash:
            self._formed_at = now
            self._credit = 0.0
            self._next_slot = 0
            self._done = False
        self._view = view

    def due(self, connections: Iterable[Connection], now: float) -> list[Connection]:
        """Return those to be closed now, out of all that are open. Ask about twice a second."""
        elapsed, self._looked_at = now - self._looked_at, now
        if (
            self._done
            or self._view is None
            or self._url not in self._view.urls
            or not self._ranked(self._view)
        ):
            return []
        # A node that is out of touch does not know who is ready.
        if now < self._formed_at + _SETTLED_SECONDS or now > self._heard_at + LEASE_SECONDS:
            return []
        counted, misplaced = 0, []
        for connection in connections:
            counted += 1
            if connection.slot is not None and connection.opened_at < self._formed_at:
                url = self._view.ranked(connection.slot)[0]
                if url != self._url:
                    misplaced.append((url, connection))
        self._done = not misplaced
        rate = self._share * counted
        # What was not used while nobody could be moved is not saved up.
        self._credit = min(self._credit + rate * elapsed, max(rate, 1.0))
        moved = [connection for url, connection in misplaced if url in self._ready][: int(self._credit)]
        self._credit -= len(moved)
        return moved

    def _ranked(self, view: View) -> bool:
        """Rank some more slots, so that no look at all connections has to; returns whether none is left."""
        first, self._next_slot = self._next_slot, min(self._next_slot + _RANKED_AT_ONCE, SLOTS)
        for slot in range(first, self._next_slot):
            view.ranked(slot)
        return self._next_slot == SLOTS
