"""Messages made to cost the most: as large as may be, or small and asking for much. Nobody else waits."""

from pathlib import Path

import pytest

from roomful.crdt.accept import MOST_RUNS
from roomful.crdt.sync import EMPTY_UPDATE
from roomful.server.close_codes import CloseCode
from tests.attacks import item, update
from tests.hostile.heavy import HEAVY_UPDATES, many_clients, many_clocks, many_structs
from tests.hostile.siege import ATTACKED, MIB, Siege, lay_siege
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGEST = 8 * MIB - 200
"""What fits into a message, under any key."""

SAVED = b"\x08\x01"

by_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


async def test_the_heaviest_updates_are_handled_aside(tmp_path: Path) -> None:
    refused = []
    async with lay_siege(tmp_path, options=("--max-document-bytes", "256MiB")) as siege:
        for name, make in HEAVY_UPDATES.items():
            heavy = make(4 * MIB)
            print(name)
            async with siege.undisturbed(growth=160 * MIB):
                if not await takes(siege, heavy):
                    refused.append(name)
    assert refused == ["many clients", "many holes"]


async def takes(siege: Siege, heavy: bytes) -> bool:
    """Whether the server takes an update from a client that repeats it and then asks for what it lacks."""
    async with await RawClient.join(siege.port, HOCUSPOCUS, ATTACKED) as client:
        saved = HOCUSPOCUS.key(ATTACKED) + SAVED
        # What is known already must be found out as well.
        client.send(HOCUSPOCUS.update(ATTACKED, heavy), HOCUSPOCUS.step_2(ATTACKED, heavy))
        client.send(HOCUSPOCUS.step_1(ATTACKED, b"\x01\x01\x05"))
        await client.until(lambda: client.messages.count(saved) == 2 or not client.is_open, within=60)
        assert client.close_code in (None, CloseCode.MALFORMED)
        return client.close_code is None


@by_dialect
async def test_a_state_vector_of_a_million_clients_is_refused(siege: Siege, dialect: Dialect) -> None:
    async with await RawClient.join(siege.port, dialect, ATTACKED) as client:
        client.send(dialect.step_1(ATTACKED, many_clocks(LARGEST)))
        await siege.closes_with(client, CloseCode.MALFORMED)


async def test_a_document_of_as_many_clients_as_there_may_be_can_be_asked_for_over_and_over(
    fortress: Siege, room: str
) -> None:
    runs = many_clients(8 * (MOST_RUNS - 10))
    async with fortress.undisturbed(growth=96 * MIB):
        async with await RawClient.join(fortress.port, HOCUSPOCUS, room) as writer:
            writer.send(HOCUSPOCUS.update(room, runs))
            await writer.wait_for(lambda message: message == HOCUSPOCUS.key(room) + SAVED)
        async with await RawClient.join(fortress.port, Y_WEBSOCKET, room) as client:
            synced = [message[:2] for message in client.messages].count(b"\x00\x01")
            for clock in range(50):
                struct = item(4, b"\x01a") if clock == 0 else b"\x84\x01" + bytes((clock - 1, 1)) + b"a"
                client.send(
                    Y_WEBSOCKET.update(room, update(struct, client=1, clock=clock)), Y_WEBSOCKET.step_1(room)
                )
            await client.until(
                lambda: [message[:2] for message in client.messages].count(b"\x00\x01") > synced, within=30
            )


async def test_a_document_that_is_full_of_clients_takes_no_more_and_stays_readable(
    siege: Siege, room: str
) -> None:
    runs = many_clients(8 * MOST_RUNS)
    async with await RawClient.join(siege.port, HOCUSPOCUS, room) as writer:
        writer.send(HOCUSPOCUS.update(room, runs), HOCUSPOCUS.update(room, update(item(4, b"\x01a"))))
        await writer.until(lambda: writer.messages.count(HOCUSPOCUS.key(room) + SAVED) == 2)
        writer.send(HOCUSPOCUS.update(room, update(item(4, b"\x01b"), client=2)))
        await siege.closes_with(writer, CloseCode.DOCUMENT_FULL)
    async with await RawClient.join(siege.port, Y_WEBSOCKET, room) as reader:
        assert sum(map(len, reader.messages)) > len(runs)


@pytest.mark.parametrize("askers", [1, 5])
async def test_a_large_document_may_be_asked_for_in_a_tight_loop(
    fortress: Siege, room: str, askers: int
) -> None:
    async with (
        fortress.undisturbed(growth=128 * MIB),
        await RawClient.join(fortress.port, HOCUSPOCUS, room) as one,
    ):
        one.send(HOCUSPOCUS.update(room, many_structs(4 * MIB)))
        await one.wait_for(lambda message: message == HOCUSPOCUS.key(room) + SAVED)
        others = [await RawClient.join(fortress.port, Y_WEBSOCKET, room, keeps=False) for _ in range(askers)]
        for client in others:
            client.send(
                *(Y_WEBSOCKET.step_1(room, b"\x01\x01" + bytes((clock % 100,))) for clock in range(20_000))
            )
        await fortress.more_edits()
        for client in others:
            client.abort()


@by_dialect
async def test_one_who_asks_and_never_reads_is_answered_once(
    siege: Siege, room: str, dialect: Dialect
) -> None:
    async with await RawClient.join(siege.port, HOCUSPOCUS, room) as writer:
        writer.send(HOCUSPOCUS.update(room, many_clients(8 * 20_000)))
        await writer.wait_for(lambda message: message == HOCUSPOCUS.key(room) + SAVED)
    async with await RawClient.join(siege.port, dialect, room, receive_buffer=4_096) as client:
        client.pause()
        client.send(*[dialect.step_1(room)] * 10_000)
        await client.until(lambda: client.unsent == 0)
        await siege.more_edits()


async def test_one_who_writes_and_never_reads_is_cut_off_before_its_receipts_fill_the_memory(
    siege: Siege, room: str
) -> None:
    seen = len(siege.server.logs)
    room = room.ljust(500, "-")  # receipts begin with it
    async with await RawClient.join(siege.port, HOCUSPOCUS, room, receive_buffer=4_096) as client:
        client.pause()
        client.send(*[HOCUSPOCUS.update(room, EMPTY_UPDATE)] * 20_000)
        await siege.server.wait_for_log("connection cut off", since=seen, code=int(CloseCode.SLOW))


@by_dialect
async def test_a_flood_of_questions_for_awareness_is_answered_at_the_askers_pace(
    siege: Siege, dialect: Dialect
) -> None:
    async with await RawClient.join(siege.port, dialect, ATTACKED, keeps=False) as client:
        client.send(*[dialect.key(ATTACKED) + b"\x03"] * 100_000)
        await client.until(lambda: client.unsent == 0)
        await siege.more_edits()
