"""Folding: a snapshot and its tail become one garbage-collected snapshot. Runs in a worker process only.

A document must be built for it, because only a document drops deleted content (ten times smaller on
a real paper), and documents are what the CRDT library crashes on.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pycrdt import Doc, get_state, get_update, merge_updates

from .check import check_update
from .merge import FAN_IN, merge_whole
from .snapshot import Snapshot
from .split import split_update
from .surrogates import halved_pairs, mend
from .sync import EMPTY_UPDATE

_TRANSACTION_BYTES = 16 << 10

_PIECE_BYTES = 256 << 10
"""Small enough that a slow link sees a whole message well within a client's 30 s watchdog."""


def fold(pieces: Sequence[bytes], tail: Sequence[bytes], *, merge_only: bool) -> Snapshot:
    """Fold checked updates, oldest first.

    ``Doc.get_update`` leaves out what is pending (structs and deletions whose ground is missing), so what
    the document does not show is taken from the merged bytes and put back; without that, one lost update
    made all later ones vanish. With ``merge_only`` no document is built and nothing is collected.
    """
    parts = [merge_whole(pieces), *tail]
    if halved := halved_pairs(parts):
        parts = [mend(part, halved) for part in parts]
    snapshot = merged = merge_whole(parts)
    if not merge_only:
        doc: Doc[Any] = Doc()
        doc.apply_update(parts[0])
        for group in _groups(parts[1:]):
            doc.apply_update(merge_whole(group))
        collected = merge_updates(doc.get_update(), get_update(merged, doc.get_state()))
        # Inserts in the middle split blocks, and then the document may be the longer form.
        if len(collected) < len(merged):
            snapshot = collected
    return Snapshot(_pieces(snapshot), get_state(snapshot))


def _groups(tail: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield runs of updates to be applied at once.

    One transaction with tens of thousands of operations is far slower than many small ones, and one
    for each keystroke is slow as well.
    """
    start = size = 0
    for at, update in enumerate(tail):
        size += len(update)
        if size >= _TRANSACTION_BYTES or at - start == FAN_IN:
            yield tail[start : at + 1]
            start, size = at + 1, 0
    if start < len(tail):
        yield tail[start:]


def _pieces(snapshot: bytes) -> list[bytes]:
    """Cut a snapshot: first structs, then deletions in pieces of their own, found without a walk."""
    at = check_update(snapshot).deletes_at
    parts = (snapshot[:at] + b"\x00", b"\x00" + snapshot[at:])
    return [piece for part in parts if part != EMPTY_UPDATE for piece in split_update(part, _PIECE_BYTES)]
