"""A real editing session: two people type 26 000 edits, often at the same time, through the server."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop.client import LIBRARIES, YjsClient
from tests.interop.driver import Trace, YjsDriver
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRACE = Path(__file__).parent.parent / "traces" / "friendsforever.json.gz"
SHORT = 1500
PART, WHOLE = 8000, None
REPLAY_SECONDS = 60.0

WEBSOCKET, HOCUSPOCUS = "y-websocket@3.1.0", "hocuspocus@4.8.0"
OLDER = [library for library in LIBRARIES if library not in (WEBSOCKET, HOCUSPOCUS)]


async def join(
    driver: YjsDriver, server: ServerProcess, room: str, libraries: Sequence[str]
) -> list[YjsClient]:
    clients = [await driver.client(library, server.ws_url, room) for library in libraries]
    for client in clients:
        await client.wait_for(synced=True)
    return clients


async def assert_all_hold(driver: YjsDriver, clients: Sequence[YjsClient], trace: Trace) -> None:
    await driver.converge(*clients, within=20)
    for client in clients:
        assert await client.text() == trace.content


@pytest.mark.slow
@pytest.mark.parametrize(
    ("authors", "first"),
    [((WEBSOCKET, WEBSOCKET), PART), ((HOCUSPOCUS, HOCUSPOCUS), PART), ((WEBSOCKET, HOCUSPOCUS), WHOLE)],
    ids=["y-websocket", "hocuspocus", "mixed"],
)
async def test_the_session_ends_with_its_text_everywhere_though_the_server_is_killed_in_the_middle(
    driver: YjsDriver, tmp_path: Path, room: str, authors: tuple[str, str], first: int | None
) -> None:
    trace = await driver.load_trace(TRACE, first=first)
    half = trace.transactions // 2
    async with ServerProcess(tmp_path / "data") as server:
        writers = await join(driver, server, room, authors)
        readers = await join(driver, server, room, (WEBSOCKET, HOCUSPOCUS))

        await trace.replay(writers, 0, half, within=REPLAY_SECONDS)
        await server.kill()
        rest = asyncio.create_task(trace.replay(writers, half, trace.transactions, within=REPLAY_SECONDS))
        await server.restart()
        await rest

        late = await join(driver, server, room, (WEBSOCKET, HOCUSPOCUS))
        await assert_all_hold(driver, [*writers, *readers, *late], trace)

        # Nobody who could send it again is left: this copy is the server's own.
        for client in (*writers, *readers, *late):
            await client.destroy()
        assert await server.stop() == 0
        await server.restart()
        await assert_all_hold(driver, await join(driver, server, room, (HOCUSPOCUS,)), trace)


@pytest.mark.parametrize("library", OLDER)
async def test_the_beginning_of_the_session_ends_with_its_text_with_older_clients(
    driver: YjsDriver, server: ServerProcess, room: str, library: str
) -> None:
    trace = await driver.load_trace(TRACE, first=SHORT)
    writers = await join(driver, server, room, (library, library))

    await trace.replay(writers, 0, SHORT, within=REPLAY_SECONDS)

    await assert_all_hold(driver, [*writers, *await join(driver, server, room, (library,))], trace)
