"""MessagePack from anybody (github.com/msgpack/msgpack, spec.md): read by hand, or walked before a library.

What has been walked, every decoder reads, and reads alike: it is whole, no deeper than ``DEEPEST``, its text
is UTF-8, and the keys of its maps are text, each once. There are no extension types, which decoders read as
they please, and no key "__proto__", which browsers' decoders refuse.
"""

from typing import Any

from msgpack import unpackb

from roomful.crdt.varint import MAX_UINT, Malformed

DEEPEST = 16
"""Arrays and maps that may lie inside each other."""

_UINT_WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_ARRAY_WIDTHS = {0xDC: 2, 0xDD: 4}
_MAP_WIDTHS = {0xDE: 2, 0xDF: 4}
_TEXT_WIDTHS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BIN_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, **_UINT_WIDTHS, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
"""Bytes behind the first, of nil, booleans and numbers."""


def read_uint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at``, at most 2^53 - 1, and the position after it. Raises Malformed."""
    first = _first(data, at)
    if first < 0x80:
        return first, at + 1
    width = _UINT_WIDTHS.get(first)
    if width is None:
        raise Malformed("type", f"no whole number at byte {at}")
    number, end = _number(data, at + 1, width)
    if number > MAX_UINT:
        raise Malformed("limit", f"number above 2^53 - 1 at byte {at}")
    return number, end


def read_array(data: bytes, at: int) -> tuple[int, int]:
    """Return how many elements the array at ``at`` has, and where the first begins. Raises Malformed."""
    first = _first(data, at)
    if first & 0xF0 == 0x90:
        return first & 0x0F, at + 1
    width = _ARRAY_WIDTHS.get(first)
    if width is None:
        raise Malformed("type", f"no array at byte {at}")
    return _number(data, at + 1, width)


def read_bin(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the byte string at ``at`` and the position after it. Raises Malformed."""
    width = _BIN_WIDTHS.get(_first(data, at))
    if width is None:
        raise Malformed("type", f"no byte string at byte {at}")
    start = at + 1 + width
    end = start + int.from_bytes(data[at + 1 : start], "big")
    if end > len(data):
        raise Malformed("truncated", f"a byte string up to byte {end} of {len(data)}")
    return data[start:end], end


def read_text(data: bytes, at: int, longest: int) -> tuple[str, int]:
    """Return the text at ``at``, at most ``longest`` bytes, and the position after it. Raises Malformed."""
    length, start = _text_head(data, at)
    if length > longest:
        raise Malformed("limit", f"text of {length} bytes at byte {at}; at most {longest} are taken")
    end = _end(data, start, length)
    return _decoded(data, start, end), end


def read_bool(data: bytes, at: int) -> tuple[bool, int]:
    """Return the boolean at ``at`` and the position after it. Raises Malformed."""
    first = _first(data, at)
    if first not in (0xC2, 0xC3):
        raise Malformed("type", f"no boolean at byte {at}")
    return first == 0xC3, at + 1


def walk(data: bytes, at: int, most: int) -> int:
    """Return where the value at ``at`` ends.

    Raises Malformed unless it is as the module promises, and holds at most ``most`` values, keys included.
    """
    return _Walk(data, most).value(at, 0)


def read_map(data: bytes, at: int, most: int) -> tuple[dict[str, Any], int]:
    """Return the map at ``at``, walked, and the position after it. Raises Malformed."""
    first = _first(data, at)
    if first & 0xF0 != 0x80 and first not in _MAP_WIDTHS:
        raise Malformed("type", f"no map at byte {at}")
    end = walk(data, at, most)
    return unpackb(data[at:end]), end


class _Walk:
    """One value and all that it holds. Its cost is bounded by the value's bytes, and by ``left``."""

    __slots__ = ("_data", "_left")

    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._left = most

    def value(self, at: int, depth: int) -> int:
        first = _first(self._data, at)
        self._count()
        if first < 0x80 or first >= 0xE0:
            return at + 1
        if first < 0x90 or first in _MAP_WIDTHS:
            return self._map(at, depth + 1)
        if first < 0xA0 or first in _ARRAY_WIDTHS:
            return self._array(at, depth + 1)
        if first < 0xC0 or first in _TEXT_WIDTHS:
            return self._text(at)
        if (width := _FIXED.get(first)) is not None:
            return _end(self._data, at + 1, width)
        if (width := _BIN_WIDTHS.get(first)) is not None:
            length, start = _number(self._data, at + 1, width)
            return _end(self._data, start, length)
        raise Malformed("content", f"a value of kind {first:#x} at byte {at}")

    def _array(self, at: int, depth: int) -> int:
        _check_depth(depth)
        count, at = read_array(self._data, at)
        for _ in range(count):
            at = self.value(at, depth)
        return at

    def _map(self, at: int, depth: int) -> int:
        _check_depth(depth)
        first = self._data[at]
        if first < 0x90:
            count, at = first & 0x0F, at + 1
        else:
            count, at = _number(self._data, at + 1, _MAP_WIDTHS[first])
        keys: set[str] = set()
        for _ in range(count):
            self._count()
            length, start = _text_head(self._data, at)
            at = _end(self._data, start, length)
            key = _decoded(self._data, start, at)
            if key in keys or key == "__proto__":
                raise Malformed("content", f"key {key[:40]!r} twice, or one that no map may have")
            keys.add(key)
            at = self.value(at, depth)
        return at

    def _text(self, at: int) -> int:
        length, start = _text_head(self._data, at)
        end = _end(self._data, start, length)
        _decoded(self._data, start, end)
        return end

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Malformed("count", "too many values")


def _first(data: bytes, at: int) -> int:
    if at >= len(data):
        raise Malformed("truncated", f"cut off at byte {at}")
    return data[at]


def _number(data: bytes, at: int, width: int) -> tuple[int, int]:
    end = _end(data, at, width)
    return int.from_bytes(data[at:end], "big"), end


def _end(data: bytes, at: int, length: int) -> int:
    if at + length > len(data):
        raise Malformed("truncated", f"{length} bytes announced at byte {at} of {len(data)}")
    return at + length


def _text_head(data: bytes, at: int) -> tuple[int, int]:
    first = _first(data, at)
    if first & 0xE0 == 0xA0:
        return first & 0x1F, at + 1
    width = _TEXT_WIDTHS.get(first)
    if width is None:
        raise Malformed("type", f"no text at byte {at}")
    return _number(data, at + 1, width)


def _decoded(data: bytes, start: int, end: int) -> str:
    try:
        return data[start:end].decode()
    except UnicodeDecodeError as error:
        raise Malformed("utf8", f"text at byte {start}: {error.reason}") from None


def _check_depth(depth: int) -> None:
    if depth > DEEPEST:
        raise Malformed("depth", f"values lie more than {DEEPEST} deep")
