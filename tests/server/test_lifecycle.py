"""A server from day to day: figures, idle rooms, slow clients, the worst documents; nothing leaks."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from roomful.crdt.sync import EMPTY_UPDATE
from roomful.crdt.varint import write_varuint
from roomful.server.close_codes import CloseCode
from tests.attacks import NESTED_TYPES
from tests.documents import differences
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient, upgrade
from tests.server_process import ServerProcess, is_gone
from tests.waiting import until, until_equal

OPTIONS = (
    "--idle-room-seconds=0.1", "--fold-entries=10", "--fold-bytes=64KiB", "--inline-check-bytes=4KiB",
    "--outbox-bytes=64KiB", "--worker-seconds=10", "--log-level=debug",
)  # fmt: skip


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(tmp_path, options=OPTIONS) as server:
        yield server


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Hangs up whatever is pushed on it."""
    async with AsyncExitStack() as stack:
        yield stack


async def person(
    stack: AsyncExitStack, server: ServerProcess, dialect: Dialect, room: str, *, buffer: int | None = None
) -> PycrdtClient:
    client = PycrdtClient(dialect, room)
    stack.push_async_callback(client.drop)
    await client.connect(server.port, receive_buffer=buffer)
    await client.synchronised()
    return client


async def figures(server: ServerProcess) -> dict[str, float]:
    """Every figure of the server, summed over its labels, except those of histograms' buckets."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families((await server.get("/metrics")).decode()):
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


async def test_every_figure_an_operator_asks_for_moves_with_what_it_counts(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    before = await figures(server)
    writer = await person(stack, server, HOCUSPOCUS, "room")
    readers = [await person(stack, server, dialect, "room") for dialect in (Y_WEBSOCKET, HOCUSPOCUS)]
    writer.type("hello")
    await writer.answered()
    for reader in readers:
        await until(lambda reader=reader: reader.text == "hello")  # type: ignore[misc]
    slow = await person(stack, server, Y_WEBSOCKET, "wide", buffer=4_096)
    slow.socket.pause()
    wide = await person(stack, server, HOCUSPOCUS, "wide")
    for _ in range(10):
        wide.type(secrets.token_hex(250_000))
    await wide.answered()
    bad = await RawClient.join(server.port, Y_WEBSOCKET, "room")
    async with bad:
        bad.send(Y_WEBSOCKET.update("room", b"\xff\xff"))
        assert await bad.closed() == CloseCode.MALFORMED
    # The loop is looked at four times a second.
    async with asyncio.timeout(5):
        while (after := await figures(server))["roomful_loop_lag_seconds_count"] == before.get(
            "roomful_loop_lag_seconds_count", 0
        ):
            continue

    def grown(name: str) -> float:
        return after["roomful_" + name] - before.get("roomful_" + name, 0)

    assert (grown("connections"), grown("rooms"), grown("joins_total")) == (5, 2, 6)
    # The greeting, and ten large ones; answers to the server's questions are empty.
    assert grown("updates_total") == 11
    # The greeting to two, and the first large one, after which its reader has fallen behind.
    assert grown("deliveries_total") >= 3
    assert grown("update_bytes_total") > 5_000_000
    assert grown("delivered_bytes_total") > 0
    assert grown("document_bytes") > 5_000_000
    assert grown("outbox_bytes") > 0
    assert grown("fell_behind_total") >= 1
    assert grown("refused_messages_total") == 1
    assert await server.metric("roomful_refused_messages_total", reason="truncated") == 1
    assert await server.metric("roomful_closed_connections_total", code="4400") == 1
    for latency in ("append_seconds", "fan_out_seconds"):
        assert grown(latency + "_sum") > 0
    # An idle loop is not late; its clock counts milliseconds.
    for latency in ("append_seconds", "fan_out_seconds", "loop_lag_seconds"):
        assert grown(latency + "_count") > 0
    assert after["process_resident_memory_bytes"] > 0
    assert after["process_open_fds"] > 0


async def test_connections_leave_nothing_behind_however_they_end(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    async def visit(number: int) -> None:
        dialect, room = DIALECTS[number % 2], f"room {number % 7}"
        ending = number % 5
        if ending == 0:
            # Gone before the server has answered, perhaps while the room is loaded.
            socket = await RawClient.open(server.port, dialect.path(room))
            socket.send(*dialect.login(room), dialect.step_1(room))
            socket.abort()
            return
        async with await RawClient.join(server.port, dialect, room) as socket:
            socket.send(dialect.update(room, EMPTY_UPDATE))
            if ending == 1:
                socket.send(b"\xff" * 20)
                await socket.closed()
            elif ending == 2:
                socket.write(b"\x88\x80\x00\x00\x00\x00")
                await socket.closed()
            elif ending == 3:
                socket.pause()

    async def settled() -> tuple[float, float]:
        return await server.metric("roomful_connections"), await server.metric("roomful_rooms")

    process = psutil.Process(server.pid)
    for number in range(20):
        await visit(number)
    await until_equal(settled, (0, 0))
    files = process.num_fds()
    threads = process.num_threads()
    for _ in range(6):
        await asyncio.gather(*(visit(number) for number in range(50)))
    await until_equal(settled, (0, 0))
    await until(lambda: process.num_fds() <= files, "the closing of all sockets")
    assert process.num_threads() == threads
    assert not [entry for entry in server.logs if entry["level"] == "error"]


async def test_an_idle_room_is_let_go_and_loads_again_as_it_was(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    writer = await person(stack, server, HOCUSPOCUS, "room")
    for word in range(25):
        writer.type(f"{word} ")
        await writer.answered()
    text = writer.text
    for _ in range(3):
        await writer.drop()
        await until_equal(lambda: server.metric("roomful_rooms"), 0)
        reader = await person(stack, server, Y_WEBSOCKET, "room")
        assert reader.text == text
        await reader.drop()
        await until_equal(lambda: server.metric("roomful_rooms"), 0)
        await writer.connect(server.port)
        await writer.synchronised()
        writer.type("more ")
        await writer.answered()
        text = writer.text


async def test_a_client_that_stood_still_is_given_the_rest_though_it_was_folded_meanwhile(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    still = [await person(stack, server, dialect, "room", buffer=4_096) for dialect in DIALECTS]
    writer = await person(stack, server, HOCUSPOCUS, "room")
    for client in still:
        client.socket.pause()
    for _ in range(12):
        writer.type(secrets.token_hex(250_000))
    await writer.answered()
    assert await server.metric("roomful_fell_behind_total") >= 2
    for word in range(30):
        writer.type(f"{word} ")
        await writer.answered()
    assert await server.metric("roomful_folds_total") > 0
    for client in still:
        client.socket.resume()
    for client in still:
        await until(lambda client=client: client.holds_all_of(writer))  # type: ignore[misc]
        assert client.connected
        assert not differences(client.replica.document(), writer.replica.document())


async def test_a_room_whose_document_kills_its_worker_is_quarantined_and_served_as_before(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    poisoner = await stack.enter_async_context(await RawClient.join(server.port, Y_WEBSOCKET, "poisoned"))
    poisoner.send(Y_WEBSOCKET.update("poisoned", NESTED_TYPES))
    innocent = await person(stack, server, HOCUSPOCUS, "innocent")
    await server.wait_for_log("room quarantined", room="poisoned", reason="crash")
    assert await server.metric("roomful_quarantined_rooms") == 1
    assert await server.metric("roomful_worker_failures_total", reason="crash") == 1
    await server.wait_for_log("folded", room="poisoned")

    async def write_and_read(dialect: Dialect, words: str) -> None:
        """As bytes: this process would die of the document as well."""
        client = PycrdtClient(Y_WEBSOCKET, "unconnected")
        client.type(words)
        update = client.replica.merged
        async with (
            await RawClient.join(server.port, dialect, "poisoned") as reader,
            await RawClient.join(server.port, HOCUSPOCUS, "poisoned") as writer,
        ):
            writer.send(HOCUSPOCUS.update("poisoned", update))
            await reader.wait_for(lambda message: words.encode() in message)
            await writer.wait_for(lambda message: message == HOCUSPOCUS.key("poisoned") + b"\x08\x01")
        async with await RawClient.join(server.port, dialect, "poisoned") as late:
            assert any(words.encode() in message for message in late.messages)

    since = len(server.logs)
    for at, dialect in enumerate(DIALECTS * 6):
        await write_and_read(dialect, f"words {at}")
        innocent.type(f"words {at}")
    await innocent.answered()
    # Folded again, by merging, without another worker's death.
    await server.wait_for_log("folded", room="poisoned", since=since)
    assert await server.metric("roomful_worker_failures_total") == 1

    await server.kill()
    await server.restart()
    await write_and_read(Y_WEBSOCKET, "after")
    back = await person(stack, server, Y_WEBSOCKET, "innocent")
    assert back.text == innocent.text


async def test_a_server_that_is_killed_while_a_worker_is_busy_leaves_no_process_behind(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    structs = 4_000_000
    long_job = b"\x01" + write_varuint(structs) + b"\x01\x00" + b"\x00\x01" * structs + b"\x00"
    workers = psutil.Process(server.pid).children()
    assert len(workers) == 2
    client = await stack.enter_async_context(await RawClient.join(server.port, Y_WEBSOCKET, "room"))
    before = sum(worker.cpu_times().user for worker in workers)
    client.send(Y_WEBSOCKET.update("room", long_job))
    await until(lambda: sum(worker.cpu_times().user for worker in workers) > before + 0.1)
    # Which fails when what the server has started outlives it.
    await server.kill()
    await until(lambda: all(map(is_gone, workers)))


async def test_clients_that_left_before_they_were_answered_are_no_error(server: ServerProcess) -> None:
    server.pause()
    for dialect in DIALECTS:
        async with await RawClient.connect(server.port) as client:
            client.write(upgrade(dialect.path("room")))
    server.resume()
    async with await RawClient.join(server.port, DIALECTS[0], "room"):
        pass
    assert [entry for entry in server.logs if entry["level"] == "error"] == []
