"""Awareness: who is seen by whom, on joining, changing, leaving and vanishing."""

import pytest

from tests.interop.client import LIBRARIES, YjsClient
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("library", LIBRARIES),
]

ANN = {"user": {"name": "Ann"}}
BOB = {"user": {"name": "Bob"}}


async def meet(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> tuple[YjsClient, YjsClient]:
    """Ann and Bob in one room, each seen by the other."""
    ann = await driver.client(library, server.ws_url, room)
    await ann.set_awareness(**ANN)
    await ann.wait_for(synced=True)
    bob = await driver.client(library, server.ws_url, room)
    await bob.set_awareness(**BOB)
    await ann.wait_for(peer=BOB, peers=1)
    await bob.wait_for(peer=ANN, peers=1)
    return ann, bob


async def test_a_joiner_sees_who_is_there_and_is_seen(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann, bob = await meet(driver, server, room, library)

    assert await bob.peers() == {ann.client_id: ANN}
    assert await ann.peers() == {bob.client_id: BOB}


async def test_a_joiner_who_tells_nothing_of_itself_still_sees_the_others(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann, bob = await meet(driver, server, room, library)

    silent = await driver.client(library, server.ws_url, room, awareness=False)

    await silent.wait_for(peers=2)
    assert await silent.peers() == {ann.client_id: ANN, bob.client_id: BOB}


async def test_a_change_is_seen(driver: YjsDriver, server: ServerProcess, room: str, library: str) -> None:
    ann, bob = await meet(driver, server, room, library)

    for position in range(20):
        await ann.set_awareness(cursor={"anchor": position, "head": position + 3})

    await bob.wait_for(peer={**ANN, "cursor": {"anchor": 19, "head": 22}}, peers=1)


async def test_one_who_clears_its_state_is_gone_and_can_return(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann, bob = await meet(driver, server, room, library)

    await ann.clear_awareness()
    await bob.wait_for(peers=0)
    await ann.set_awareness_state(ANN)

    await bob.wait_for(peer=ANN, peers=1)


async def test_one_who_leaves_is_gone(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann, bob = await meet(driver, server, room, library)

    await ann.destroy()

    await bob.wait_for(peers=0)
    late = await driver.client(library, server.ws_url, room)
    await late.wait_for(peers=1, synced=True)
    assert list(await late.peers()) == [bob.client_id]


async def test_one_whose_socket_dies_is_gone(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    ann, bob = await meet(driver, server, room, library)

    await ann.die()

    # Far below the 30 s after which clients forget a silent peer by themselves.
    await bob.wait_for(peers=0, within=15)
    late = await driver.client(library, server.ws_url, room, awareness=False)
    await late.wait_for(peer={}, peers=1)
    assert list(await late.peers()) == [bob.client_id]
