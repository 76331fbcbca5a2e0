"""Events of a room: who hears them, what is kept for newcomers, and what slow ones miss."""

import asyncio

import pytest

from roomful.crdt.sync import EMPTY_STATE_VECTOR
from roomful.crdt.varint import write_varbytes
from roomful.server import events
from roomful.server.protocols.roomful import ClientFrame, ServerFrame
from tests import attacks
from tests.server.fakes import OUTBOX
from tests.server.guests import Frame, Guest, errors, greeted, kinds
from tests.server.members import written
from tests.server.nodes import FakeNode, settle

pytestmark = pytest.mark.virtual_time

EVENT, JOIN, UPDATE = ClientFrame.EVENT, ClientFrame.JOIN, ClientFrame.UPDATE


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


def told(frames: list[Frame]) -> list[tuple[str, object, bool]]:
    """Return (name, payload, kept) of each frame, all of which must be events."""
    assert kinds(frames) == ["EVENT"] * len(frames), frames
    return [(name, payload, kept) for _, _, name, payload, _, _, kept in frames]


async def entered(node: FakeNode, token: str = "ann", **options: object) -> tuple[Guest, int]:
    """Connect, and open the room with its events."""
    guest = greeted(node, token)
    return guest, await guest.join("room", **{"events": True, **options})


async def test_an_event_reaches_all_who_want_events_with_the_name_of_its_sender(node: FakeNode) -> None:
    (ann, room), (bob, _) = await entered(node), await entered(node, "bob")
    deaf = greeted(node)
    await deaf.join("room")
    editor = node.editor("room")
    await settle()
    ann.say(EVENT, room, "wave", {"hand": ["left", 2, None]}, False)
    name = ann.connection.sessions()[0].name  # type: ignore[attr-defined]
    expected = [[25, room, "wave", {"hand": ["left", 2, None]}, name, "ann", False]]
    assert (ann.hears(), bob.hears()) == (expected, expected)
    assert (deaf.hears(), editor.received()) == ([], [])
    assert (node.metrics.events, node.metrics.event_deliveries) == (1, 2)
    assert node.log.queued == []
    node.heartbeat.stop()


async def test_all_are_written_the_same_bytes(node: FakeNode) -> None:
    guests = [(await entered(node))[0] for _ in range(3)]
    room = guests[0].connection.sessions()[0].room.number
    guests[0].say(EVENT, room, "wave", "x" * 100, False)
    assert len({id(guest.transport.writes[-1]) for guest in guests}) == 1
    node.heartbeat.stop()


async def test_one_who_leaves_hears_no_more_events(node: FakeNode) -> None:
    (ann, room), (bob, _) = await entered(node), await entered(node)
    bob.say(ClientFrame.LEAVE, room)
    bob.hears()
    ann.say(EVENT, room, "wave", 1, False)
    assert (told(ann.hears()), bob.hears()) == ([("wave", 1, False)], [])
    node.heartbeat.stop()


async def test_a_newcomer_gets_the_last_kept_value_of_each_name_before_the_document(node: FakeNode) -> None:
    ann, room = await entered(node)
    for name, payload, keep in (
        ("slide", 1, True),
        ("slide", 2, True),
        ("wave", 3, False),
        ("price", 4, True),
    ):
        ann.say(EVENT, room, name, payload, keep)
    bob = greeted(node)
    bob.say(JOIN, 1, "room", {"vector": EMPTY_STATE_VECTOR, "events": True})
    await settle()
    joined, *events, ours, answer = bob.hears()
    assert kinds([joined, ours, answer]) == ["JOINED", "STEP_1", "STEP_2"]
    assert told(events) == [("slide", 2, True), ("price", 4, True)]
    node.heartbeat.stop()


async def test_a_kept_value_that_is_taken_back_is_not_told_to_newcomers(node: FakeNode) -> None:
    ann, room = await entered(node)
    ann.say(EVENT, room, "slide", 1, True)
    ann.say(EVENT, room, "slide", None, True)
    assert told(ann.hears()) == [("slide", 1, False), ("slide", None, False)]
    bob = greeted(node)
    bob.say(JOIN, 1, "room", {"events": True})
    await settle()
    assert kinds(bob.hears()) == ["JOINED"]
    node.heartbeat.stop()


