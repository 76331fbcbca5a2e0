"""Stock clients as people, and people as stock clients see them."""

import json
from itertools import count

import msgpack
import pytest

from roomful.crdt.varint import read_varstring
from roomful.presence.awareness import gone_entry
from roomful.presence.fields import NO_FIELDS, patched
from roomful.presence.record import Record
from roomful.presence.stand_ins import StandIns
from roomful.presence.tracker import Patience, Tracker
from roomful.presence.translation import awareness_from_fields, patch_from_awareness
from roomful.presence.voices import Voices
from tests.presence.entries import entry
from tests.presence.room_model import Seen, plain

LARGEST = 1_024


class Room:
    def __init__(self) -> None:
        names = count(1)
        self.tracker = Tracker(largest=LARGEST, clock=0, patience=Patience(change=0))
        self.voices = Voices(self.tracker, LARGEST, lambda: f"s{next(names)}")

    def people(self, now: float = 0.0) -> Seen:
        self.voices.settle(now, 100)
        self.tracker.merge(now)
        return plain(self.tracker.people)


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_stock_client_is_seen_by_its_user_and_cursor(room: Room) -> None:
    room.voices.hear(0, "a socket", "ann", [entry(1, 1, {"user": {"name": "Ann"}, "cursor": 3, "other": 1})])
    assert room.people() == {
        "u:ann": {"id": "u:ann", "sessions": {"s1": None}, "state": {"user": {"name": "Ann"}}, "cursor": 3}
    }
    room.voices.hear(1, "a socket", "ann", [entry(1, 2, {"user": {"name": "Ann"}, "cursor": None})])
    assert "cursor" not in room.people(2)["u:ann"]


def test_one_that_comes_or_goes_is_seen_to_before_anything_is_settled(room: Room) -> None:
    room.voices.hear(0, "a socket", "ann", [entry(1, 1, {})])
    assert [each.id for each in room.tracker.merge(0).joined] == ["u:ann"]
    room.voices.hear(1, "a socket", "ann", [entry(1, 2, None)])
    assert room.tracker.merge(2).left == ["u:ann"]


def test_of_several_clients_on_one_socket_the_last_to_speak_counts(room: Room) -> None:
    room.voices.hear(0, "a socket", "ann", [entry(1, 1, {"cursor": 1}), entry(2, 1, {"cursor": 2})])
    assert room.people()["u:ann"]["cursor"] == 2
    room.voices.hear(1, "a socket", "ann", [entry(1, 2, {"cursor": 3})])
    assert room.people(2)["u:ann"]["cursor"] == 3
    room.voices.hear(2, "a socket", "ann", [entry(1, 3, None)])
    assert room.people(4)["u:ann"]["cursor"] == 2
    room.voices.hear(4, "a socket", "ann", [entry(2, 2, None)])
    assert room.people(6) == {}


def test_a_few_are_looked_into_at_once_and_nobody_waits_for_ever(room: Room) -> None:
    for number in range(10):
        room.voices.hear(0, number, f"user {number}", [entry(number, 1, {"cursor": 1})])
    for clock in range(2, 7):
        for number in range(10):
            room.voices.hear(0, number, f"user {number}", [entry(number, clock, {"cursor": clock})])
        room.voices.settle(0, 2)
    room.tracker.merge(0)
    assert sorted(each["cursor"] for each in plain(room.tracker.people).values()) == [
        2,
        2,
        3,
        3,
        4,
        4,
        5,
        5,
        6,
        6,
    ]
    assert room.voices.has_news


def test_a_lost_page_that_comes_back_with_its_client_id_has_not_flickered(room: Room) -> None:
    room.voices.hear(0, "a socket", "", [entry(1, 1, {})])
    (before,) = room.people()
    room.voices.leave(1, "a socket", lost=True)
    assert list(room.people(2)) == [before]
    room.voices.hear(3, "another", "", [entry(1, 2, {})])
    assert room.people(4)[before]["sessions"] == {"s2": None}
    room.voices.leave(4, "another", lost=False)
    assert room.people(6) == {}


def test_who_can_not_be_shown_is_passed_over(room: Room) -> None:
    room.voices.hear(0, "a socket", "u" * 600, [entry(1, 1, {})])
    room.voices.leave(1, "a socket", lost=True)
    assert room.people(2) == {}


