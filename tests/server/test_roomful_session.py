"""What a Roomful session takes and is told, without a network."""

import pytest

from roomful.crdt.sync import EMPTY_UPDATE, STEP_2
from roomful.server.auth import Access
from roomful.server.protocols.roomful import ClientFrame
from tests.crdt.writers import document, same
from tests.presence.entries import entry
from tests.server.guests import errors, greeted, kinds
from tests.server.members import written
from tests.server.nodes import FakeNode, awareness, settle, sync
from tests.server.providers import ASK, ME, joined

pytestmark = pytest.mark.virtual_time

STEP_1_, STEP_2_, UPDATE = ClientFrame.STEP_1, ClientFrame.STEP_2, ClientFrame.UPDATE
AWARENESS = ClientFrame.AWARENESS
MY_ENTRIES = ME[2:]


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


async def test_updates_are_acknowledged_together_once_they_are_durable(node: FakeNode) -> None:
    ann, bob = greeted(node), greeted(node)
    room = await ann.join("room")
    await bob.join("room")
    updates = written(4)
    for seq, update in zip((3, 4, 5, 900), updates, strict=True):
        ann.say(UPDATE, room, seq, update)
    assert bob.hears() == [[21, room, update] for update in updates]
    assert ann.hears() == []
    node.log.commit(3)
    assert ann.hears() == [[22, room, seq, "machine"] for seq in (3, 4, 5)]
    node.commit()
    assert ann.hears() == [[22, room, 900, "machine"]]
    assert bob.hears() == []
    node.heartbeat.stop()


async def test_what_is_merged_is_acknowledged_by_one_frame() -> None:
    node = FakeNode(flush_window=0.01)
    ann = greeted(node)
    room = await ann.join("room")
    for seq, update in enumerate(written(10)):
        ann.say(UPDATE, room, seq, update)
    node.rooms.flush()
    node.commit()
    assert [frame[2] for frame in ann.hears()] == [0, 9], "the first went out at once"
    node.heartbeat.stop()


async def test_a_number_that_does_not_rise_is_malformed(node: FakeNode) -> None:
    ann = greeted(node)
    room = await ann.join("room")
    first, second = written(2)
    ann.say(UPDATE, room, 3, first)
    ann.say(UPDATE, room, 3, second)
    assert ann.closed_with() == (4400, "update 3 after update 3")


async def test_a_step_2_that_says_nothing_new_is_acknowledged_too(node: FakeNode) -> None:
    ann = greeted(node, token="reader")
    room = await ann.join("room")
    ann.say(STEP_2_, room, 0, EMPTY_UPDATE)
    assert ann.hears() == [[22, room, 0, "machine"]]
    node.heartbeat.stop()


async def test_what_one_writes_who_may_only_read_is_refused_by_its_number(node: FakeNode) -> None:
    ann, reader = greeted(node), greeted(node, token="reader")
    room = await ann.join("room")
    await reader.join("room")
    first, second = written(2)
    ann.say(UPDATE, room, 0, first)
    reader.hears()
    reader.say(UPDATE, room, 4, first)
    reader.say(UPDATE, room, 5, second)
    assert errors(reader.hears()) == [(None, room, "read-only", 5)]
    node.commit()
    assert reader.hears() == [[22, room, 4, "machine"]], "the first repeats what is there already"
    assert node.metrics.refused["read-only"] == 1
    node.heartbeat.stop()


async def test_what_follows_a_large_update_waits_until_that_is_checked() -> None:
    node = FakeNode(inline_check_bytes=12)
    ann, bob = greeted(node), greeted(node)
    room = await ann.join("room")
    await bob.join("room")
    large, small = sorted(written(2), key=len, reverse=True)
    assert len(large) > 12 >= len(small)
    node.checks.may.clear()
    ann.say(UPDATE, room, 0, large)
    ann.say(UPDATE, room, 1, small)
    await settle()
    assert (node.checks.checked, bob.hears()) == ([large], [])
    node.checks.may.set()
    await settle()
    assert [frame[2] for frame in bob.hears()] == [large, small]
    node.commit()
    assert [frame[2] for frame in ann.hears()] == [0, 1]
    node.heartbeat.stop()


