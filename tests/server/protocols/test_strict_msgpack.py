"""What the walk lets through, the library reads; what it refuses, some reader would trip over."""

import random
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roomful.crdt.varint import Malformed
from roomful.server.protocols.strict_msgpack import DEEPEST, read_map, read_uint, walk
from tests.crdt.test_mutations import mutate

MANY = 100_000
SEED = random.randrange(2**32)

keys = st.text(max_size=10).filter(lambda key: key != "__proto__")
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5)
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def size(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + size(each) for each in value.values())
    return 1 + sum(map(size, value)) if isinstance(value, list) else 1


@given(values.filter(lambda value: depth(value) <= DEEPEST), st.binary(max_size=5), st.binary(max_size=5))
def test_any_plain_value_is_walked_to_its_end(value: Any, before: bytes, behind: bytes) -> None:
    data = msgpack.packb(value)
    end = walk(before + data + behind, len(before), size(value))
    assert end == len(before) + len(data)


@given(values.filter(lambda value: depth(value) <= DEEPEST))
def test_no_more_values_are_walked_than_are_allowed(value: Any) -> None:
    with pytest.raises(Malformed) as caught:
        walk(msgpack.packb(value), 0, size(value) - 1)
    assert caught.value.reason == "count"


@pytest.mark.parametrize("open_", [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\x81\xa1a"])
def test_values_lie_so_deep_and_no_deeper(open_: bytes) -> None:
    deep = open_ * DEEPEST + b"\xc0"
    assert walk(deep, 0, MANY) == len(deep)
    with pytest.raises(Malformed) as caught:
        walk(open_ + deep, 0, MANY)
    assert caught.value.reason == "depth"


@given(st.integers(0, 2**53 - 1))
@example(2**32 - 1)
def test_a_number_reads_back(number: int) -> None:
    data = msgpack.packb(number)
    assert read_uint(data + b"behind", 0) == (number, len(data))


@pytest.mark.parametrize("number", [2**53, 2**64 - 1])
def test_a_number_that_a_page_can_not_hold_is_refused(number: int) -> None:
    with pytest.raises(Malformed) as caught:
        read_uint(msgpack.packb(number), 0)
    assert caught.value.reason == "limit"


@given(st.dictionaries(keys, scalars | st.lists(scalars, max_size=5), max_size=5))
def test_a_map_reads_back(value: dict[str, Any]) -> None:
    data = msgpack.packb(value)
    found, end = read_map(data + b"\xc0", 0, MANY)
    assert (msgpack.packb(found), end) == (data, len(data))


def test_whatever_spoilt_bytes_are_walked_the_library_reads_and_writes_again() -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    genuine = msgpack.packb(
        {"a": [1, 2.5, None, True, "text", b"bytes", -5], "b": {"c": {"d": [2**40, "é"]}}}
    )
    passed = 0
    for _ in range(20_000):
        data = mutate(genuine, chance)
        try:
            end = walk(data, 0, MANY)
        except Malformed:
            continue
        passed += 1
        value = msgpack.unpackb(data[:end])
        assert walk(msgpack.packb(value), 0, MANY) > 0
    assert passed > 500, "else nothing was tried"
