"""A strict walk over untrusted Yjs bytes, so that nothing unchecked reaches the CRDT library.

An update (v1) is

    varuint sections, then for each: varuint structs | varuint client | varuint clock | structs
    delete set

    struct      info 0 (GC) or 10 (Skip) | varuint length
                info with a content in its low 5 bits | [left id] [right id] [parent] [sub key] | content
    left id     if info & 128;  right id  if info & 64;  both are varuint client | varuint clock
    parent      if neither: 1 | varstring name of a root, or 0 | id;  sub key  then if info & 32: varstring
    delete set  varuint clients, then for each: varuint client | varuint ranges | ranges
    range       varuint clock | varuint length

and a state vector is varuint clients | (varuint client, varuint clock)...

What is refused beyond bad syntax is what the library (yrs under pycrdt) is known to crash on, to misread,
or to allocate memory for on a mere announcement. What passes, the library's document-less functions accept.
Source: yjs ``encoding.js``, ``updates.js``, ``Item.js``, ``Content*.js``.

Every keystroke of everybody passes here: hence flat functions, numbers of one byte read in place, and an
``IndexError`` for the end of the bytes instead of a comparison before each.
"""

import json
import re
from typing import NamedTuple

from .varint import Malformed, read_varbytes, read_varuint

MAX_CLOCK = 2**31 - 1
"""The library counts in 32 bits and wraps silently; half of that leaves room for sums."""

MAX_CLIENTS = 1 << 17
"""Clients in a state vector: twice what one update may bring (accept.py)."""

MAX_DEPTH = 64
"""Arrays and objects inside each other in one value. The library recurses: 3,240 use up a thread's stack."""

SKIP = 10
VALUES = 8
_JSON_WORDS = frozenset((b"true", b"null", b"false", b'""', b"{}"))
# A string, left out, or a bracket. A string without an end goes to the end: never looked at twice.
_JSON_BRACKET = re.compile(rb'"(?:[^"\\]|\\.?)*+"?|([\[\]{}])', re.DOTALL)


class Contents(NamedTuple):
    """What an update holds."""

    ranges: list[tuple[int, int, int]]
    """(client, first clock, clock after the last) of each run of structs; what is skipped is in none."""
    deletes_at: int
    """Where the encoded delete set begins; it goes to the end and is ``00`` when empty."""


class Struct(NamedTuple):
    """Where one struct of an update stands: its bytes are ``update[start:end]``."""

    client: int
    clock: int
    start: int
    end: int


