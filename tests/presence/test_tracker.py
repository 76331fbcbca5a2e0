"""Sessions become people: what is seen of them, when, and for how long."""

from typing import Any

import msgpack
import pytest

from roomful.crdt.varint import Malformed
from roomful.presence.people import PERSON_BYTES, SESSIONS_SHOWN
from roomful.presence.record import LATEST, Record, encode_record
from roomful.presence.tracker import Announcement, Changes, Patience, Tracker
from tests.presence.room_model import plain

LARGEST = 1_024


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(largest=LARGEST, clock=0)


def ids(changes: Changes) -> tuple[list[str], list[str], list[str]]:
    return [each.id for each in changes.joined], [each.id for each in changes.updated], changes.left


def person(tracker: Tracker, name: str) -> dict[str, Any]:
    return plain(tracker.people)[name]


def announced(tracker: Tracker, now: float = 0.0) -> dict[str, Announcement]:
    return {each.session: each for each in tracker.merge(now).own}


def test_a_session_joins_changes_and_leaves(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "", {"status": "busy"})
    assert ids(tracker.merge(0)) == (["u:ann"], [], [])
    tracker.change(1, "s1", {"cursor": 3})
    assert ids(tracker.merge(2)) == ([], ["u:ann"], [])
    assert person(tracker, "u:ann") == {
        "id": "u:ann", "sessions": {"s1": None}, "status": "busy", "cursor": 3,
    }  # fmt: skip
    tracker.leave("s1")
    assert ids(tracker.merge(4)) == ([], [], ["u:ann"])
    assert tracker.merge(6) == Changes([], [], [], [])


def test_who_joins_and_leaves_between_two_ticks_is_seen_by_nobody(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "", {})
    tracker.leave("s1")
    tracker.join(0, "s2", "bob", "tab", {})
    tracker.lose(1, "s2")
    assert tracker.merge(2) == Changes([], [], [], [])


def test_a_user_on_two_devices_is_one_person(tracker: Tracker) -> None:
    tracker.join(
        0, "s1", "ann", "", {"device": "desk", "status": "away", "cursor": 1, "view": 1, "hand": True}
    )
    tracker.join(
        0, "s2", "ann", "", {"device": "phone", "status": "available", "cursor": 2, "typing": "title"}
    )
    tracker.merge(0)
    assert plain(tracker.people) == {
        "u:ann": {
            "id": "u:ann", "sessions": {"s1": "desk", "s2": "phone"}, "status": "available",
            "typing": "title", "hand": True, "cursor": 2, "view": 1,
        }
    }  # fmt: skip
    tracker.change(1, "s1", {"cursor": 3})
    tracker.leave("s2")
    assert ids(tracker.merge(2)) == ([], ["u:ann"], [])
    assert person(tracker, "u:ann")["cursor"] == 3
    assert person(tracker, "u:ann")["status"] == "away"


def test_those_without_a_user_id_are_people_of_their_own(tracker: Tracker) -> None:
    for session, instance in (("s1", ""), ("s2", ""), ("s3", "tab"), ("s4", "tab")):
        tracker.join(0, session, "", instance, {})
    joined, _, _ = ids(tracker.merge(0))
    assert joined[:2] == ["s:s1", "s:s2"]
    assert len(joined) == 3
    assert "tab" not in joined[2], "by its instance, anybody could take its place"


def test_typing_ends_by_itself_unless_it_is_said_again(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "", {"typing": "title"})
    tracker.merge(0)
    tracker.change(4, "s1", {"typing": "title"})
    assert ids(tracker.merge(9.9)) == ([], [], []), "saying it again is no change"
    assert ids(tracker.merge(10)) == ([], ["u:ann"], [])
    assert "typing" not in person(tracker, "u:ann")


