"""A room's people by their ids, a page at a time: a room of any size can be gone through.

    page := {people, sessions, page: [person*], next: id | nil}      msgpack; a person as in people.py

Whoever is there all the while is in one page, and once, whoever comes and goes meanwhile.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from .fields import encode_array, encode_map, pack
from .people import Person
from .record import LONGEST_ID

_HEAD_BYTES = 64 + LONGEST_ID
"""What a page holds beside its people."""


class Page(NamedTuple):
    """So many ``people`` and ``sessions`` are in the room; those of the page are msgpack.

    ``next`` is the id that the next page follows, or None after the last.
    """

    people: int
    sessions: int
    page: list[bytes]
    next: str | None

    def encode(self) -> bytes:
        """Return the page as msgpack."""
        return encode_map(
            {
                "people": pack(self.people),
                "sessions": pack(self.sessions),
                "page": encode_array(self.page),
                "next": pack(self.next),
            }
        )


class Pages:
    """Cuts pages out of ``people``, as they are whenever one is asked for."""

    def __init__(self, people: Mapping[str, Person]) -> None:
        self._people = people
        self._order: list[str] | None = None

    def forget_order(self) -> None:
        """Somebody has come or gone."""
        self._order = None

    def after(self, after: str, most: int, largest: int, sessions: int) -> Page:
        """Return those whose ids follow ``after``: at most so many, in ``largest`` bytes, or one alone."""
        if self._order is None:
            # Some 15 ms for 50,000 people, once for all who ask until somebody comes or goes.
            self._order = sorted(self._people)
        order, start = self._order, bisect_right(self._order, after)
        page: list[bytes] = []
        room_left = largest - _HEAD_BYTES
        for at in range(start, min(start + most, len(order))):
            encoded = self._people[order[at]].encode()
            room_left -= len(encoded)
            if room_left < 0 and page:
                break
            page.append(encoded)
        end = start + len(page)
        following = order[end - 1] if page and end < len(order) else None
        return Page(len(self._people), sessions, page, following)
