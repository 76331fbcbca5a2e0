"""A Roomful client's hello and rooms, without a network."""

import asyncio

import pytest

from roomful.crdt.log import Condition
from roomful.crdt.sync import EMPTY_STATE_VECTOR
from roomful.server.protocols.roomful import ClientFrame
from tests.server.fakes import client_frame
from tests.server.guests import Guest, errors, greeted, kinds
from tests.server.nodes import FakeNode, settle
from tests.server.providers import ME

pytestmark = pytest.mark.virtual_time

HELLO, JOIN, LEAVE, UPDATE = ClientFrame.HELLO, ClientFrame.JOIN, ClientFrame.LEAVE, ClientFrame.UPDATE
WISHES = {"vector": EMPTY_STATE_VECTOR}
PONG = client_frame(b"", 0x8A)


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


async def test_a_hello_is_answered_with_who_serves_and_the_limits(node: FakeNode) -> None:
    node.node.name = "n1"
    guest = Guest(node)
    guest.say(HELLO, {"later": True})
    ((kind, facts),) = guest.hears()
    limits = facts.pop("limits")
    assert (kind, facts.pop("connection") != "") == (16, True)
    assert facts == {"version": 1, "node": "n1", "heartbeat": 20.0}
    assert (limits["rooms"], limits["message_bytes"]) == (100, 8 << 20)
    node.heartbeat.stop()


@pytest.mark.parametrize("first", [JOIN, LEAVE, 9])
async def test_the_first_frame_is_a_hello(node: FakeNode, first: int) -> None:
    guest = Guest(node)
    guest.say(first, 1, "room", {})
    closed = guest.closed_with()
    assert closed is not None
    assert closed[0] == 4400


async def test_a_second_hello_is_malformed(node: FakeNode) -> None:
    guest = greeted(node)
    guest.say(HELLO, {})
    assert guest.closed_with() == (4400, "a second hello")


async def test_one_who_says_no_hello_in_time_is_let_go(node: FakeNode) -> None:
    guest = Guest(node)
    await asyncio.sleep(9.9)
    assert guest.closed_with() is None
    await asyncio.sleep(0.2)
    assert guest.closed_with() == (4408, "no hello came")


async def test_one_who_said_hello_may_take_its_time(node: FakeNode) -> None:
    guest = greeted(node)
    await asyncio.sleep(15)
    assert guest.closed_with() is None
    node.heartbeat.stop()


async def test_a_join_is_answered_with_the_rooms_number_and_the_document(node: FakeNode) -> None:
    guest = Guest(node)
    guest.say(HELLO, {"token": "ann"})
    guest.say(JOIN, 5, "room", WISHES)
    await settle()
    welcome, joined, *document = guest.hears()
    number, facts = joined[2], joined[3]
    assert (welcome[0], joined[:2]) == (16, [17, 5])
    assert facts.pop("session") != ""
    assert facts == {"user": "ann", "read_only": False, "sends_events": True, "durability": "machine"}
    assert document == [[19, number, EMPTY_STATE_VECTOR], [20, number, b"\x00\x00"]]
    node.heartbeat.stop()


async def test_what_is_not_asked_for_does_not_come(node: FakeNode) -> None:
    ann, bob = greeted(node), greeted(node)
    await ann.join("room")
    bob.say(JOIN, 1, "room", {})
    await settle()
    assert kinds(bob.hears()) == ["JOINED"]
    node.heartbeat.stop()


async def test_a_join_may_bring_a_token_of_its_own(node: FakeNode) -> None:
    guest = greeted(node, token="ann")
    guest.say(JOIN, 1, "one", {})
    guest.say(JOIN, 2, "two", {"token": "reader"})
    await settle()
    assert [request.token for request in node.door.asked] == ["ann", "reader"]
    rights = {frame[1]: (frame[3]["user"], frame[3]["read_only"]) for frame in guest.hears()}
    assert rights == {1: ("ann", False), 2: ("reader", True)}
    node.heartbeat.stop()