async def test_a_slow_one_misses_events_and_then_gets_the_last_values_it_lacks(node: FakeNode) -> None:
    (ann, room), (slow, _) = await entered(node), await entered(node)
    for name in ("same", "other", "gone"):
        ann.say(EVENT, room, name, 0, True)
    slow.hears()
    slow.transport.stall()
    while not slow.socket.is_congested:
        slow.socket.write(b"\x82\x03\x92\x1b\x80")
    slow.hears()
    for number in range(50):
        ann.say(EVENT, room, "other", number, True)
        ann.say(EVENT, room, "wave", number, False)
    ann.say(EVENT, room, "gone", None, True)
    ann.say(EVENT, room, "new", 1, True)
    assert slow.hears() == []
    slow.transport.drain()
    assert told(slow.hears()) == [("other", 49, True), ("new", 1, True), ("gone", None, True)]
    ann.say(EVENT, room, "wave", 50, False)
    assert told(slow.hears()) == [("wave", 50, False)]
    node.heartbeat.stop()


async def test_one_whom_its_own_join_congests_is_told_no_event_before_it_has_drained(node: FakeNode) -> None:
    ann, room = await entered(node)
    ann.say(UPDATE, room, 0, attacks.update(attacks.item(4, write_varbytes(b"a" * OUTBOX))))
    slow = greeted(node)
    slow.transport.stall()
    slow.say(JOIN, 1, "room", {"vector": EMPTY_STATE_VECTOR, "events": True})
    await settle()
    assert slow.socket.is_congested
    slow.hears()
    ann.say(EVENT, room, "slide", 1, True)
    ann.say(EVENT, room, "wave", 1, False)
    assert slow.hears() == []
    slow.transport.drain()
    assert told(slow.hears()) == [("slide", 1, True)]
    ann.say(EVENT, room, "wave", 2, False)
    assert told(slow.hears()) == [("wave", 2, False)]
    node.heartbeat.stop()


