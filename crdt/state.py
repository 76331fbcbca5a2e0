"""One room's document in memory, as bytes: the pieces of its snapshot, and a tail of updates since.

No CRDT document is built. Joins and repairs are answered by merging and diffing bytes, lazily, and
what was merged or diffed once is kept until it is no longer true.
"""

from collections.abc import Iterator, Sequence

from pycrdt import get_update

from .check import Contents
from .delete_set import DeleteSet
from .merge import merge
from .snapshot import Snapshot
from .state_vector import StateVector
from .sync import EMPTY_UPDATE

Part = tuple[bytes, Contents]
"""A checked update, and what the check found in it."""

_NO_STRUCTS = b"\x00"
_NO_DELETE_SETS: tuple[bytes, ...] = ()
_NOTHING_KNOWN = b"\x00"
_KEPT_DIFFS = 8


class DocumentState:
    """Pieces 0..n of a snapshot, and ``tail``: updates number ``base`` + 1 to ``seq``.

    ``seq`` counts the updates of this process' life of the room; it names what a session has been sent.
    """

    def __init__(self, snapshot: Snapshot | None) -> None:
        self.pieces: tuple[bytes, ...] = tuple(snapshot.pieces) if snapshot else ()
        self.base = 0
        self.tail: list[bytes] = []
        self.tail_bytes = 0
        self._tail_deletes: list[tuple[bytes, ...]] = []
        self.pieces_bytes = sum(map(len, self.pieces))
        self._pieces_vector = snapshot.state_vector if snapshot else _NOTHING_KNOWN
        self._vector = StateVector.decode(self._pieces_vector)
        self._deletes: DeleteSet | None = None
        self._merged: dict[int, tuple[int, bytes]] = {}
        self._diffs: dict[bytes, tuple[bytes, ...]] = {}

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
        deletes = _NO_DELETE_SETS
        for part, contents in parts:
            self._vector.advance(contents.ranges)
            if len(part) - contents.deletes_at > 1:
                deletes = (*deletes, part[contents.deletes_at :])
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
        # What was merged up to an older end needs only the rest.
        merged = (
            merge(self.tail[seq - self.base :])
            if kept is None
            else merge([kept[1], *self.tail[kept[0] - self.base :]])
        )
        if len(self._merged) >= _KEPT_DIFFS:
            self._merged.pop(next(iter(self._merged)))
        self._merged[seq] = (self.seq, merged)
        return merged

    def lacking(self, vector: bytes) -> "Lacking":
        """Return what of the snapshot a replica with this (checked) state vector lacks."""
        return Lacking(self, vector)

    def diffs(self, vector: bytes) -> tuple[bytes, ...] | None:
        """Return the pieces' diffs against a state vector, if they are at hand."""
        return self.pieces if vector == _NOTHING_KNOWN else self._diffs.get(vector)

    def keep_diffs(self, pieces: tuple[bytes, ...], vector: bytes, diffs: tuple[bytes, ...]) -> None:
        """Keep the diffs of these pieces for the next who asks with the same vector."""
        if pieces is self.pieces:
            if len(self._diffs) >= _KEPT_DIFFS:
                self._diffs.pop(next(iter(self._diffs)))
            self._diffs[vector] = diffs

    @property
    def pieces_vector(self) -> bytes:
        """The state vector of the snapshot alone."""
        return self._pieces_vector

    def fold(self, folded_updates: int, snapshot: Snapshot) -> None:
        """Put a snapshot in the place of the pieces and the oldest ``folded_updates`` of the tail."""
        self.pieces = tuple(snapshot.pieces)
        self.pieces_bytes = sum(map(len, self.pieces))
        self._pieces_vector = snapshot.state_vector
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
    ``vector`` what a replica holds that has received all of it.
    """

    def __init__(self, state: DocumentState, vector: bytes) -> None:
        self.seq = state.base
        self.vector = state.pieces_vector
        self._state = state
        self._known = vector
        self._pieces = state.pieces
        self._ready = state.diffs(vector)
        self._made: list[bytes] = []
        self._next = 0

    @property
    def at_hand(self) -> bool:
        """Whether the next update costs no work."""
        return self._ready is not None

    def __next__(self) -> bytes:
        """Return the next update; it may be an empty one."""
        at = self._next
        if at == len(self._pieces):
            raise StopIteration
        self._next += 1
        if self._ready is not None:
            return self._ready[at]
        diff = get_update(self._pieces[at], self._known)
        self._made.append(diff)
        if self._next == len(self._pieces):
            self._state.keep_diffs(self._pieces, self._known, tuple(self._made))
        return diff
