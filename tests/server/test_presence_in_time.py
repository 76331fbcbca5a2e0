"""Presence as time goes by: ticks that go wrong for one, those who stood in and are gone, idleness."""

import asyncio

import pytest

from roomful.presence import tiers
from roomful.server.auth import Access
from roomful.server.metrics import Metrics
from roomful.server.presence import RoomPresence
from roomful.server.protocols.roomful import ClientFrame
from tests.presence.entries import entry
from tests.server.guests import greeted
from tests.server.members import presence_of
from tests.server.nodes import FakeNode, awareness
from tests.server.providers import joined
from tests.server.test_roomful_presence import GRACE, PRESENCE, bodies, entered, named

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode(keepalive_seconds=600.0)


class Somebody:
    """A session that leaves when it is told anything but the first frame."""

    instance = ""

    def __init__(self, room: RoomPresence, name: str) -> None:
        self.access, self.name = Access(user=name), name
        self.told_at: list[float] = []
        self._room = room

    def presence(self, frame: bytes) -> None:
        self.told_at.append(asyncio.get_running_loop().time())
        if len(self.told_at) == 2:
            self._room.leave(self, lost=False)


async def test_one_that_leaves_when_it_is_told_keeps_the_others_from_nothing() -> None:
    room = presence_of(Metrics())
    people = [Somebody(room, name) for name in ("ann", "bob", "eve")]
    for each in people:
        room.enter(each, {})
    await asyncio.sleep(5)
    assert len({each.told_at[1] for each in people}) == 1, "a tick tells all of them"
    room.stop()


@pytest.mark.parametrize("stays", [0.3, 5.0])
@pytest.mark.parametrize("lost", [True, False])
async def test_one_that_stood_in_and_is_gone_keeps_nobody_else_from_being_renewed(
    lost: bool, stays: float
) -> None:
    node = FakeNode(grace_seconds=60.0, keepalive_seconds=600.0)
    editor = await joined(node, "room")
    await entered(node)
    await asyncio.sleep(4)
    (bob, room), _ = await entered(node, "bob"), await entered(node, "eve")
    await asyncio.sleep(stays)
    if lost:
        bob.transport.vanish()
    else:
        bob.say(ClientFrame.LEAVE, room)
    for _ in range(2):
        named(editor)
        await asyncio.sleep(18)
        assert named(editor) == {"ann", "eve"}
    node.heartbeat.stop()


async def test_one_that_says_more_than_awareness_has_one_session(node: FakeNode) -> None:
    ann, _ = await entered(node)
    bob = greeted(node, "bob")
    room = await bob.join("room")
    bob.say(ClientFrame.AWARENESS, room, awareness(entry(9, 1, {}))[2:])
    await asyncio.sleep(4)
    bob.say(PRESENCE, room, {"hand": True})
    await asyncio.sleep(4)
    assert len(bodies(ann)[-1]["updated"][0]["sessions"]) == 1
    node.heartbeat.stop()


async def test_in_a_large_room_whoever_does_nothing_more_is_idle_though_nobody_else_does_anything(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "FULL_UP_TO", 0)
    ann, _ = await entered(node)
    await asyncio.sleep(5)
    bodies(ann)
    await asyncio.sleep(10)
    (body,) = bodies(ann)
    assert body["idle"] == ["u:ann"]
    node.heartbeat.stop()


async def test_a_crowd_is_told_as_seldom_as_its_size_asks_for(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "FRAMES_PER_SECOND", 0.5)
    (ann, room), *_ = [await entered(node, f"user {number}") for number in range(5)]
    await asyncio.sleep(20)
    bodies(ann)
    for number in range(40):
        ann.say(PRESENCE, room, {"view": number})
        await asyncio.sleep(1)
    assert 3 <= len(bodies(ann)) <= 5
    node.heartbeat.stop()


async def test_whoever_is_given_up_is_counted() -> None:
    node = FakeNode(grace_seconds=GRACE)
    _, (bob, _) = await entered(node), await entered(node, "bob")
    await asyncio.sleep(4)
    bob.transport.vanish()
    await asyncio.sleep(2 * GRACE)
    assert node.metrics.ghosts == 1
    node.heartbeat.stop()