async def test_a_denied_room_leaves_the_others_alone(node: FakeNode) -> None:
    guest = greeted(node)
    guest.say(JOIN, 1, "one", {})
    guest.say(JOIN, 2, "two", {"token": "denied"})
    guest.say(JOIN, 3, "", {})
    guest.say(JOIN, 4, "four", {"token": "broken"})
    await settle()
    frames = guest.hears()
    assert sorted(errors([frame for frame in frames if frame[0] == 26]), key=str) == [
        (2, None, "denied", None),
        (3, None, "bad-room", None),
        (4, None, "unavailable", None),
    ]
    assert [session.room.name for session in guest.connection.sessions()] == ["one"]
    assert node.metrics.refused["denied"] == 1
    node.heartbeat.stop()


async def test_one_who_is_denied_again_and_again_is_let_go() -> None:
    node = FakeNode(max_documents_per_connection=2)
    guest = greeted(node, token="denied")
    for request in range(3):
        guest.say(JOIN, request, "room", {})
        await settle()
    assert guest.closed_with() == (4403, "too many logins were refused")


async def test_a_room_is_open_once_on_a_connection(node: FakeNode) -> None:
    guest = greeted(node)
    number = await guest.join("room")
    guest.say(JOIN, 7, "room", WISHES)
    await settle()
    assert errors(guest.hears()) == [(7, None, "already-joined", None)]
    guest.say(LEAVE, number)
    assert guest.hears() == [[18, number, None, ""]]
    assert await guest.join("room") == number
    node.heartbeat.stop()


async def test_rooms_on_a_connection_are_bounded_while_they_are_opened_too() -> None:
    node = FakeNode(max_documents_per_connection=2)
    guest = greeted(node)
    await guest.join("one")
    node.door.open.clear()
    for request in (2, 3):
        guest.say(JOIN, request, f"room {request}", {})
    assert errors(guest.hears()) == [(3, None, "too-many-rooms", None)]
    guest.transport.vanish()
    await settle()


async def test_joins_that_wait_for_their_login_are_bounded_in_bytes() -> None:
    node = FakeNode(pre_auth_bytes=2_000)
    node.door.open.clear()
    guest = greeted(node)
    guest.say(JOIN, 1, "one", {"token": "t" * 1_500})
    await settle()
    guest.say(JOIN, 2, "two", {"token": "t" * 1_500})
    assert guest.closed_with() == (4429, "too much was sent before the login")


async def test_joins_that_were_judged_count_no_more() -> None:
    node = FakeNode(pre_auth_bytes=2_000)
    guest = greeted(node)
    for request in range(5):
        guest.say(JOIN, request, f"room {request}", {"token": "t" * 1_500})
        await settle()
    assert len(guest.connection.sessions()) == 5
    node.heartbeat.stop()


async def test_one_who_leaves_hears_no_more_and_its_frames_are_answered(node: FakeNode) -> None:
    guest = greeted(node)
    number = await guest.join("room")
    guest.say(LEAVE, number)
    guest.say(UPDATE, number, 1, b"\x00\x00")
    left, error = guest.hears()
    assert left == [18, number, None, ""]
    assert errors([error]) == [(None, number, "not-joined", None)]
    assert guest.connection.sessions() == ()
    node.heartbeat.stop()


async def test_a_room_that_everybody_has_left_is_let_go() -> None:
    node = FakeNode(idle_room_seconds=1.0)
    guest = greeted(node)
    guest.say(LEAVE, await guest.join("room"))
    await asyncio.sleep(1.1)
    assert len(node.rooms) == 0
    node.heartbeat.stop()


async def test_a_type_that_is_not_known_is_answered_and_no_more(node: FakeNode) -> None:
    guest = greeted(node)
    guest.say(10, "of a later version")
    guest.say(200, {"whatever": 1})
    assert errors(guest.hears()) == [(None, None, "unknown-type", None)] * 2
    assert node.metrics.refused["unknown-type"] == 2
    node.heartbeat.stop()


