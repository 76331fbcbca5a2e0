"""Real clients at different servers on one Redis see each other, and nobody who is gone."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.interop.client import HOCUSPOCUS, LIBRARIES
from tests.interop.driver import YjsDriver
from tests.redis_process import shared_redis
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

GRACE_SECONDS = 2
LEASE_SECONDS = 6 + 2
"""Until a server that is dead is known to be so: its lease, and the pause between two looks."""


@pytest.mark.slow
async def test_clients_at_two_servers_see_each_other_until_one_server_dies(
    driver: YjsDriver, tmp_path: Path, room: str
) -> None:
    options = [f"--redis={shared_redis().url}", f"--redis-prefix={room}", f"--grace-seconds={GRACE_SECONDS}"]
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(ServerProcess(tmp_path / name, options=options))
            for name in ("one", "other")
        ]
        here = [await driver.client(library, one.ws_url, room) for library in LIBRARIES]
        there = [await driver.client(library, other.ws_url, room) for library in LIBRARIES]
        for client in (*here, *there):
            await client.set_awareness(name=client.name)
        for client in (*here, *there):
            await client.wait_for(peers=2 * len(LIBRARIES) - 1)
        await here[0].set_awareness(cursor={"anchor": 5})
        await asyncio.gather(*(client.wait_for(peer={"cursor": {"anchor": 5}}) for client in there))

        speaker = next(client for client in here if client.library in HOCUSPOCUS)
        await speaker.send_stateless("hello")
        listeners = [client for client in there if client.library in HOCUSPOCUS]
        await asyncio.gather(*(client.wait_for(stateless="hello") for client in listeners))

        await here[1].destroy()
        await asyncio.gather(*(client.wait_for(peers=2 * len(LIBRARIES) - 2, within=3) for client in there))

        await one.kill()
        within = LEASE_SECONDS + GRACE_SECONDS + 2
        await asyncio.gather(*(client.wait_for(peers=len(LIBRARIES) - 1, within=within) for client in there))
        names = {client.client_id for client in there}
        for client in there:
            assert (await client.peers()).keys() == names - {client.client_id}
            gone = (await client.status())["vanished"]
            assert len(gone) == len(set(gone)) == len(here), "each of them once"
