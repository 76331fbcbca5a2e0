"""How gossip mends what went wrong, and what it remembers and takes at most."""

import msgpack
import pytest

from roomful.crdt.varint import Malformed
from roomful.presence import gossip as module
from roomful.presence.gossip import ASK, DELTA, DIGEST, STATE, Change
from tests.presence.test_gossip import kinds, pass_on, started


def test_a_value_that_is_replaced_for_ever_takes_its_place_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 100)
    one, other = started("a"), started("b")
    for number in range(10):
        one.put(b"x", bytes([number]) * 40)
        assert pass_on(one, other, float(number)) == [Change("a", b"x", bytes([number]) * 40)]


def test_one_that_is_taken_for_gone_is_answered_all_the_same() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    one.due(0.0)
    one.depart("b")
    other.ask_all()
    assert pass_on(other, one, 1.0) == []
    assert kinds(one.due(1.0)) == [STATE]


def test_a_copy_that_differs_though_no_number_is_missing_is_asked_for() -> None:
    one = started("a")
    one.hear(msgpack.packb([DELTA, "b", 1, 1, module._hash(b"k", b"v"), {b"k": b"v"}]), 1.0)
    one.hear(msgpack.packb([DIGEST, "b", 1, 1, 5, 30]), 2.0)
    assert kinds(one.due(2.0)) == [ASK]


def test_a_whole_map_that_does_not_fit_its_digest_is_a_reason_to_ask_again() -> None:
    one = started("a")
    one.hear(msgpack.packb([STATE, "b", 1, 1, 5, 0, 1, {b"k": b"v"}]), 1.0)
    assert kinds(one.due(1.0)) == [ASK]


def test_what_a_former_life_told_is_late_once_another_has_begun() -> None:
    one, again, other = started("a", 1), started("a", 2), started("b")
    one.put(b"x", b"1")
    (late,) = one.due(1.0)
    again.put(b"x", b"2")
    assert pass_on(again, other, 1.0) == [Change("a", b"x", b"2")]
    assert other.hear(late, 1.0) == []
    again.put(b"x", b"3")
    assert pass_on(again, other, 2.0) == [Change("a", b"x", b"3")]


def test_of_those_that_are_gone_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PROCESSES", 2)
    one = started("a")
    for name in ("b", "c", "d"):
        one.depart(name)
    assert [one.come_back(name) for name in ("b", "c", "d")] == [False, True, True]


def test_of_the_lives_that_are_over_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PROCESSES", 2)
    one = started("a")
    late = {}
    for name in ("b", "c", "d"):
        ended = started(name)
        ended.put(b"x", b"1")
        (late[name],) = ended.due(1.0)
        one.hear(ended.bye(), 1.0)
    assert [bool(one.hear(late[name], 2.0)) for name in ("b", "c", "d")] == [True, False, False]


def test_a_message_that_is_too_large_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    one = started("a")
    message = msgpack.packb([DELTA, "b", 1, 1, 0, {b"k": bytes(20)}])
    monkeypatch.setattr(module, "_LARGEST_MESSAGE", len(message) - 1)
    with pytest.raises(Malformed):
        one.hear(message, 1.0)
    monkeypatch.setattr(module, "_LARGEST_MESSAGE", len(message))
    assert one.hear(message, 1.0)