async def test_one_that_drains_a_little_at_a_time_gets_each_value_once() -> None:
    node = FakeNode(max_event_bytes=2_000)
    (ann, room), (slow, _) = await entered(node), await entered(node)
    slow.transport.stall()
    while not slow.socket.is_congested:
        slow.socket.write(b"\x82\x03\x92\x1b\x80")
    slow.hears()
    for number in range(8):
        ann.say(EVENT, room, f"name {number}", "x" * (OUTBOX - 100), True)
    heard = []
    for _ in range(100):
        slow.transport.take(OUTBOX // 2)
        piece = told(slow.hears())
        assert len(piece) <= 2, "more than the socket takes"
        heard += piece
    assert [name for name, _, _ in heard] == [f"name {number}" for number in range(8)]
    node.heartbeat.stop()


async def test_who_may_only_read_may_not_send_events(node: FakeNode) -> None:
    (reader, room), (bob, _) = await entered(node, "reader"), await entered(node)
    reader.say(EVENT, room, "wave", 1, False)
    assert errors(reader.hears()) == [(None, room, "read-only", None)]
    assert bob.hears() == []
    node.heartbeat.stop()


async def test_too_many_events_in_a_second_are_refused_and_later_ones_are_taken() -> None:
    node = FakeNode(events_per_second=3)
    (ann, room), (bob, _) = await entered(node), await entered(node)
    for number in range(5):
        ann.say(EVENT, room, "wave", number, False)
    assert [payload for _, payload, _ in told(bob.hears())] == [0, 1, 2]
    assert [frame[3] for frame in ann.hears() if frame[0] == ServerFrame.ERROR] == ["too-fast"] * 2
    await asyncio.sleep(0.4)
    ann.say(EVENT, room, "wave", 5, False)
    assert [payload for _, payload, _ in told(bob.hears())] == [5]
    assert node.metrics.refused["too-fast"] == 2
    node.heartbeat.stop()


async def test_an_event_that_is_too_large_is_refused() -> None:
    node = FakeNode(max_event_bytes=300)
    ann, room = await entered(node)
    ann.say(EVENT, room, "wave", "x" * 300, False)
    assert errors(ann.hears()) == [(None, room, "too-large", None)]
    node.heartbeat.stop()


async def test_a_room_keeps_events_of_so_many_names_and_new_values_of_these() -> None:
    node = FakeNode(max_kept_events=2)
    ann, room = await entered(node)
    for name in ("one", "two", "three"):
        ann.say(EVENT, room, name, 1, True)
    assert errors(ann.hears()[2:]) == [(None, room, "too-many-kept", None)]
    ann.say(EVENT, room, "two", 2, True)
    ann.say(EVENT, room, "one", None, True)
    ann.say(EVENT, room, "three", 3, True)
    assert [payload for _, payload, _ in told(ann.hears())] == [2, None, 3]
    node.heartbeat.stop()


async def test_events_of_two_rooms_on_one_socket_are_apart(node: FakeNode) -> None:
    ann = greeted(node)
    one, two = await ann.join("one", events=True), await ann.join("two", events=True)
    ann.say(EVENT, one, "wave", 1, True)
    ann.say(EVENT, two, "wave", 2, True)
    assert [(frame[1], frame[3]) for frame in ann.hears()] == [(one, 1), (two, 2)]
    node.heartbeat.stop()


async def test_events_come_with_a_document_that_is_written_meanwhile(node: FakeNode) -> None:
    (ann, room), (bob, _) = await entered(node), await entered(node)
    for number, update in enumerate(written(3)):
        ann.say(UPDATE, room, number, update)
        ann.say(EVENT, room, "wave", number, False)
    assert kinds(bob.hears()) == ["UPDATE", "EVENT"] * 3
    node.heartbeat.stop()


WINDOW = 0.02


async def test_of_many_events_the_first_goes_at_once_and_the_others_together_after_the_window() -> None:
    node = FakeNode(flush_window=WINDOW)
    (ann, room), (bob, _) = await entered(node), await entered(node)
    for number in range(4):
        ann.say(EVENT, room, "wave", number, False)
    assert [payload for _, payload, _ in told(bob.hears())] == [0]
    await asyncio.sleep(WINDOW - 0.001)
    assert bob.hears() == []
    writes = len(bob.transport.writes)
    await asyncio.sleep(0.002)
    assert len(bob.transport.writes) == writes + 1, "one write for all of them"
    assert [payload for _, payload, _ in told(bob.hears())] == [1, 2, 3]
    assert ann.transport.writes[-1] is bob.transport.writes[-1]
    assert node.metrics.event_deliveries == 8
    await asyncio.sleep(1)
    ann.say(EVENT, room, "wave", 4, False)
    assert [payload for _, payload, _ in told(bob.hears())] == [4], "after a pause at once again"
    node.heartbeat.stop()


async def test_one_who_comes_while_events_wait_gets_each_value_once_and_in_order() -> None:
    node = FakeNode(flush_window=WINDOW)
    ann, room = await entered(node)
    for number in range(3):
        ann.say(EVENT, room, "slide", number, True)
    bob = greeted(node)
    bob.say(JOIN, 1, "room", {"events": True})
    await settle()
    _, *first = bob.hears()
    await asyncio.sleep(WINDOW)
    assert told(first + bob.hears()) == [("slide", 0, True), ("slide", 1, False), ("slide", 2, False)]
    node.heartbeat.stop()


async def test_one_who_falls_behind_while_events_wait_lacks_none_of_their_values() -> None:
    node = FakeNode(flush_window=WINDOW)
    (ann, room), (slow, _) = await entered(node), await entered(node)
    for number in range(3):
        ann.say(EVENT, room, "slide", number, True)
    slow.transport.stall()
    while not slow.socket.is_congested:
        slow.socket.write(b"\x82\x03\x92\x1b\x80")
    slow.hears()
    await asyncio.sleep(WINDOW)
    slow.transport.drain()
    assert told(slow.hears()) == [("slide", 2, True)]
    node.heartbeat.stop()


async def test_events_that_are_much_do_not_wait_for_the_window() -> None:
    node = FakeNode(flush_window=WINDOW)
    (ann, room), (bob, _) = await entered(node), await entered(node)
    ann.say(EVENT, room, "wave", 0, False)
    assert len(bob.hears()) == 1
    for _ in range(4):
        ann.say(EVENT, room, "wave", "x" * 16_000, False)
    assert bob.hears() == []
    await asyncio.sleep(WINDOW / 2)
    ann.say(EVENT, room, "wave", "x" * 16_000, False)
    assert len(bob.hears()) == 5, "more than 64 KiB"
    ann.say(EVENT, room, "wave", 1, False)
    await asyncio.sleep(WINDOW * 0.9)
    assert bob.hears() == [], "a window begins with what goes out"
    await asyncio.sleep(WINDOW * 0.2)
    assert told(bob.hears()) == [("wave", 1, False)]
    node.heartbeat.stop()


async def test_a_crowd_that_takes_long_leaves_others_half_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    node = FakeNode(flush_window=WINDOW)
    (ann, room), (bob, _) = await entered(node), await entered(node)
    took = iter([0.0, 4 * WINDOW, 0.0, 0.0])
    monkeypatch.setattr(events, "perf_counter", lambda: next(took))
    for number in range(2):
        ann.say(EVENT, room, "slide", number, False)
    await asyncio.sleep(5.9 * WINDOW)
    assert told(bob.hears()) == [("slide", 0, False)]
    await asyncio.sleep(0.2 * WINDOW)
    assert told(bob.hears()) == [("slide", 1, False)]
    node.heartbeat.stop()
