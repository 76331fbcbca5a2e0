"""What one process tells, hears, asks and refuses, message by message."""

import msgpack
import pytest

from roomful.crdt.varint import Malformed
from roomful.presence import gossip as module
from roomful.presence.gossip import (
    ASK,
    BYE,
    DELTA,
    DIGEST,
    REPEAT_SECONDS,
    SILENT_SECONDS,
    STATE,
    Change,
    Gossip,
)


def started(process: str = "a", life: int = 1) -> Gossip:
    """A process that has asked its first question."""
    gossip = Gossip(process, life)
    assert kinds(gossip.due(0.0)) == [ASK]
    return gossip


def kinds(messages: list[bytes]) -> list[int]:
    return [msgpack.unpackb(message)[0] for message in messages]


def pass_on(sender: Gossip, receiver: Gossip, now: float) -> list[Change]:
    """Carry what one has to tell; an answer is for another time."""
    return [change for message in sender.due(now) for change in receiver.hear(message, now)]


def test_what_is_put_is_told_once_and_heard() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    one.put(b"y", b"1")
    one.put(b"y", b"2")
    assert pass_on(one, other, 1.0) == [Change("a", b"x", b"1"), Change("a", b"y", b"2")]
    one.put(b"x", None)
    one.put(b"y", b"2")
    assert pass_on(one, other, 2.0) == [Change("a", b"x", None)]
    assert (one.due(3.0), other.due(3.0)) == ([], [])


def test_a_newcomer_asks_and_is_told_everything() -> None:
    one = started("a")
    one.put(b"x", b"1")
    one.due(1.0)
    newcomer = Gossip("b", 1)
    assert pass_on(newcomer, one, 2.0) == []
    assert pass_on(one, newcomer, 2.0) == [Change("a", b"x", b"1")]


def test_who_has_nothing_to_tell_says_nothing() -> None:
    one, other = started("a"), started("b")
    other.ask_all()
    pass_on(other, one, 1.0)
    assert (one.due(1.0), one.due(500.0)) == ([], [])
    assert one.next_due(500.0) is None


def test_many_who_ask_get_one_answer() -> None:
    one = started("a")
    one.put(b"x", b"1")
    one.due(0.0)
    for number in range(10):
        pass_on(Gossip(f"b{number}", 1), one, 1.0)
    assert kinds(one.due(1.0)) == [STATE]
    pass_on(Gossip("late", 1), one, 1.1)
    assert one.due(1.1) == []
    assert one.next_due(1.1) == 1.2
    assert kinds(one.due(1.2)) == [STATE]


def test_a_question_to_another_is_not_answered() -> None:
    one = started("a")
    one.put(b"x", b"1")
    one.due(0.0)
    one.hear(msgpack.packb([ASK, "b", 1, ["c"]]), 1.0)
    assert one.due(1.0) == []
    one.hear(msgpack.packb([ASK, "b", 1, ["c", "a"]]), 1.0)
    assert kinds(one.due(1.0)) == [STATE]


def test_a_message_that_was_lost_is_noticed_by_the_next() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    one.due(1.0)
    one.put(b"y", b"1")
    assert pass_on(one, other, 1.1) == []
    assert pass_on(other, one, 1.1) == []
    assert pass_on(one, other, 1.1) == [Change("a", b"x", b"1"), Change("a", b"y", b"1")]
    one.put(b"y", b"2")
    assert pass_on(one, other, 1.2) == [Change("a", b"y", b"2")]


def test_a_message_that_was_lost_and_followed_by_none_is_noticed_by_the_digest() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    one.due(1.0)
    assert one.next_due(1.0) == 1.0 + REPEAT_SECONDS
    assert one.due(REPEAT_SECONDS) == []
    assert pass_on(one, other, 1.0 + REPEAT_SECONDS) == []
    pass_on(other, one, 1.0 + REPEAT_SECONDS)
    assert pass_on(one, other, 1.0 + REPEAT_SECONDS) == [Change("a", b"x", b"1")]


def test_a_question_that_was_lost_is_asked_again() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    one.due(1.0)
    one.put(b"x", b"2")
    pass_on(one, other, 1.0)
    assert kinds(other.due(1.0)) == [ASK]
    assert other.due(1.1) == []
    assert other.next_due(1.1) == 3.0
    assert kinds(other.due(3.0)) == [ASK]


