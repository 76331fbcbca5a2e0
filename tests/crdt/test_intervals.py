from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful.crdt.intervals import include, include_all, includes, no_clocks

Interval = tuple[int, int]

interval = st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def clocks(intervals: list[Interval]) -> set[int]:
    return {clock for start, end in intervals for clock in range(start, end)}


@given(st.lists(interval, max_size=30), interval)
def test_intervals_hold_what_a_set_of_clocks_holds(intervals: list[Interval], asked: Interval) -> None:
    edges = no_clocks()
    for start, end in intervals:
        include(edges, start, end)
        # Sorted, and with room between any two.
        assert all(before < after for before, after in pairwise(edges))
    pairs = list(zip(edges[::2], edges[1::2], strict=True))
    assert clocks(pairs) == clocks(intervals)
    assert includes(edges, *asked) == (clocks([asked]) <= clocks(intervals))


@given(st.lists(interval, max_size=30), st.lists(interval, min_size=65, max_size=150))
def test_many_at_once_are_the_same_as_one_by_one(held: list[Interval], more: list[tuple[int, int]]) -> None:
    at_once, one_by_one = no_clocks(), no_clocks()
    for start, end in held:
        include(at_once, start, end)
    include_all(at_once, more)
    for start, end in held + more:
        include(one_by_one, start, end)
    assert at_once == one_by_one


@pytest.mark.parametrize("start", [3, 5, 7])
def test_what_touches_is_joined(start: int) -> None:
    edges = no_clocks()
    include_all(edges, [(5, 7), (start, start + 2)])
    assert list(edges) == [min(5, start), max(7, start + 2)]


def test_an_interval_costs_eight_bytes() -> None:
    edges = no_clocks()
    include_all(edges, [(2 * i, 2 * i + 1) for i in range(1_000)])
    assert edges.itemsize * len(edges) == 8_000
