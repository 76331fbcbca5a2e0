"""One room's document in memory, as bytes: the pieces of its snapshot, and a tail of updates since.

No CRDT document is built. Joins and repairs are answered by merging and diffing bytes, lazily, and
what was merged or diffed once is kept until it is no longer true.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pycrdt import get_update

from .check import Contents
from .delete_set import DeleteSet
from .merge import merge
from .snapshot import Snapshot
from .state_vector import StateVector
from .sync import EMPTY_STATE_VECTOR, EMPTY_UPDATE

Part = tuple[bytes, Contents]
"""A checked update, and what the check found in it."""

_NO_STRUCTS = b"\x00"
_KEPT = 8
"""Answers to different questions that are kept."""


class DocumentState:
    """The pieces of a snapshot with their state vector, and ``tail``: updates number ``base`` + 1 to ``seq``.

    ``seq`` counts the updates of this process' life of the room; it names what a session has been sent.
    """

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.pieces: tuple[bytes, ...] = tuple(snapshot.pieces) if snapshot else ()
        self.base = 0
        self.tail: list[bytes] = []
        self.tail_bytes = 0
        self._tail_deletes: list[tuple[bytes, ...]] = []
        self.pieces_bytes = sum(map(len, self.pieces))
        self.pieces_vector = snapshot.state_vector if snapshot else EMPTY_STATE_VECTOR
        self._vector = StateVector.decode(self.pieces_vector)
        self._deletes: DeleteSet | None = None
        self._merged: dict[int, tuple[int, bytes]] = {}
        self._diffs: dict[bytes, list[bytes]] = {}

    @property
    def seq(self) -> int:
        """The number of the newest update."""
        return self.base + len(self.tail)

    @property
    def size(self) -> int:
        """Bytes held: snapshot and tail."""
        return self.pieces_bytes + self.tail_bytes

    @property
    def state_vector(self) -> bytes:
        """What the document holds without a gap, encoded."""
        return self._vector.encode()

    def append(self, update: bytes, parts: Sequence[Part]) -> None:
        """Take in a checked update, and say which checked parts it was merged from."""
        self.tail.append(update)
        self.tail_bytes += len(update)
        for _, contents in parts:
            self._vector.advance(contents.ranges)
        deletes = tuple(
            part[contents.deletes_at :] for part, contents in parts if len(part) - contents.deletes_at > 1
        )
        self._tail_deletes.append(deletes)
        if self._deletes is not None:
            for encoded in deletes:
                self._deletes.add(encoded)

    def adds_nothing(self, update: bytes, contents: Contents) -> bool:
        """Whether the document already holds every struct and every deletion of a checked update."""
        if not self._vector.covers(contents.ranges):
            return False
        if len(update) - contents.deletes_at == 1:
            return True
        if self._deletes is None:
            self._deletes = self._collect_deletes()
        return self._deletes.covers(update, contents.deletes_at)

    def since(self, seq: int) -> bytes | None:
        """Return all updates after number ``seq`` as one, or None when they have been folded away."""
        if seq < self.base:
            return None
        if seq == self.seq:
            return EMPTY_UPDATE
        # Many sessions that fell behind, or join, at one point ask for the same bytes.
        kept = self._merged.get(seq)
        if kept is not None and kept[0] == self.seq:
            return kept[1]
        if kept is None:
            _make_place(self._merged)
            merged = merge(self.tail[seq - self.base :])
        else:
            # What was merged up to an older end needs only the rest.
            merged = merge([kept[1], *self.tail[kept[0] - self.base :]])
        self._merged[seq] = (self.seq, merged)
        return merged

    def lacking(self, vector: bytes) -> "Lacking":
        """Return what of the snapshot a replica with this (checked) state vector lacks."""
        if vector == EMPTY_STATE_VECTOR:
            return Lacking(self, vector, list(self.pieces))
        # After an interruption everybody comes back with the same vector: one does the work for all.
        made = self._diffs.get(vector)
        if made is None:
            _make_place(self._diffs)
            made = self._diffs[vector] = []
        return Lacking(self, vector, made)

    def fold(self, folded_updates: int, snapshot: Snapshot) -> None:
        """Put a snapshot in the place of the pieces and the oldest ``folded_updates`` of the tail."""
        self.pieces = tuple(snapshot.pieces)
        self.pieces_bytes = sum(map(len, self.pieces))
        self.pieces_vector = snapshot.state_vector
        self.base += folded_updates
        del self.tail[:folded_updates]
        del self._tail_deletes[:folded_updates]
        self.tail_bytes = sum(map(len, self.tail))
        self._merged.clear()
        self._diffs.clear()

    def _collect_deletes(self) -> DeleteSet:
        deletes = DeleteSet()
        for piece in self.pieces:
            # A snapshot's deletions are in pieces without structs (folding.py).
            if piece.startswith(_NO_STRUCTS):
                deletes.add(piece, len(_NO_STRUCTS))
        for encoded in (encoded for entry in self._tail_deletes for encoded in entry):
            deletes.add(encoded)
        return deletes


class Lacking(Iterator[bytes]):
    """The updates of a snapshot that a replica lacks, made one at a time, so that a large diff stalls nobody.

    ``seq`` is the number of the update up to which the snapshot (as it was at the start) reaches, and
    ``reached`` what a replica holds at least that has received all of it. ``made`` are the diffs at hand:
    all who ask with the same vector share the list, and whoever needs the next one makes it.
    """

    def __init__(self, state: DocumentState, vector: bytes, made: list[bytes]) -> None:
        self.seq = state.base
        self.reached = state.pieces_vector
        self._pieces = state.pieces
        self._vector = vector
        self._made = made
        self._next = 0

    @property
    def at_hand(self) -> bool:
        """Whether the next update, or to learn that there is none, costs no work."""
        return self._next < len(self._made) or self._next == len(self._pieces)

    def __next__(self) -> bytes:
        """Return the next update; it may be an empty one."""
        at = self._next
        if at == len(self._pieces):
            raise StopIteration
        self._next += 1
        if at == len(self._made):
            piece = self._pieces[at]
            diff = get_update(piece, self._vector)
            # Of what is lacking as a whole no second copy is kept.
            self._made.append(piece if diff == piece else diff)
        return self._made[at]


def _make_place(kept: dict[Any, Any]) -> None:
    """Forget the oldest of what is kept when there is enough of it."""
    if len(kept) >= _KEPT:
        kept.pop(next(iter(kept)))