def test_a_lost_connection_holds_its_place_for_the_grace_and_types_no_more(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "", {"typing": "title", "hand": True})
    tracker.merge(0)
    tracker.lose(1, "s1")
    assert ids(tracker.merge(2)) == ([], ["u:ann"], [])
    assert person(tracker, "u:ann") == {"id": "u:ann", "sessions": {"s1": None}, "hand": True}
    assert ids(tracker.merge(10.9)) == ([], [], [])
    assert ids(tracker.merge(11)) == ([], [], ["u:ann"])
    assert tracker.take_counts() == (0, 1)


@pytest.mark.parametrize(("user", "instance"), [("ann", ""), ("ann", "tab"), ("", "tab")])
def test_who_comes_back_within_the_grace_has_not_flickered(
    tracker: Tracker, user: str, instance: str
) -> None:
    tracker.join(0, "s1", user, instance, {"hand": True})
    tracker.merge(0)
    tracker.lose(1, "s1")
    tracker.merge(2)
    tracker.join(8, "s2", user, instance, {"hand": True})
    joined, updated, left = ids(tracker.merge(8))
    assert (joined, len(updated), left) == ([], 1, [])
    (seen,) = plain(tracker.people).values()
    assert (seen["sessions"], seen["hand"]) == ({"s2": None}, True)
    assert ids(tracker.merge(100)) == ([], [], [])


def test_one_who_would_not_be_known_again_leaves_at_once(tracker: Tracker) -> None:
    tracker.join(0, "s1", "", "", {})
    tracker.merge(0)
    tracker.lose(1, "s1")
    assert ids(tracker.merge(2)) == ([], [], ["s:s1"])


def test_the_same_instance_under_another_name_takes_nobodys_place(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "tab", {})
    tracker.merge(0)
    tracker.lose(1, "s1")
    tracker.join(1, "s2", "bob", "tab", {})
    tracker.merge(2)
    assert set(tracker.people) == {"u:ann", "u:bob"}


def test_a_client_whose_old_connection_nobody_has_missed_yet_is_seen_once(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "tab", {"hand": True, "device": "phone"})
    tracker.merge(0)
    tracker.join(1, "s2", "ann", "tab", {"device": "phone"})
    tracker.merge(2)
    assert person(tracker, "u:ann") == {"id": "u:ann", "sessions": {"s2": "phone"}}


def test_changes_that_come_too_fast_are_seen_as_one_and_none_is_lost() -> None:
    tracker = Tracker(largest=LARGEST, clock=0, patience=Patience(change=1.0))
    tracker.join(0, "s1", "ann", "", {"view": 0})
    tracker.merge(0)
    seen = 0
    for hundredth in range(1, 351):
        now = hundredth / 100
        tracker.change(now, "s1", {"view": hundredth})
        seen += len(tracker.merge(now).updated)
    assert seen == 3
    assert tracker.take_counts() == (350 - 3 - 1, 0)
    assert ids(tracker.merge(4.1)) == ([], ["u:ann"], [])
    assert person(tracker, "u:ann")["view"] == 350


def test_of_many_who_change_some_are_looked_at_in_turn_as_they_are_by_then(tracker: Tracker) -> None:
    for name in ("ann", "bob", "cat", "dan"):
        tracker.join(0, name, name, "", {})
    assert ids(tracker.merge(1, 3)) == (["u:ann", "u:bob", "u:cat"], [], [])
    tracker.leave("ann")
    tracker.change(2, "dan", {"hand": True})
    assert tracker.has_changed
    assert ids(tracker.merge(3, 1)) == (["u:dan"], [], [])
    assert person(tracker, "u:dan")["hand"] is True
    assert ids(tracker.merge(3, 1)) == ([], [], ["u:ann"])
    assert not tracker.has_changed


def test_a_patch_that_is_refused_has_changed_nothing(tracker: Tracker) -> None:
    tracker.join(0, "s1", "ann", "", {"hand": True})
    tracker.merge(0)
    with pytest.raises(Malformed):
        tracker.change(1, "s1", {"hand": False, "typing": "title", "state": []})
    assert ids(tracker.merge(2)) == ([], [], [])


