"""What a room's members have been told of its people, and the next thing they are told, encoded once for all.

    body    := {tier, people, sessions, reset?, joined?, updated?, left?, idle?}       msgpack
    tier    := "full" | "active" | "counts"                                          tiers.py
    people, sessions                        how many there are now, whatever is told of them
    reset   := true                         forget whom you knew: what is told begins anew
    joined  := [person*]                    people.py; also somebody known, whom you then know anew
    updated := [{id, ...}*]                 entries that changed, nil for those that are gone
    left    := [id*]                        who has left the room
    idle    := [id*]                        who is here, but no longer active: details are told no more

A body has a ceiling. Who does not fit waits for the next one, and is then told as they are then.
"""

from collections.abc import Mapping

from .fields import encode_array, encode_map, pack
from .people import Person
from .tiers import ActiveSet, Tier, tier_for
from .tracker import Changes

HEAD_BYTES = 160
"""What a body holds beside its people."""

_COUNTS = {tier: pack(tier.value) for tier in Tier}


class Roster:
    """Keeps step with what the members of a room know.

    :param people: everybody in the room, by id; looked at whenever there is something to tell
    :param ceiling: the most bytes of a body
    """

    def __init__(self, people: Mapping[str, Person], ceiling: int) -> None:
        self.tier = Tier.FULL
        self._people = people
        self._ceiling = ceiling
        self._active = ActiveSet()
        self._told: dict[str, Person] = {}
        self._waiting: dict[str, None] = {}
        self._counts = (0, 0)
        self._all: bytes | None = None

    @property
    def waiting(self) -> int:
        """How many people have changed and were not yet told of."""
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether there may be something to tell at the next tick, though nothing has changed."""
        return bool(self._waiting) or self.tier is not Tier.FULL

    def take(self, now: float, changes: Changes) -> None:
        """Hear of what has changed in the room."""
        self._active.take(now, (*changes.joined, *changes.updated), changes.left)
        ids = (*(person.id for person in (*changes.joined, *changes.updated)), *changes.left)
        for person in ids:
            if self.tier is Tier.FULL or person in self._told:
                self._waiting[person] = None

    def tick(self, now: float, sessions: int) -> bytes | None:
        """Return the body for every member who has heard all before, or None if there is nothing to tell."""
        reset = self._change_tier()
        shown = self._shown(now)
        counts = (len(self._people), sessions)
        lists = self._fill(shown)
        if not reset and counts == self._counts and not any(lists.values()):
            return None
        self._counts = counts
        self._all = None
        return self._body(lists, reset=reset)

    def everything(self) -> bytes:
        """Return the body for one who knows nothing yet: all that the others have been told."""
        if self._all is None:
            self._all = self._body(
                {"joined": [person.encode() for person in self._told.values()]}, reset=True
            )
        return self._all

    def _change_tier(self) -> bool:
        tier = tier_for(len(self._people), self.tier)
        if tier is self.tier:
            return False
        self.tier = tier
        self._told = {}
        self._waiting = dict.fromkeys(self._people) if tier is Tier.FULL else {}
        return True

    def _shown(self, now: float) -> Mapping[str, object]:
        """Return whom the members are to know, and let those wait for whom that is new."""
        if self.tier is Tier.FULL:
            return self._people
        shown = self._active.shown(now, lately=self.tier is Tier.ACTIVE)
        for person in (*self._told, *shown):
            if (person in self._told) != (person in shown):
                self._waiting[person] = None
        return shown

    def _fill(self, shown: Mapping[str, object]) -> dict[str, list[bytes]]:
        """Take from those who wait as many as fit, the longest waiting first."""
        lists: dict[str, list[bytes]] = {"joined": [], "updated": [], "left": [], "idle": []}
        room_left = self._ceiling - HEAD_BYTES
        for person in tuple(self._waiting):
            told = self._told.get(person)
            present = self._people.get(person)
            if present is None or person not in shown:
                if told is None:
                    del self._waiting[person]
                    continue
                name, entry = ("left" if present is None else "idle"), told.values["id"]
            elif told is None:
                name, entry = "joined", present.encode()
            elif told != present:
                name, entry = "updated", present.change_from(told)
            else:
                del self._waiting[person]
                continue
            room_left -= len(entry)
            if room_left < 0:
                break
            del self._waiting[person]
            if name in ("left", "idle"):
                del self._told[person]
            else:
                assert present is not None
                self._told[person] = present
            lists[name].append(entry)
        return lists

    def _body(self, lists: Mapping[str, list[bytes]], *, reset: bool) -> bytes:
        people, sessions = self._counts
        entries = {"tier": _COUNTS[self.tier], "people": pack(people), "sessions": pack(sessions)}
        if reset:
            entries["reset"] = pack(True)
        entries.update((name, encode_array(each)) for name, each in lists.items() if each)
        return encode_map(entries)
