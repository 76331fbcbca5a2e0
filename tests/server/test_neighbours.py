"""Who is seen in a room that several processes have open, and what they tell each other."""

import asyncio

import pytest

from roomful.presence.awareness import gone_entry
from roomful.presence.gossip import LONGEST_REPEAT_SECONDS, SILENT_SECONDS, Gossip
from roomful.server.protocols import hocuspocus
from roomful.server.room import AWARENESS, STATELESS
from tests.presence.entries import entry
from tests.server.house import GRACE, INTERVAL, House
from tests.server.members import Member

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def house() -> House:
    return House("one", "two", "three")


async def settle(seconds: float = 5 * INTERVAL) -> None:
    await asyncio.sleep(seconds)


async def test_what_is_said_at_one_process_is_seen_at_all(house: House) -> None:
    ann, bob = Member(house.rooms["one"]), Member(house.rooms["two"])
    ann.room.awareness.speak(ann, [entry(1, 1, {})])
    await settle()
    assert bob.clients() == [{1: True}]
    late = Member(house.rooms["three"])
    assert late.clients() == [{1: True}]
    ann.leave()
    await settle()
    assert bob.clients() == late.clients() == [{1: False}]
    house.close()


async def test_of_each_client_only_the_last_word_of_an_interval_is_told(house: House) -> None:
    ann = Member(house.rooms["one"])
    await settle()
    ann.room.awareness.speak(ann, [entry(1, 1, {})])
    told = len(house.logs["one"].told)
    for clock in range(2, 100):
        ann.room.awareness.speak(ann, [entry(1, clock, {}), entry(2, clock, {})])
    await asyncio.sleep(INTERVAL)
    assert len(house.logs["one"].told) == told + 1
    house.close()


async def test_echoes_at_other_processes_are_news_to_nobody(house: House) -> None:
    ann, bob = Member(house.rooms["one"]), Member(house.rooms["two"])
    ann.room.awareness.speak(ann, [entry(1, 1, {})])
    await settle()
    ann.clients()
    told = len(house.logs["two"].told)
    assert bob.room.awareness.speak(bob, [entry(1, 1, {}), entry(1, 7, {}), entry(1, 9, None)]) == []
    await settle()
    assert (ann.clients(), len(house.logs["two"].told)) == ([], told)
    house.close()


async def test_a_process_that_opens_the_room_later_hears_who_is_there(house: House) -> None:
    ann = Member(house.rooms["one"])
    ann.room.awareness.speak(ann, [entry(1, 1, {})])
    await settle()
    dan = Member(house.open("four"))
    await settle()
    assert dan.clients() == [{1: True}]
    house.close()


async def test_one_who_moves_to_another_process_never_vanishes(house: House) -> None:
    ann, bob, eve = (Member(house.rooms[name], user=name) for name in ("one", "two", "three"))
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    await settle()
    for member in (bob, eve):
        assert member.clients() == [{1: True}]
    again = Member(house.rooms["two"], user="one")
    assert again.room.awareness.speak(again, [entry(1, 5, {})]) == [], (
        "the other process believes in its old connection"
    )
    await asyncio.sleep(20)
    ann.leave(lost=True)
    await settle()
    assert again.clients() == [{1: True}, {1: False}]
    again.room.awareness.speak(again, [entry(1, 6, {})])
    await asyncio.sleep(2 * GRACE)
    # When it was handed over, and when it said more; who had come meanwhile hears of it with the first.
    assert (bob.clients(), eve.clients()) == ([{1: True}], [{1: True}, {1: True}])
    again.leave()
    await settle()
    assert (bob.clients(), eve.clients()) == ([{1: False}], [{1: False}])
    house.close()


async def test_the_clients_of_a_process_that_is_gone_leave_once_after_the_grace(house: House) -> None:
    ann, bob, eve = (Member(house.rooms[name]) for name in ("one", "two", "three"))
    ann.room.awareness.speak(ann, [entry(1, 5, {}), entry(2, 5, {})])
    await settle()
    again = Member(house.rooms["two"])
    again.room.awareness.speak(again, [entry(2, 5, {})])
    house.cut.add("one")
    for name in ("two", "three"):
        house.rooms[name].awareness.departed({"one"})
    await settle()
    assert again.clients()[-1] == {2: False}
    again.room.awareness.speak(again, [entry(2, 6, {})])
    await settle()
    assert bob.clients() == [{1: True, 2: True}, {2: True}]
    assert eve.clients() == [{1: True, 2: True}, {2: True}, {2: True}]
    await asyncio.sleep(GRACE)
    for member in (bob, eve):
        assert member.clients() == [{1: False}]
    house.close()