def check_update(update: bytes, structs: list[Struct] | None = None) -> Contents:
    """Walk an update (v1) from its first to its last byte and say what it holds.

    With ``structs``, also append each struct to it, skips included, in the order of the bytes.
    Raises ``Malformed``.
    """
    size = len(update)
    ranges = []
    clients = set()
    at = 1
    try:
        sections = update[0]
        if sections > 127:
            sections, at = read_varuint(update, 0)
        if sections > size // 5:  # a section takes five bytes at least
            raise Malformed("count", f"{sections} sections in {size} bytes")
        for _ in range(sections):
            left = update[at]
            at += 1
            if left > 127:
                left, at = read_varuint(update, at - 1)
            if left == 0 or left > (size - at) // 2:  # a struct takes two bytes at least
                raise Malformed("count", f"{left} structs in a section at byte {at} of {size}")
            client = update[at]
            at += 1
            if client > 127:
                client, at = read_varuint(update, at - 1)
            if client in clients:
                raise Malformed("client", f"second section of client {client} at byte {at}")
            clients.add(client)
            clock = update[at]
            at += 1
            if clock > 127:
                clock, at = read_varuint(update, at - 1)
            first = clock

            for _ in range(left):
                start = at
                info = update[at]
                at += 1
                content = info & 31
                if content == 0 or content == SKIP:
                    if info != content:
                        raise Malformed("content", f"struct with info {info} at byte {start}")
                    length = update[at]
                    at += 1
                    if length > 127:
                        length, at = read_varuint(update, at - 1)
                else:
                    ids = (info >> 7) + (info >> 6 & 1)
                    named = ids == 0
                    if named:
                        parent = update[at]
                        at += 1
                        if parent == 1:
                            at = _skip_string(update, at)
                        elif parent == 0:
                            ids = 1
                        else:
                            raise Malformed("content", f"parent of kind {parent} at byte {at - 1}")
                    for _ in range(ids):
                        origin = at
                        while update[at] > 127:
                            at += 1
                        at += 1
                        if at > origin + 7:  # which client is not needed, only that it is one
                            read_varuint(update, origin)
                        if update[at] > 127:
                            origin, at = read_varuint(update, at)
                            if origin > MAX_CLOCK:
                                raise Malformed("clock", f"origin at clock {origin} before byte {at}")
                        else:
                            at += 1
                    if named and info & 32:
                        at = _skip_string(update, at)

                    if content == 4:  # String, by far the most frequent
                        length = update[at]
                        at += 1
                        if length > 127:
                            length, at = read_varuint(update, at - 1)
                        text = update[at : at + length]
                        if len(text) != length:
                            raise Malformed("truncated", f"string of {length} bytes at byte {at} of {size}")
                        at += length
                        if not text.isascii():
                            # Clocks count UTF-16 units, as JavaScript does.
                            length = len(text.decode().encode("utf-16-le")) // 2
                    else:
                        at, length = _skip_content(update, at, content)

                if length == 0:
                    raise Malformed("zero-length", f"struct of no length at byte {start}")
                if structs is not None:
                    structs.append(Struct(client, clock, start, at))
                if content == SKIP:
                    if clock > first:
                        ranges.append((client, first, clock))
                    first = clock + length
                clock += length
            if clock > MAX_CLOCK:
                raise Malformed("clock", f"client {client} reaches clock {clock}")
            if clock > first:
                ranges.append((client, first, clock))

        deletes_at = at
        if update[at] == 0:  # no deletions, as in most updates
            at += 1
        else:
            at = check_delete_set(update, at)
    except IndexError:
        raise Malformed("truncated", f"update ends too early, at byte {size}") from None
    except UnicodeDecodeError as error:
        raise Malformed("utf8", f"string that ends at byte {at}: {error.reason}") from None
    if at != size:
        raise Malformed("trailing", f"{size - at} bytes after the end of an update")
    return Contents(ranges, deletes_at)


def check_delete_set(data: bytes, at: int) -> int:
    """Walk the delete set at ``at``; return the position after it.

    Its ranges may come in any order and overlap. Raises ``Malformed``.
    """
    size = len(data)
    clients, at = read_varuint(data, at)
    if clients > (size - at) // 2:
        raise Malformed("count", f"deletions of {clients} clients in {size - at} bytes")
    seen = set()
    try:
        for _ in range(clients):
            client, at = read_varuint(data, at)
            if client in seen:
                raise Malformed("client", f"second deletions of client {client} before byte {at}")
            seen.add(client)
            left, at = read_varuint(data, at)
            if left > (size - at) // 2:
                raise Malformed("count", f"{left} deletions in {size - at} bytes")
            for _ in range(left):
                clock = data[at]
                at += 1
                if clock > 127:
                    clock, at = read_varuint(data, at - 1)
                length = data[at]
                at += 1
                if length > 127:
                    length, at = read_varuint(data, at - 1)
                if length == 0:
                    raise Malformed("zero-length", f"deletion of no length before byte {at}")
                if clock + length > MAX_CLOCK:
                    raise Malformed("clock", f"deletion up to clock {clock + length} before byte {at}")
    except IndexError:
        raise Malformed("truncated", f"delete set ends too early, at byte {size}") from None
    return at


