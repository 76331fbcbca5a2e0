"""One room's document in memory, as bytes: the pieces of its snapshot, and a tail of updates since.

No CRDT document is built. Joins and repairs are answered by merging and diffing bytes, lazily, and
what was merged or diffed once is kept until it is no longer true.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pycrdt import get_update

from .check import VALUES, Contents
from .delete_set import DeleteSet
from .merge import merge
from .snapshot import Snapshot
from .state_vector import StateVector
from .sync import EMPTY_STATE_VECTOR, EMPTY_UPDATE
from .varint import read_varuint

Part = tuple[bytes, Contents]
"""A checked update, and what the check found in it."""

_NO_STRUCTS = b"\x00"
_KEPT = 8
"""Answers to different questions that are kept."""
_KEPT_BYTES = 32 << 20
"""How much of diffs is kept, when what was asked for makes them as large as the document."""
_MERGED_BYTES = 256 << 10
"""Of the tail, so much is merged at once; it takes a few milliseconds, and more where it is made to."""
_MOST_DELETES = 512 << 10
"""Bytes of deletions that are taken apart to see whether they are news: a tenth of a second's work."""
_LARGEST_DIFF = 1 << 20
"""A piece is larger only when it is one struct; one of values is sent whole, since to read it takes long."""


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
        self._deletes_bytes = self._count_deletes()
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

    @property
    def runs(self) -> int:
        """Clients that the document has structs of, and runs of structs beyond holes."""
        return self._vector.runs

    def append(self, update: bytes, parts: Sequence[Part]) -> None:
        """Take in a checked update, and say which checked parts it was merged from."""
        self.tail.append(update)
        self.tail_bytes += len(update)
        deletes = []
        for part, contents in parts:
            self._vector.advance(contents.ranges)
            if len(part) - contents.deletes_at > 1:
                deletes.append(part[contents.deletes_at :])
        self._tail_deletes.append(tuple(deletes))
        if not deletes:
            return
        self._deletes_bytes += sum(map(len, deletes))
        if self._deletes_bytes > _MOST_DELETES:
            self._deletes = None
        elif self._deletes is not None:
            for encoded in deletes:
                self._deletes.add(encoded)

    def adds_nothing(self, update: bytes, contents: Contents) -> bool:
        """Whether the document already holds every struct and every deletion of a checked update.

        Where there are too many deletions to look at, they count as news.
        """
        if not self._vector.covers(contents.ranges):
            return False
        if len(update) - contents.deletes_at == 1:
            return True
        if max(self._deletes_bytes, len(update) - contents.deletes_at) > _MOST_DELETES:
            return False
        if self._deletes is None:
            self._deletes = self._collect_deletes()
        return self._deletes.covers(update, contents.deletes_at)

    def reach(self, seq: int) -> int:
        """Return the number of the last update that ``since`` gives: the newest, if it is not too much."""
        if self.tail_bytes <= _MERGED_BYTES:
            return self.seq
        size = 0
        for at in range(seq - self.base, len(self.tail)):
            size += len(self.tail[at])
            if size > _MERGED_BYTES and self.base + at > seq:
                return self.base + at
        return self.seq

    def since(self, seq: int) -> bytes | None:
        """Return the updates after number ``seq``, as far as ``reach``, as one; None if folded away."""
        if seq < self.base:
            return None
        if seq == self.seq:
            return EMPTY_UPDATE
        end = self.reach(seq)
        # Many sessions that fell behind, or join, at one point ask for the same bytes.
        kept = self._merged.get(seq)
        if kept is not None and kept[0] == end:
            return kept[1]
        if kept is None:
            _make_place(self._merged, _KEPT)
            merged = merge(self.tail[seq - self.base : end - self.base])
        else:
            # What was merged up to an older end needs only the rest.
            merged = merge([kept[1], *self.tail[kept[0] - self.base : end - self.base]])
        self._merged[seq] = (end, merged)
        return merged

    def lacking(self, vector: bytes) -> "Lacking":
        """Return what of the snapshot a replica with this (checked) state vector lacks."""
        if vector == EMPTY_STATE_VECTOR:
            return Lacking(self, vector, list(self.pieces))
        # After an interruption everybody comes back with the same vector: one does the work for all.
        made = self._diffs.get(vector)
        if made is None:
            _make_place(self._diffs, min(_KEPT, 1 + _KEPT_BYTES // (1 + self.pieces_bytes)))
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
        self._deletes_bytes = self._count_deletes()
        self._merged.clear()
        self._diffs.clear()

    def _count_deletes(self) -> int:
        snapshot = sum(len(piece) for piece in self.pieces if piece.startswith(_NO_STRUCTS))
        return snapshot + sum(len(encoded) for entry in self._tail_deletes for encoded in entry)

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
            diff = (
                piece if len(piece) > _LARGEST_DIFF and _is_values(piece) else get_update(piece, self._vector)
            )
            # Of what is lacking as a whole no second copy is kept.
            self._made.append(piece if diff == piece else diff)
        return self._made[at]


def _is_values(piece: bytes) -> bool:
    """Whether the first struct of an update is an array of values, which the library reads one by one."""
    _, at = read_varuint(piece, 0)
    for _ in range(3):
        _, at = read_varuint(piece, at)
    return piece[at] & 31 == VALUES


def _make_place(kept: dict[Any, Any], most: int) -> None:
    """Forget the oldest of what is kept when there is enough of it."""
    while len(kept) >= most:
        kept.pop(next(iter(kept)))
