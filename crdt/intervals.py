"""Clocks in sorted, disjoint, half-open intervals: start, end, start, end, ... in one flat array.

Whether a place in the array is even or odd says whether the clocks before it are outside or inside, and so
bisecting is all it takes. Eight bytes an interval.
"""

from __future__ import annotations  # an array takes its element type only in annotations, before Python 3.12

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

_FEW = 64
"""Each inclusion moves all that lies behind it; of more than these, one pass over all is cheaper."""


def no_clocks() -> array[int]:
    """Return an empty set of clocks."""
    return array("I")


def include(edges: array[int], start: int, end: int) -> None:
    """Add the clocks from ``start`` up to, not including, ``end`` (> ``start``); what touches is joined."""
    first = bisect_left(edges, start)
    last = bisect_right(edges, end, lo=first)
    joined = array("I")
    if first % 2 == 0:
        joined.append(start)
    if last % 2 == 0:
        joined.append(end)
    edges[first:last] = joined


def include_all(edges: array[int], intervals: Sequence[tuple[int, int]]) -> None:
    """Add many (start, end), in any order."""
    if len(intervals) <= _FEW:
        for start, end in intervals:
            include(edges, start, end)
        return
    joined = array("I")
    reached = -1
    for start, end in sorted([*zip(edges[::2], edges[1::2], strict=True), *intervals]):
        if start > reached:
            joined.append(start)
            joined.append(end)
            reached = end
        elif end > reached:
            joined[-1] = reached = end
    edges[:] = joined


def includes(edges: array[int], start: int, end: int) -> bool:
    """Whether all clocks from ``start`` up to, not including, ``end`` (> ``start``) are there."""
    place = bisect_right(edges, start)
    return place % 2 == 1 and end <= edges[place]
