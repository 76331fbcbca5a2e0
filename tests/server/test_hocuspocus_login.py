"""How a Hocuspocus provider logs in to its documents, and what is kept until then."""

import asyncio

import pytest

from roomful.crdt.sync import UPDATE
from roomful.server.auth import AccessRequest
from tests.presence.entries import entry
from tests.server.members import written
from tests.server.nodes import FakeNode, awareness, settle, sync, token
from tests.server.providers import (
    ASK,
    CLOSE,
    DENIED,
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


async def test_what_is_sent_behind_the_token_is_answered_in_its_order(node: FakeNode) -> None:
    bob = await joined(node)
    bob.send_to("doc", awareness(entry(2, 1, {})))
    ann = node.provider()
    ann.send_to("doc", token("ann"), ASK, ME)
    assert ann.frames() == []
    await settle()
    answers = ann.of("doc")
    assert words(answers) == ["auth", "awareness", "step 1", "step 2", "awareness", "awareness"]
    assert answers[0] == MAY_WRITE
    assert node.door.asked[-1] == AccessRequest("ann", "doc", "10.0.0.1")
    node.heartbeat.stop()


async def test_a_denied_document_stays_out_and_the_others_are_not_touched(node: FakeNode) -> None:
    ann = await joined(node, "open")
    ann.send_to("shut", token("denied"), ASK, ME)
    await settle()
    assert ann.of("shut") == [DENIED]
    ann.send_to("shut", ASK, sync(UPDATE, written(1)[0]), ME, QUERY)
    assert ann.received() == []
    ann.send_to("open", ASK)
    assert words(ann.of("open")) == ["step 1", "step 2"]
    assert (len(node.rooms), node.metrics.refused["denied"]) == (1, 1)
    node.heartbeat.stop()


async def test_a_denied_document_may_come_back_with_a_better_token(node: FakeNode) -> None:
    ann = node.provider()
    ann.send_to("doc", token("denied"), ASK)
    await settle()
    ann.received()
    ann.send_to("doc", token("ann"), ASK)
    await settle()
    assert words(ann.of("doc")) == ["auth", "step 1", "step 2"]
    node.heartbeat.stop()


async def test_a_room_name_that_cannot_be_denies_the_document_and_not_the_socket(node: FakeNode) -> None:
    ann = node.provider()
    ann.send_to("", token("ann"), ASK)
    await settle()
    (answer,) = ann.of("")
    assert answer.startswith(b"\x02\x01")
    assert ann.socket.is_open
    node.heartbeat.stop()


async def test_another_token_has_the_rights_judged_anew(node: FakeNode) -> None:
    ann = await joined(node)
    ann.send_to("doc", token("reader"))
    await settle()
    assert ann.of("doc") == [MAY_READ]
    ann.send_to("doc", sync(UPDATE, written(1)[0]))
    assert ann.of("doc") == [REFUSED]
    ann.send_to("doc", token("ann"))
    await settle()
    ann.send_to("doc", sync(UPDATE, written(1)[0]))
    node.commit()
    assert ann.of("doc") == [MAY_WRITE, SAVED]
    assert len(ann.connection.sessions()) == 1
    node.heartbeat.stop()


async def test_another_token_needs_no_other_place_in_a_full_room() -> None:
    node = FakeNode(max_connections_per_room=1)
    ann = await joined(node)
    ann.send_to("doc", token("reader"))
    await settle()
    assert ann.of("doc") == [MAY_READ]
    bob = node.provider()
    bob.send_to("doc", token("bob"))
    await settle()
    assert bob.closed_with() == (4503, "the room is full")
    node.heartbeat.stop()


async def test_while_another_token_is_judged_the_old_rights_hold(node: FakeNode) -> None:
    ann = await joined(node)
    node.door.open.clear()
    ann.send_to("doc", token("denied"), sync(UPDATE, written(1)[0]))
    await settle()
    node.commit()
    assert ann.of("doc") == [SAVED]
    node.door.open.set()
    await settle()
    assert ann.of("doc") == [DENIED]
    assert ann.connection.sessions() == ()
    ann.send_to("doc", sync(UPDATE, written(1)[0]))
    assert ann.of("doc") == []
    node.heartbeat.stop()


async def test_a_second_token_while_the_first_is_judged_is_not_judged_too(node: FakeNode) -> None:
    node.door.open.clear()
    ann = node.provider()
    ann.send_to("doc", token("ann"), token("again"))
    await settle()
    node.door.open.set()
    await settle()
    assert ann.of("doc") == [MAY_WRITE]
    assert [request.token for request in node.door.asked] == ["ann"]
    node.heartbeat.stop()


async def test_provider_2_without_a_token_is_judged_by_its_first_question(node: FakeNode) -> None:
    ann = node.provider()
    ann.send_to("doc", ASK, ME)
    await settle()
    assert words(ann.of("doc")) == ["auth", "step 1", "step 2", "awareness", "awareness"]
    assert node.door.asked == [AccessRequest("", "doc", "10.0.0.1")]
    node.heartbeat.stop()


async def test_no_other_message_opens_a_document(node: FakeNode) -> None:
    ann = node.provider()
    ann.send_to("doc", ME, QUERY, CLOSE, b"\x05\x00")
    ann.send_to("other", sync(UPDATE, written(1)[0]))
    await settle()
    assert (node.door.asked, ann.frames()) == ([], [])
    node.heartbeat.stop()


@pytest.mark.parametrize("said", ["ann", "denied"])
async def test_a_document_that_is_let_go_while_its_token_is_judged_is_not_answered(
    node: FakeNode, said: str
) -> None:
    node.door.open.clear()
    ann = node.provider()
    ann.send_to("doc", token(said), ASK, CLOSE)
    await settle()
    node.door.open.set()
    await settle()
    assert (ann.frames(), ann.connection.sessions()) == ([], ())
    node.heartbeat.stop()


async def test_a_document_that_is_let_go_and_comes_back_at_once_is_judged_by_its_new_token(
    node: FakeNode,
) -> None:
    node.door.open.clear()
    ann = node.provider()
    ann.send_to("doc", token("denied"), ASK, CLOSE, token("ann"), ASK)
    await settle()
    node.door.open.set()
    await settle()
    answers = ann.of("doc")
    assert (answers[0], words(answers)) == (MAY_WRITE, ["auth", "step 1", "step 2"])
    node.heartbeat.stop()


async def test_a_token_for_a_document_that_is_let_go_meanwhile_changes_nothing(node: FakeNode) -> None:
    ann = await joined(node)
    node.door.open.clear()
    ann.send_to("doc", token("reader"), CLOSE)
    await settle()
    node.door.open.set()
    await settle()
    assert (ann.frames(), ann.connection.sessions()) == ([], ())
    node.heartbeat.stop()


async def test_what_is_kept_until_the_login_is_bounded_in_messages() -> None:
    node = FakeNode(pre_auth_messages=5)
    node.door.open.clear()
    ann = node.provider()
    ann.send_to("one", token("ann"), ASK, ME)
    ann.send_to("two", token("ann"), ASK, ME, ME)
    assert ann.socket.is_open
    ann.send_to("one", ME)
    assert ann.closed_with() == (4429, "too much was sent before the login")


async def test_what_is_kept_until_the_login_is_bounded_in_bytes() -> None:
    node = FakeNode(pre_auth_bytes=1_024)
    node.door.open.clear()
    ann = node.provider()
    ann.send_to("doc", token("ann"), bytes(1_020))
    assert ann.socket.is_open
    ann.send_to("doc", b"\x03")
    assert ann.closed_with() == (4429, "too much was sent before the login")


@pytest.mark.parametrize("how", ["opened", "denied", "let go"])
async def test_what_is_no_longer_kept_does_not_count(how: str) -> None:
    node = FakeNode(pre_auth_messages=3)
    ann = node.provider()
    for number in range(10):
        document = f"doc {number}"
        ann.send_to(document, token("denied" if how == "denied" else "ann"), ASK, ME, QUERY)
        if how == "let go":
            ann.send_to(document, CLOSE)
        await settle()
    assert ann.socket.is_open
    node.heartbeat.stop()


async def test_a_socket_carries_a_limited_number_of_documents() -> None:
    node = FakeNode(max_documents_per_connection=2)
    ann = node.provider()
    ann.send_to("one", token("ann"))
    ann.send_to("two", token("denied"))
    await settle()
    ann.send_to("one", CLOSE)
    ann.send_to("three", token("ann"))
    await settle()
    assert ann.socket.is_open
    ann.send_to("four", token("ann"))
    assert ann.closed_with() == (4429, "too many documents on one connection")


async def test_a_socket_on_which_no_token_comes_is_closed(node: FakeNode) -> None:
    ann = node.provider()
    await asyncio.sleep(9.9)
    assert ann.frames() == []
    await asyncio.sleep(0.2)
    assert ann.closed_with() == (4408, "no token came")


async def test_any_token_stops_that_clock(node: FakeNode) -> None:
    ann = node.provider()
    await asyncio.sleep(9)
    ann.send_to("doc", token("denied"))
    await asyncio.sleep(9)
    assert ann.socket.is_open
    node.heartbeat.stop()


async def test_a_failed_login_service_closes_the_socket(node: FakeNode) -> None:
    ann = node.provider()
    ann.send_to("doc", token("broken"))
    await settle()
    assert ann.closed_with() == (4500, "the login can't be checked now")
