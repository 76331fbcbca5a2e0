"""Which structs are deleted: the union of encoded delete sets (layout in check.py)."""

from __future__ import annotations

from array import array

from .intervals import include_all, includes, no_clocks
from .varint import read_varuint


class DeleteSet:
    """Deleted clocks of each client. Takes only delete sets that ``check_update`` has passed."""

    __slots__ = ("_clients",)

    def __init__(self) -> None:
        self._clients: dict[int, array[int]] = {}

    def add(self, encoded: bytes, at: int = 0) -> None:
        """Add the deletions of the delete set that begins at ``at``."""
        clients, at = read_varuint(encoded, at)
        for _ in range(clients):
            client, at = read_varuint(encoded, at)
            left, at = read_varuint(encoded, at)
            intervals = []
            for _ in range(left):
                clock, at = read_varuint(encoded, at)
                length, at = read_varuint(encoded, at)
                intervals.append((clock, clock + length))
            if intervals:
                include_all(self._clients.setdefault(client, no_clocks()), intervals)

    def covers(self, encoded: bytes, at: int = 0) -> bool:
        """Whether everything in the delete set that begins at ``at`` is deleted here too."""
        clients, at = read_varuint(encoded, at)
        for _ in range(clients):
            client, at = read_varuint(encoded, at)
            left, at = read_varuint(encoded, at)
            edges = self._clients.get(client)
            for _ in range(left):
                clock, at = read_varuint(encoded, at)
                length, at = read_varuint(encoded, at)
                if edges is None or not includes(edges, clock, clock + length):
                    return False
        return True
