"""Staying: a client to whom nothing happens keeps its one socket."""

import asyncio
import time

import pytest

from tests.interop.conftest import Idlers

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Every client hangs up after 30 s without a data frame and looks every 3 s: three chances to fail.
IDLE_SECONDS = 90.0


@pytest.mark.slow
@pytest.mark.meanwhile("idlers")
async def test_a_lone_idle_client_keeps_its_socket(idlers: Idlers) -> None:
    await asyncio.sleep(idlers.since + IDLE_SECONDS - time.monotonic())

    histories = {name: await client.status() for name, client in idlers.clients.items()}
    left = {name: status["closes"] for name, status in histories.items() if status["closes"]}
    assert left == {}
    assert all(status["connected"] and status["opens"] == 1 for status in histories.values())
