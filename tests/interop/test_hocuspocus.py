"""What only Hocuspocus providers do."""

from pathlib import Path

import pytest

from tests.interop.client import HOCUSPOCUS
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

every_provider = pytest.mark.parametrize("library", HOCUSPOCUS)
SINCE_3 = HOCUSPOCUS[1:]
LATEST = HOCUSPOCUS[-1]


@every_provider
async def test_many_documents_share_one_socket(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    here = await driver.socket(library, server.ws_url)
    there = await driver.socket(library, server.ws_url)
    names = [f"{room}/{number}" for number in range(30)]
    mine = [await driver.client(library, server.ws_url, name, socket=here) for name in names]
    theirs = [await driver.client(library, server.ws_url, name, socket=there) for name in names]

    for name, client in zip(names, mine, strict=True):
        await client.append(name)
        await client.set_awareness(room=name)

    for name, client in zip(names, theirs, strict=True):
        await client.wait_for(text=name, peer={"room": name}, peers=1)
    assert await here.opens() == 1
    assert await there.opens() == 1


async def test_one_document_stands_twice_on_one_socket(
    driver: YjsDriver, server: ServerProcess, room: str
) -> None:
    socket = await driver.socket(LATEST, server.ws_url)
    twice = {"sessionAwareness": True}
    left = await driver.client(LATEST, server.ws_url, room, socket=socket, options=twice)
    right = await driver.client(LATEST, server.ws_url, room, socket=socket, options=twice)
    other = await driver.client(LATEST, server.ws_url, room)

    await left.append("from the left ")
    await right.wait_for(text="from the left ")
    await right.append("from the right ")
    await left.set_awareness(side="left")
    await right.set_awareness(side="right")

    await driver.converge(left, right, other)
    await left.wait_for(peer={"side": "right"}, unsynced=0)
    await right.wait_for(peer={"side": "left"}, unsynced=0)
    await other.wait_for(peers=2)
    assert await socket.opens() == 1

    await left.destroy()
    await other.wait_for(no_peer={"side": "left"}, peers=1)
    await right.append("still here")
    await other.wait_for(contains="still here")


@every_provider
async def test_every_update_is_acknowledged_once(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    # 2.x counts below zero where one acknowledgement comes too often; later ones stop at zero.
    client = await driver.client(library, server.ws_url, room)
    await client.wait_for(synced=True, unsynced=0)

    await client.edit(*[("append", "x") for _ in range(200)])
    await client.wait_for(unsynced=0)
    await client.edit(*[("append", "y") for _ in range(50)], transaction=True)

    await client.wait_for(unsynced=0)
    late = await driver.client(library, server.ws_url, room)
    await driver.converge(client, late)
    assert (await client.status())["unsynced"] == 0


async def test_updates_that_the_provider_batches_are_acknowledged(
    driver: YjsDriver, server: ServerProcess, room: str
) -> None:
    client = await driver.client(LATEST, server.ws_url, room, options={"flushDelay": 20})
    other = await driver.client(LATEST, server.ws_url, room)
    await client.wait_for(synced=True, unsynced=0)

    await client.edit(*[("append", "x") for _ in range(100)])
    await client.set_awareness(typing=True)

    await client.wait_for(unsynced=0)
    await other.wait_for(length=100, peer={"typing": True})


@every_provider
async def test_sync_can_be_forced_at_any_time(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    client = await driver.client(library, server.ws_url, room)
    # Provider 2 miscounts what is written before it is synced.
    await client.wait_for(synced=True, unsynced=0)
    await client.append("text")
    await client.wait_for(unsynced=0)

    for _ in range(3):
        assert await client.force_sync() == 1
        await client.wait_for(unsynced=0)


@every_provider
async def test_a_stateless_message_reaches_all_others_of_its_room(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann = await driver.client(library, server.ws_url, room)
    others = [await driver.client(each, server.ws_url, room) for each in HOCUSPOCUS]
    editor = await driver.client("y-websocket@3.1.0", server.ws_url, room)
    elsewhere = await driver.client(library, server.ws_url, f"{room}-elsewhere")
    for client in (ann, *others, editor, elsewhere):
        await client.wait_for(synced=True)

    await ann.send_stateless('{"hand": "raised", "who": "Änn 🙋"}')
    await ann.send_stateless("second")

    for other in others:
        await other.wait_for(stateless="second")
        assert await other.stateless() == ['{"hand": "raised", "who": "Änn 🙋"}', "second"]
    await others[0].send_stateless("answer")
    await ann.wait_for(stateless="answer")
    assert await ann.stateless() == ["answer"]
    assert await elsewhere.stateless() == []
    # y-websocket complains about every frame of a type it does not know.
    assert not [line for line in driver.printed if "Unable to compute message" in line]


@pytest.mark.parametrize("library", SINCE_3)
async def test_detaching_one_document_leaves_the_others_on_the_socket(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    socket = await driver.socket(library, server.ws_url)
    leaving = await driver.client(library, server.ws_url, room, socket=socket)
    staying = await driver.client(library, server.ws_url, f"{room}-2", socket=socket)
    witness = await driver.client(library, server.ws_url, room)
    await leaving.set_awareness(name="leaving")
    await witness.wait_for(peers=1)
    await staying.wait_for(synced=True)

    await leaving.detach()
    await witness.wait_for(peers=0)
    await witness.append("unseen")
    await witness.wait_for(unsynced=0)
    await staying.append("still here")
    await staying.wait_for(unsynced=0)
    assert await leaving.text() == ""

    await leaving.attach()
    await leaving.wait_for(text="unseen")
    assert await socket.opens() == 1


@every_provider
async def test_destroying_one_document_leaves_the_others_on_the_socket(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    # 2.x sends its goodbye in awareness after the document's CLOSE.
    socket = await driver.socket(library, server.ws_url)
    leaving = await driver.client(library, server.ws_url, room, socket=socket)
    staying = await driver.client(library, server.ws_url, f"{room}-2", socket=socket)
    witness = await driver.client(library, server.ws_url, room)
    await leaving.set_awareness(name="leaving")
    await witness.wait_for(peers=1)
    await staying.wait_for(synced=True)

    await leaving.destroy()

    await witness.wait_for(peers=0)
    await staying.append("still here")
    await staying.wait_for(unsynced=0)
    assert await socket.opens() == 1


async def test_a_provider_without_a_token_is_let_in_where_that_is_allowed(
    driver: YjsDriver, server: ServerProcess, tmp_path: Path, room: str
) -> None:
    for library in SINCE_3:
        client = await driver.client(library, server.ws_url, room, token=None)
        await client.wait_for(synced=True, scope="read-write")
    # 2.x without a token sends no login at all; a server that asks everybody cannot tell it from a slow one.
    async with ServerProcess(tmp_path / "data") as open_server:
        client = await driver.client(HOCUSPOCUS[0], open_server.ws_url, room, token=None)
        await client.wait_for(synced=True)
