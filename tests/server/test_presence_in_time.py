"""Presence as time goes by: ticks that go wrong for one, those who stood in and are gone, idleness."""

import asyncio

import pytest

from roomful.presence import tiers
from roomful.server.auth import Access
from roomful.server.metrics import Metrics
from roomful.server.presence import RoomPresence
from roomful.server.protocols.roomful import ClientFrame
from tests.crdt.writers import document, same
from tests.presence.entries import entry
from tests.server.guests import Guest, errors, greeted
from tests.server.members import presence_of, written
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


async def test_one_that_was_slow_is_told_everything_once(node: FakeNode) -> None:
    (ann, room), (slow, _) = await entered(node), await entered(node, "slow")
    await asyncio.sleep(4)
    for misses in (True, False):
        fill(slow)
        if misses:
            ann.say(PRESENCE, room, {"hand": True})
            await asyncio.sleep(4)
        slow.transport.drain()
        assert [body.get("reset", False) for body in bodies(slow)] == [True] * misses
    node.heartbeat.stop()


async def test_of_the_document_as_well_a_slow_one_gets_what_it_missed_in_one(node: FakeNode) -> None:
    ann, slow = greeted(node), greeted(node)
    room = await ann.join("room")
    await slow.join("room")
    fill(slow)
    updates = written(3)
    for seq, update in enumerate(updates):
        ann.say(ClientFrame.UPDATE, room, seq, update)
    slow.transport.drain()
    ((_, _, missed),) = slow.hears()
    assert same(document([missed]), document(updates))
    node.heartbeat.stop()


async def test_a_frame_that_is_too_large_is_refused_whatever_is_in_it(node: FakeNode) -> None:
    ann, room = await entered(node)
    most = node.config.limits.max_presence_bytes
    ann.say(PRESENCE, room, dict.fromkeys(map(str, range(most // 4))))
    ((_, _, code, _),) = errors(ann.hears())
    assert code == "too-large"
    node.heartbeat.stop()


def fill(guest: Guest) -> None:
    """Let so much wait for a client that nothing more is written to it, and forget that."""
    guest.transport.stall()
    while not guest.socket.is_congested:
        guest.socket.write(b"\x82\x03\x92\x1b\x80")
    guest.hears()
