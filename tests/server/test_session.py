"""What a session takes, answers, and leaves out while its socket has enough to carry."""

import asyncio

import pytest

from roomful.crdt.sync import EMPTY_UPDATE, STEP_1, STEP_2, UPDATE
from roomful.crdt.varint import write_varstring, write_varuint
from roomful.server.protocols import hocuspocus
from roomful.server.protocols.envelope import YjsEnvelope
from tests.crdt.writers import document, same
from tests.presence.entries import entry
from tests.server.fakes import OUTBOX
from tests.server.members import written
from tests.server.nodes import FakeNode, Visitor, awareness, settle, spoken, sync
from tests.server.providers import ASK, ME, QUERY, SAVED, joined

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


async def editor(node: FakeNode) -> Visitor:
    """Connect with y-websocket and be told everything."""
    client = node.editor("doc")
    await settle()
    client.send(ASK)
    client.received()
    return client


def congest(client: Visitor, frame: bytes = b"\x01\x01\x00") -> None:
    """Let more wait for a client than its outbox holds."""
    client.transport.stall()
    envelope = YjsEnvelope()
    while not client.socket.is_congested:
        client.socket.write(envelope.message(frame))
    client.received()


async def test_what_a_client_lacks_is_sent_after_our_own_question(node: FakeNode) -> None:
    ann = await editor(node)
    updates = written(5)
    ann.send(*(sync(UPDATE, update) for update in updates))
    bob = node.editor("doc")
    await settle()
    bob.send(ASK)
    ours, answer = bob.received()
    assert ours == sync(STEP_1, document(updates).get_state())
    assert answer[:2] == bytes((0, STEP_2))
    assert same(document([answer[3:]]), document(updates))
    node.heartbeat.stop()


async def test_awareness_waits_while_the_socket_is_congested_and_comes_at_once_then(node: FakeNode) -> None:
    ann, bob, eve = await editor(node), await editor(node), await editor(node)
    eve.send(awareness(entry(3, 1, {})))
    bob.received()
    congest(bob)
    for clock in range(1, 50):
        ann.send(awareness(entry(1, clock, {"cursor": clock})))
    eve.transport.vanish()
    await settle()
    assert bob.received() == []
    bob.transport.drain()
    assert bob.received() == [awareness(entry(1, 49, {"cursor": 49}), entry(3, 1, None))], (
        "who is here, and who has left: its cursor would stand there for half a minute"
    )
    ann.send(awareness(entry(1, 50, {})))
    assert bob.received() == [awareness(entry(1, 50, {}))]
    node.heartbeat.stop()


async def test_a_congested_client_that_missed_no_awareness_is_told_nothing(node: FakeNode) -> None:
    ann, bob = await editor(node), await editor(node)
    ann.send(ME)
    bob.received()
    congest(bob)
    bob.transport.drain()
    assert bob.received() == []
    node.heartbeat.stop()


async def test_questions_for_awareness_of_one_that_takes_nothing_are_answered_once(node: FakeNode) -> None:
    ann, bob = await editor(node), await editor(node)
    ann.send(ME)
    congest(bob)
    bob.send(*[QUERY] * 1_000)
    assert bob.received() == []
    bob.transport.drain()
    assert bob.received() == [ME]
    assert bob.socket.is_open
    node.heartbeat.stop()


async def test_documents_of_one_that_takes_nothing_are_answered_once(node: FakeNode) -> None:
    ann = await editor(node)
    congest(ann)
    ann.send(*[ASK] * 1_000)
    ann.transport.drain()
    assert [spoken(message) for message in ann.received()] == ["step 1", "step 2"] * 2
    node.heartbeat.stop()


async def test_one_that_writes_and_takes_no_receipts_is_cut_off(node: FakeNode) -> None:
    ann = await joined(node)
    congest(ann)
    buffered = ann.socket.buffered
    while ann.socket.is_open:
        ann.send_to("doc", sync(STEP_2, EMPTY_UPDATE))
        assert ann.socket.buffered < buffered + 2 * OUTBOX
    assert (node.metrics.closed[4508], ann.transport.aborted) == (1, True)
    await ann.socket.closed


async def test_one_that_reads_no_stateless_messages_is_cut_off_and_the_others_hear_them(
    node: FakeNode,
) -> None:
    ann, bob, eve = await joined(node), await joined(node), await joined(node)
    bob.transport.stall()
    for _ in range(30):
        ann.send_to("doc", hocuspocus.stateless("x" * 100))
    assert len(eve.received()) == 30
    assert not bob.socket.is_open
    await bob.socket.closed
    node.heartbeat.stop()


async def test_one_that_falls_behind_is_counted_and_catches_up(node: FakeNode) -> None:
    ann, bob = await editor(node), await editor(node)
    congest(bob)
    assert node.metrics.fell_behind == 1
    updates = written(5)
    ann.send(*(sync(UPDATE, update) for update in updates))
    bob.transport.drain()
    (message,) = bob.received()
    assert same(document([message[3:]]), document(updates))
    node.heartbeat.stop()


