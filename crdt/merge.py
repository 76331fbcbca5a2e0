"""Merging updates as bytes, without a document."""

from collections.abc import Sequence

from pycrdt import merge_updates

from .sync import EMPTY_UPDATE

FAN_IN = 100
"""merge_updates is quadratic in the number of its arguments; 32 to 100 at a time is the measured optimum."""


def merge(updates: Sequence[bytes]) -> bytes:
    """Return one update that says what all of them say; where structs overlap, the earlier wins.

    Only checked updates may come here. Gaps survive.
    """
    level = list(updates)
    while len(level) > 1:
        level = [
            level[at] if at + 1 == len(level) else merge_updates(*level[at : at + FAN_IN])
            for at in range(0, len(level), FAN_IN)
        ]
    return level[0] if level else EMPTY_UPDATE
