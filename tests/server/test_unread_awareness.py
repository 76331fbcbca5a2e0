"""Awareness that waits to be looked into: what becomes of it, and who pays for what is broken."""

import asyncio

import pytest

from roomful.crdt.varint import Malformed
from roomful.presence.awareness import Entry, encode_entries, gone_entry
from roomful.server.metrics import Metrics
from tests.presence.entries import entry
from tests.server.members import Member, awareness_of, room_of

pytestmark = pytest.mark.virtual_time

INTERVAL = 0.05


@pytest.fixture
async def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def ann(metrics: Metrics) -> Member:
    return Member(room_of(metrics, awareness_of(metrics, interval=INTERVAL, grace=10.0)))


@pytest.fixture
async def bob(ann: Member) -> Member:
    return Member(ann.room)


def say(member: Member, *entries: Entry) -> None:
    member.room.awareness.hear(member, encode_entries(entries))


async def test_after_a_pause_it_is_taken_at_once_and_later_when_the_interval_is_over(
    ann: Member, bob: Member, metrics: Metrics
) -> None:
    say(ann, entry(1, 1, {}))
    assert bob.clients() == [{1: True}]
    say(bob, entry(2, 1, {}))
    say(ann, entry(1, 2, {}))
    assert (bob.clients(), metrics.awareness_changes) == ([], 1)
    await asyncio.sleep(INTERVAL)
    assert bob.clients() == [{2: True, 1: True}]


async def test_the_answer_comes_with_it(ann: Member, bob: Member) -> None:
    say(ann, entry(1, 1, {}))
    say(bob, entry(2, 4, {}))
    assert bob.answers == []
    await asyncio.sleep(INTERVAL)
    assert bob.answers == [bob.envelope.awareness(encode_entries([gone_entry(2, 4)]))]


@pytest.mark.parametrize("broken", [b"", b"\x01", encode_entries([entry(2, 2, [])]), b"\xff" * 9])
async def test_what_is_broken_costs_nobody_else_anything(ann: Member, bob: Member, broken: bytes) -> None:
    eve = Member(ann.room)
    say(ann, entry(1, 1, {}))
    say(eve, entry(3, 1, {}))
    ann.room.awareness.hear(bob, broken)
    say(ann, entry(1, 2, {}))
    await asyncio.sleep(INTERVAL)
    assert [type(error) for error in bob.failures] == [Malformed]
    assert (ann.failures, eve.failures) == ([], [])
    assert eve.clients() == [{1: True}, {3: True, 1: True}]


async def test_what_follows_a_broken_one_is_not_taken_of_one_who_is_hung_up_on(
    ann: Member, bob: Member
) -> None:
    bob.on_failure = bob.leave
    say(ann, entry(1, 1, {}))
    ann.room.awareness.hear(bob, b"\x01")
    say(bob, entry(2, 1, {}))
    await asyncio.sleep(INTERVAL)
    assert len(bob.failures) == 1
    assert ann.clients() == [{1: True}]


@pytest.mark.parametrize("lost", [False, True])
async def test_what_was_said_last_counts_before_one_leaves(ann: Member, bob: Member, lost: bool) -> None:
    for clock in (1, 2):
        say(ann, entry(1, clock, {"at": clock}))
    ann.leave(lost=lost)
    await asyncio.sleep(INTERVAL)
    # Whom it takes along is gone by its last clock.
    assert bob.clients()[-1] == {1: lost}
    eve = Member(ann.room, user="eve")
    expected = encode_entries([entry(1, 2, {"at": 2})])
    assert eve.awareness_frames == ([eve.envelope.awareness(expected)] if lost else [])


async def test_a_newcomer_is_told_what_waits(ann: Member) -> None:
    for clock in (1, 2):
        say(ann, entry(1, clock, {"at": clock}))
    eve = Member(ann.room)
    assert eve.awareness_frames == [eve.envelope.awareness(encode_entries([entry(1, 2, {"at": 2})]))]


async def test_much_is_looked_into_before_the_interval_is_over(ann: Member, metrics: Metrics) -> None:
    say(ann, entry(1, 1, {}))
    for clock in range(2, 67):
        say(ann, entry(1, clock, {}))
    assert metrics.awareness_changes == 66
    say(ann, entry(1, 67, {}))
    assert metrics.awareness_changes == 66


async def test_what_says_nothing_new_delays_nothing(ann: Member, bob: Member) -> None:
    say(ann, entry(1, 1, {}))
    await asyncio.sleep(2 * INTERVAL)
    bob.clients()
    say(bob, entry(1, 1, {}))
    say(ann, entry(1, 2, {}))
    assert bob.clients() == [{1: True}]


async def test_much_in_a_few_messages_is_looked_into_before_the_interval_is_over() -> None:
    metrics = Metrics()
    ann = Member(room_of(metrics, awareness_of(metrics, interval=10.0)))
    say(ann, entry(1, 1, {}))
    long = [entry(1, clock, {"filler": "x" * 900}) for clock in range(2, 62)]
    for number in range(0, 60, 4):
        ann.room.awareness.hear(ann, encode_entries(long[number : number + 4] * 5))
    assert metrics.awareness_changes > 1
    await asyncio.sleep(10)


async def test_little_waits_for_the_interval_however_much_was_said_before() -> None:
    metrics = Metrics()
    ann = Member(room_of(metrics, awareness_of(metrics, interval=1.0)))
    for clock in range(1, 200, 2):
        say(ann, entry(1, clock, {"filler": "x" * 900}))
        say(ann, entry(1, clock + 1, {"filler": "x" * 900}))
        assert metrics.awareness_changes == clock
        await asyncio.sleep(2)


async def test_nothing_waits_for_longer_than_a_tenth_of_a_second(metrics: Metrics) -> None:
    ann = Member(room_of(metrics, awareness_of(metrics, interval=2.0)))
    for clock in (1, 2):
        say(ann, entry(1, clock, {}))
    await asyncio.sleep(0.09)
    assert metrics.awareness_changes == 1
    await asyncio.sleep(0.02)
    assert metrics.awareness_changes == 2