async def test_one_that_is_still_being_answered_does_not_count_as_fallen_behind(node: FakeNode) -> None:
    ann = node.editor("doc")
    await settle()
    congest(ann)
    assert node.metrics.fell_behind == 0
    node.heartbeat.stop()


async def test_each_session_is_counted(node: FakeNode) -> None:
    await editor(node)
    await joined(node)
    assert node.metrics.joins == 2
    node.heartbeat.stop()


async def test_one_that_comes_back_too_early_is_told_that_it_is_gone(node: FakeNode) -> None:
    ann = await editor(node)
    ann.send(awareness(entry(1, 5, {})))
    ann.transport.vanish()
    await settle()
    ann = await editor(node)
    ann.send(awareness(entry(1, 5, {})))
    assert ann.received() == [awareness(entry(1, 5, None))]
    node.heartbeat.stop()


async def test_one_that_is_new_is_asked_to_raise_its_clock(node: FakeNode) -> None:
    ann = await editor(node)
    ann.send(awareness(entry(1, 5, {})))
    assert ann.received() == [awareness(entry(1, 5, None)), awareness(entry(1, 5, {}))]
    ann.send(awareness(entry(1, 6, {})))
    assert ann.received() == [awareness(entry(1, 6, {}))]
    node.heartbeat.stop()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (awareness(entry(1, 1, {"a": "x" * 70})), "limit"),
        (awareness(*(entry(client, 1, {}) for client in range(1, 4))), "limit"),
        (b"\x01" + write_varuint(3) + write_varuint(10_001) + b"\x00", "count"),
    ],
)
async def test_awareness_has_its_limits(message: bytes, reason: str) -> None:
    node = FakeNode(max_awareness_bytes=64, max_awareness_clients_per_session=2)
    ann = await editor(node)
    ann.send(message)
    closed = ann.closed_with()
    assert closed is not None
    assert (closed[0], node.metrics.refused[reason]) == (4400, 1)


async def test_a_large_update_is_checked_elsewhere_and_then_taken() -> None:
    node = FakeNode(inline_check_bytes=30)
    ann, bob = await joined(node), await editor(node)
    small, large = b"\x01\x01\x05\x00\x04\x01\x01t\x01a\x00", large_update()
    ann.send_to("doc", sync(UPDATE, small), sync(UPDATE, large))
    assert (node.checks.checked, len(bob.received())) == ([], 1)
    await settle()
    assert node.checks.checked == [large]
    assert bob.received() == [sync(UPDATE, large)]
    node.commit()
    assert ann.of("doc") == [SAVED, SAVED]
    node.heartbeat.stop()


def large_update() -> bytes:
    doc = document(client=9)
    doc["text"].insert(0, "a large update " * 5)
    return doc.get_update()


async def test_an_empty_update_is_not_put_into_the_log(node: FakeNode) -> None:
    ann = await joined(node)
    ann.send_to("doc", sync(UPDATE, EMPTY_UPDATE), sync(STEP_2, EMPTY_UPDATE))
    assert ann.of("doc") == [SAVED, SAVED]
    assert node.log.queued == []
    node.heartbeat.stop()


async def test_an_update_that_repeats_is_taken_where_a_step_2_is_not(node: FakeNode) -> None:
    """Looking whether each keystroke is new would cost more than keeping one that is not."""
    ann = await joined(node)
    (update,) = written(1)
    ann.send_to("doc", sync(STEP_2, update), sync(STEP_2, update), sync(UPDATE, update))
    assert [appended.update for appended in node.log.queued] == [update, update]
    node.heartbeat.stop()


async def test_the_keep_alive_says_nothing(node: FakeNode) -> None:
    ann, bob = await editor(node), await joined(node)
    for client in (ann, bob):
        client.connection.keep_alive()
    assert ann.received() == [b"\x01\x01\x00"]
    assert bob.received() == [write_varstring("doc") + b"\x01\x01\x00"]
    node.heartbeat.stop()


async def test_one_that_has_left_is_sent_nothing_more(node: FakeNode) -> None:
    ann, bob = await joined(node), await editor(node)
    ann.send_to("doc", b"\x07")
    bob.send(sync(UPDATE, written(1)[0]), ME)
    await asyncio.sleep(1)
    assert ann.received() == []
    node.heartbeat.stop()


async def test_the_state_vector_is_checked_before_the_library_sees_it(node: FakeNode) -> None:
    ann = await editor(node)
    ann.send(sync(STEP_1, b"\x80\x80\x80\x80\x01"))
    closed = ann.closed_with()
    assert closed is not None
    assert (closed[0], node.metrics.refused["count"]) == (4400, 1)
