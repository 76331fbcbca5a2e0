"""Digests while nothing changes: ever rarer, asked for when they do not come, and missed in the end."""

from itertools import pairwise

import msgpack

from roomful.presence.gossip import (
    ASK,
    DIGEST,
    LATE_SECONDS,
    LONGEST_REPEAT_SECONDS,
    REPEAT_SECONDS,
    SILENT_SECONDS,
    Gossip,
)
from tests.presence.test_gossip import kinds, pass_on, started


def quiet(sender: Gossip, receiver: Gossip, now: float, end: float) -> list[float]:
    """Let time pass while nothing happens; returns when digests came. Questions are not passed on."""
    times = []
    while (at := sender.next_due(now) or end) < end:
        now = at
        messages = sender.due(now)
        assert kinds(messages) == [DIGEST]
        receiver.hear(messages[0], now)
        assert receiver.due(now) == []
        times.append(now)
    return times


def test_digests_become_rarer_while_nothing_changes_and_begin_anew_with_a_change() -> None:
    one, other = started("a", 3), started("b")
    one.put(b"x", b"1")
    pass_on(one, other, 0.0)
    times = quiet(one, other, 0.0, 3_600)
    pauses = [round(late - early, 6) for early, late in pairwise([0.0, *times])]
    assert pauses[0] == REPEAT_SECONDS
    assert all(early * 1.7 < late <= 2 * early for early, late in pairwise(pauses[:4]))
    assert set(pauses[4:]) == {LONGEST_REPEAT_SECONDS}
    assert other.take_gone(3_600) == []
    one.put(b"x", b"2")
    pass_on(one, other, 3_600)
    assert one.next_due(3_600) == 3_600 + REPEAT_SECONDS


def test_whose_link_was_cut_repeats_its_digest_at_once_and_then_as_after_a_change() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    pass_on(one, other, 0.0)
    quiet(one, other, 0.0, 1_000)
    one.ask_all()
    assert kinds(one.due(1_000)) == [ASK, DIGEST]
    assert one.next_due(1_000) == 1_000 + REPEAT_SECONDS


def test_rooms_whose_digests_begin_together_come_apart() -> None:
    seconds = set()
    for life in range(1, 101):
        one, other = started("a", life), started("b")
        one.put(b"x", b"1")
        pass_on(one, other, 0.0)
        seconds.add(int(quiet(one, other, 0.0, 1_000)[-1]))
    assert len(seconds) > 40


def test_a_digest_that_does_not_come_is_asked_for_and_who_answers_stays() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    pass_on(one, other, 0.0)
    last = quiet(one, other, 0.0, 1_000)[-1]
    due = one.next_due(last)
    assert due is not None
    late = other.next_due(due)
    assert late is not None
    assert due + LATE_SECONDS <= late <= due + LATE_SECONDS + 1, "seconds are told as whole ones"
    one.due(due)
    assert other.due(late - 2) == []
    pass_on(other, one, late)
    assert pass_on(one, other, late) == []
    assert other.take_gone(due + SILENT_SECONDS + 1) == []
    assert other.take_gone(late + REPEAT_SECONDS + SILENT_SECONDS) == ["a"]


def test_one_that_is_late_is_asked_a_few_times_only() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    pass_on(one, other, 0.0)
    asked = []
    now = 0.0
    while not other.take_gone(now):
        asked += [now] if kinds(other.due(now)) == [ASK] else []
        now = other.next_due(now) or 0.0
    assert now == REPEAT_SECONDS + SILENT_SECONDS
    assert asked == [REPEAT_SECONDS + LATE_SECONDS + seconds for seconds in (0, 20, 40)]


def test_who_does_not_answer_one_that_was_cut_off_is_gone_however_rare_its_digests_were() -> None:
    one, other = started("a"), started("b")
    one.put(b"x", b"1")
    pass_on(one, other, 0.0)
    now = quiet(one, other, 0.0, 1_000)[-1]
    other.ask_all()
    other.due(now)
    assert other.take_gone(now + SILENT_SECONDS - 1) == []
    assert other.take_gone(now + SILENT_SECONDS) == ["a"]


def test_nobody_is_believed_a_longer_silence_than_the_longest() -> None:
    one = started()
    one.hear(msgpack.packb([DIGEST, "b", 1, 1, 0, 1 << 40]), 0.0)
    assert one.take_gone(LONGEST_REPEAT_SECONDS + SILENT_SECONDS) == ["b"]
