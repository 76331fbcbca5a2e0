"""Connections that say nothing, half of something, or have no one at the other end."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from resource import RLIMIT_NOFILE, prlimit

import pytest

from roomful.server.close_codes import CloseCode
from tests.hostile.siege import ATTACKED, ELSEWHERE, lay_siege
from tests.raw_client import DIALECTS, NO_CLOSE_FRAME, Y_WEBSOCKET, Dialect, RawClient, upgrade

pytestmark = pytest.mark.asyncio(loop_scope="session")

by_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


@by_dialect
async def test_a_connection_without_anybody_behind_it_is_dropped(tmp_path: Path, dialect: Dialect) -> None:
    options = ("--keepalive-seconds", "1")
    async with lay_siege(tmp_path, options=options) as siege, siege.undisturbed():
        half_open = await RawClient.join(siege.port, dialect, ATTACKED)
        lurking = await RawClient.join(siege.port, dialect, ELSEWHERE)
        async with half_open, lurking:
            half_open.answers_pings = False
            assert await half_open.closed(within=6) == NO_CLOSE_FRAME
            assert lurking.is_open, "whoever answers pings may be silent"
        await siege.logs(CloseCode.NORMAL, 1)


async def test_a_request_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    options = ("--pre-auth-seconds", "1")
    async with lay_siege(tmp_path, options=options) as siege, siege.undisturbed(), AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(await RawClient.connect(siege.port)) for _ in range(200)]
        request = upgrade(f"/sync/{ATTACKED}")
        for at, client in enumerate(slow):
            client.write(request[: at % (len(request) - 1)])
        async with asyncio.timeout(4):
            for client in slow:
                while client.is_open:
                    # A byte now and then gains no time.
                    client.write(b"a")
                    await asyncio.sleep(0.02)


async def test_more_sockets_than_the_process_may_have_are_survived(tmp_path: Path) -> None:
    options = ("--pre-auth-seconds", "1")
    async with lay_siege(tmp_path, options=options) as siege:
        files = 120
        prlimit(siege.server.pid, RLIMIT_NOFILE, (files, files))
        async with siege.undisturbed(), AsyncExitStack() as stack:
            for _ in range(2 * files):
                await stack.enter_async_context(await RawClient.connect(siege.port))
            await siege.more_edits()
        async with await RawClient.join(siege.port, Y_WEBSOCKET, ATTACKED):
            await siege.more_edits()
