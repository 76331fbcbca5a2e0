"""What a session says of itself: a few typed fields and a free one, kept as msgpack.

    status   "available" | "busy" | "away"
    typing   the name of the field that is typed into, at most 64 bytes
    hand     true: the hand is up
    cursor   any value of at most 512 bytes
    view     any value of at most 512 bytes: what is looked at
    device   text of at most 64 bytes
    state    a map for the application

A value is kept as the bytes in which it goes out, so that it is encoded once, whoever hears of it. Any value
means what every client's decoder takes and shows alike: nil, booleans, numbers that browsers hold exactly,
text, bin, arrays, and maps with text for keys, at most eight deep.
"""

import math
from collections.abc import Callable, Mapping

import msgpack

from roomful.crdt.varint import MAX_UINT, Malformed

Fields = Mapping[str, bytes]
"""Names and msgpack values. Never changed once made."""

NO_FIELDS: Fields = {}
STATUSES = ("available", "busy", "away")
"""The most available first."""

LONGEST_NAME = 64
LARGEST_PLACE = 512
_DEEPEST = 8


def pack(value: object) -> bytes:
    """Return a value as msgpack. Raises Malformed for text that has no UTF-8, as JSON may hold it."""
    try:
        packed: bytes = msgpack.packb(value)
    except UnicodeEncodeError:
        raise Malformed("utf8", "text with half a surrogate pair") from None
    return packed


def patched(fields: Fields, patch: Mapping[str, object], largest: int) -> Fields:
    """Return the fields after a patch: nil takes a field away, and names that are none are passed over.

    Raises Malformed for a value of a wrong type, and when all fields together exceed ``largest`` bytes.
    """
    result = dict(fields)
    for name, check in _CHECKS.items():
        if name not in patch:
            continue
        value = patch[name]
        if value is None or (name == "hand" and value is False):
            result.pop(name, None)
        else:
            check(name, value)
            result[name] = _bounded(name, value)
    if encoded_size(result) > largest:
        raise Malformed("limit", f"presence of more than {largest} bytes")
    return result


def encode_map(values: Mapping[str, bytes]) -> bytes:
    """Return named values as one msgpack map, sorted by name; at most 15, with names below 32 letters."""
    entries = [bytes((0xA0 | len(name),)) + name.encode() + values[name] for name in sorted(values)]
    return bytes((0x80 | len(entries),)) + b"".join(entries)


def encoded_size(values: Mapping[str, bytes]) -> int:
    """Return how many bytes ``encode_map`` makes of them."""
    return 1 + len(values) + sum(map(len, values)) + sum(map(len, values.values()))


def encode_array(items: list[bytes]) -> bytes:
    """Return msgpack values as one msgpack array."""
    count = len(items)
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 1 << 16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return head + b"".join(items)


def _bounded(name: str, value: object) -> bytes:
    packed = pack(value)
    if name in ("cursor", "view") and len(packed) > LARGEST_PLACE:
        raise Malformed("limit", f"{name} of {len(packed)} bytes; at most {LARGEST_PLACE} are taken")
    return packed


def _check_status(_: str, value: object) -> None:
    if value not in STATUSES:
        raise Malformed("content", f"status is none of {', '.join(STATUSES)}")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise Malformed("content", f"{name} is not text")
    # What is longer in characters is so in bytes; half a surrogate pair is found when the text is packed.
    if len(value.encode(errors="replace")) > LONGEST_NAME:
        raise Malformed("limit", f"{name} of more than {LONGEST_NAME} bytes")


def _check_hand(_: str, value: object) -> None:
    if value is not True:
        raise Malformed("content", "hand is not true or false")


def _check_state(name: str, value: object) -> None:
    if not isinstance(value, dict):
        raise Malformed("content", "state is not a map")
    _check_value(name, value)


def _check_value(name: str, value: object, deeper: int = _DEEPEST) -> None:
    if value is None or isinstance(value, str | bytes | bool):
        return
    if isinstance(value, int):
        if abs(value) > MAX_UINT:
            raise Malformed("content", f"a number in {name} is above 2^53 - 1")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Malformed("content", f"a number in {name} is not finite")
    elif isinstance(value, dict | list):
        if not deeper:
            raise Malformed("depth", f"{name} is nested too deep")
        if isinstance(value, dict):
            for key in value:
                # Browsers take "__proto__" for something else than a key, and their decoders refuse it.
                if not isinstance(key, str) or key == "__proto__":
                    raise Malformed("content", f"a key in {name} is not text, or not to be used")
        for part in value.values() if isinstance(value, dict) else value:
            _check_value(name, part, deeper - 1)
    else:
        raise Malformed("content", f"{name} holds what is no plain value")


_CHECKS: Mapping[str, Callable[[str, object], None]] = {
    "status": _check_status,
    "typing": _check_text,
    "hand": _check_hand,
    "cursor": _check_value,
    "view": _check_value,
    "device": _check_text,
    "state": _check_state,
}
