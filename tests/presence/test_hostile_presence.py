"""Whatever is said, presence takes it or refuses it, and what it tells can be read by everybody."""

from typing import Any

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.crdt.varint import MAX_UINT, Malformed
from roomful.presence.fields import NO_FIELDS, encode_map, encoded_size, patched
from roomful.presence.people import PERSON_BYTES
from roomful.presence.record import Record, decode_record, encode_record
from roomful.presence.roster import HEAD_BYTES, Roster
from roomful.presence.tracker import Tracker

LARGEST = 300
NAMES = ["status", "typing", "hand", "cursor", "view", "device", "state", "id", "sessions", "__proto__"]

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=4)
    ),
)
likely = st.sampled_from(["available", "busy", "", "title", True, False, None, {"user": {"name": "Ann"}}])
patches = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), likely | values, max_size=6)


def readable(value: object, deeper: int = 12) -> bool:
    """Whether a browser's decoder reads a value as it was meant."""
    match value:
        case dict():
            keys = all(isinstance(key, str) and key != "__proto__" for key in value)
            return deeper > 0 and keys and all(readable(each, deeper - 1) for each in value.values())
        case list():
            return deeper > 0 and all(readable(each, deeper - 1) for each in value)
        case int():
            return abs(value) <= MAX_UINT
    return value is None or isinstance(value, str | bytes | float)


@settings(max_examples=300)
@given(st.lists(patches, max_size=6))
def test_fields_hold_only_what_everybody_can_read(said: list[dict[Any, Any]]) -> None:
    fields = NO_FIELDS
    for patch in said:
        before = encode_map(fields)
        try:
            fields = patched(fields, patch, LARGEST)
        except Malformed:
            assert encode_map(fields) == before
    packed = encode_map(fields)
    assert len(packed) == encoded_size(fields) <= LARGEST
    assert readable(msgpack.unpackb(packed))
    assert patched(NO_FIELDS, msgpack.unpackb(packed), LARGEST) == fields


@settings(max_examples=300)
@given(st.binary(max_size=60) | values.map(lambda value: msgpack.packb(value, unicode_errors="replace")))
def test_a_record_of_any_bytes_is_read_or_refused(data: bytes) -> None:
    try:
        clock, record = decode_record(data, LARGEST)
    except Malformed:
        return
    assert decode_record(encode_record(clock, record), LARGEST) == (clock, record)


@settings(max_examples=200)
@given(st.data())
def test_a_spoilt_record_is_read_or_refused(data: st.DataObject) -> None:
    fields = patched(NO_FIELDS, {"status": "busy", "cursor": {"anchor": 1}, "state": {"a": [1, 2]}}, LARGEST)
    good = bytearray(encode_record(7, Record("ann", "tab", 3, 5, fields=fields)))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    tracker = Tracker(largest=LARGEST, clock=0)
    roster = Roster(tracker.people, HEAD_BYTES + LARGEST + PERSON_BYTES)
    try:
        tracker.hear("p", data.draw(st.text(max_size=3)), bytes(good))
    except Malformed:
        return
    tracker.join(0, "s1", "bob", "", {"hand": True})
    roster.take(0, tracker.merge(0))
    body = roster.tick(0, tracker.sessions)
    assert body is not None
    assert readable(msgpack.unpackb(body))
