"""Coming back: after a pause of the client, after a restart and after a crash of the server."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop.client import HOCUSPOCUS, LIBRARIES, Y_WEBSOCKET
from tests.interop.conftest import GRACE_SECONDS
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

RENEWING = ("hocuspocus@4.8.0",)
"""Clients that raise their clock in silence when they hear that they are gone, and announce themselves anew
after 15 s, or 3 s later."""
ANSWERING = [library for library in LIBRARIES if library not in RENEWING]
RENEWAL_SECONDS = 20.0

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_one_who_reconnects_is_seen_again_and_sees_the_others(
    driver: YjsDriver, server: ServerProcess, room: str
) -> None:
    await leave_and_return(driver, server, room, ANSWERING, within=10)


@pytest.mark.slow
async def test_one_who_reconnects_is_seen_again_by_clients_that_only_renew(
    driver: YjsDriver, server: ServerProcess, room: str
) -> None:
    await leave_and_return(driver, server, room, RENEWING, within=RENEWAL_SECONDS)


async def leave_and_return(
    driver: YjsDriver, server: ServerProcess, room: str, libraries: Sequence[str], within: float
) -> None:
    async def one(library: str) -> None:
        ann = await driver.client(library, server.ws_url, f"{room}-{library}")
        bob = await driver.client(library, server.ws_url, f"{room}-{library}")
        await ann.set_awareness(name="ann")
        await bob.set_awareness(name="bob")
        await bob.wait_for(peer={"name": "ann"})

        await ann.disconnect()
        await bob.wait_for(peers=0)
        await ann.connect()

        await ann.wait_for(peer={"name": "bob"}, peers=1, within=within)
        await bob.wait_for(peer={"name": "ann"}, peers=1, within=within)

    await asyncio.gather(*map(one, libraries))


async def test_one_who_loses_the_connection_comes_back_unnoticed(
    driver: YjsDriver, server: ServerProcess, room: str
) -> None:
    async def lose_and_return(library: str) -> None:
        ann = await driver.client(library, server.ws_url, f"{room}-{library}")
        bob = await driver.client(LIBRARIES[0], server.ws_url, f"{room}-{library}")
        await ann.set_awareness(name="ann")
        await bob.set_awareness(name="bob")
        await bob.wait_for(peer={"name": "ann"})
        await ann.wait_for(peer={"name": "bob"})

        await ann.drop()
        await ann.wait_for(opens=2, within=GRACE_SECONDS)
        await ann.wait_for(peer={"name": "bob"}, peers=1)
        # Whoever had not come back would be gone by then.
        await asyncio.sleep(GRACE_SECONDS + 0.5)
        assert (await bob.peers()).keys() == {ann.client_id}, library
        assert (await bob.status())["vanished"] == [], library
        await ann.set_awareness(name="ann, back")
        await bob.wait_for(peer={"name": "ann, back"}, peers=1)

    await asyncio.gather(*map(lose_and_return, LIBRARIES))


async def test_everybody_returns_after_a_restart_and_finds_the_document(
    driver: YjsDriver, tmp_path: Path, room: str
) -> None:
    async with ServerProcess(tmp_path / "data") as server:
        people = [await driver.client(library, server.ws_url, room) for library in LIBRARIES]
        for person in people:
            await person.append(f"{person.library} ")
        await driver.converge(*people)

        assert await server.stop() == 0
        for person in people:
            await person.wait_for(connected=False)
            await person.append("meanwhile ")
        await server.restart()

        await asyncio.gather(*(person.wait_for(synced=True, within=20) for person in people))
        late = await driver.client(LIBRARIES[-1], server.ws_url, room)
        await driver.converge(*people, late)
        words = (await late.text()).split()
        assert sorted(words) == sorted([*LIBRARIES, *["meanwhile"] * len(LIBRARIES)])


@pytest.mark.parametrize("library", HOCUSPOCUS)
async def test_what_was_acknowledged_survives_a_crash_with_nobody_left(
    driver: YjsDriver, tmp_path: Path, room: str, library: str
) -> None:
    async with ServerProcess(tmp_path / "data") as server:
        ann = await driver.client(library, server.ws_url, room)
        await ann.wait_for(synced=True, unsynced=0)
        await ann.edit(*[("append", f"{number} ") for number in range(100)])
        await ann.delete(0, 2)
        await ann.wait_for(unsynced=0)

        await server.kill()
        await ann.destroy()
        await server.restart()

        late = await driver.client(library, server.ws_url, room)
        await late.wait_for(synced=True)
        assert (await late.text()).split() == [str(number) for number in range(1, 100)]


@pytest.mark.parametrize("library", Y_WEBSOCKET)
async def test_what_others_had_received_survives_a_crash_if_its_author_is_gone(
    driver: YjsDriver, tmp_path: Path, room: str, library: str
) -> None:
    async with ServerProcess(tmp_path / "data") as server:
        ann = await driver.client(library, server.ws_url, room)
        bob = await driver.client(library, server.ws_url, room)
        await bob.wait_for(synced=True)
        await ann.edit(*[("append", f"{number} ") for number in range(100)])
        await bob.wait_for(contains="99 ")

        await server.kill()
        await ann.destroy()
        await server.restart()

        late = await driver.client(library, server.ws_url, room)
        await late.wait_for(text="".join(f"{number} " for number in range(100)), within=20)
        await driver.converge(bob, late)
