"""What a room of some size is told of its people, and how often.

    full     up to 200 people: everybody, with every change
    active   up to 2,000: the counts, and those who raise a hand, type or changed lately; at most 64
    counts   above: the counts, and those who raise a hand or type; at most 64

A room grows into the next tier at its bound and comes back at four fifths of it, so that one at the bound
doesn't go to and fro: each way costs it a new start.
"""

import zlib
from collections.abc import Iterable
from enum import Enum

from .people import Person

FULL_UP_TO = 200
ACTIVE_UP_TO = 2_000
MOST_ACTIVE = 64
FRAMES_PER_SECOND = 10_000
"""That one room's ticks may take of a process; one costs about 10 µs."""

_COMING_BACK = 0.8
_LATELY = 10.0


class Tier(Enum):
    """How much of a room its members are told."""

    FULL = "full"
    ACTIVE = "active"
    COUNTS = "counts"


def tier_for(people: int, tier: Tier) -> Tier:
    """Return the tier of a room of so many people that was in ``tier`` before."""
    full, active = FULL_UP_TO, ACTIVE_UP_TO
    if tier is not Tier.FULL:
        full = int(full * _COMING_BACK)
    if tier is Tier.COUNTS:
        active = int(active * _COMING_BACK)
    if people <= full:
        return Tier.FULL
    return Tier.ACTIVE if people <= active else Tier.COUNTS


def interval_for(members: int, interval: float) -> float:
    """Return the seconds between two ticks of a room with so many members in this process."""
    return max(interval, members / FRAMES_PER_SECOND)


def next_tick(now: float, interval: float, room: str) -> float:
    """Return when a room ticks next. Rooms lie evenly in the interval, so that they don't tick together."""
    phase = zlib.crc32(room.encode()) / (1 << 32) * interval
    return now - (now - phase) % interval + interval


class ActiveSet:
    """Those who do something: hands, then who types, then who changed lately; first come, first shown."""

    def __init__(self) -> None:
        self._hands: dict[str, None] = {}
        self._typing: dict[str, None] = {}
        self._lately: dict[str, float] = {}

    def take(self, now: float, changed: Iterable[Person], left: Iterable[str]) -> None:
        """Hear of people who joined or changed, and of those who left."""
        for person in changed:
            self._lately[person.id] = now + _LATELY
            for is_so, those in ((person.hand_is_up, self._hands), (person.is_typing, self._typing)):
                if is_so:
                    those[person.id] = None
                else:
                    those.pop(person.id, None)
        for gone in left:
            for each in (self._hands, self._typing, self._lately):
                each.pop(gone, None)

    def shown(self, now: float, *, lately: bool) -> dict[str, None]:
        """Return at most 64 of them. Who came lately counts as changed only where ``lately`` is set."""
        shown: dict[str, None] = {}
        for those in (self._hands, self._typing):
            for person in those:
                if len(shown) == MOST_ACTIVE:
                    return shown
                shown[person] = None
        over = []
        for person, until in self._lately.items():
            if until <= now:
                over.append(person)
            elif not lately or len(shown) == MOST_ACTIVE:
                break
            else:
                shown[person] = None
        for person in over:
            del self._lately[person]
        return shown
