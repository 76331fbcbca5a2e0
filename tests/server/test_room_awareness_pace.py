"""How often a room says what is new, how much at once, and for how long it keeps one who is lost."""

import asyncio

import pytest

from roomful.presence.awareness import gone_entry
from roomful.presence.clients import Clients
from roomful.server.awareness import Pace, RoomAwareness
from roomful.server.metrics import Metrics
from roomful.server.room import Room
from tests.presence.entries import entry
from tests.server.members import Member, room_of

pytestmark = pytest.mark.virtual_time

SHORTEST, LONGEST, GRACE = 0.05, 2.0, 10.0


def make_room(bytes_per_second: int = 1 << 20, grace: float = GRACE) -> Room:
    pace = Pace(SHORTEST, LONGEST, bytes_per_second)
    metrics = Metrics()
    awareness = RoomAwareness(Clients(clients_per_session=2), pace, grace, 1_000, metrics)
    return room_of(metrics, awareness)


@pytest.mark.parametrize(
    ("clients", "seconds"),
    [(0, 0.05), (2, 0.05), (12, 0.05), (25, 0.1), (250, 1.0), (500, 2.0), (50_000, 2.0)],
)
def test_the_interval_grows_with_the_room(clients: int, seconds: float) -> None:
    assert Pace(SHORTEST, LONGEST, 1 << 20).rest(clients, 0) == pytest.approx(seconds)


async def test_a_crowd_that_changes_all_the_time_is_told_in_one_frame_an_interval() -> None:
    room = make_room()
    people = [Member(room) for _ in range(500)]
    for number, person in enumerate(people):
        room.awareness.speak(person, [entry(number + 1, 1, {})])
    await asyncio.sleep(LONGEST)
    for person in people:
        person.awareness_frames.clear()
    for second in range(10):
        for number, person in enumerate(people):
            room.awareness.speak(person, [entry(number + 1, second + 2, {"at": second})])
        await asyncio.sleep(1)
    frames = people[0].clients()
    assert 4 <= len(frames) <= 10 / LONGEST + 1
    assert all(len(frame) == 500 for frame in frames[1:])
    await asyncio.sleep(LONGEST)


async def test_what_one_session_is_sent_a_second_has_a_ceiling_and_the_oldest_comes_first() -> None:
    most = 2_000
    room = make_room(bytes_per_second=most)
    people = [Member(room) for _ in range(100)]
    listener = Member(room)
    for clock in range(1, 41):
        for number, person in enumerate(people):
            room.awareness.speak(person, [entry(number + 1, clock, {"filler": "x" * 100})])
        await asyncio.sleep(0.5)
    sent = sum(map(len, listener.awareness_frames))
    assert sent <= most * (40 * 0.5 + LONGEST) + 200
    first = [client for frame in listener.clients() for client in frame]
    assert first[:100] == list(range(1, 101)), "each has its turn before anybody has a second one"
    await asyncio.sleep(200)
    later = {client for frame in listener.clients() for client in frame}
    assert later == set(range(1, 101)), "nothing is lost"


async def test_one_who_is_lost_is_still_shown_and_gone_after_the_grace() -> None:
    room = make_room()
    ann, bob = Member(room), Member(room)
    room.awareness.speak(ann, [entry(1, 1, {})])
    bob.clients()
    ann.leave(lost=True)
    await asyncio.sleep(GRACE - 0.1)
    assert bob.clients() == []
    late, same = Member(room, user="late"), Member(room)
    assert late.clients() == [{1: True}]
    assert same.clients() == [], "it may be this very client"
    await asyncio.sleep(0.2)
    assert bob.clients() == late.clients() == same.clients() == [{1: False}]


async def test_one_who_left_is_gone_at_once_and_so_is_one_who_is_lost_without_a_grace() -> None:
    for room, lost in ((make_room(), False), (make_room(grace=0.0), True)):
        ann, bob = Member(room), Member(room)
        room.awareness.speak(ann, [entry(1, 1, {})])
        await asyncio.sleep(SHORTEST)
        bob.clients()
        ann.leave(lost=lost)
        assert bob.clients() == [{1: False}]
        await asyncio.sleep(SHORTEST)


