"""A y-websocket client from its upgrade to its end, without a network."""

import asyncio

import pytest

from roomful.crdt.sync import EMPTY_STATE_VECTOR, EMPTY_UPDATE, STEP_1, STEP_2, UPDATE
from roomful.crdt.varint import write_varstring
from roomful.server.auth import AccessRequest
from tests.presence.entries import entry
from tests.server.fakes import client_frame
from tests.server.members import written
from tests.server.nodes import FakeNode, awareness, settle, spoken, sync

pytestmark = pytest.mark.virtual_time

ASK = sync(STEP_1, EMPTY_STATE_VECTOR)
ME = awareness(entry(1, 1, {"name": "Ann"}))
QUERY = b"\x03"


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


async def test_the_authorizer_is_asked_once_with_what_is_known(node: FakeNode) -> None:
    ann = node.editor("röom/a", token="tökén")
    await settle()
    assert node.door.asked == [AccessRequest("tökén", "röom/a", "10.0.0.1")]
    assert [session.room.name for session in ann.connection.sessions()] == ["röom/a"]
    node.heartbeat.stop()


async def test_what_is_sent_before_the_token_is_judged_waits_and_reading_stops(node: FakeNode) -> None:
    node.door.open.clear()
    ann = node.editor(tail=client_frame(ASK))
    ann.send(ME)
    await settle()
    assert ann.frames() == []
    was_reading = ann.transport.reading
    node.door.open.set()
    await settle()
    assert (was_reading, ann.transport.reading) == (False, True)
    assert [spoken(message) for message in ann.received()] == ["step 1", "step 2", "awareness", "awareness"]
    node.heartbeat.stop()


async def test_the_answer_is_awareness_then_step_1_then_step_2(node: FakeNode) -> None:
    ann = node.editor()
    await settle()
    ann.send(ASK, ME)
    await settle()
    bob = node.editor(tail=client_frame(ASK))
    await settle()
    assert [spoken(message) for message in bob.received()] == ["awareness", "step 1", "step 2"]
    node.heartbeat.stop()


async def test_updates_awareness_and_queries_are_understood(node: FakeNode) -> None:
    ann, bob = node.editor(), node.editor()
    await settle()
    for client in (ann, bob):
        client.send(ASK)
        client.received()
    (update,) = written(1)
    ann.send(sync(UPDATE, update))
    assert (ann.received(), bob.received()) == ([], [sync(UPDATE, update)])
    ann.send(ME)
    assert bob.received() == [ME]
    ann.received()
    bob.send(QUERY)
    assert bob.received() == [ME]
    node.heartbeat.stop()


async def test_there_are_no_acknowledgements(node: FakeNode) -> None:
    ann = node.editor()
    await settle()
    ann.send(sync(UPDATE, written(1)[0]), sync(STEP_2, EMPTY_UPDATE))
    node.commit()
    assert ann.frames() == []
    node.heartbeat.stop()


async def test_one_who_may_only_read_is_told_so_and_its_updates_are_dropped_and_counted(
    node: FakeNode,
) -> None:
    reader, bob = node.editor(token="reader"), node.editor()
    await settle()
    assert reader.received() == [b"\x02\x00" + write_varstring("you may only read")]
    bob.send(ASK)
    bob.received()
    reader.send(sync(UPDATE, written(1)[0]))
    reader.send(ME)
    assert bob.received() == [ME]
    assert node.metrics.refused["read-only"] == 1
    assert reader.socket.is_open
    node.heartbeat.stop()


async def test_a_denied_client_is_told_why_and_gets_nothing_else(node: FakeNode) -> None:
    ann = node.editor(token="denied", tail=client_frame(ASK))
    await settle()
    assert ann.closed_with() == (4403, "not for you")
    assert (len(node.rooms), len(node.heartbeat), node.log.loads) == (0, 0, [])
    assert node.metrics.closed[4403] == 1


