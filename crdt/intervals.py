"""Clocks in sorted, disjoint, half-open intervals: start, end, start, end, ... in one flat array.

Whether a place in the array is even or odd says whether the clocks before it are outside or inside, and so
bisecting is all it takes. Eight bytes an interval.
"""

from __future__ import annotations  # an array takes its element type only in annotations, before Python 3.12

from array import array
from bisect import bisect_left, bisect_right


def no_clocks() -> array[int]:
    """Return an empty set of clocks."""
    return array("I")


def include(edges: array[int], start: int, end: int) -> None:
    """Add the clocks from `start` up to, not including, `end` (> `start`); what touches is joined."""
    first = bisect_left(edges, start)
    last = bisect_right(edges, end, lo=first)
    joined = array("I")
    if first % 2 == 0:
        joined.append(start)
    if last % 2 == 0:
        joined.append(end)
    edges[first:last] = joined


def includes(edges: array[int], start: int, end: int) -> bool:
    """Whether all clocks from `start` up to, not including, `end` (> `start`) are there."""
    place = bisect_right(edges, start)
    return place % 2 == 1 and end <= edges[place]
