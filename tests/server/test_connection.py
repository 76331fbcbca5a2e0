"""What all connections share: one message after another, waiting where one has to, and how they end."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from roomful.crdt.sync import UPDATE
from roomful.crdt.varint import Malformed
from roomful.crdt.worker import WorkerFailed
from roomful.server.close_codes import CloseCode
from roomful.server.connection import Connection
from tests.crdt.writers import document, same
from tests.presence.entries import entry
from tests.server.clock import VirtualTimeLoop
from tests.server.fakes import client_frame
from tests.server.members import written
from tests.server.nodes import FakeNode, Visitor, awareness, settle, spoken, sync, token
from tests.server.providers import ASK, SAVED, joined, words

pytestmark = pytest.mark.virtual_time

LARGE = 40
"""Updates above this size go to a worker in these tests."""


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode(inline_check_bytes=LARGE)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


async def editor(node: FakeNode, room: str = "doc") -> Visitor:
    client = node.editor(room)
    await settle()
    client.send(ASK)
    client.received()
    return client


def large_update(client: int = 9) -> bytes:
    doc = document(client=client)
    doc["text"].insert(0, "x" * LARGE)
    return doc.get_update()


async def test_what_follows_a_large_update_waits_until_it_is_checked(node: FakeNode) -> None:
    ann, bob = await editor(node), await editor(node)
    node.checks.may.clear()
    (small,) = written(1)
    ann.send(sync(UPDATE, large_update()), sync(UPDATE, small))
    ann.send(ASK)
    await settle()
    assert (bob.received(), ann.received(), ann.transport.reading) == ([], [], False)
    node.checks.may.set()
    await settle()
    assert bob.received() == [sync(UPDATE, large_update()), sync(UPDATE, small)]
    assert [spoken(message) for message in ann.received()] == ["step 1", "step 2"]
    assert ann.socket.is_reading
    node.heartbeat.stop()


async def test_several_large_updates_are_checked_one_after_another(node: FakeNode) -> None:
    ann, bob = await editor(node), await editor(node)
    updates = [large_update(client) for client in (5, 6, 7)]
    ann.send(*(sync(UPDATE, update) for update in updates))
    await settle()
    assert node.checks.checked == updates
    assert bob.received() == [sync(UPDATE, update) for update in updates]
    node.heartbeat.stop()


async def test_what_was_kept_for_a_login_comes_before_what_came_later(node: FakeNode) -> None:
    """Both wait: the first for its document's token, the rest while another document's update is checked."""
    ann, bob = await joined(node, "one"), await joined(node, "two")
    node.door.open.clear()
    node.checks.may.clear()
    first, second = written(2)
    ann.send_to("two", token("ann"), sync(UPDATE, first))
    await settle()
    ann.send_to("one", sync(UPDATE, large_update()))
    ann.send_to("two", sync(UPDATE, second))
    node.door.open.set()
    await settle()
    assert bob.received() == []
    node.checks.may.set()
    await settle()
    assert bob.of("two") == [sync(UPDATE, first), sync(UPDATE, second)]
    node.heartbeat.stop()


@pytest.mark.parametrize(
    ("fault", "code", "counted"),
    [
        (Malformed("utf8", "no text"), CloseCode.MALFORMED, ("refused", "utf8")),
        (WorkerFailed("timeout", "no result"), CloseCode.MALFORMED, ("worker_failures", "timeout")),
        (RuntimeError("a fault of ours"), CloseCode.INTERNAL, None),
    ],
)
async def test_a_large_update_that_is_not_passed_closes_the_connection(
    node: FakeNode, logged: list[Any], fault: Exception, code: CloseCode, counted: tuple[str, str] | None
) -> None:
    ann, bob = await editor(node), await editor(node)
    node.checks.fault = fault
    ann.send(sync(UPDATE, large_update()), sync(UPDATE, written(1)[0]))
    await settle()
    closed = ann.closed_with()
    assert closed is not None
    assert closed[0] == code
    assert bob.received() == []
    if counted is not None:
        assert getattr(node.metrics, counted[0])[counted[1]] == 1
    node.heartbeat.stop()


async def test_a_large_update_that_there_is_no_place_for_closes_the_connection() -> None:
    node = FakeNode(inline_check_bytes=LARGE, max_document_bytes=LARGE)
    ann = await editor(node)
    ann.send(sync(UPDATE, large_update()))
    await settle()
    closed = ann.closed_with()
    assert closed is not None
    assert closed[0] == CloseCode.DOCUMENT_FULL


async def test_one_who_vanishes_while_its_update_is_checked_leaves_nothing_behind(node: FakeNode) -> None:
    ann, bob = await editor(node), await editor(node)
    node.checks.may.clear()
    ann.send(sync(UPDATE, large_update()), sync(UPDATE, written(1)[0]))
    ann.transport.vanish()
    await settle()
    node.checks.may.set()
    await settle()
    assert (bob.received(), ann.transport.written_late) == ([], [])
    node.heartbeat.stop()


async def test_a_fault_in_a_message_costs_the_connection_and_is_logged(
    node: FakeNode, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await editor(node), await editor(node)

    def fail(message: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ann.connection, "handle", fail)
    ann.send(ASK, ASK)
    assert ann.closed_with() == (1011, "internal error")
    (line,) = [line for line in logged if line["log_level"] == "error"]
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert (line["event"], line["protocol"], line["address"]) == (
        "message failed", "y-websocket", "10.0.0.1"
    )  # fmt: skip
    assert bob.socket.is_open
    node.heartbeat.stop()


async def test_a_fault_while_a_room_is_opened_costs_the_connection_and_is_logged(
    node: FakeNode, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "join", lambda *_: 1 / 0)
    ann, bob = node.editor("doc"), node.provider()
    bob.send_to("doc", token("bob"))
    await settle()
    assert ann.closed_with() == (1011, "internal error")
    assert bob.closed_with() == (1011, "internal error")
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["message failed"] * 2


async def test_a_close_is_counted_and_logged_once_with_the_rooms(node: FakeNode, logged: list[Any]) -> None:
    ann = await joined(node, "one")
    for document_name in ("two", "three", "four"):
        ann.send_to(document_name, token("ann"))
    await settle()
    logged.clear()
    ann.connection.close(CloseCode.SLOW, "no progress")
    ann.connection.close(CloseCode.INTERNAL, "again")
    assert logged == [
        {
            "event": "connection closed",
            "log_level": "warning",
            "protocol": "hocuspocus",
            "address": "10.0.0.1",
            "code": 4508,
            "reason": "no progress",
            "rooms": ["one", "two", "three"],
        }
    ]
    assert node.metrics.closed == {CloseCode.SLOW: 1}


@pytest.mark.parametrize("code", [CloseCode.NORMAL, CloseCode.RESTART])
async def test_a_close_that_nobody_is_to_blame_for_is_counted_and_not_logged(
    node: FakeNode, logged: list[Any], code: CloseCode
) -> None:
    ann = await editor(node)
    logged.clear()
    ann.connection.close(code, "")
    assert (logged, node.metrics.closed) == ([], {code: 1})


async def test_one_that_is_cut_off_is_counted_logged_and_gone(node: FakeNode, logged: list[Any]) -> None:
    ann = await editor(node)
    logged.clear()
    ann.connection.cut_off(CloseCode.SLOW, "took nothing")
    ann.connection.cut_off(CloseCode.SLOW, "took nothing")
    assert [line["event"] for line in logged] == ["connection cut off"]
    assert node.metrics.closed == {CloseCode.SLOW: 1}
    await ann.socket.closed
    assert (ann.transport.aborted, len(node.heartbeat)) == (True, 0)


async def test_cutting_off_ends_a_close_that_is_not_answered(node: FakeNode) -> None:
    ann = await editor(node)
    ann.transport.stall()
    ann.connection.close(CloseCode.RESTART, "")
    ann.connection.cut_off(CloseCode.RESTART, "")
    assert (ann.transport.aborted, node.metrics.closed) == (True, {CloseCode.RESTART: 1})
    await ann.socket.closed


class Slow:
    """Makes each message take a while, in which the clock goes on."""

    def __init__(self, client: Visitor, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.handled = 0
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._handle = client.connection.handle
        monkeypatch.setattr(client.connection, "handle", self.handle)

    def handle(self, message: bytes) -> None:
        assert isinstance(self._loop, VirtualTimeLoop)
        self._loop.pass_over(self._seconds)
        self.handled += 1
        self._handle(message)


async def test_a_flood_is_handled_in_turns_in_which_others_are_heard(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await editor(node), await editor(node)
    slow = Slow(ann, monkeypatch, 0.0005)
    updates = written(30)
    ann.send(*(sync(UPDATE, update) for update in updates))
    handled = [slow.handled]
    while slow.handled < len(updates):
        assert not ann.transport.reading
        await asyncio.sleep(0)
        handled.append(slow.handled)
    assert handled[0] < 10
    assert len(handled) > 3
    await settle()
    assert ann.transport.reading
    assert same(document([message[3:] for message in bob.received()]), document(updates))
    node.heartbeat.stop()


async def test_after_a_large_read_small_ones_are_handled_at_once(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every later message would stop the reading and wait for the loop."""
    ann, _ = await editor(node), await editor(node)
    ann.send(*(sync(UPDATE, update) for update in written(20)))
    pauses: list[float] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(ann.socket._transport, "pause_reading", lambda: pauses.append(loop.time()))
    for clock in range(1, 20):
        await asyncio.sleep(0.01)
        ann.send(awareness(entry(1, clock, {})))
    assert pauses == []
    node.heartbeat.stop()


async def test_a_turn_that_ends_with_a_close_is_the_last(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await editor(node)
    slow = Slow(ann, monkeypatch, 0.01)
    ann.send(*[b"\x7f"] * 30)
    await settle()
    assert slow.handled == 1
    assert (ann.transport.written_late, node.metrics.closed) == ([], {CloseCode.MALFORMED: 1})


async def test_acknowledgements_and_answers_keep_their_order_over_turns(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await joined(node)
    Slow(ann, monkeypatch, 0.0015)
    for update in written(4):
        ann.send_to("doc", sync(UPDATE, update), ASK)
    await settle()
    node.commit()
    answers = ann.of("doc")
    assert words(answers[:-4]) == ["step 1", "step 2"] * 4
    assert answers[-4:] == [SAVED] * 4
    node.heartbeat.stop()


async def test_bytes_that_are_no_frames_close_the_connection_by_its_own_count(
    node: FakeNode, logged: list[Any]
) -> None:
    ann = await editor(node)
    ann.send_bytes(client_frame(b"text", 0x81))
    assert ann.closed_with() == (1003, "only binary messages are spoken here")
    assert node.metrics.closed == {CloseCode.UNSUPPORTED: 1}
    assert logged[-1]["event"] == "connection closed"
