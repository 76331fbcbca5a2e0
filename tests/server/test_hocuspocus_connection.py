"""A Hocuspocus provider's documents once they are open, without a network."""

import asyncio

import pytest

from roomful.crdt.sync import EMPTY_UPDATE, STEP_2, UPDATE
from roomful.crdt.varint import write_varstring
from roomful.server.protocols import hocuspocus
from tests.server.members import written
from tests.server.nodes import FakeNode, settle, sync, token
from tests.server.providers import (
    ASK,
    CLOSE,
    MAY_READ,
    MAY_WRITE,
    ME,
    QUERY,
    REFUSED,
    SAVED,
    joined,
    words,
)

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


async def test_each_update_is_answered_once_it_is_durable(node: FakeNode) -> None:
    ann, bob = await joined(node), await joined(node)
    updates = written(3)
    ann.send_to("doc", *(sync(UPDATE, update) for update in updates))
    assert bob.of("doc") == [sync(UPDATE, update) for update in updates]
    assert ann.of("doc") == []
    node.log.commit(1)
    assert ann.of("doc") == [SAVED]
    node.commit()
    assert ann.of("doc") == [SAVED, SAVED]
    assert bob.of("doc") == []
    node.heartbeat.stop()


@pytest.mark.parametrize("said", ["ann", "reader"])
async def test_a_step_2_that_says_nothing_new_is_answered_like_any_other(node: FakeNode, said: str) -> None:
    bob = await joined(node)
    (update,) = written(1)
    bob.send_to("doc", sync(UPDATE, update))
    ann = await joined(node, said=said)
    ann.send_to("doc", sync(STEP_2, update), sync(STEP_2, EMPTY_UPDATE))
    assert ann.of("doc") == [], "what it repeats is not durable yet"
    node.commit()
    assert ann.of("doc") == [SAVED, SAVED]
    ann.send_to("doc", sync(STEP_2, update))
    assert ann.of("doc") == [SAVED]
    node.heartbeat.stop()


async def test_one_who_may_only_read_is_told_so_and_refused_what_it_writes(node: FakeNode) -> None:
    reader = node.provider()
    reader.send_to("doc", token("reader"), sync(STEP_2, written(1)[0]), sync(UPDATE, written(1)[0]))
    await settle()
    assert reader.of("doc") == [MAY_READ, REFUSED, REFUSED]
    assert node.metrics.refused["read-only"] == 2
    assert node.log.queued == []
    node.heartbeat.stop()


async def test_many_documents_share_a_socket_and_each_has_its_own_login(node: FakeNode) -> None:
    ann = node.provider()
    ann.send_to("one", token("ann"), ASK)
    ann.send_to("two", token("reader"), ASK)
    await settle()
    received = ann.received()
    for name, rights in (("one", MAY_WRITE), ("two", MAY_READ)):
        key = write_varstring(name)
        mine = [message[len(key) :] for message in received if message.startswith(key)]
        assert (mine[0], words(mine)) == (rights, ["auth", "step 1", "step 2"])
    assert [session.room.name for session in ann.connection.sessions()] == ["one", "two"]
    node.heartbeat.stop()


async def test_two_sessions_of_one_document_on_one_socket_hear_each_other(node: FakeNode) -> None:
    ann = node.provider()
    keys = ["doc\0one", "doc\0two"]
    for key in keys:
        ann.send_to(key, token("ann"), ASK)
    await settle()
    ann.received()
    (update,) = written(1)
    ann.send_to(keys[0], sync(UPDATE, update))
    assert ann.of(keys[1]) == [sync(UPDATE, update)]
    node.commit()
    assert ann.of(keys[0]) == [SAVED]
    assert (len(node.rooms), len(ann.connection.sessions())) == (1, 2)
    node.heartbeat.stop()