@pytest.mark.parametrize(
    ("state", "patch"),
    [
        ({"user": "Ann", "cursor": 0}, {"state": None, "cursor": 0}),
        ({"user": {"name": "x" * 1_100}, "cursor": 1}, {"state": None, "cursor": 1}),
        ({"user": {"name": "Ann"}, "cursor": 2**60}, {"state": {"user": {"name": "Ann"}}, "cursor": None}),
        ({"user": {"name": "\ud800"}, "cursor": "x" * 600}, {"state": None, "cursor": None}),
        ({"user": {"__proto__": 1}}, {"state": None, "cursor": None}),
    ],
)
def test_what_presence_can_not_hold_is_left_out(state: object, patch: object) -> None:
    text = json.dumps(state).encode()
    said = entry(1, 1, {})._replace(
        state=msgpack.packb(len(text) & 127 | 128)[-1:] + bytes((len(text) >> 7,)) + text
    )
    assert patch_from_awareness(said.state, LARGEST) == patch


def shown(fields: object, user: str = "") -> object:
    state = awareness_from_fields(patched(NO_FIELDS, fields, LARGEST), user)  # type: ignore[arg-type]
    return json.loads(read_varstring(state, 0, 9_999)[0])


def test_a_stand_in_has_the_name_and_the_cursor_that_stock_clients_show() -> None:
    assert shown({"hand": True}, "ann") == {"user": {"name": "ann"}}
    assert shown({"state": {"user": {"name": "Ann", "color": "#f00"}}, "cursor": {"anchor": 1}}, "ann") == {
        "user": {"name": "Ann", "color": "#f00"},
        "cursor": {"anchor": 1},
    }
    assert shown({"state": {"user": {"key": b"\x00"}}, "cursor": b"\x00"}, "ann") == {"user": {"name": "ann"}}
    assert shown({"state": {"user": 3}, "cursor": "here"}) == {"user": {"name": ""}}


def test_a_stand_in_is_said_when_it_changes_and_again_before_it_is_forgotten() -> None:
    stand_ins = StandIns()
    record = Record("ann", "tab", 1, 1, fields=patched(NO_FIELDS, {"cursor": {"anchor": 1}}, LARGEST))
    stand_ins.show("s1", record)
    ((name, said),) = stand_ins.entries(10, 1_000)
    assert (name, said.clock) == ("s1", 1_000)
    stand_ins.show("s1", record._replace(said=2))
    assert list(stand_ins.entries(12, 1_002)) == []
    ((_, again),) = stand_ins.entries(25, 1_015)
    assert (again.client, again.clock, again.state) == (said.client, 1_015, said.state)
    stand_ins.show("s1", record._replace(fields=NO_FIELDS))
    ((_, changed),) = stand_ins.entries(26, 1_015)
    assert (changed.client, changed.clock) == (said.client, 1_016)
    gone = stand_ins.forget("s1")
    assert gone is not None
    assert (gone.client, gone.clock, gone.gone) == (said.client, 1_016, True)
    assert stand_ins.forget("s1") is None
    stand_ins.show("s1", record)
    ((_, again),) = stand_ins.entries(27, 1_015)
    assert again.clock == 1_017, "what was told to be gone is news again"


def test_a_stand_in_that_is_told_to_be_gone_says_itself_anew_with_a_higher_clock() -> None:
    stand_ins = StandIns()
    stand_ins.show("s1", Record("ann", "tab", 1, 1))
    ((_, said),) = stand_ins.entries(10, 1_000)
    others = gone_entry(said.client + 1, 5_000)
    for asked, clock in ((1_000, 1_001), (7, 1_002), (2_000, 2_001)):
        answer = stand_ins.answer("s1", [others, gone_entry(said.client, asked)])
        assert answer is not None
        assert (answer.client, answer.clock, answer.state) == (said.client, clock, said.state)
    assert stand_ins.answer("s1", [others]) is None
    assert stand_ins.answer("s2", [gone_entry(said.client, 3_000)]) is None


def test_a_client_that_comes_back_is_the_same_to_stock_clients() -> None:
    here, there = StandIns(), StandIns()
    for stand_ins, session in ((here, "s1"), (there, "s2")):
        stand_ins.show(session, Record("ann", "tab", 1, 1))
    assert here.client("s1") == there.client("s2")
    here.show("s3", Record("", "", 1, 1))
    here.show("s4", Record("", "", 1, 1))
    assert here.client("s3") != here.client("s4")
