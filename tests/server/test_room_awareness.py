"""Awareness in one room: who hears of whom, and in how few frames."""

import asyncio

import pytest

from roomful.crdt.varint import Malformed
from roomful.presence.awareness import gone_entry
from roomful.server.metrics import Metrics
from roomful.server.room import Room
from tests.presence.entries import entry
from tests.server.members import Member, awareness_of, room_of, written

pytestmark = pytest.mark.virtual_time

WINDOW = 0.01


@pytest.fixture
async def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def room(metrics: Metrics) -> Room:
    awareness = awareness_of(metrics, interval=WINDOW)
    return room_of(metrics, awareness)


async def test_one_who_comes_is_told_who_is_here(room: Room) -> None:
    ann, bob = Member(room), Member(room, b"\x03doc")
    assert (ann.clients(), bob.clients()) == ([], []), "nobody is, and nothing is said"
    room.awareness.speak(ann, [entry(1, 1, {}), entry(2, 1, {})])
    eve = Member(room, b"\x03doc")
    assert eve.clients() == [{1: True, 2: True}]


async def test_awareness_reaches_everybody_even_the_one_who_said_it(room: Room) -> None:
    """Stock clients hang up when they hear nothing for 30 s; their own state is something."""
    ann, bob = Member(room), Member(room, b"\x03doc")
    room.awareness.speak(ann, [entry(1, 1, {})])
    assert ann.clients() == bob.clients() == [{1: True}]


async def test_of_each_client_only_the_last_word_of_a_window_is_sent(room: Room, metrics: Metrics) -> None:
    ann, bob = Member(room), Member(room)
    room.awareness.speak(ann, [entry(1, 1, {})])
    bob.clients()
    for clock in range(2, 10):
        room.awareness.speak(ann, [entry(1, clock, {"cursor": clock}), entry(2, clock, {})])
    room.awareness.speak(ann, [entry(2, 10, None)])
    assert bob.clients() == []
    await asyncio.sleep(WINDOW)
    frame = bob.awareness_frames[0]
    assert entry(1, 9, {"cursor": 9}).raw in frame
    assert bob.clients() == [{1: True, 2: False}]
    assert metrics.awareness_changes == 18


async def test_all_with_one_prefix_hear_the_same_awareness_object(room: Room) -> None:
    members = [Member(room, key) for key in (b"", b"", b"\x03doc", b"\x03doc")]
    room.awareness.speak(members[0], [entry(1, 1, {})])
    assert len({id(frame) for member in members for frame in member.awareness_frames}) == 2


async def test_echoes_are_news_to_nobody(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    room.awareness.speak(ann, [entry(1, 1, {})])
    await asyncio.sleep(WINDOW)
    ann.clients()
    assert room.awareness.speak(bob, [entry(1, 1, {}), entry(1, 5, None)]) == []
    await asyncio.sleep(WINDOW)
    assert ann.clients() == []


async def test_one_who_leaves_takes_its_clients_along(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    room.awareness.speak(ann, [entry(1, 1, {}), entry(2, 3, {})])
    await asyncio.sleep(WINDOW)
    bob.clients()
    ann.leave()
    await asyncio.sleep(WINDOW)
    assert bob.clients() == [{1: False, 2: False}]
    assert ann.clients() == [{1: True, 2: True}], "which it heard of, and not of its own leaving"


async def test_one_who_said_nothing_leaves_without_a_word(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    ann.leave()
    await asyncio.sleep(WINDOW)
    assert bob.clients() == []


async def test_one_who_comes_back_too_early_is_corrected(room: Room) -> None:
    ann = Member(room)
    room.awareness.speak(ann, [entry(1, 5, {})])
    ann.leave()
    again = Member(room)
    assert room.awareness.speak(again, [entry(1, 5, {})]) == [gone_entry(1, 5)]


async def test_one_who_missed_some_can_be_told_who_has_left(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    room.awareness.speak(ann, [entry(1, 1, {})])
    room.awareness.speak(bob, [entry(2, 1, {})])
    ann.leave()
    bob.clients()
    bob.awareness(room.awareness.everybody(bob))
    bob.awareness(room.awareness.everybody_and_the_departed(bob))
    assert bob.clients() == [{2: True}, {1: False, 2: True}]


async def test_a_broken_state_is_not_passed_on(room: Room) -> None:
    ann, bob = Member(room), Member(room)
    with pytest.raises(Malformed):
        room.awareness.speak(ann, [entry(1, 1, [])])
    assert bob.clients() == []


async def test_an_edit_waits_for_no_cursor_and_hurries_none(metrics: Metrics) -> None:
    awareness = awareness_of(metrics, interval=20 * WINDOW)
    room = room_of(metrics, awareness)
    ann, bob = Member(room), Member(room)
    first, second, third = written(3)
    room.awareness.speak(ann, [entry(1, 1, {})])
    assert bob.clients() == [{1: True}]
    ann.write_to_room(first)
    assert bob.updates() == [first], "nothing was written lately"
    room.awareness.speak(ann, [entry(1, 2, {})])
    ann.write_to_room(second, third)
    await asyncio.sleep(WINDOW)
    assert (len(bob.updates()), bob.clients()) == (1, [])
    await asyncio.sleep(19 * WINDOW)
    assert (bob.updates(), bob.clients()) == ([], [{1: True}])
