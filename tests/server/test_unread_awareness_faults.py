"""What waits to be looked into, when those who said it go, are sent away, or are in many rooms."""

import asyncio

import pytest

from roomful.crdt.sync import UPDATE
from roomful.presence.awareness import encode_entries
from roomful.server.close_codes import CloseCode
from tests.presence.entries import entry
from tests.server.guests import greeted
from tests.server.house import House
from tests.server.members import Member, written
from tests.server.nodes import FakeNode, awareness, settle, sync, token
from tests.server.providers import ASK, joined, words

pytestmark = pytest.mark.virtual_time

INTERVAL, TICK = 0.05, 2.0
BROKEN = b"\x01\x02\x01\x05"
"""An awareness message whose one entry is cut short."""


async def test_one_who_is_denied_over_something_broken_leaves_once() -> None:
    node = FakeNode(awareness_interval=INTERVAL)
    ann, bob, eve = [await joined(node) for _ in range(3)]
    for each in (ann, bob, eve):
        each.send_to("doc", ASK)
    await asyncio.sleep(1)
    eve.send_to("doc", awareness(entry(3, 1, {})), token("denied"), BROKEN)
    await settle()
    assert not eve.socket.is_open
    bob.transport.vanish()
    await settle()
    ann.received()
    cid = await joined(node)
    cid.send_to("doc", ASK, sync(UPDATE, written(1)[0]))
    assert "update" in words(ann.of("doc")), "it still hears what others write"
    node.heartbeat.stop()


async def test_many_who_share_rooms_and_are_all_hung_up_on_leave_all_of_them() -> None:
    node = FakeNode(awareness_interval=INTERVAL, idle_room_seconds=1.0)
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    chain = []
    for number in range(120):
        chain.append(node.provider())
        for room in (number, number + 1):
            chain[-1].send_to(f"room {room}", token("eve"))
            await settle()
    await asyncio.sleep(1)
    for number, each in enumerate(chain):
        each.send_to(f"room {number}", awareness(entry(number, 1, {})), BROKEN)
    await asyncio.sleep(60)
    assert not any(each.socket.is_open for each in chain)
    assert node.metrics.closed[CloseCode.MALFORMED] == 120
    rooms = [node.rooms.loaded(f"room {number}") for number in range(121)]
    assert (problems, [room for room in rooms if room is not None]) == ([], [])
    node.heartbeat.stop()


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("user", ["ann", ""])
async def test_one_who_is_back_elsewhere_before_its_loss_is_known_there_stays(
    user: str, is_told: bool
) -> None:
    house = House("one", "two", "three")
    ann, bob = Member(house.rooms["one"], user=user), Member(house.rooms["three"], user="bob")
    dan = Member(house.rooms["two"], user="dan")
    say(ann, 1, 5)
    await asyncio.sleep(20)
    say(dan, 9, 1)
    again = Member(house.rooms["two"], user=user)
    # The room rests, and its word lies unread as the others hear that it was lost.
    say(again, 1, 5)
    await asyncio.sleep(0.005)
    if is_told:
        ann.leave(lost=True)
    else:
        for room in (house.rooms["two"], house.rooms["three"]):
            room.awareness.departed({"one"})
    await asyncio.sleep(18)
    say(again, 1, 7)
    await asyncio.sleep(1)
    assert {1: False} not in bob.clients()
    house.close()


@pytest.mark.parametrize("after", [0.0, 0.9, 1.8])
async def test_in_presence_a_stock_client_is_seen_at_the_next_tick_however_long_awareness_rests(
    after: float,
) -> None:
    node = FakeNode(awareness_interval=TICK, longest_awareness_interval=TICK, presence_interval=TICK)
    ann = greeted(node)
    await ann.join("room", presence={"name": "Ann"})
    bob, cid = node.editor("room", token="bob"), node.editor("room", token="cid")
    await asyncio.sleep(7 + after)
    bob.send(awareness(entry(2, 1, {})))
    cid.send(awareness(entry(3, 1, {})))
    await asyncio.sleep(TICK + 0.1)
    assert "u:cid" in repr(ann.hears())
    node.heartbeat.stop()


def say(member: Member, client: int, clock: int) -> None:
    member.room.awareness.hear(member, encode_entries([entry(client, clock, {})]))
