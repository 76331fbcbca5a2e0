"""A tracker and the people of other processes: full rooms, processes that go and come back, what is due."""

import pytest

from roomful.presence import tracker as module
from roomful.presence.record import Record, encode_record
from roomful.presence.tracker import Tracker
from tests.presence.test_tracker import GOOD, LARGEST, announced, ids, person


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(largest=LARGEST, clock=0)


def test_whoever_types_again_after_it_ended_by_itself_stops_by_itself_again(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "", {"typing": "title"})
    tracker.merge(6)
    for began in (10, 20):
        tracker.change(began, "s1", {"typing": "title"})
        tracker.merge(began)
        assert "typing" in person(tracker, "u:ann")
        tracker.merge(began + 6)
        assert "typing" not in person(tracker, "u:ann")


def test_who_hears_of_an_earlier_time_goes_on_from_its_own() -> None:
    here, behind, watching = (Tracker(largest=LARGEST, clock=clock) for clock in (1_000, 0, 0))
    here.join(0, "s1", "ann", "", {"view": 1})
    watching.hear("here", "s1", announced(here)["s1"].value)
    behind.join(0, "s2", "bob", "", {})
    here.hear("behind", "s2", announced(behind)["s2"].value)
    here.change(1, "s1", {"view": 2})
    assert watching.hear("here", "s1", announced(here, 2.0)["s1"].value)


def test_in_a_full_room_those_who_are_in_it_are_still_heard() -> None:
    tracker = Tracker(largest=LARGEST, clock=0, most_sessions=1)
    tracker.hear("p", "s1", GOOD)
    assert tracker.hear("p", "s1", encode_record(2, Record("ann", "", 1, 2)))


def test_a_process_that_is_found_within_the_grace_has_its_people_as_they_were() -> None:
    here, watching = Tracker(largest=LARGEST, clock=0), Tracker(largest=LARGEST, clock=0)
    here.join(0, "s1", "ann", "", {"typing": "title"})
    watching.hear("here", "s1", announced(here)["s1"].value)
    watching.merge(0)
    watching.lose_process(1, "here")
    watching.merge(2)
    watching.find_process("here")
    assert ids(watching.merge(3)) == ([], ["u:ann"], [])
    assert "typing" in person(watching, "u:ann")
    assert ids(watching.merge(100)) == ([], [], [])


def test_a_process_that_begins_anew_is_not_dropped_when_the_grace_of_its_former_life_ends() -> None:
    watching = Tracker(largest=LARGEST, clock=0)
    watching.hear("p", "s1", GOOD)
    watching.merge(0)
    watching.lose_process(1, "p")
    watching.forget_process("p")
    watching.hear("p", "s2", GOOD)
    watching.merge(2)
    assert ids(watching.merge(100)) == ([], [], [])
    assert set(watching.people) == {"u:ann"}


def test_a_process_that_was_dropped_and_begins_anew_is_heard(tracker: Tracker) -> None:
    tracker.hear("p", "s1", GOOD)
    tracker.lose_process(0, "p")
    tracker.merge(10)
    tracker.forget_process("p")
    assert tracker.hear("p", "s2", GOOD)


def test_one_that_was_gone_before_it_said_anything_is_not_heard_until_it_is_found(tracker: Tracker) -> None:
    tracker.lose_process(0, "p")
    assert not tracker.hear("p", "s1", GOOD)
    tracker.find_process("p")
    assert tracker.hear("p", "s1", GOOD)


def test_of_what_has_ended_the_latest_is_remembered(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    for number in (1, 2, 3):
        tracker.hear("p", f"s{number}", GOOD)
        tracker.hear("p", f"s{number}", None)
    assert [tracker.hear("p", f"s{number}", GOOD) for number in (3, 2, 1)] == [False, False, True]


def test_nobody_is_awaited_who_is_back_or_was_given_up(tracker: Tracker) -> None:
    for user in ("ann", "bob"):
        tracker.join(0, user, user, "", {})
    tracker.merge(0)
    for user in ("ann", "bob"):
        tracker.lose(1, user)
    tracker.join(2, "again", "ann", "", {})
    assert tracker.awaits
    tracker.merge(11)
    assert not tracker.awaits


def test_all_people_of_a_process_that_is_dropped_are_counted_as_given_up(tracker: Tracker) -> None:
    for number in (1, 2):
        tracker.hear("p", f"s{number}", GOOD)
    tracker.lose_process(0, "p")
    tracker.merge(10)
    assert tracker.take_counts() == (0, 2)


def test_it_is_due_when_somebody_types_no_more_and_when_a_lost_process_is_dropped(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "", {"typing": "title"})
    tracker.hear("p", "s2", GOOD)
    tracker.merge(0)
    assert tracker.due() == 6
    tracker.lose_process(1, "p")
    tracker.merge(6.5)
    assert tracker.due() == 11
    tracker.merge(11)
    assert tracker.due() is None