@pytest.mark.parametrize(
    ("room", "token", "changed", "code"),
    [
        ("", "ann", {}, 4404),
        ("x" * 513, "ann", {}, 4404),
        ("é" * 257, "ann", {}, 4404),
        ("not text \udcff", "ann", {}, 4404),
        ("room", "broken", {}, 4500),
        ("room", "ann", {"max_rooms": 0}, 4503),
        ("room", "ann", {"max_connections_per_room": 0}, 4503),
    ],
)
async def test_one_who_cannot_be_let_in_is_told_by_a_code(
    room: str, token: str, changed: dict[str, int], code: int
) -> None:
    node = FakeNode(**changed)
    ann = node.editor(room, token)
    await settle()
    closed = ann.closed_with()
    assert closed is not None
    assert closed[0] == code
    assert len(node.heartbeat) == 0


async def test_an_authorizer_that_never_answers_is_given_up(node: FakeNode) -> None:
    node.door.open.clear()
    ann = node.editor()
    await asyncio.sleep(9.9)
    assert ann.frames() == []
    await asyncio.sleep(0.2)
    assert ann.closed_with() == (4500, "the login can't be checked now")


async def test_nobody_enters_while_the_server_goes_down(node: FakeNode) -> None:
    node.node.draining = True
    ann = node.editor()
    await settle()
    assert ann.closed_with() == (1012, "the server is going down")
    assert node.door.asked == []


async def test_one_who_leaves_while_it_is_judged_leaves_nothing_behind(node: FakeNode) -> None:
    node.door.open.clear()
    ann = node.editor()
    await settle()
    ann.transport.vanish()
    await settle()
    node.door.open.set()
    await settle()
    assert (len(node.rooms), len(node.heartbeat), ann.transport.written_late) == (0, 0, [])


async def test_one_who_leaves_takes_its_awareness_and_its_room_along() -> None:
    node = FakeNode(idle_room_seconds=5.0)
    ann, bob = node.editor(), node.editor()
    await settle()
    ann.send(ASK, ME)
    bob.received()
    ann.transport.vanish()
    await settle()
    assert bob.received() == [awareness(entry(1, 1, None))]
    bob.transport.vanish()
    await asyncio.sleep(4.9)
    assert len(node.rooms) == 1
    await asyncio.sleep(0.2)
    assert len(node.rooms) == 0


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "truncated"),
        (b"\x02\x00\x00", "type"),
        (b"\x04", "type"),
        (b"\x00\x03\x00", "type"),
        (b"\x00\x00\x02\x00", "truncated"),
        (b"\x00\x00\x01\x00\x00", "trailing"),
        (sync(UPDATE, b"\x00"), "truncated"),
        (sync(STEP_1, b"\x7f"), "count"),
        (awareness(entry(1, 1, [])), "json"),
    ],
)
async def test_what_is_no_message_closes_the_connection_and_is_counted(
    node: FakeNode, message: bytes, reason: str
) -> None:
    ann = node.editor()
    await settle()
    ann.send(message, ASK)
    closed = ann.closed_with()
    assert closed is not None
    assert closed[0] == 4400
    assert (node.metrics.refused[reason], node.metrics.closed[4400]) == (1, 1)
    assert ann.connection.sessions() == ()
    await ann.socket.closed


async def test_a_quiet_client_is_kept_alive(node: FakeNode) -> None:
    ann = node.editor()
    await settle()
    await asyncio.sleep(20)
    assert [frame.opcode for frame in ann.frames()] == [0x82, 0x89]
    node.heartbeat.stop()


async def test_a_client_whose_token_is_still_judged_has_nothing_to_be_kept_alive_with() -> None:
    node = FakeNode(pre_auth_seconds=100.0)
    node.door.open.clear()
    ann = node.editor()
    await asyncio.sleep(99)
    assert {frame.opcode for frame in ann.frames()} == {0x89}, "nor is it cut off for its silence"
    await asyncio.sleep(2)
    assert ann.closed_with() == (4500, "the login can't be checked now")
