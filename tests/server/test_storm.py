"""Many clients at once, with a real server that lets few of them into its hands at a time."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from roomful.server.drain import reconnect_window
from roomful.server.handshakes import PATIENCE_SECONDS
from tests.raw_client import DIALECTS, NO_CLOSE_FRAME, Y_WEBSOCKET, RawClient, upgrade
from tests.server_process import ServerProcess
from tests.waiting import until

AUTHORIZER = "tests.server.logins:patient"


@pytest.fixture
async def stack() -> AsyncExitStack:
    async with AsyncExitStack() as stack:
        yield stack


async def test_a_storm_of_clients_is_served_whole_a_few_at_a_time(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    async with ServerProcess(tmp_path, options=["--max-handshakes=5"]) as server:
        clients = [
            await stack.enter_async_context(client)
            for client in await asyncio.gather(
                *(
                    RawClient.join(server.port, DIALECTS[number % 2], f"room {number % 3}")
                    for number in range(200)
                )
            )
        ]
        assert all(client.is_open for client in clients)
        assert await server.metric("roomful_handshakes") <= 1
        assert await server.metric("roomful_accepted_connections_total") >= len(clients)


async def test_those_beyond_the_bound_wait_in_the_kernel_until_a_login_is_judged(
    tmp_path: Path, stack: AsyncExitStack
) -> None: ...
