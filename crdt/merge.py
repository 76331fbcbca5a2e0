"""Merging updates as bytes, without a document."""

from collections.abc import Sequence

from pycrdt import merge_updates

from .surrogates import halved_pairs, mend
from .sync import EMPTY_UPDATE

FAN_IN = 100
"""merge_updates is quadratic in the number of its arguments; 32 to 100 at a time is the measured optimum."""


def merge(updates: Sequence[bytes]) -> bytes:
    """Return one update that says what all of them say; where structs overlap, the earlier wins.

    Only checked updates may come here, and the result is one. Gaps survive.
    """
    # Where structs overlap the library cuts them, and it can't cut a character in half.
    halved = halved_pairs(updates) if len(updates) > 1 else None
    return merge_whole([mend(update, halved) for update in updates] if halved else updates)


def merge_whole(updates: Sequence[bytes]) -> bytes:
    """Merge updates among which no character is cut in half (surrogates.py)."""
    level = list(updates)
    while len(level) > 1:
        level = [
            level[at] if at + 1 == len(level) else merge_updates(*level[at : at + FAN_IN])
            for at in range(0, len(level), FAN_IN)
        ]
    return level[0] if level else EMPTY_UPDATE
