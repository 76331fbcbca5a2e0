"""Which structs a log holds, exactly, though updates may come with holes between them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Self

from .check import check_state_vector
from .intervals import include_all, includes, no_clocks
from .varint import write_varuint

Range = tuple[int, int, int]
"""(client, first clock, clock after the last)."""


class StateVector:
    """The end of what is held without a hole from clock 0 on, for each client, and what lies beyond holes."""

    __slots__ = ("_beyond", "_clocks", "_encoded", "_islands")

    def __init__(self) -> None:
        self._clocks: dict[int, int] = {}
        # Only clients with a hole are here, and none of their intervals touches their clock.
        self._beyond: dict[int, array[int]] = {}
        self._islands = 0
        self._encoded: bytes | None = None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read an encoded state vector; raises ``Malformed``."""
        vector = cls()
        vector._clocks = {client: clock for client, clock in check_state_vector(data).items() if clock}
        return vector

    def encode(self) -> bytes:
        """Return the Yjs state vector, highest client first; what lies beyond a hole is not in it."""
        if self._encoded is None:
            parts = [write_varuint(len(self._clocks))]
            for client in sorted(self._clocks, reverse=True):
                parts += (write_varuint(client), write_varuint(self._clocks[client]))
            self._encoded = b"".join(parts)
        return self._encoded

    def advance(self, ranges: Iterable[Range]) -> None:
        """Add ranges, in any order, known ones too."""
        late: dict[int, list[tuple[int, int]]] = {}
        for client, start, end in ranges:
            held = self._clocks.get(client, 0)
            if end <= held:
                continue
            if start <= held and client not in self._beyond:
                self._clocks[client] = end
                self._encoded = None
            else:
                late.setdefault(client, []).append((start, end))
        for client, intervals in late.items():
            edges = self._beyond.pop(client, no_clocks())
            self._islands -= len(edges) // 2
            held = self._clocks.get(client, 0)
            if held:
                intervals.append((0, held))
            include_all(edges, intervals)
            if edges[0] == 0:
                self._clocks[client] = edges[1]
                self._encoded = None
                del edges[:2]
            if edges:
                self._beyond[client] = edges
                self._islands += len(edges) // 2

    def covers(self, ranges: Iterable[Range]) -> bool:
        """Whether all of the ranges are held, be it beyond a hole."""
        for client, start, end in ranges:
            if end > self._clocks.get(client, 0):
                beyond = self._beyond.get(client)
                if beyond is None or not includes(beyond, start, end):
                    return False
        return True

    def clock(self, client: int) -> int:
        """Return the clock up to which a client's structs are held without a hole; 0 if unknown."""
        return self._clocks.get(client, 0)

    @property
    def runs(self) -> int:
        """How many clients there are, and how many runs beyond their holes."""
        return len(self._clocks) + self._islands

    @property
    def has_gaps(self) -> bool:
        """Whether something is held beyond a hole."""
        return bool(self._beyond)

    def copy(self) -> StateVector:
        """Return a vector that goes its own way from here."""
        other = StateVector()
        other._clocks = self._clocks.copy()
        other._beyond = {client: edges[:] for client, edges in self._beyond.items()}
        other._islands = self._islands
        other._encoded = self._encoded
        return other
