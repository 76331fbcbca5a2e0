"""Reading only: such a client changes nothing for anybody, and takes part otherwise."""

import pytest

from tests.interop.client import HOCUSPOCUS, LIBRARIES
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

every_library = pytest.mark.parametrize("library", LIBRARIES)


@every_library
async def test_edits_of_a_reader_reach_nobody_and_it_goes_on_receiving(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    writer = await driver.client(library, server.ws_url, room)
    reader = await driver.client(library, server.ws_url, room, token="readonly")
    await writer.append("written ")
    await reader.wait_for(text="written ", synced=True)

    await reader.append("INTRUDED ")
    # Sent after the edit on the same socket: once this has come, so would the edit have.
    await reader.set_awareness(done="editing")
    await writer.wait_for(peer={"done": "editing"})
    await writer.append("more ")

    await reader.wait_for(contains="more ")
    late = await driver.client(library, server.ws_url, room)
    await driver.converge(writer, late)
    assert await late.text() == "written more "


@every_library
async def test_edits_a_reader_made_offline_reach_nobody(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    writer = await driver.client(library, server.ws_url, room)
    reader = await driver.client(library, server.ws_url, room, token="readonly")
    await writer.append("written ")
    await reader.wait_for(text="written ", synced=True)

    await reader.disconnect()
    await reader.append("INTRUDED ")
    await reader.delete(0, 3)
    await reader.connect()
    await reader.wait_for(connected=True, opens=2)
    await writer.append("more ")

    await reader.wait_for(contains="more ")
    late = await driver.client(library, server.ws_url, room)
    await driver.converge(writer, late)
    assert await late.text() == "written more "


@every_library
async def test_a_reader_is_seen_and_sees(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    writer = await driver.client(library, server.ws_url, room)
    reader = await driver.client(library, server.ws_url, room, token="readonly")
    await writer.set_awareness(name="writer")
    await reader.set_awareness(name="reader")

    await reader.wait_for(peer={"name": "writer"}, peers=1)
    await writer.wait_for(peer={"name": "reader"}, peers=1)

    await reader.destroy()
    await writer.wait_for(peers=0)


@pytest.mark.parametrize("library", HOCUSPOCUS)
async def test_a_reader_is_told_so_and_its_edits_stay_unacknowledged(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    reader = await driver.client(library, server.ws_url, room, token="readonly")
    await reader.wait_for(scope="readonly", synced=True, unsynced=0)

    await reader.append("INTRUDED ")
    await reader.set_awareness(done="editing")
    writer = await driver.client(library, server.ws_url, room)

    await writer.wait_for(peer={"done": "editing"}, scope="read-write")
    assert (await reader.status())["unsynced"] == 1
