from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.check import check_delete_set, check_update
from roomful.crdt.delete_set import DeleteSet
from roomful.crdt.varint import write_varuint
from tests.crdt.genuine import GROUPS, read_deletes

Deletes = dict[int, list[tuple[int, int]]]
"""For each client: (clock, length)."""

deletes = st.dictionaries(
    st.integers(1, 4), st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9)), max_size=100), max_size=4
)


def encode(listed: Deletes) -> bytes:
    parts = [write_varuint(len(listed))]
    for client, ranges in listed.items():
        parts += (write_varuint(client), write_varuint(len(ranges)))
        parts += (write_varuint(clock) + write_varuint(length) for clock, length in ranges)
    encoded = b"".join(parts)
    assert check_delete_set(encoded, 0) == len(encoded)
    return encoded


def clocks(*several: Deletes) -> set[tuple[int, int]]:
    return {
        (client, clock)
        for listed in several
        for client, ranges in listed.items()
        for start, length in ranges
        for clock in range(start, start + length)
    }


@given(st.lists(deletes, max_size=8), deletes)
def test_it_holds_what_a_set_of_clocks_holds(added: list[Deletes], asked: Deletes) -> None:
    held = DeleteSet()
    for listed in added:
        held.add(encode(listed))
    assert all(held.covers(encode(listed)) for listed in added)
    assert held.covers(encode(asked)) == (clocks(asked) <= clocks(*added))


@given(st.binary(max_size=5), deletes)
def test_it_reads_where_it_is_told_to(before: bytes, listed: Deletes) -> None:
    held = DeleteSet()
    held.add(before + encode(listed), len(before))
    assert held.covers(before + encode(listed), len(before))


def test_nothing_is_always_covered() -> None:
    assert DeleteSet().covers(b"\x00")
    assert DeleteSet().covers(b"\x01\x05\x00")
    assert not DeleteSet().covers(b"\x01\x05\x01\x00\x01")


def test_deletions_of_genuine_updates_add_up() -> None:
    for group in GROUPS:
        held = DeleteSet()
        everything: set[tuple[int, int]] = set()
        for update in group.updates:
            at = check_update(update).deletes_at
            ranges = read_deletes(update, at)
            new = {(client, clock) for client, start, end in ranges for clock in range(start, end)}
            assert held.covers(update, at) == (new <= everything)
            held.add(update, at)
            everything |= new