def test_old_and_repeated_messages_change_nothing() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    first = one.due(1.0)
    one.put(b"x", b"2")
    second = one.due(1.0)
    for message in (*first, *second):
        other.hear(message, 1.0)
    assert [other.hear(message, 1.0) for message in (*first, *second, *first)] == [[], [], []]
    assert other.due(1.0) == []


def test_a_whole_map_that_is_late_is_older_than_what_is_known() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    one.hear(msgpack.packb([ASK, "b", 1, []]), 1.0)
    (whole,) = one.due(1.0)
    assert other.hear(whole, 1.0) == [Change("a", b"x", b"1")]
    one.put(b"x", b"2")
    assert pass_on(one, other, 1.1) == [Change("a", b"x", b"2")]
    assert other.hear(whole, 1.2) == []


def test_a_map_comes_in_parts_and_counts_when_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART_BYTES", 100)
    one = started("a")
    values = {b"%d" % number: bytes([number]) * 60 for number in range(5)}
    for key, value in values.items():
        one.put(key, value)
    parts = one.due(1.0)
    assert kinds(parts) == [STATE] * 5
    other, unlucky = started("b"), started("c")
    heard = [other.hear(part, 1.0) for part in parts]
    assert heard == [[], [], [], [], [Change("a", key, value) for key, value in values.items()]]
    assert [unlucky.hear(part, 1.0) for part in (parts[0], *parts[2:])] == [[]] * 4
    assert kinds(unlucky.due(1.0)) == [ASK]


def test_a_room_opened_again_by_the_same_process_replaces_what_it_told_before() -> None:
    one, other = started("a", 1), started("b")
    one.put(b"x", b"1")
    one.put(b"y", b"1")
    late = one.due(1.0)
    for message in late:
        other.hear(message, 1.0)
    again = started("a", 2)
    again.put(b"y", b"2")
    assert pass_on(again, other, 2.0) == []
    pass_on(other, again, 2.0)
    assert pass_on(again, other, 2.0) == [Change("a", b"x", None), Change("a", b"y", b"2")]
    assert [other.hear(message, 2.0) for message in late] == [[]]


def test_who_lets_the_room_go_is_gone_and_so_is_who_says_nothing_for_long() -> None:
    one, two, three = started("a"), started("b"), started("c")
    for each in (one, two):
        each.put(b"x", b"1")
        pass_on(each, three, 1.0)
    three.hear(one.bye(), 2.0)
    assert three.take_gone(2.0) == ["a"]
    due = 1.0 + REPEAT_SECONDS
    assert three.take_gone(due + SILENT_SECONDS - 1) == []
    assert three.take_gone(due + SILENT_SECONDS) == ["b"]
    assert three.take_gone(1_000.0) == []


def test_one_that_opens_the_room_again_is_gone_first_though_its_goodbye_was_lost() -> None:
    one, other = started("a", 1), started("b")
    one.put(b"x", b"1")
    told = one.due(1.0)
    other.hear(told[0], 1.0)
    pass_on(Gossip("a", 2), other, 2.0)
    assert other.take_gone(2.0) == ["a"]
    assert other.hear(told[0], 2.0) == [], "which is late"


def test_a_goodbye_of_an_earlier_life_is_too_late() -> None:
    one, other = started("a", 1), started("b")
    again = started("a", 2)
    again.put(b"x", b"1")
    pass_on(again, other, 1.0)
    other.hear(one.bye(), 1.0)
    assert other.take_gone(1.0) == []


def test_one_that_is_gone_is_not_listened_to_until_it_is_back() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    pass_on(one, other, 1.0)
    assert other.depart("a")
    assert not other.depart("nobody")
    one.put(b"x", b"2")
    assert pass_on(one, other, 2.0) == []
    assert other.next_due(2.0) is None
    assert other.come_back("a")
    assert not other.come_back("a")
    assert not other.come_back("somebody new")
    pass_on(other, one, 3.0)
    assert pass_on(one, other, 3.0) == [Change("a", b"x", b"2")]