async def test_one_whose_large_update_does_not_fit_is_put_out_too() -> None:
    node = FakeNode(inline_check_bytes=1, max_document_bytes=1)
    ann = greeted(node)
    room = await ann.join("room")
    ann.say(UPDATE, room, 0, written(1)[0])
    await settle()
    assert [frame[:3] for frame in ann.hears()] == [[18, room, "document-full"]]
    assert ann.socket.is_open
    node.heartbeat.stop()


async def test_one_whose_update_does_not_fit_is_put_out_of_that_room_alone() -> None:
    node = FakeNode(max_document_bytes=30)
    ann = greeted(node)
    room, other = await ann.join("room"), await ann.join("other")
    for seq, update in enumerate(written(4)):
        ann.say(UPDATE, room, seq, update)
    frames = ann.hears()
    assert frames[0] == [18, room, "document-full", "the document has reached its largest size"]
    assert {code for _, _, code, _ in errors(frames[1:])} == {"not-joined"}
    assert [session.room.number for session in ann.connection.sessions()] == [other]
    node.heartbeat.stop()


async def test_one_who_writes_while_nothing_more_can_wait_is_put_out_of_the_room(node: FakeNode) -> None:
    ann = greeted(node)
    room = await ann.join("room")
    node.log.full = True
    ann.say(UPDATE, room, 0, written(1)[0])
    assert ann.hears() == [[18, room, "storage", "storage is not available"], [27, {"storage": "lost"}]]
    node.log.full = False
    for told in tuple(node.node.awaiting_storage):
        told()
    assert ann.hears() == [[27, {"storage": "back"}]]
    assert await ann.join("room") == room
    node.heartbeat.stop()


async def test_a_document_may_be_asked_for_later_and_again(node: FakeNode) -> None:
    ann, bob = greeted(node), greeted(node)
    room = await ann.join("room")
    updates = written(3)
    for seq, update in enumerate(updates):
        ann.say(UPDATE, room, seq, update)
    await bob.join("room", vector=None)
    for _ in range(2):
        bob.say(STEP_1_, room, b"\x00")
        ours, answer = bob.hears()
        assert (ours[0], answer[0]) == (19, 20)
        assert same(document([answer[2]]), document(updates))
    node.heartbeat.stop()


async def test_editors_providers_and_roomful_clients_share_a_room(node: FakeNode) -> None:
    ann, bob, editor = greeted(node), await joined(node, "room"), node.editor("room")
    await settle()
    editor.send(ASK)
    editor.received()
    room = await ann.join("room", awareness=True)
    first, second = written(2)
    ann.say(UPDATE, room, 0, first)
    assert bob.of("room") == editor.received() == [sync(2, first)]
    editor.send(sync(STEP_2, second), ME)
    assert ann.hears() == [[21, room, second], [23, room, MY_ENTRIES]]
    hers = awareness(entry(9, 1, {"name": "Ann"}))
    bob.received()
    editor.received()
    ann.say(AWARENESS, room, hers[2:])
    assert editor.received() == [hers]
    ann.transport.vanish()
    await settle()
    assert editor.received() == [awareness(entry(9, 1, None))]
    node.heartbeat.stop()


async def test_awareness_of_the_others_comes_to_those_who_want_it(node: FakeNode) -> None:
    editor = node.editor("room")
    await settle()
    editor.send(ME)
    ann, bob = greeted(node), greeted(node)
    for guest, wants in ((ann, True), (bob, False)):
        guest.say(ClientFrame.JOIN, 1, "room", {"awareness": wants})
    await settle()
    assert (kinds(ann.hears()), kinds(bob.hears())) == (["JOINED", "AWARENESS"], ["JOINED"])
    editor.send(awareness(entry(1, 2, {"name": "Ann"})))
    assert (kinds(ann.hears()), kinds(bob.hears())) == (["AWARENESS"], [])
    node.heartbeat.stop()


@pytest.mark.parametrize(
    ("access", "may"),
    [
        (Access("ann"), True),
        (Access("ann", read_only=True), False),
        (Access("ann", read_only=True, sends_events=True), True),
        (Access("ann", sends_events=False), False),
    ],
)
def test_who_may_write_may_send_events_unless_the_login_says_otherwise(access: Access, may: bool) -> None:
    assert access.may_send_events is may
