"""What members are told: they end up knowing what is so, in bodies that never exceed the ceiling."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.presence import tiers
from roomful.presence.people import PERSON_BYTES
from roomful.presence.roster import HEAD_BYTES, Roster
from roomful.presence.tracker import Patience, Tracker
from tests.presence.room_model import Watcher, plain

LARGEST = 256
LEAST_CEILING = HEAD_BYTES + PERSON_BYTES + LARGEST


class Room:
    """A tracker and a roster, the bytes of each tick, and one who hears all of them."""

    def __init__(self, ceiling: int = 16_384) -> None:
        self.tracker = Tracker(largest=LARGEST, clock=0, patience=Patience(change=0))
        self.roster = Roster(self.tracker.people, ceiling)
        self.watcher = Watcher()
        self.now = 0.0
        self.sizes: list[int] = []

    def join(self, name: str, **fields: Any) -> None:
        self.tracker.join(self.now, name, name, "", fields)

    def change(self, name: str, **fields: Any) -> None:
        self.tracker.change(self.now, name, fields)

    def tick(self) -> dict[str, Any] | None:
        self.now += 2
        self.roster.take(self.now, self.tracker.merge(self.now))
        body = self.roster.tick(self.now, self.tracker.sessions)
        self.watcher.hear(body)
        if body is None:
            return None
        self.sizes.append(len(body))
        told: dict[str, Any] = msgpack.unpackb(body)
        return told


@pytest.fixture
def room() -> Room:
    return Room()


def test_nothing_is_told_when_nothing_has_changed(room: Room) -> None:
    assert room.tick() is None
    room.join("ann")
    assert room.tick()
    assert room.tick() is None


def test_a_body_tells_who_joined_changed_and_left(room: Room) -> None:
    room.join("ann", view=1, hand=True)
    ann = {"id": "u:ann", "sessions": {"ann": None}, "view": 1, "hand": True}
    counts = {"tier": "full", "people": 1, "sessions": 1}
    assert room.tick() == {**counts, "joined": [ann]}
    room.change("ann", view=2, hand=None)
    assert room.tick() == {**counts, "updated": [{"id": "u:ann", "view": 2, "hand": None}]}
    room.tracker.leave("ann")
    assert room.tick() == {"tier": "full", "people": 0, "sessions": 0, "left": ["u:ann"]}


def test_a_newcomer_is_told_what_the_others_know(room: Room) -> None:
    room.join("ann")
    room.tick()
    room.change("ann", view=1)
    room.now += 2
    room.roster.take(room.now, room.tracker.merge(room.now))
    newcomer = Watcher()
    newcomer.hear(room.roster.everything())
    assert newcomer.people == room.watcher.people != plain(room.tracker.people)
    assert room.roster.everything() is room.roster.everything(), "however many come between two ticks"
    newcomer.hear(room.roster.tick(room.now, 1))
    assert newcomer.people == plain(room.tracker.people)
    later = Watcher()
    later.hear(room.roster.everything())
    assert later.people == newcomer.people


def test_what_does_not_fit_waits_and_is_told_as_it_is_then() -> None:
    room = Room(LEAST_CEILING)
    for number in range(100):
        room.join(f"{number:02}", state={"text": "x" * 200})
    ticks = 0
    while room.roster.waiting or not ticks:
        room.tick()
        room.change("99", view=ticks)
        room.tracker.leave("98")
        ticks += 1
    assert ticks > 5
    room.tick()
    assert max(room.sizes) <= LEAST_CEILING
    assert room.watcher.people == plain(room.tracker.people)
    assert "u:98" not in room.watcher.people


def test_who_is_again_as_they_were_told_of_is_told_of_no_more(room: Room) -> None:
    room.join("ann", hand=True)
    room.tick()
    for hand in (False, True):
        room.change("ann", hand=hand)
        room.roster.take(room.now, room.tracker.merge(room.now))
    assert room.tick() is None


def test_one_who_comes_and_goes_while_waiting_is_told_of_to_nobody() -> None:
    room = Room(LEAST_CEILING)
    for number in range(30):
        room.join(f"{number:02}", state={"text": "x" * 200})
    room.tick()
    room.tracker.leave("29")
    told = []
    while body := room.tick():
        told += [person["id"] for person in body.get("joined", ())] + body.get("left", [])
    assert "u:29" not in told
    assert "u:28" in told


def test_a_room_that_outgrows_the_roster_tells_counts_and_the_active_ones(room: Room) -> None:
    for number in range(200):
        room.join(f"{number:03}")
    while room.tick():
        pass
    assert len(room.watcher.people) == 200
    room.now += 20
    room.join("late")
    room.change("007", hand=True)
    body = room.tick()
    assert body is not None
    assert (body["tier"], body["people"], body["reset"]) == ("active", 201, True)
    assert list(room.watcher.people) == ["u:007", "u:late"]
    room.change("007", hand=None)
    room.now += 20
    counts = {"tier": "active", "people": 201, "sessions": 201}
    assert room.tick() == {**counts, "updated": [{"id": "u:007", "hand": None}], "idle": ["u:late"]}
    room.tracker.leave("007")
    body = room.tick()
    assert body is not None
    assert body["left"] == ["u:007"]


def test_a_room_that_shrinks_gets_its_roster_back(room: Room) -> None:
    for number in range(250):
        room.join(f"{number:03}")
    room.tick()
    assert room.watcher.tier == "active"
    for number in range(90):
        room.tracker.leave(f"{number:03}")
    body = room.tick()
    assert body is not None
    assert (body["tier"], body["reset"]) == ("full", True)
    while room.tick():
        pass
    assert room.watcher.people == plain(room.tracker.people)


def test_in_the_largest_rooms_changing_alone_makes_nobody_active(room: Room) -> None:
    for number in range(2_001):
        room.join(f"{number:04}", view=1)
    room.join("typist", typing="question")
    room.tick()
    assert room.watcher.tier == "counts"
    assert list(room.watcher.people) == ["u:typist"]
    for number in range(2_001):
        room.change(f"{number:04}", view=2)
    room.tick()
    assert list(room.watcher.people) == ["u:typist"]


names = st.sampled_from([f"user {number}" for number in range(12)])
steps = st.one_of(
    st.tuples(st.just("join"), names),
    st.tuples(st.just("change"), names, st.integers(0, 180), st.booleans()),
    st.tuples(st.just("leave"), names),
    st.tuples(st.just("tick")),
    st.tuples(st.just("wait")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=60))
def test_however_the_tiers_change_members_know_what_they_should(happened: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiers, "FULL_UP_TO", 5)
        patch.setattr(tiers, "ACTIVE_UP_TO", 8)
        patch.setattr(tiers, "MOST_ACTIVE", 3)
        room = Room(HEAD_BYTES + 500)
        here: set[str] = set()
        for step in happened:
            match step:
                case ("join", name) if name not in here:
                    here.add(name)
                    room.join(name)
                case ("change", name, size, hand) if name in here:
                    room.change(name, state={"text": "x" * size}, hand=hand)
                case ("leave", name) if name in here:
                    here.remove(name)
                    room.tracker.leave(name)
                case ("wait",):
                    room.now += 9
                case ("tick",):
                    room.tick()
        for _ in range(25):
            room.tick()
            newcomer = Watcher()
            newcomer.hear(room.roster.everything())
            assert newcomer.people == room.watcher.people
            assert newcomer.tier == room.watcher.tier
        everybody = plain(room.tracker.people)
        known = room.watcher.people
        assert room.tick() is None
        assert (room.watcher.count, room.watcher.sessions) == (len(here), len(here))
        assert known.items() <= everybody.items()
        hands = {person for person, each in everybody.items() if "hand" in each}
        if room.watcher.tier == "full":
            assert known == everybody
        else:
            assert len(known) == min(len(hands), 3)
            assert known.keys() <= hands
        assert max(room.sizes, default=0) <= HEAD_BYTES + 500
