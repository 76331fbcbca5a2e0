"""Presence in one room that is open in two processes: who is told when, on a clock that jumps."""

import asyncio
from functools import partial
from typing import Any

import pytest

from roomful.presence.gossip import Gossip
from roomful.presence.tracker import Patience, Tracker
from roomful.server.auth import Access
from roomful.server.metrics import Metrics
from roomful.server.presence import RoomPresence
from roomful.server.presence_neighbours import PresenceNeighbours
from roomful.server.protocols.roomful import RoomfulEnvelope, ServerFrame
from tests.presence.entries import entry
from tests.presence.room_model import Watcher
from tests.roomful_client import unpacked
from tests.server.wire import unframe
from tests.waiting import until

pytestmark = pytest.mark.virtual_time

INTERVAL, GRACE = 2.0, 5.0
SHARED = 0.25
"""What is new waits 0.2 s for more of its kind, and is a moment on its way."""


class Guest:
    """A session with typed presence, and what it knows."""

    def __init__(self, name: str) -> None:
        self.access = Access(user=name)
        self.name = f"session-of-{name}"
        self.instance = ""
        self.watcher = Watcher()

    def presence(self, frame: bytes) -> None:
        kind, _, body = unpacked(unframe(frame))
        assert kind == ServerFrame.PRESENCE
        self.watcher.take(body)

    async def sees(self, person: str, **fields: Any) -> float:
        """Wait until it sees somebody with these fields, and return for how long."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        await until(
            lambda: person in self.watcher.people and fields.items() <= self.watcher.people[person].items()
        )
        return loop.time() - since


class Editor:
    """A session that is in awareness only."""

    access = Access(user="bob")


def opened_twice() -> list[RoomPresence]:
    loop = asyncio.get_running_loop()
    rooms: list[RoomPresence] = []

    def tell(sender: int, message: bytes) -> None:
        for number, room in enumerate(rooms):
            if number != sender:
                loop.call_later(0.001, room.told, message)

    for number in range(2):
        tracker = Tracker(largest=4_096, clock=0, patience=Patience(grace=GRACE))
        gossip = Gossip(f"process {number}", 1)
        neighbours = PresenceNeighbours("room", tracker, gossip, partial(tell, number), Metrics())
        rooms.append(
            RoomPresence(
                "room", tracker, 16_384, 4_096, INTERVAL, RoomfulEnvelope(1), Metrics(), neighbours
            )
        )  # fmt: skip
    for room in rooms:
        room.start()
    return rooms


async def test_what_an_editor_says_is_told_at_the_next_tick_in_every_process() -> None:
    here, there = opened_twice()
    ann, eve, editor = Guest("ann"), Guest("eve"), Editor()
    here.enter(ann, {})
    there.enter(eve, {})
    here.heard(editor, [entry(7, 1, {"user": {"name": "Bob"}})])
    assert await eve.sees("u:bob") <= INTERVAL + SHARED
    for number in range(9):
        # Right after a tick, and at other times.
        await asyncio.sleep(number * INTERVAL / 8)
        here.heard(editor, [entry(7, 2 + number, {"cursor": {"anchor": number}})])
        assert await eve.sees("u:bob", cursor={"anchor": number}) <= INTERVAL + SHARED
        assert ann.watcher.people["u:bob"]["cursor"] == {"anchor": number}
    for room in (here, there):
        room.stop()


async def test_a_room_whose_last_lost_session_is_given_up_between_two_ticks_may_be_let_go() -> None:
    (room, _), idle = opened_twice(), []
    room.on_idle = lambda: idle.append(True)
    ann, bob = Guest("ann"), Guest("bob")
    room.enter(ann, {})
    room.enter(bob, {})
    await ann.sees("u:bob")
    room.leave(ann, lost=True)
    await asyncio.sleep(GRACE - 0.1)
    # Others hear of it before the next tick, and then ann's time is over.
    room.leave(bob, lost=False)
    await asyncio.sleep(3)
    assert (room.idle, idle) == (True, [True])
    room.stop()


async def test_what_an_editor_says_where_nobody_listens_is_told_elsewhere_at_the_next_tick() -> None:
    here, there = opened_twice()
    eve, editor = Guest("eve"), Editor()
    there.enter(eve, {})
    here.heard(editor, [entry(7, 1, {"user": {"name": "Bob"}})])
    await eve.sees("u:bob")
    for number in range(5):
        await asyncio.sleep(10 + number * INTERVAL / 4)
        here.heard(editor, [entry(7, 2 + number, {"cursor": {"anchor": number}})])
        assert await eve.sees("u:bob", cursor={"anchor": number}) <= INTERVAL + SHARED
    for room in (here, there):
        room.stop()
