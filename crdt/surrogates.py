"""Characters outside the Basic Multilingual Plane, an emoji for one, that somebody has cut in half.

Clocks count UTF-16 units, so such a character has two, and an edit may fall between them. Yjs then makes
either half a U+FFFD. The library (yrs in pycrdt 0.14.13) cuts beside the character instead: its document
loses or moves the letters that follow, or writes a string of no length, at which every Yjs client throws. So
before a document is built of updates, their halved characters are written out as the two U+FFFD of Yjs.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from .check import Struct, check_update
from .varint import read_varuint, write_varbytes

_PAIR = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
_HALVES = "\ufffd\ufffd"

Cut = tuple[int, int]
"""(client, clock of the second half)."""


def halved_pairs(updates: Sequence[bytes]) -> set[Cut]:
    """Return where checked updates (v1), taken together, cut through their own characters.

    What cuts is a deletion, a struct that wants to stand there, or the same text in parts in another update.
    """
    if not any(_PAIR.search(update) for update in updates):
        return set()
    pairs: set[Cut] = set()
    edges: list[Iterator[Cut]] = []
    for update in updates:
        structs: list[Struct] = []
        ranges, deletes_at = check_update(update, structs)
        for struct, text, _ in _texts(update, structs):
            pairs.update((struct.client, struct.clock + place) for place in _second_halves(text))
        edges.append(_edges(update, structs, deletes_at))
        # Where another update goes on behind the last of these.
        edges.append((client, end) for client, _, end in ranges)
    return pairs.intersection(chain.from_iterable(edges)) if pairs else pairs


def mend(update: bytes, halved: set[Cut]) -> bytes:
    """Return a checked update with each of the characters replaced; clocks and all else stay."""
    if not halved or _PAIR.search(update) is None:
        return update
    structs: list[Struct] = []
    check_update(update, structs)
    parts: list[bytes] = []
    done = 0
    for struct, text, at in _texts(update, structs):
        cuts = [place for place in _second_halves(text) if (struct.client, struct.clock + place) in halved]
        if cuts:
            units = text.encode("utf-16-le")
            for place in cuts:
                units = units[: 2 * place - 2] + _HALVES.encode("utf-16-le") + units[2 * place + 2 :]
            parts += (update[done:at], write_varbytes(units.decode("utf-16-le").encode()))
            done = struct.end
    return b"".join((*parts, update[done:]))


def _texts(update: bytes, structs: list[Struct]) -> Iterator[tuple[Struct, str, int]]:
    """Yield the structs whose text has such a character, with the text and where it begins, length first."""
    for struct in structs:
        if update[struct.start] & 31 == 4 and _PAIR.search(update, struct.start, struct.end):
            at = _after_place(update, struct.start)
            _, start = read_varuint(update, at)
            # The four bytes may have stood in a name, or before the text.
            if _PAIR.search(update, start, struct.end):
                yield struct, update[start : struct.end].decode(), at


def _second_halves(text: str) -> Iterator[int]:
    """Yield the UTF-16 position of the second half of each pair."""
    place = 0
    for character in text:
        place += 1
        if character > "\uffff":
            yield place
            place += 1


def _edges(update: bytes, structs: list[Struct], deletes_at: int) -> Iterator[Cut]:
    """Yield the clocks before which structs and deletions want others to end."""
    for struct in structs:
        yield struct.client, struct.clock
        info = update[struct.start]
        at = struct.start + 1
        if info & 128:  # comes after its left neighbour's last clock
            client, at = read_varuint(update, at)
            clock, at = read_varuint(update, at)
            yield client, clock + 1
        if info & 64:
            client, at = read_varuint(update, at)
            clock, at = read_varuint(update, at)
            yield client, clock
    clients, at = read_varuint(update, deletes_at)
    for _ in range(clients):
        client, at = read_varuint(update, at)
        left, at = read_varuint(update, at)
        for _ in range(left):
            clock, at = read_varuint(update, at)
            length, at = read_varuint(update, at)
            yield client, clock
            yield client, clock + length


def _after_place(update: bytes, at: int) -> int:
    """Return the position after what says where a struct stands: its origins, or its parent and key."""
    info = update[at]
    at += 1
    ids = (info >> 7) + (info >> 6 & 1)
    names = 0
    if ids == 0:
        ids, names = (0, 1) if update[at] else (1, 0)
        at += 1
        names += info >> 5 & 1
    for _ in range(2 * ids):
        _, at = read_varuint(update, at)
    for _ in range(names):
        length, at = read_varuint(update, at)
        at += length
    return at