@pytest.mark.parametrize(
    ("user", "instance"), [("u" * 513, ""), ("", "i" * 193), ("\ud800", ""), ("", "\ud800")]
)
def test_names_that_are_too_long_or_no_text_are_refused(tracker: Tracker, user: str, instance: str) -> None:
    with pytest.raises(Malformed):
        tracker.join(0, "s1", user, instance, {})


def test_a_person_of_many_sessions_has_a_bound(tracker: Tracker) -> None:
    user = "ü" * 256
    for number in range(3 * SESSIONS_SHOWN):
        tracker.join(0, f"{number:064}", user, "", {"device": "d" * 64, "state": {"a": "x" * 900}})
    tracker.change(0, f"{0:064}", {"state": None, "cursor": "c" * 509})
    tracker.change(0, f"{1:064}", {"state": None, "view": "v" * 509})
    tracker.change(0, f"{2:064}", {"state": None, "typing": "t" * 64, "status": "available", "hand": True})
    (ann,) = tracker.merge(0).joined
    assert LARGEST + 2_048 < len(ann.encode()) <= LARGEST + PERSON_BYTES
    assert len(plain(tracker.people)[ann.id]["sessions"]) == SESSIONS_SHOWN
    assert tracker.sessions == 3 * SESSIONS_SHOWN


def test_a_user_seen_by_two_processes_is_one_person() -> None:
    here, there = (Tracker(largest=LARGEST, clock=clock) for clock in (0, 50))
    here.join(0, "s1", "ann", "", {"device": "desk", "hand": True})
    there.join(0, "s2", "ann", "", {"device": "phone"})
    for each in announced(here).values():
        assert there.hear("here", each.session, each.value)
        assert not there.hear("here", each.session, each.value)
    assert ids(there.merge(0)) == (["u:ann"], [], [])
    assert person(there, "u:ann") == {"id": "u:ann", "sessions": {"s1": "desk", "s2": "phone"}, "hand": True}


def test_one_who_comes_back_to_another_process_has_not_flickered() -> None:
    """The process they come to has had nobody of the room, and its clock has to begin somewhere."""
    old, new, watching = (Tracker(largest=LARGEST, clock=clock) for clock in (1_000, 5_000, 0))
    old.join(0, "s1", "ann", "tab", {"hand": True})
    for each in announced(old).values():
        watching.hear("old", each.session, each.value)
    watching.merge(0)
    old.lose(1, "s1")
    new.join(3, "s2", "ann", "tab", {})
    for name, process in (("old", old), ("new", new)):
        for each in announced(process, 4.0).values():
            watching.hear(name, each.session, each.value)
    assert ids(watching.merge(4)) == ([], ["u:ann"], [])
    assert person(watching, "u:ann") == {"id": "u:ann", "sessions": {"s2": None}}
    for each in announced(old, 11.0).values():
        watching.hear("old", each.session, each.value)
    assert ids(watching.merge(12)) == ([], [], [])


def test_of_two_processes_who_has_heard_the_other_speaks_later() -> None:
    here, there = Tracker(largest=LARGEST, clock=1_000), Tracker(largest=LARGEST, clock=0)
    here.join(0, "s1", "ann", "", {"cursor": 1})
    for each in announced(here).values():
        there.hear("here", each.session, each.value)
    there.join(1, "s2", "ann", "", {"cursor": 2})
    there.merge(2)
    assert person(there, "u:ann")["cursor"] == 2


def test_the_people_of_a_lost_process_type_no_more() -> None:
    here, watching = Tracker(largest=LARGEST, clock=0), Tracker(largest=LARGEST, clock=0)
    here.join(0, "s1", "ann", "", {"typing": "title"})
    watching.hear("here", "s1", announced(here)["s1"].value)
    watching.merge(0)
    watching.lose_process(1, "here")
    assert ids(watching.merge(2)) == ([], ["u:ann"], [])
    assert "typing" not in person(watching, "u:ann")


