"""The typed fields of a session: what is taken, what is refused, and the bytes they are kept as."""

import msgpack
import pytest

from roomful.crdt.varint import Malformed
from roomful.presence.fields import NO_FIELDS, encode_array, encode_map, patched

LARGEST = 1_024

EVERYTHING = {
    "status": "busy",
    "typing": "title",
    "hand": True,
    "cursor": {"anchor": [1, 2.5], "head": b"\x01"},
    "view": 7,
    "device": "phone",
    "state": {"colour": "#fff", "nested": {"list": [None, True, -(2**53) + 1]}},
}


def test_fields_come_back_as_they_were_said() -> None:
    fields = patched(NO_FIELDS, EVERYTHING, LARGEST)
    assert msgpack.unpackb(encode_map(fields)) == EVERYTHING


def test_a_patch_changes_what_it_names_and_nil_takes_away() -> None:
    fields = patched(NO_FIELDS, EVERYTHING, LARGEST)
    after = patched(fields, {"status": None, "typing": "text", "hand": False, "cursor": None}, LARGEST)
    kept = {name: EVERYTHING[name] for name in ("view", "device", "state")}
    assert msgpack.unpackb(encode_map(after)) == {**kept, "typing": "text"}
    assert msgpack.unpackb(encode_map(fields)) == EVERYTHING, "which is a value, and has not changed"


def test_the_same_fields_have_the_same_bytes_whatever_order_they_were_said_in() -> None:
    backwards = patched(NO_FIELDS, {"view": 1}, LARGEST)
    for name in reversed(EVERYTHING):
        backwards = patched(backwards, {name: EVERYTHING[name]}, LARGEST)
    assert encode_map(backwards) == encode_map(patched(NO_FIELDS, EVERYTHING, LARGEST))


def test_names_that_are_no_fields_are_passed_over() -> None:
    assert patched(NO_FIELDS, {"mood": "good", "sessions": {}, "id": "u:ann"}, LARGEST) == {}


DEEP: object = 1
for _ in range(8):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"status": "asleep"}, "content"),
        ({"status": ["busy"]}, "content"),
        ({"status": {}}, "content"),
        ({"typing": 1}, "content"),
        ({"typing": "é" * 33}, "limit"),
        ({"device": "x" * 65}, "limit"),
        ({"device": "\ud800"}, "utf8"),
        ({"hand": 1}, "content"),
        ({"hand": "yes"}, "content"),
        ({"cursor": "x" * 510}, "limit"),
        ({"view": [1] * 600}, "limit"),
        ({"state": [1]}, "content"),
        ({"state": {"a": 2**53}}, "content"),
        ({"state": {"a": -(2**53)}}, "content"),
        ({"state": {"a": float("nan")}}, "content"),
        ({"state": {"a": float("inf")}}, "content"),
        ({"state": {1: 1}}, "content"),
        ({"state": {b"a": 1}}, "content"),
        ({"state": {"a": {"__proto__": 1}}}, "content"),
        ({"state": {"a": "\udfff"}}, "utf8"),
        ({"state": {"\udfff": 1}}, "utf8"),
        ({"state": {"a": msgpack.Timestamp(1)}}, "content"),
        ({"state": {"a": msgpack.ExtType(1, b"")}}, "content"),
        ({"state": {"a": DEEP}}, "depth"),
        ({"state": {"a": "x" * 1_020}}, "limit"),
        ({"state": {"a": "x" * 700}, "cursor": "x" * 400}, "limit"),
    ],
)
def test_what_a_decoder_might_choke_on_is_refused(patch: dict[str, object], reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        patched(NO_FIELDS, patch, LARGEST)
    assert refused.value.reason == reason


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_an_array_of_any_length_is_msgpack(count: int) -> None:
    assert msgpack.unpackb(encode_array([b"\x01"] * count)) == [1] * count