def test_who_may_have_missed_something_asks_and_says_where_it_stands() -> None:
    one = started("a")
    one.put(b"x", b"1")
    one.due(1.0)
    one.ask_all()
    assert kinds(one.due(1.5)) == [ASK, DIGEST]


def test_who_asks_everybody_asks_all_of_them_though_one_is_wanted_more() -> None:
    one, other, third = started("a"), started("b"), started("c")
    for each in (other, third):
        each.put(b"x", b"1")
        each.due(1.0)
    other.put(b"x", b"2")
    pass_on(other, one, 1.0)
    one.ask_all()
    for message in one.due(1.0):
        third.hear(message, 1.0)
    assert kinds(third.due(1.0)) == [STATE]


def test_what_a_later_version_adds_is_passed_over() -> None:
    one = started("a")
    one.hear(msgpack.packb([ASK, "b", 1, [], {"new": 1}]), 1.0)
    digest = module._hash(b"k", b"v")
    delta = [DELTA, "b", 1, 1, digest, {b"k": b"v"}, "new"]
    assert one.hear(msgpack.packb(delta), 1.0) == [Change("b", b"k", b"v")]


def test_a_digest_that_does_not_fit_is_a_reason_to_ask() -> None:
    one = started("a")
    assert one.hear(msgpack.packb([DELTA, "b", 1, 1, 5, {b"k": b"v"}]), 1.0) == [Change("b", b"k", b"v")]
    assert kinds(one.due(1.0)) == [ASK]


@pytest.mark.parametrize(
    "message",
    [
        5,
        [],
        [DELTA],
        [DELTA, 5, 1, 1, 0, {}],
        [DELTA, "a", 1, 1, 0, {}],
        [DELTA, "b" * 65, 1, 1, 0, {}],
        [DELTA, "b", 1, 0, 0, {}],
        [DELTA, "b", 1, 1 << 60, 0, {}],
        [DELTA, "b", 1, 1, 0, [1]],
        [DELTA, "b", 1, 1, 0, {b"k": "text"}],
        [DELTA, "b", 1, 1, 0, {"text": b"v"}],
        [STATE, "b", 1, 1, 0, 0, 1, {b"k": None}],
        [STATE, "b", 1, 1, 0, 1, 1, {}],
        [DIGEST, "b", 1, 1, 0],
        [DIGEST, "b", 1, 1, 0, -1],
        [DIGEST, "b", 1, 1, 0, 30.0],
        [ASK, "b", 1, "everything"],
        [BYE, "b", "life"],
        [9, "b", 1, 1, 0],
        [DELTA, "b", 1, 1, 0, {b"k": msgpack.ExtType(1, b"v")}],
    ],
)
def test_what_is_no_message_is_refused_and_changes_nothing(message: object) -> None:
    one, other = started("a"), started("c")
    with pytest.raises(Malformed):
        one.hear(msgpack.packb(message), 1.0)
    other.put(b"x", b"1")
    assert pass_on(other, one, 2.0) == [Change("c", b"x", b"1")]


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x94\x00", b"\x91" * 2_000, b"\xdd\xff\xff\xff\xff"])
def test_bytes_that_are_no_msgpack_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        started().hear(data, 1.0)


def test_maps_and_the_number_of_processes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, bound in {"_MOST_KEYS": 2, "_MOST_BYTES": 100, "_MOST_PROCESSES": 2}.items():
        monkeypatch.setattr(module, name, bound)
    one = started()
    for values in ({b"1": b"", b"2": b"", b"3": b""}, {b"k": bytes(100)}):
        for message in ([DELTA, "b", 1, 1, 0, values], [STATE, "b", 1, 1, 0, 0, 2, values]):
            with pytest.raises(Malformed):
                one.hear(msgpack.packb(message), 1.0)
    one.hear(msgpack.packb([DIGEST, "c", 1, 1, 0, 30]), 1.0)
    with pytest.raises(Malformed):
        one.hear(msgpack.packb([DIGEST, "d", 1, 1, 0, 30]), 1.0)
    monkeypatch.setattr(module, "_LARGEST_MESSAGE", 10)
    with pytest.raises(Malformed):
        one.hear(msgpack.packb([ASK, "d", 1, []]) + bytes(10), 1.0)