async def test_a_process_that_was_cut_off_learns_everything_and_is_learnt_of(house: House) -> None:
    ann, bob, eve = (Member(house.rooms[name]) for name in ("one", "two", "three"))
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    bob.room.awareness.speak(bob, [entry(2, 5, {})])
    await settle()
    house.cut.add("one")
    ann.room.awareness.speak(ann, [entry(1, 6, {}), entry(3, 1, {})])
    bob.leave()
    dan = Member(house.rooms["two"])
    dan.room.awareness.speak(dan, [entry(4, 1, {})])
    await settle()
    for member in (ann, eve):
        member.clients()
    house.cut.clear()
    house.rooms["one"].awareness.relinked()
    await settle()
    seen = {client: here for frame in ann.clients() for client, here in frame.items()}
    assert seen == {2: False, 4: True}
    assert eve.clients() == [{1: True, 3: True}]
    house.close()


async def test_a_process_whose_lease_lapsed_and_came_back_loses_nobody(house: House) -> None:
    ann, bob = Member(house.rooms["one"]), Member(house.rooms["two"])
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    await settle()
    bob.clients()
    house.rooms["two"].awareness.departed({"one"})
    await asyncio.sleep(GRACE / 2)
    house.rooms["two"].awareness.returned({"one"})
    await asyncio.sleep(GRACE)
    assert bob.clients() == [{1: True}]
    house.close()


async def test_a_process_that_falls_silent_is_gone_at_last(house: House) -> None:
    ann, bob = Member(house.rooms["one"]), Member(house.rooms["two"])
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    await asyncio.sleep(300)
    assert bob.clients() == [{1: True}], "it repeats its digest"
    house.cut.add("one")
    await asyncio.sleep(LONGEST_REPEAT_SECONDS + SILENT_SECONDS + GRACE + 1)
    assert bob.clients() == [{1: False}]
    house.close()


async def test_a_process_that_stops_says_so_and_its_clients_may_come_back(house: House) -> None:
    ann, bob = Member(house.rooms["one"]), Member(house.rooms["two"])
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    await settle()
    house.rooms.pop("one").awareness.stop()
    await asyncio.sleep(GRACE - 1)
    assert bob.clients() == [{1: True}]
    await asyncio.sleep(2)
    assert bob.clients() == [{1: False}]
    house.close()


async def test_one_who_is_back_is_shown_those_at_other_processes_anew(house: House) -> None:
    ann, bob = Member(house.rooms["one"]), Member(house.rooms["two"])
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    for clock in (5, 6):
        bob.room.awareness.speak(bob, [entry(2, clock, {})])
    await asyncio.sleep(5)
    ann.leave(lost=True)
    again = Member(house.rooms["one"])
    bob.clients()
    again.room.awareness.speak(again, [entry(1, 5, {})])
    await settle()
    assert bob.clients() == [{1: True}, {2: False}]
    bob.room.awareness.speak(bob, [entry(2, 7, {})])
    await settle()
    assert again.clients()[-1] == {2: True}
    house.close()


async def test_stateless_messages_reach_those_at_other_processes(house: House) -> None:
    ann, bob, eve = (Member(house.rooms[name]) for name in ("one", "one", "two"))
    message = hocuspocus.stateless("hello")
    ann.room.relay(ann, message)
    await settle()
    assert (ann.heard, bob.heard, eve.heard) == ([], [message], [message])
    house.close()


@pytest.mark.parametrize(
    "message",
    [
        AWARENESS,
        AWARENESS + b"\x93",
        AWARENESS + b"\xc1",
        STATELESS,
        STATELESS + b"\x05\x09x",
        STATELESS + b"\x05\x01\xff",
    ],
)
async def test_what_is_no_word_of_a_process_is_counted_and_disturbs_nobody(
    house: House, message: bytes
) -> None:
    ann, bob = Member(house.rooms["one"]), Member(house.rooms["two"])
    bob.room.told(message)
    assert house.metrics.refused["gossip"] == 1
    bob.room.told(b"")
    bob.room.told(b"z what a later version tells")
    assert house.metrics.refused["gossip"] == 1
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    await settle()
    assert bob.clients() == [{1: True}]
    assert bob.heard == []
    house.close()


async def test_of_what_a_process_claims_only_what_is_broken_is_refused(house: House) -> None:
    gossip, bob = Gossip("other", 1), Member(house.rooms["two"])
    gossip.put(b"\x01", b"no claim")
    gossip.put(b"\x02", bytes(15) + entry(2, 1, {}).raw)
    gossip.put(b"\x03", bytes(15) + entry(3, 1, [1]).raw)
    for message in gossip.due(0.0):
        bob.room.told(AWARENESS + message)
    await settle()
    assert bob.clients() == [{2: True}]
    assert house.metrics.refused["gossip"] == 2
    assert bob.room.awareness.speak(bob, [gone_entry(2, 9)]) == []
    house.close()


async def test_other_processes_hear_at_once_that_one_is_lost() -> None:
    house = House("one", "two")
    ann = Member(house.rooms["one"], user="ann")
    ann.room.awareness.speak(ann, [entry(1, 1, {})])
    told = len(house.logs["one"].told)
    ann.leave(lost=True)
    assert len(house.logs["one"].told) == told + 1
    await asyncio.sleep(2 * GRACE)
    house.close()