def check_state_vector(data: bytes) -> dict[int, int]:
    """Return the clock of each client in an encoded state vector; raises ``Malformed``."""
    size = len(data)
    clients, at = read_varuint(data, 0)
    if clients > min((size - at) // 2, MAX_CLIENTS):
        raise Malformed("count", f"state vector of {clients} clients in {size} bytes")
    clocks: dict[int, int] = {}
    for _ in range(clients):
        client, at = read_varuint(data, at)
        clock, at = read_varuint(data, at)
        if clock > MAX_CLOCK:
            raise Malformed("clock", f"client {client} at clock {clock}")
        clocks[client] = clock
    if len(clocks) != clients:
        raise Malformed("client", "a client twice in a state vector")
    if at != size:
        raise Malformed("trailing", f"{size - at} bytes after the end of a state vector")
    return clocks


def _skip_content(data: bytes, at: int, content: int) -> tuple[int, int]:
    """Return the position after a content other than String, and its length in clocks."""
    if content == 1:  # Deleted
        length, at = read_varuint(data, at)
        return at, length
    if content == VALUES:
        length, at = read_varuint(data, at)
        return _skip_values(data, at, length), length
    if content == 7:  # Type
        kind = data[at]  # in one byte: longer forms of small numbers are not the same to the library here
        at += 1
        if kind > 6:
            raise Malformed("content", f"type {kind} before byte {at}")
        if kind == 5:  # XmlHook, a relic: the library does not read its name
            raise Malformed("unmergeable", f"XmlHook before byte {at}")
        return (_skip_string(data, at) if kind == 3 else at), 1  # an XmlElement has a name
    if content == 6:  # Format
        return _skip_json(data, _skip_string(data, at)), 1
    if content == 5:  # Embed
        return _skip_json(data, at), 1
    if content == 3:  # Binary
        return read_varbytes(data, at)[1], 1
    if content == 9:  # Doc: its guid and its options, which Yjs spreads like an object
        at = _skip_string(data, at)
        if data[at] != 118:
            raise Malformed("content", f"subdocument without options at byte {at}")
        return _skip_values(data, at, 1), 1
    if content == 2:
        # Yjs has not made any since version 13; the library reads one string too many.
        raise Malformed("unmergeable", f"content JSON before byte {at}")
    raise Malformed("content", f"content {content} before byte {at}")


def _skip_string(data: bytes, at: int) -> int:
    text, at = read_varbytes(data, at)
    if not text.isascii():
        text.decode()
    return at


def _skip_values(data: bytes, at: int, left: int) -> int:
    """Return the position after ``left`` values of lib0's Any encoding."""
    size = len(data)
    outer: list[
        tuple[int, bool]
    ] = []  # for each array or object around: values still to come, and whether keyed
    keyed = False
    if left > size - at:
        raise Malformed("count", f"{left} values in {size - at} bytes")
    while True:
        while left == 0:
            if not outer:
                return at
            left, keyed = outer.pop()
        left -= 1
        if keyed:
            at = _skip_string(data, at)
        kind = data[at]
        at += 1
        if kind == 119:  # string
            at = _skip_string(data, at)
        elif kind == 125:  # integer: sign and 6 bits in the first byte, then 7 bits a byte
            start = at
            while data[at] > 127:
                at += 1
            at += 1
            if at - start > 8:
                raise Malformed("varint", f"integer of {at - start} bytes at byte {start}")
        elif kind == 118 or kind == 117:  # object, array
            if len(outer) == MAX_DEPTH:
                raise Malformed("depth", f"values nested deeper than {MAX_DEPTH} at byte {at}")
            outer.append((left, keyed))
            left, at = read_varuint(data, at)
            keyed = kind == 118
            if left > (size - at) >> keyed:
                raise Malformed("count", f"{left} elements in {size - at} bytes")
        elif kind == 123 or kind == 122:  # float64, bigint
            at += 8
        elif kind == 124:  # float32
            at += 4
        elif kind == 116:  # bytes
            _, at = read_varbytes(data, at)
        elif kind < 116 or kind > 127:  # what is left is undefined, null, false and true
            raise Malformed("content", f"value of kind {kind} at byte {at - 1}")


def _skip_json(data: bytes, at: int) -> int:
    text, at = read_varbytes(data, at)
    if text in _JSON_WORDS:
        return at
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        depth = 0
        # Up to the first error, if there is one, a parser sees the same strings and brackets.
        for bracket in _JSON_BRACKET.findall(text):
            if bracket:
                depth += 1 if bracket in b"[{" else -1
            if depth > MAX_DEPTH:
                raise Malformed("depth", f"JSON nested deeper than {MAX_DEPTH} before byte {at}")
    document = text.decode()
    try:
        value = json.loads(document, parse_int=_finite, parse_float=_finite, parse_constant=_finite)
    except ValueError as error:
        raise Malformed("json", f"JSON that ends at byte {at}: {error}") from None
    if b"\\ud" in text or b"\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            # JavaScript writes half a pair so; the library refuses it.
            raise Malformed("unmergeable", f"half a surrogate pair in the JSON before byte {at}") from None
    return at


def _finite(text: str) -> float:
    """Numbers that JavaScript would read as infinite, and NaN, are no JSON to the library."""
    number = float(text)
    if number - number != 0:
        raise ValueError(f"number out of range: {text[:20]}")
    return number
