"""What a room of some size is told, how often, and of whom."""

import pytest

from roomful.presence.people import Person
from roomful.presence.tiers import MOST_ACTIVE, ActiveSet, Tier, interval_for, next_tick, tier_for

FULL, ACTIVE, COUNTS = Tier.FULL, Tier.ACTIVE, Tier.COUNTS


@pytest.mark.parametrize(
    ("people", "before", "after"),
    [
        (200, FULL, FULL),
        (201, FULL, ACTIVE),
        (161, ACTIVE, ACTIVE),
        (160, ACTIVE, FULL),
        (2_000, ACTIVE, ACTIVE),
        (2_001, ACTIVE, COUNTS),
        (1_601, COUNTS, COUNTS),
        (1_600, COUNTS, ACTIVE),
        (0, COUNTS, FULL),
        (50_000, FULL, COUNTS),
    ],
)
def test_a_room_changes_its_tier_at_bounds_that_lie_apart(people: int, before: Tier, after: Tier) -> None:
    assert tier_for(people, before) is after


def test_a_room_at_a_bound_does_not_go_to_and_fro() -> None:
    tier, changes = FULL, 0
    for people in [199, 202] * 100:
        before, tier = tier, tier_for(people, tier)
        changes += tier is not before
    assert changes == 1


def test_the_interval_grows_when_one_tick_would_take_too_much_of_the_process() -> None:
    assert [interval_for(members, 2.0) for members in (1, 20_000, 50_000)] == [2.0, 2.0, 5.0]


@pytest.mark.parametrize("now", [0.0, 0.3, 17.999, 123_456.789, 1e9])
def test_ticks_of_a_room_are_an_interval_apart(now: float) -> None:
    first = next_tick(now, 2.0, "room")
    assert now < first <= now + 2.0 + 1e-6
    assert next_tick(first, 2.0, "room") == pytest.approx(first + 2.0)


def test_rooms_tick_evenly_spread() -> None:
    ticks = sorted(next_tick(0.0, 2.0, f"room {number}") for number in range(1_000))
    tenths = [sum(at <= tick < at + 0.2 for tick in ticks) for at in (number / 5 for number in range(10))]
    assert all(60 < count < 140 for count in tenths)


def person(name: str, *fields: str) -> Person:
    return Person(name, dict.fromkeys(fields, b""))


def shown(active: ActiveSet, now: float = 0.0, *, lately: bool = True) -> list[str]:
    return list(active.shown(now, lately=lately))


def test_hands_come_first_then_who_types_then_who_changed() -> None:
    active = ActiveSet()
    active.take(0, [person("c"), person("t", "typing"), person("h", "hand"), person("h2", "hand")], [])
    assert shown(active) == ["h", "h2", "t", "c"]
    assert shown(active, lately=False) == ["h", "h2", "t"]


def test_who_lowers_a_hand_stops_typing_or_leaves_is_active_no_more() -> None:
    active = ActiveSet()
    active.take(0, [person("a", "hand"), person("b", "typing"), person("c", "hand")], [])
    active.take(1, [person("a"), person("b")], ["c"])
    assert shown(active, lately=False) == []
    assert shown(active) == ["a", "b"]


def test_who_changed_is_active_for_ten_seconds() -> None:
    active = ActiveSet()
    active.take(0, [person("a"), person("b")], [])
    active.take(5, [person("a")], [])
    assert shown(active, 9.9) == ["a", "b"]
    assert shown(active, 10) == ["a"]
    assert shown(active, 15) == []


def test_the_first_are_shown_until_they_are_done_and_then_the_next() -> None:
    active = ActiveSet()
    active.take(0, [person(f"{number:03}", "hand") for number in range(100)], [])
    active.take(1, [person("005", "hand", "typing")], [])
    assert shown(active, 1) == [f"{number:03}" for number in range(MOST_ACTIVE)]
    active.take(2, [person("000")], ["001"])
    assert shown(active, 2)[-2:] == ["064", "065"]
    assert len(shown(active, 2)) == MOST_ACTIVE
