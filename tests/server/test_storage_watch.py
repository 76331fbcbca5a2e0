"""What is said of storage, and to whom, as its condition changes."""

import time
from typing import Any

import pytest
import structlog

from roomful.crdt.log import Condition, LogError
from roomful.crdt.snapshot import Snapshot
from roomful.server.close_codes import CloseCode
from roomful.server.protocols.hocuspocus import STORAGE_BACK, STORAGE_LOST
from roomful.server.storage_watch import StorageWatch
from tests.server.nodes import FakeNode, Provider, settle, sync, token

NOW = 1_000_000.0


@pytest.fixture
def logged() -> Any:
    with structlog.testing.capture_logs() as entries:
        yield entries


def lost(node: FakeNode, reason: str = "gone") -> None:
    node.log.condition = Condition(reason, time.monotonic())


def found(node: FakeNode) -> None:
    node.log.condition = Condition()


def said(logged: list[Any]) -> list[tuple[str, str]]:
    words = [(entry["log_level"], entry["event"]) for entry in logged if entry["log_level"] != "debug"]
    logged.clear()
    return words


async def joined(node: FakeNode, *documents: str) -> Provider:
    ann = node.provider()
    for document in documents:
        ann.send_to(document, token("ann"), sync(0, b"\x00"))
        await settle()
    ann.received()
    return ann


async def test_a_loss_and_a_return_are_said_once_with_figures(logged: list[Any]) -> None:
    node = FakeNode()
    watch = StorageWatch(node.node)
    await watch.look(NOW)
    node.log.condition = Condition("gone", NOW)
    node.log.append("room", b"1", lambda _: None)
    for at in range(100):
        await watch.look(NOW + at)
    found(node)
    for _ in range(3):
        await watch.look(NOW + 100)
    back = logged[-1]
    assert said(logged) == [("error", "storage refuses"), ("info", "storage is back")]
    assert (back["seconds"], back["entries"]) == (100.0, 1)


async def test_a_server_that_has_never_had_its_storage_says_again_that_it_waits(logged: list[Any]) -> None:
    node = FakeNode()
    watch = StorageWatch(node.node)
    node.log.condition = Condition("gone", NOW)
    for at in range(25):
        await watch.look(NOW + at)
    waiting = ("warning", "still waiting for storage")
    assert said(logged) == [("error", "storage refuses"), waiting, waiting]


async def test_everybody_is_told_once_and_so_is_who_comes_meanwhile() -> None:
    node = FakeNode()
    watch = StorageWatch(node.node)
    ann = await joined(node, "one", "two")
    await watch.look(NOW)
    lost(node)
    for _ in range(2):
        await watch.look(NOW)
    assert [message[4:] for message in ann.received()] == [STORAGE_LOST, STORAGE_LOST]
    bob = node.provider()
    bob.send_to("one", token("bob"))
    await settle()
    assert [message[0] for message in bob.of("one")] == [2, STORAGE_LOST[0]]
    editor = node.editor("one")
    await settle()
    found(node)
    await watch.look(NOW)
    assert [message[4:] for message in ann.received()] == [STORAGE_BACK, STORAGE_BACK]
    assert bob.of("one") == [STORAGE_BACK]
    # y-websocket has no word for it.
    assert editor.received() == []


async def test_a_socket_with_a_document_that_waits_is_closed_when_storage_is_back(logged: list[Any]) -> None:
    node = FakeNode()
    watch = StorageWatch(node.node)
    ann, bob = await joined(node, "warm"), await joined(node, "warm")
    lost(node)
    await watch.look(NOW)
    ann.send_to("cold", token("ann"), sync(0, b"\x00"), token("ann"))
    await settle()
    # What is sent for it meanwhile is dropped: all of it comes again.
    ann.send_to("cold", *[sync(2, bytes(90_000))] * 20)
    assert ann.closed_with() is None
    found(node)
    await watch.look(NOW)
    assert ann.closed_with() == (CloseCode.STORAGE, "storage is back")
    assert bob.closed_with() is None
    # One line says it for all connections.
    assert ("warning", "connection closed") not in said(logged)
    assert node.metrics.closed == {CloseCode.STORAGE: 1}
    assert node.metrics.cold_rooms_refused == 1


@pytest.mark.parametrize("others", [("cold", "ann"), ("denied", "denied")])
async def test_a_socket_on_which_no_document_lives_is_closed_at_once(others: tuple[str, str]) -> None:
    node = FakeNode()
    ann = node.provider()
    lost(node)
    document, who = others
    ann.send_to(document, token(who))
    ann.send_to("room", token("ann"))
    await settle()
    assert ann.closed_with() == (CloseCode.STORAGE, "storage is not available")
    assert not node.node.awaiting_storage


async def test_a_room_that_fails_to_load_while_all_else_is_well_is_tried_again_soon() -> None:
    node = FakeNode()
    watch = StorageWatch(node.node)
    ann = await joined(node, "warm")
    node.log.fault = LogError("Redis: Timeout reading")
    ann.send_to("cold", token("ann"))
    await settle()
    assert ann.closed_with() is None
    await watch.look(NOW)
    assert ann.closed_with() == (CloseCode.STORAGE, "storage is back")
    assert not node.node.awaiting_storage


async def test_a_socket_that_is_gone_waits_for_nothing() -> None:
    node = FakeNode()
    ann = await joined(node, "warm")
    lost(node)
    ann.send_to("cold", token("ann"))
    await settle()
    assert len(node.node.awaiting_storage) == 1
    ann.transport.vanish()
    await settle()
    assert not node.node.awaiting_storage


async def test_while_the_backlog_is_full_only_who_may_not_write_is_let_in(logged: list[Any]) -> None:
    node = FakeNode()
    watch = StorageWatch(node.node)
    ann = await joined(node, "room")
    node.log.full = True
    for _ in range(3):
        await watch.look(NOW)
    assert said(logged) == [("error", "backlog is full, writers are sent away")]
    writer, reader = node.editor(token="bob"), node.editor(token="reader")
    ann.send_to("other", token("ann"))
    await settle()
    assert writer.closed_with() == (CloseCode.STORAGE, "storage is not available")
    assert reader.closed_with() is None
    assert ann.closed_with() is None
    node.log.full = False
    await watch.look(NOW)
    assert ann.closed_with() == (CloseCode.STORAGE, "storage is back")


async def test_while_storage_is_lost_what_fails_for_it_is_not_said_room_by_room(
    logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = FakeNode()

    async def folded(*_: object) -> Snapshot:
        return Snapshot([], b"\x00")

    monkeypatch.setattr(node.folder, "_fold_or_merge", folded)
    async with node.rooms.open("room") as room:
        node.log.fault = LogError("gone")
        node.log.condition = Condition("gone", 1.0)
        await node.folder._fold(room)
        assert said(logged) == []
        node.log.condition = Condition()
        await node.folder._fold(room)
        assert said(logged) == [("error", "fold failed")]
    for name in ("one", "two", "three"):
        node.editor(name)
    await settle()
    assert said(logged) == [("warning", "room can't be loaded")]
    assert node.metrics.cold_rooms_refused == 3
