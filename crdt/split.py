"""Cut one large update into several, so that none holds up a socket, a loop or a client for long.

Structs and deletions stand for themselves: any slice of a section is a section, given its first clock. So the
pieces are slices of the bytes under new headers, and nothing is decoded (layout in check.py).
"""

from collections.abc import Iterator, Sequence

from .check import SKIP, Struct, check_update
from .varint import read_varuint, write_varuint

Span = tuple[int, int, int, int]
"""(client, place in the list that it comes from, first byte, byte after the last)."""

_NONE = b"\x00"
_EMPTY_UPDATE = _NONE + _NONE


def split_update(update: bytes, target: int) -> list[bytes]:
    """Cut an update (v1) into updates of about ``target`` bytes, in any order as good as the whole.

    First the structs in their order, without deletions, then the deletions without structs. A struct is never
    cut, so a piece may be as large as the largest struct. An update of at most ``target`` bytes is returned
    as it is. Raises ``Malformed``.
    """
    if len(update) <= target:
        return [update]
    structs: list[Struct] = []
    deletes_at = check_update(update, structs).deletes_at
    real = [
        (struct.client, place, struct.start, struct.end)
        for place, struct in enumerate(structs)
        if update[struct.start] != SKIP
    ]
    pieces = []
    for runs in _pack(real, target):
        parts = [write_varuint(len(runs))]
        for (client, place, start, _), (_, last, _, end) in runs:
            # Skips between the two ends are among the bytes and count; at the ends they are left out.
            parts += (write_varuint(last - place + 1), write_varuint(client))
            parts += (write_varuint(structs[place].clock), update[start:end])
        parts.append(_NONE)
        pieces.append(b"".join(parts))
    for runs in _pack(_deletions(update, deletes_at), target):
        parts = [_NONE, write_varuint(len(runs))]
        for (client, place, start, _), (_, last, _, end) in runs:
            parts += (write_varuint(client), write_varuint(last - place + 1), update[start:end])
        pieces.append(b"".join(parts))
    return pieces or [_EMPTY_UPDATE]


def _deletions(update: bytes, at: int) -> list[Span]:
    spans = []
    clients, at = read_varuint(update, at)
    for _ in range(clients):
        client, at = read_varuint(update, at)
        left, at = read_varuint(update, at)
        for place in range(left):
            start = at
            _, at = read_varuint(update, at)
            _, at = read_varuint(update, at)
            spans.append((client, place, start, at))
    return spans


def _pack(spans: Sequence[Span], target: int) -> Iterator[list[tuple[Span, Span]]]:
    """Yield what goes into each piece: the first and last span of one run for each client."""
    if not spans:
        return
    runs: list[tuple[Span, Span]] = []
    size = 0  # of the runs, without the one that is growing
    first = last = spans[0]
    for span in spans[1:]:
        client, _, start, end = span
        if client != first[0] or size + end - first[2] > target:
            runs.append((first, last))
            size += last[3] - first[2]
            # A client may have only one run in a piece.
            if client == first[0] or size + end - start > target:
                yield runs
                runs = []
                size = 0
            first = span
        last = span
    yield [*runs, (first, last)]