def test_one_who_is_lost_and_back_again_and_again_has_one_session(tracker: Tracker) -> None:
    for number in range(100):
        tracker.join(number, f"s{number}", "ann", "tab", {})
        tracker.merge(number)
        assert tracker.sessions == 1
        tracker.lose(number, f"s{number}")


def test_a_dropped_process_that_is_found_can_be_heard_anew() -> None:
    here, watching = Tracker(largest=LARGEST, clock=0), Tracker(largest=LARGEST, clock=0)
    here.join(0, "s1", "ann", "", {})
    said = announced(here)["s1"]
    watching.hear("here", said.session, said.value)
    watching.merge(0)
    watching.lose_process(1, "here")
    assert ids(watching.merge(11)) == ([], [], ["u:ann"])
    assert not watching.hear("here", said.session, said.value)
    watching.find_process("here")
    assert watching.hear("here", said.session, said.value)
    assert ids(watching.merge(12)) == (["u:ann"], [], [])


def test_what_is_heard_late_of_a_session_is_old() -> None:
    here, watching = Tracker(largest=LARGEST, clock=0), Tracker(largest=LARGEST, clock=0)
    here.join(0, "s1", "ann", "", {"view": 1})
    joined = announced(here)["s1"]
    here.change(1, "s1", {"view": 2})
    changed = announced(here, 2)["s1"]
    here.leave("s1")
    left = announced(here)["s1"]
    assert watching.hear("here", changed.session, changed.value)
    assert not watching.hear("here", joined.session, joined.value)
    watching.merge(2)
    assert person(watching, "u:ann")["view"] == 2
    assert watching.hear("here", left.session, left.value)
    assert not watching.hear("here", left.session, left.value)
    assert not watching.hear("here", changed.session, changed.value)
    assert ids(watching.merge(2)) == ([], [], ["u:ann"])


GOOD = encode_record(1, Record("ann", "", 1, 1))


@pytest.mark.parametrize(
    ("session", "value"),
    [
        ("", GOOD),
        ("s" * 65, GOOD),
        ("é", GOOD),
        ("__proto__", GOOD),
        ("s1", b""),
        ("s1", GOOD + b"\x00"),
        ("s1", b"\x91" * 900),
        ("s1", bytes(4_000)),
        ("s1", msgpack.packb([2, 1, "ann", "", 1, 1, False, {}])),
        ("s1", msgpack.packb([1, 1, "ann", "", 1, 1, False])),
        ("s1", msgpack.packb([1, 1, b"ann", "", 1, 1, False, {}])),
        ("s1", msgpack.packb([1, 1, "ann", "", -1, 1, False, {}])),
        ("s1", msgpack.packb([1, 1, "ann", "", 1, 2, False, {}])),
        ("s1", msgpack.packb([1, LATEST + 1, "ann", "", 1, 1, False, {}])),
        ("s1", msgpack.packb([1, 1, "ann", "", 1, 1, False, {"hand": 1}])),
        ("s1", msgpack.packb([1, 1, "u" * 600, "", 1, 1, False, {}])),
    ],
)
def test_what_no_process_of_ours_would_announce_is_refused(
    tracker: Tracker, session: str, value: bytes
) -> None:
    with pytest.raises(Malformed):
        tracker.hear("p", session, value)
    assert tracker.merge(0) == Changes([], [], [], [])


def test_a_record_with_more_than_this_version_knows_is_read(tracker: Tracker) -> None:
    record = [1, 1, "ann", "", 1, 1, False, {"hand": True, "mood": 1}, "more"]
    assert tracker.hear("p", "s1", msgpack.packb(record))
    tracker.merge(0)
    assert person(tracker, "u:ann")["hand"] is True


def test_a_room_has_room_for_so_many_sessions_of_other_processes() -> None:
    tracker = Tracker(largest=LARGEST, clock=0, most_sessions=2)
    for number in (1, 2):
        tracker.hear("p", f"s{number}", GOOD)
    with pytest.raises(Malformed):
        tracker.hear("p", "s3", GOOD)
    assert tracker.hear("p", "s1", None)
    assert tracker.hear("p", "s3", GOOD)
