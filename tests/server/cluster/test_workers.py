"""Several processes behind one port, on a real Redis: who is served where, and what happens when one is gone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.raw_client import DIALECTS, Dialect, RawClient
from tests.redis_process import shared_redis
from tests.server_process import ServerProcess


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    options = [
        f"--redis={shared_redis().url}", f"--redis-prefix={uuid4().hex}", "--workers=2", "--shutdown-seconds=2",
    ]  # fmt: skip
    async with ServerProcess(tmp_path, options=options) as server:
        yield server


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def tab(stack: AsyncExitStack, server: ServerProcess, dialect: Dialect, user: str) -> RawClient:
    """Open another connection of a user."""
    path = f"{dialect.path('room')}{'?' if dialect.keyed else '&'}user={user}"
    return await stack.enter_async_context(await RawClient.open(server.port, path))


async def connections(server: ServerProcess) -> list[float]:
    """Return how many each worker has."""
    return [await server.metric("roomful_connections", worker=str(number)) for number in range(2)]


async def test_a_users_tabs_meet_in_one_worker_and_users_are_spread(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    for user in range(10):
        before = await connections(server)
        for dialect in DIALECTS * 2:
            await tab(stack, server, dialect, f"ann{user}")
        after = await connections(server)
        assert sorted(now - then for now, then in zip(after, before, strict=True)) == [0, 4]
    assert all(await connections(server))
