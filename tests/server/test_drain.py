"""The end of a server that was asked to stop: what its clients hear, how long it takes, what stays."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from roomful.server.close_codes import CloseCode
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient
from tests.server_process import ServerProcess
from tests.speech import PROTOCOLS
from tests.waiting import until

SHUTDOWN_SECONDS = 3.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(tmp_path, options=[f"--shutdown-seconds={SHUTDOWN_SECONDS:g}"]) as server:
        yield server


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Hangs up whatever is pushed on it."""
    async with AsyncExitStack() as stack:
        yield stack


async def person(stack: AsyncExitStack, server: ServerProcess, dialect: Dialect, room: str) -> PycrdtClient:
    client = PycrdtClient(dialect, room)
    await client.connect(server.port)
    stack.push_async_callback(client.drop)
    await client.synchronised()
    return client


async def ended(server: ServerProcess, code: int, within: float) -> None:
    """Wait for the end of a server that was told to stop."""
    async with asyncio.timeout(within):
        assert await server._ended(server._running()) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_drain_turns_newcomers_away_sends_everybody_off_and_keeps_what_was_accepted(
    server: ServerProcess, stack: AsyncExitStack, number: signal.Signals
) -> None:
    people = [await person(stack, server, dialect, "room") for dialect in PROTOCOLS * 7]
    closed: list[float] = []
    for each in people:
        each.socket.on_control = lambda opcode, _: closed.append(time.monotonic()) if opcode == 8 else None
    for at, each in enumerate(people):
        each.type(f"<{at}>")
    await until(lambda: people[0].text.count("<") == len(people))

    async with aiohttp.ClientSession() as http:
        async with http.get(server.http_url + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ready\n")
        started = time.monotonic()
        os.kill(server.pid, number)
        await server.wait_for_log("draining", connections=len(people), seconds=SHUTDOWN_SECONDS)
        # Over the connection that is still open; there will be no other.
        async with http.get(server.http_url + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "draining\n")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)

    for each in people:
        assert await each.socket.closed() == CloseCode.RESTART
        assert each.socket.close_reason == "the server is restarting; reconnect=0-500"
    await ended(server, 0, SHUTDOWN_SECONDS)
    assert time.monotonic() - started < SHUTDOWN_SECONDS
    # Not all at once, or they would all come back at once.
    assert max(closed) - min(closed) > 0.1 * SHUTDOWN_SECONDS

    await server.restart()
    late = await person(stack, server, Y_WEBSOCKET, "room")
    assert sorted(late.text.split(">")) == sorted(people[0].text.split(">"))
    assert late.text.count("<") == len(people)


async def test_what_arrives_during_the_drain_is_kept_if_it_is_acknowledged(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    people = [await person(stack, server, HOCUSPOCUS, f"room {at}") for at in range(10)]

    async def type_on(client: PycrdtClient) -> None:
        while client.connected:
            client.type("x")
            await asyncio.sleep(0.003)

    typing = [asyncio.create_task(type_on(client)) for client in people]
    await until(lambda: all(client.acknowledged for client in people))
    assert await server.stop() == 0
    await asyncio.gather(*typing)
    await server.restart()
    for at, client in enumerate(people):
        witness = await person(stack, server, HOCUSPOCUS, f"room {at}")
        assert client.acknowledged
        assert all(witness.replica.covers(update) for update in client.acknowledged)


async def test_a_second_signal_ends_the_drain_at_once(server: ServerProcess, stack: AsyncExitStack) -> None:
    # It does not answer the close, which the drain would wait for.
    stuck = await stack.enter_async_context(await RawClient.join(server.port, Y_WEBSOCKET, "room"))
    stuck.pause()
    writer = await person(stack, server, HOCUSPOCUS, "room")
    writer.type("kept")
    await writer.answered()
    os.kill(server.pid, signal.SIGTERM)
    await server.wait_for_log("draining")
    os.kill(server.pid, signal.SIGTERM)
    await ended(server, 1, 2.0)
    assert any(entry["event"] == "stopped" and entry["forced"] for entry in server.logs)
    await server.restart()
    assert (await person(stack, server, Y_WEBSOCKET, "room")).text == "kept"


async def test_a_client_that_takes_nothing_holds_the_drain_up_no_longer_than_its_deadline(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    async with ServerProcess(tmp_path, options=["--shutdown-seconds=1"]) as server:
        for dialect in DIALECTS:
            socket = await RawClient.join(server.port, dialect, "room", receive_buffer=4_096)
            (await stack.enter_async_context(socket)).pause()
        writer = await person(stack, server, HOCUSPOCUS, "room")
        for _ in range(10):
            writer.type("x" * 500_000)
        await writer.answered()
        assert await server.metric("roomful_outbox_bytes") > 100_000
        started = time.monotonic()
        assert await server.stop() == 0
        # Its second for the drain, and one to let go of workers and folder.
        assert time.monotonic() - started < 2.5
        await server.restart()
        late = await person(stack, server, Y_WEBSOCKET, "room")
        assert len(late.text) == 5_000_000


async def test_a_signal_right_after_the_start_is_heard(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server:
        assert await server.stop() == 0
        await server.restart()
        assert await server.stop() == 0
        assert not [entry for entry in server.logs if entry["level"] in ("warning", "error")]