async def test_one_who_comes_back_in_time_was_never_away() -> None:
    room = make_room()
    ann, bob = Member(room, user="ann"), Member(room)
    room.awareness.speak(ann, [entry(1, 5, {})])
    bob.clients()
    ann.leave(lost=True)
    again, late = Member(room, user="ann"), Member(room, user="ann")
    assert late.clients() == []
    assert room.awareness.speak(again, [entry(1, 5, {})]) == []
    await asyncio.sleep(2 * GRACE)
    assert bob.clients() == late.clients() == [{1: True}]
    again.leave()
    assert bob.clients() == [{1: False}]


async def test_one_whose_old_connection_was_still_believed_in_is_asked_when_it_is_lost() -> None:
    room = make_room()
    ann, bob = Member(room, user="ann"), Member(room)
    room.awareness.speak(ann, [entry(1, 5, {})])
    again = Member(room, user="ann")
    assert room.awareness.speak(again, [entry(1, 5, {})]) == []
    for member in (bob, again):
        member.clients()
    await asyncio.sleep(30)
    ann.leave(lost=True)
    await asyncio.sleep(SHORTEST)
    assert (again.clients(), bob.clients()) == ([{1: False}], [])
    room.awareness.speak(again, [entry(1, 6, {})])
    await asyncio.sleep(2 * GRACE)
    assert bob.clients() == [{1: True}]


async def test_when_one_is_back_the_others_say_themselves_anew_once() -> None:
    """It remembers their clocks, and takes none of them for news."""
    room = make_room()
    ann, bob, eve = Member(room, user="ann"), Member(room), Member(room)
    for number, member in enumerate((ann, bob, eve)):
        assert room.awareness.speak(member, [entry(number + 1, 5, {})]) == [gone_entry(number + 1, 5)]
    # The third one has raised its clock in silence.
    for number, clock in ((2, 6), (3, 7)):
        room.awareness.speak((bob, eve)[number - 2], [entry(number, clock, {})])
    await asyncio.sleep(5)
    ann.leave(lost=True)
    again = Member(room, user="ann")
    for member in (bob, eve):
        member.clients()
    for clock in (5, 6, 7):
        room.awareness.speak(again, [entry(1, clock, {})])
        await asyncio.sleep(SHORTEST)
    assert bob.clients() == [{1: True}, {2: False}, {1: True}, {1: True}]
    assert eve.clients() == [{1: True}] * 3, "it would only say less"
    await asyncio.sleep(2 * GRACE)


async def test_a_room_stays_while_one_who_is_lost_may_come_back() -> None:
    room = make_room()
    saved: list[Room] = []
    room.on_saved = saved.append
    ann = Member(room)
    room.awareness.speak(ann, [entry(1, 5, {})])
    ann.leave(lost=True)
    await asyncio.sleep(GRACE - 1)
    assert (room.idle, saved) == (False, [])
    await asyncio.sleep(1)
    assert (room.idle, saved) == (True, [room])


async def test_a_crowd_that_only_listens_is_told_as_seldom_as_one_that_speaks() -> None:
    room = make_room()
    ann, *crowd = [Member(room) for _ in range(500)]
    for clock in range(1, 101):
        room.awareness.speak(ann, [entry(1, clock, {"at": clock})])
        await asyncio.sleep(0.1)
    assert 3 <= len(crowd[0].clients()) <= 10 / LONGEST + 1


async def test_in_a_large_room_nobody_says_themselves_anew_because_one_is_back() -> None:
    room = make_room()
    ann, *others = [Member(room, user=str(number)) for number in range(60)]
    for number, member in enumerate((ann, *others)):
        room.awareness.speak(member, [entry(number + 1, 5, {})])
        room.awareness.speak(member, [entry(number + 1, 6, {})])
    await asyncio.sleep(5)
    ann.leave(lost=True)
    again = Member(room, user="0")
    for member in others:
        member.clients()
    for clock in (6, 7, 8):
        room.awareness.speak(again, [entry(1, clock, {})])
        await asyncio.sleep(1)
    assert not any(False in frame.values() for member in others for frame in member.clients())
    again.leave()
    await asyncio.sleep(2)
