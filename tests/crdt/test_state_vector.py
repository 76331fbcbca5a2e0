from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import get_state, merge_updates

from roomful.crdt.check import check_state_vector, check_update
from roomful.crdt.state_vector import StateVector
from roomful.crdt.varint import Malformed
from tests.crdt.genuine import GROUPS, STATE_VECTORS, Group

Range = tuple[int, int, int]

ranges = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 40), st.integers(1, 9)).map(
        lambda t: (t[0], t[1], t[1] + t[2])
    ),
    max_size=90,
)


def clocks(listed: list[Range]) -> set[tuple[int, int]]:
    return {(client, clock) for client, start, end in listed for clock in range(start, end)}


@given(st.data())
def test_it_is_what_the_library_says_of_the_same_updates_merged(data: st.DataObject) -> None:
    group = data.draw(st.sampled_from(GROUPS))
    updates = data.draw(st.lists(st.sampled_from(group.updates), min_size=1, max_size=40))
    vector = StateVector()
    for update in updates:
        vector.advance(check_update(update).ranges)
    expected = check_state_vector(get_state(merge_updates(*updates)))
    assert check_state_vector(vector.encode()) == expected
    assert {client: vector.clock(client) for client in expected} == expected
    assert all(vector.covers(check_update(update).ranges) for update in updates)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.text[:8])
def test_all_updates_in_any_order_give_the_vector_of_yjs(group: Group) -> None:
    for updates in (group.updates, group.updates[::-1], sorted(group.updates)):
        vector = StateVector()
        vector.advance(chain.from_iterable(check_update(update).ranges for update in updates))
        assert check_state_vector(vector.encode()) == group.vector
        assert not vector.has_gaps


@given(st.lists(ranges, max_size=6), ranges)
def test_it_holds_what_a_set_of_clocks_holds(batches: list[list[Range]], asked: list[Range]) -> None:
    vector = StateVector()
    for batch in batches:
        vector.advance(batch)
        vector.encode()
    held = clocks(list(chain.from_iterable(batches)))
    for client in (1, 2, 3):
        clock = vector.clock(client)
        assert (client, clock) not in held
        assert clocks([(client, 0, clock)]) <= held
    assert vector.has_gaps == any(clock > vector.clock(client) for client, clock in held)
    assert vector.covers(asked) == (clocks(asked) <= held)
    assert check_state_vector(vector.encode()) == {c: vector.clock(c) for c in (1, 2, 3) if vector.clock(c)}


@pytest.mark.parametrize("encoded", STATE_VECTORS, ids=bytes.hex)
def test_a_vector_of_yjs_decodes_and_encodes_to_the_same_bytes(encoded: bytes) -> None:
    assert StateVector.decode(encoded).encode() == encoded
    assert StateVector.decode(encoded).copy().encode() == encoded


def test_a_client_at_clock_0_is_not_encoded() -> None:
    assert StateVector.decode(b"\x01\x05\x00").encode() == b"\x00"


def test_a_malformed_vector_is_not_decoded() -> None:
    with pytest.raises(Malformed):
        StateVector.decode(b"\x01\x05")


def test_a_hole_is_noticed_until_it_is_filled() -> None:
    vector = StateVector()
    vector.advance([(7, 0, 2), (7, 3, 5)])
    assert (vector.clock(7), vector.has_gaps) == (2, True)
    assert vector.covers([(7, 3, 5)])
    assert not vector.covers([(7, 1, 4)])
    vector.advance([(7, 2, 3)])
    assert (vector.clock(7), vector.has_gaps) == (5, False)


def test_a_copy_goes_its_own_way() -> None:
    vector = StateVector()
    vector.advance([(7, 0, 2), (7, 3, 5)])
    copy = vector.copy()
    copy.advance([(7, 7, 9), (8, 0, 1)])
    assert not vector.covers([(7, 7, 9)])
    assert vector.encode() == b"\x01\x07\x02"
    vector.advance([(7, 2, 3)])
    assert copy.encode() == b"\x02\x08\x01\x07\x02"
