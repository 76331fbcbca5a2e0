"""Presence in a Roomful session without a network: frames at ticks, refusals, slow clients, stand-ins."""

import asyncio
import re
from typing import Any

import pytest

from roomful.presence import tiers
from roomful.server.protocols.roomful import ClientFrame, ServerFrame
from tests.presence.entries import entry
from tests.presence.room_model import Watcher
from tests.server.guests import Guest, errors, greeted, kinds
from tests.server.nodes import FakeNode, Provider, awareness
from tests.server.providers import joined

pytestmark = pytest.mark.virtual_time

PRESENCE, JOIN = ClientFrame.PRESENCE, ClientFrame.JOIN
GRACE = 5.0


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


async def entered(node: FakeNode, token: str = "ann", **fields: Any) -> tuple[Guest, int]:
    guest = greeted(node, token)
    return guest, await guest.join("room", vector=None, presence=fields)


def bodies(guest: Guest) -> list[dict[str, Any]]:
    """Return the presence a guest was told since the last look; nothing else may have come."""
    frames = guest.hears()
    assert kinds(frames) == ["PRESENCE"] * len(frames), frames
    return [frame[2] for frame in frames]


def named(editor: Provider) -> set[str]:
    """Return who has said a name in awareness since the last look."""
    said = b"".join(editor.of("room")).decode(errors="replace")
    return set(re.findall(r'"user":{"name":"([^"]*)"', said))


async def test_who_enters_is_told_what_the_others_know_and_then_with_them(node: FakeNode) -> None:
    ann, _ = await entered(node)
    await asyncio.sleep(2)
    ann.hears()
    bob = greeted(node, "bob")
    bob.say(JOIN, 1, "room", {"presence": {"hand": True}})
    await asyncio.sleep(0)
    await asyncio.sleep(2)
    (first, then), (told,) = (
        [frame[2] for frame in bob.hears() if frame[0] == ServerFrame.PRESENCE],
        bodies(ann),
    )
    assert [each["id"] for each in first["joined"]] == ["u:ann"]
    assert then == told
    assert [each["id"] for each in told["joined"]] == ["u:bob"]
    node.heartbeat.stop()


async def test_all_that_happens_in_an_interval_is_one_frame_and_silence_none(node: FakeNode) -> None:
    (ann, room), (bob, _) = await entered(node), await entered(node, "bob")
    await asyncio.sleep(2)
    bodies(bob)
    for number in range(50):
        ann.say(PRESENCE, room, {"view": number, "hand": bool(number % 2)})
        await asyncio.sleep(0.04)
    await asyncio.sleep(2)
    told = bodies(bob)
    assert len(told) <= 2, "an interval may have ended in between"
    assert told[-1]["updated"][0]["view"] == 49
    assert node.metrics.presence_conflated >= 48
    await asyncio.sleep(10)
    assert bodies(bob) == []
    node.heartbeat.stop()


async def test_a_session_that_did_not_ask_is_neither_seen_nor_told_until_it_says_something(
    node: FakeNode,
) -> None:
    ann, _ = await entered(node)
    quiet = greeted(node, "quiet")
    room = await quiet.join("room")
    await asyncio.sleep(4)
    assert quiet.hears() == []
    assert [each["id"] for body in bodies(ann) for each in body.get("joined", ())] == ["u:ann"]
    quiet.say(PRESENCE, room, {"status": "away"})
    await asyncio.sleep(2)
    assert [each["id"] for body in bodies(ann) for each in body.get("joined", ())] == ["u:quiet"]
    assert bodies(quiet)
    node.heartbeat.stop()


async def test_presence_that_is_too_large_is_refused_and_what_is_no_presence_ends_the_connection(
    node: FakeNode,
) -> None:
    (ann, room), (bob, _) = await entered(node), await entered(node, "bob")
    await asyncio.sleep(2)
    ann.hears()
    ann.say(PRESENCE, room, {"state": {"text": "x" * 3_000}})
    ann.say(PRESENCE, room, {"state": {"text": "x" * 5_000}})
    ann.say(PRESENCE, room, {"cursor": "x" * 600})
    assert [code for _, _, code, _ in errors(ann.hears())] == ["too-large", "too-large"]
    ann.say(PRESENCE, room, {"status": "asleep"})
    assert (ann.closed_with() or (0, ""))[0] == 4400
    bob.hears()
    await asyncio.sleep(2)
    assert bob.hears(), "who goes on in peace"
    node.heartbeat.stop()


@pytest.mark.parametrize(
    "fields", [{"hand": 1}, {"state": {"text": "x" * 5_000}}, {"cursor": {"__proto__": 1}}]
)
async def test_a_join_with_what_is_no_presence_ends_the_connection_and_nobody_enters(
    node: FakeNode, fields: dict[str, Any]
) -> None:
    ann = greeted(node)
    ann.say(JOIN, 1, "room", {"presence": fields})
    await asyncio.sleep(1)
    assert (ann.closed_with() or (0, ""))[0] == 4400
    assert "room" not in node.rooms
    node.heartbeat.stop()