async def test_a_beat_that_pages_can_see_comes_by_the_interval(node: FakeNode) -> None:
    guest = greeted(node)
    for _ in range(2):
        await asyncio.sleep(20.1)
        assert guest.hears() == [[27, {}]]
        guest.send_bytes(PONG)
    node.heartbeat.stop()


async def test_one_who_vanishes_leaves_all_its_rooms() -> None:
    node = FakeNode(idle_room_seconds=1.0)
    guest = greeted(node)
    await guest.join("one")
    await guest.join("two")
    node.door.open.clear()
    guest.say(JOIN, 3, "three", {})
    await settle()
    guest.transport.vanish()
    await asyncio.sleep(1.1)
    assert (len(node.rooms), len(node.heartbeat), guest.connection.sessions()) == (0, 0, ())


async def test_the_loss_of_storage_is_told_once_for_all_rooms(node: FakeNode) -> None:
    guest = greeted(node)
    await guest.join("one")
    await guest.join("two")
    await node.rooms.tell_storage(lost=True)
    assert guest.hears() == [[27, {"storage": "lost"}]]
    await guest.join("three")
    await node.rooms.tell_storage(lost=False)
    assert guest.hears() == [[27, {"storage": "back"}]]
    await node.rooms.tell_storage(lost=True)
    guest.transport.vanish()
    await settle()
    assert node.node.awaiting_storage == set()


async def test_one_who_wants_a_cold_room_while_storage_is_lost_is_told_when_it_is_back(
    node: FakeNode,
) -> None:
    guest = greeted(node)
    await guest.join("one")
    node.log.condition = Condition("the disk is full", asyncio.get_running_loop().time())
    guest.say(JOIN, 2, "cold", WISHES)
    await settle()
    notice, error = guest.hears()
    assert (notice, errors([error])) == ([27, {"storage": "lost"}], [(2, None, "storage", None)])
    node.log.condition = Condition()
    for told in tuple(node.node.awaiting_storage):
        told()
    assert guest.hears() == [[27, {"storage": "back"}]]
    assert await guest.join("cold") > 0
    node.heartbeat.stop()


async def test_a_draining_server_takes_no_more_rooms(node: FakeNode) -> None:
    guest = greeted(node)
    node.node.draining = True
    guest.say(JOIN, 1, "room", {})
    await settle()
    assert guest.closed_with() == (1012, "the server is going down")


async def test_a_state_vector_that_is_none_is_malformed(node: FakeNode) -> None:
    guest = greeted(node)
    guest.say(JOIN, 1, "room", {"vector": b"\x01"})
    closed = guest.closed_with()
    assert closed is not None
    assert closed[0] == 4400
    assert node.door.asked == []


@pytest.mark.parametrize("storage_lost", [False, True])
async def test_one_who_takes_no_answers_is_cut_off_as_it_joins_and_is_in_no_room(
    node: FakeNode, storage_lost: bool
) -> None:
    ann, guest = greeted(node), greeted(node)
    ann.say(ClientFrame.AWARENESS, await ann.join("room"), ME[2:])
    (session,) = ann.connection.sessions()
    session.room.tell_storage(lost=storage_lost)
    guest.transport.stall()
    while not guest.socket.is_flooded:
        guest.socket.write(b"\x82\x03\x92\x1b\x80")
    guest.say(JOIN, 1, "room", {**WISHES, "events": True, "awareness": True, "presence": {}})
    await settle()
    assert guest.transport.aborted
    assert guest.transport.written_late == []
    assert session.room.members == {session}
    node.heartbeat.stop()


async def test_a_room_takes_no_more_than_its_limit() -> None:
    node = FakeNode(max_connections_per_room=1)
    ann, bob = greeted(node), greeted(node)
    await ann.join("room")
    bob.say(JOIN, 1, "room", {})
    await settle()
    assert errors(bob.hears()) == [(1, None, "full", None)]
    node.heartbeat.stop()
