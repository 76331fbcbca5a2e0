"""Staying: a client to whom nothing happens keeps its one socket."""

import asyncio

import pytest

from tests.interop.client import LIBRARIES, YjsClient
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Every client hangs up after 30 s without a data frame and looks every 3 s: three chances to fail.
IDLE_SECONDS = 90.0


@pytest.mark.slow
async def test_a_lone_idle_client_keeps_its_socket(
    driver: YjsDriver, server: ServerProcess, room: str
) -> None:
    idle: dict[str, YjsClient] = {}
    for library in LIBRARIES:
        for awareness in (True, False):
            for token in ("somebody", "readonly"):
                name = f"{library}, {'seen' if awareness else 'silent'}, {token}"
                idle[name] = await driver.client(
                    library, server.ws_url, f"{room}-{name}", token=token, awareness=awareness
                )
    for client in idle.values():
        await client.wait_for(connected=True, synced=True)

    await asyncio.sleep(IDLE_SECONDS)

    histories = {name: await client.status() for name, client in idle.items()}
    left = {name: status["closes"] for name, status in histories.items() if status["closes"]}
    assert left == {}
    assert all(status["connected"] and status["opens"] == 1 for status in histories.values())