async def test_a_slow_one_misses_frames_and_is_then_told_everything(node: FakeNode) -> None:
    (ann, room), (slow, _) = await entered(node), await entered(node, "slow")
    await asyncio.sleep(2)
    watcher = Watcher()
    for body in bodies(slow):
        watcher.take(body)
    slow.transport.stall()
    while not slow.socket.is_congested:
        slow.socket.write(b"\x82\x03\x92\x1b\x80")
    slow.hears()
    for number in range(5):
        ann.say(PRESENCE, room, {"view": number})
        await asyncio.sleep(2)
    assert slow.hears() == []
    slow.transport.drain()
    (body,) = bodies(slow)
    assert body["reset"]
    watcher.take(body)
    ann.say(PRESENCE, room, {"view": 5})
    await asyncio.sleep(4)
    for body in bodies(slow):
        watcher.take(body)
    assert watcher.people["u:ann"]["view"] == 5
    node.heartbeat.stop()


async def test_stock_clients_see_one_with_typed_presence_as_long_as_it_is_there(node: FakeNode) -> None:
    editor = await joined(node, "room")
    ann, room = await entered(node, "bob", cursor={"anchor": 1})
    await asyncio.sleep(2.1)
    # A second time with a higher clock, for those who know it from before.
    assert [b'"cursor":{"anchor":1}' in said for said in editor.of("room")] == [True, True]
    await asyncio.sleep(18)
    assert len([each for each in editor.of("room") if b"anchor" in each]) == 1, "it is renewed"
    ann.say(ClientFrame.LEAVE, room)
    await asyncio.sleep(0.1)
    (gone,) = editor.of("room")
    assert b"null" in gone
    node.heartbeat.stop()


async def test_one_that_speaks_in_awareness_itself_is_not_shown_there_twice(node: FakeNode) -> None:
    editor = await joined(node, "room")
    ann, room = await entered(node, "bob")
    await asyncio.sleep(2.1)
    assert b'"user"' in editor.of("room")[-1]
    ann.say(ClientFrame.AWARENESS, room, awareness(entry(9, 1, {"name": "Bob"}))[2:])
    assert any(b"null" in each for each in editor.of("room"))
    await asyncio.sleep(18)
    assert [each for each in editor.of("room") if b'"user"' in each] == []
    node.heartbeat.stop()


async def test_one_that_was_seen_by_its_awareness_alone_has_not_flickered_when_it_says_more(
    node: FakeNode,
) -> None:
    editor, (ann, _) = await joined(node, "room"), await entered(node)
    bob = greeted(node, "bob")
    room = await bob.join("room")
    bob.say(ClientFrame.AWARENESS, room, awareness(entry(9, 1, {"user": {"name": "Bob"}}))[2:])
    await asyncio.sleep(2)
    bob.say(PRESENCE, room, {"hand": True})
    await asyncio.sleep(2)
    *_, last = told = bodies(ann)
    assert last["updated"][0]["hand"] is True
    assert not any("left" in body for body in told)
    assert [each for each in editor.of("room") if b"null" in each or b'"bob"' in each] == []
    node.heartbeat.stop()


async def test_one_that_is_back_before_its_old_connection_is_missed_stands_in_without_a_break() -> None:
    node = FakeNode(grace_seconds=GRACE)
    editor, guests = await joined(node, "room"), [Guest(node), Guest(node)]
    for guest in guests:
        guest.say(ClientFrame.HELLO, {"token": "bob", "instance": "a page"})
        guest.hears()
        room = await guest.join("room", vector=None, presence={})
        await asyncio.sleep(4)
    guests[0].transport.vanish()
    await asyncio.sleep(2 * GRACE)
    assert not any(b"null" in each for each in editor.of("room"))
    guests[1].say(PRESENCE, room, {"cursor": {"anchor": 1}})
    await asyncio.sleep(2.1)
    assert any(b"anchor" in each for each in editor.of("room"))
    node.heartbeat.stop()


async def test_in_a_large_room_nobody_stands_in(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = await joined(node, "room")
    guests = [await entered(node, f"user {number}") for number in range(3)]
    await asyncio.sleep(2.1)
    assert named(editor) == {"user 0", "user 1", "user 2"}
    monkeypatch.setattr(tiers, "FULL_UP_TO", 2)
    guests[0][0].say(PRESENCE, guests[0][1], {"hand": True})
    await asyncio.sleep(2)
    assert sum(each.count(b"null") for each in editor.of("room")) == 3
    monkeypatch.setattr(tiers, "FULL_UP_TO", 200)
    guests[0][0].say(PRESENCE, guests[0][1], {"hand": False})
    await asyncio.sleep(2.1)
    assert named(editor) == {"user 0", "user 1", "user 2"}
    node.heartbeat.stop()
