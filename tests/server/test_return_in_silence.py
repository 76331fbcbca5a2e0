"""A client that is back before its loss is noticed, and that says nothing until it renews itself (Hocuspocus
providers from version 4 on raise their clock in silence): nobody sees it go.
"""

import asyncio

import pytest

from roomful.server.room import Room
from tests.presence.entries import entry
from tests.server.house import GRACE, House
from tests.server.members import Member

pytestmark = pytest.mark.virtual_time

RENEWED_AFTER = 18.0


@pytest.fixture
async def house() -> House:
    return House("one", "two", "three")


def people(room: Room) -> set[str]:
    """Return who is among the people of a room."""
    room.presence.page("", 100)
    return set(room.presence.tracker.people)


@pytest.mark.parametrize("back_at", ["one", "two"])
@pytest.mark.parametrize("user", ["ann", ""])
async def test_one_who_renews_itself_late_never_vanishes(house: House, back_at: str, user: str) -> None:
    bob, eve = (Member(house.rooms[name], user=name) for name in ("two", "three"))
    ann = Member(house.rooms["one"], user=user)
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    await asyncio.sleep(1)
    again = Member(house.rooms[back_at], user=user)
    again.room.awareness.speak(again, [entry(1, 5, {})])
    await asyncio.sleep(20)
    ann.leave(lost=True)
    await asyncio.sleep(RENEWED_AFTER)
    assert f"u:{user}" in people(again.room) or not user
    again.room.awareness.speak(again, [entry(1, 7, {})])
    await asyncio.sleep(2 * GRACE)
    for member in (bob, eve):
        assert {1: False} not in member.clients()
    assert len(people(again.room)) == 1
    again.leave()
    await asyncio.sleep(1)
    assert (bob.clients(), eve.clients()) == ([{1: False}], [{1: False}])
    house.close()


async def test_one_who_only_repeated_it_keeps_nobody_for_long(house: House) -> None:
    ann, bob = Member(house.rooms["one"], user="ann"), Member(house.rooms["three"], user="bob")
    ann.room.awareness.speak(ann, [entry(1, 5, {})])
    await asyncio.sleep(1)
    viewer = Member(house.rooms["two"], user="ann")
    viewer.room.awareness.speak(viewer, [entry(1, 5, {})])
    ann.leave(lost=True)
    await asyncio.sleep(1)
    viewer.room.awareness.speak(viewer, [entry(1, 5, None)])
    await asyncio.sleep(18)
    assert {1: False} not in bob.clients()
    await asyncio.sleep(2)
    assert bob.clients() == [{1: False}]
    await asyncio.sleep(GRACE)
    assert people(viewer.room) == set()
    house.close()