async def test_a_document_that_is_let_go_is_left(node: FakeNode) -> None:
    ann, bob = await joined(node), await joined(node)
    ann.send_to("doc", ME)
    bob.received()
    ann.received()
    ann.send_to("doc", sync(UPDATE, written(1)[0]), CLOSE)
    assert words(bob.of("doc")) == ["update", "awareness"]
    node.commit()
    assert (ann.of("doc"), ann.connection.sessions()) == ([], ())
    ann.send_to("doc", ME, CLOSE)
    assert ann.socket.is_open
    ann.send_to("doc", token("ann"), ASK)
    await settle()
    assert words(ann.of("doc")) == ["auth", "step 1", "step 2"]
    node.heartbeat.stop()


async def test_pings_of_the_protocol_are_answered_and_its_pongs_are_not(node: FakeNode) -> None:
    ann = node.provider()
    ann.send(b"\x09", b"\x0a", b"\x09")
    assert ann.received() == [b"\x0a", b"\x0a"]
    node.heartbeat.stop()


async def test_a_query_is_answered_with_everybody(node: FakeNode) -> None:
    ann, bob = await joined(node), await joined(node)
    ann.send_to("doc", ME)
    bob.received()
    bob.send_to("doc", QUERY)
    assert bob.of("doc") == [ME]
    node.heartbeat.stop()


async def test_a_stateless_message_reaches_the_other_providers_and_no_editor(node: FakeNode) -> None:
    ann, bob, editor = await joined(node), await joined(node), node.editor("doc")
    await settle()
    ann.send_to("doc", hocuspocus.stateless("hello"))
    assert (ann.of("doc"), bob.of("doc"), editor.received()) == ([], [hocuspocus.stateless("hello")], [])
    node.heartbeat.stop()


async def test_an_editor_and_a_provider_share_a_room(node: FakeNode) -> None:
    ann, editor = await joined(node), node.editor("doc")
    await settle()
    editor.send(ASK)
    editor.received()
    (update,) = written(1)
    ann.send_to("doc", sync(UPDATE, update))
    assert editor.received() == [sync(UPDATE, update)]
    editor.send(ME)
    assert ann.of("doc") == [ME]
    node.heartbeat.stop()


@pytest.mark.parametrize("kind", [4, 6, 8, 9, 10])
async def test_what_only_servers_say_is_malformed(node: FakeNode, kind: int) -> None:
    ann = await joined(node)
    ann.send_to("doc", bytes((kind, 0)))
    closed = ann.closed_with()
    assert closed is not None
    assert closed[0] == 4400
    assert node.metrics.refused["type"] == 1


async def test_one_who_vanishes_leaves_all_its_documents() -> None:
    node = FakeNode(idle_room_seconds=1.0)
    ann = node.provider()
    for document in ("one", "two"):
        ann.send_to(document, token("ann"), ASK, ME)
    await settle()
    node.door.open.clear()
    ann.send_to("three", token("ann"), ASK)
    await settle()
    ann.transport.vanish()
    await asyncio.sleep(1.1)
    assert (len(node.rooms), len(node.heartbeat), ann.connection.sessions()) == (0, 0, ())


async def test_the_keep_alive_is_of_one_open_document(node: FakeNode) -> None:
    ann = await joined(node, "one")
    ann.send_to("two", token("ann"))
    await settle()
    ann.received()
    await asyncio.sleep(20)
    assert ann.of("one") == [b"\x01\x01\x00"]
    node.heartbeat.stop()


async def test_one_who_takes_no_answers_is_cut_off_as_it_is_told_of_storage_and_is_in_no_room(
    node: FakeNode,
) -> None:
    ann, bob = await joined(node), node.provider()
    (session,) = ann.connection.sessions()
    session.room.tell_storage(lost=True)
    bob.transport.stall()
    while not bob.socket.is_flooded:
        bob.socket.write(b"\x82\x01\x0a")
    bob.send_to("doc", token("bob"))
    await settle()
    assert bob.transport.aborted
    assert session.room.members == {session}
    node.heartbeat.stop()
