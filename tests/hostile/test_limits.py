"""Every limit has a visible end for whoever reaches it, and none for those who were there before."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from roomful.server.close_codes import CloseCode
from tests.hostile.siege import ATTACKED, MIB, lay_siege
from tests.hostile.test_slow_readers import typed
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient, sync_payload
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

by_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


async def storm(port: int, dialect: Dialect, rooms: list[str], stack: AsyncExitStack) -> list[RawClient]:
    """Open a connection for each of these rooms and log in; returns when each is in or refused."""
    clients = []
    for room in rooms:
        client = await stack.enter_async_context(await RawClient.open(port, dialect.path(room)))
        client.send(*dialect.login(room), dialect.step_1(room))
        clients.append(client)
    for room, client in zip(rooms, clients, strict=True):
        await client.until(partial(judged, client, dialect.key(room) + b"\x00\x01"))
    return clients


def judged(client: RawClient, synced: bytes) -> bool:
    return client.close_code is not None or any(message.startswith(synced) for message in client.messages)


def codes(clients: list[RawClient]) -> list[int | None]:
    return [client.close_code for client in clients]


@by_dialect
async def test_connections_beyond_the_limit_are_told_that_the_server_is_full(
    tmp_path: Path, dialect: Dialect
) -> None:
    options = ("--max-connections", "20")
    async with lay_siege(tmp_path, options=options) as siege, siege.undisturbed(growth=16 * MIB):
        async with AsyncExitStack() as stack:
            crowd = await storm(siege.port, dialect, [ATTACKED] * 300, stack)
            # Four innocents are in already.
            assert codes(crowd) == [None] * 16 + [CloseCode.FULL] * 284
            assert await siege.server.metric("roomful_connections") == 20
        async with AsyncExitStack() as stack:
            assert codes(await storm(siege.port, dialect, [ATTACKED], stack)) == [None]
        counted = await siege.server.metric("roomful_closed_connections_total", code=str(int(CloseCode.FULL)))
        assert counted == 284


@by_dialect
async def test_connections_beyond_a_rooms_limit_are_told_that_it_is_full(
    tmp_path: Path, dialect: Dialect
) -> None:
    options = ("--max-connections-per-room", "10")
    async with (
        lay_siege(tmp_path, options=options) as siege,
        siege.undisturbed(growth=16 * MIB),
        AsyncExitStack() as stack,
    ):
        crowd = await storm(siege.port, dialect, [ATTACKED] * 100, stack)
        assert codes(crowd) == [None] * 8 + [CloseCode.FULL] * 92
        await siege.logs(CloseCode.FULL, 92)


async def test_rooms_beyond_the_limit_are_refused_and_those_left_make_place(tmp_path: Path) -> None:
    options = ("--max-rooms", "20")
    async with lay_siege(tmp_path, options=options) as siege, siege.undisturbed(growth=16 * MIB):
        async with AsyncExitStack() as stack:
            rooms = [f"room-{at}" for at in range(100)]
            crowd = await storm(siege.port, Y_WEBSOCKET, rooms, stack)
            assert codes(crowd).count(None) <= 20
            assert codes(crowd).count(CloseCode.FULL) >= 80
        async with AsyncExitStack() as stack:
            # Rooms that were left are still in memory, but not in the way.
            assert codes(await storm(siege.port, HOCUSPOCUS, rooms[50:65], stack)) == [None] * 15


async def test_documents_beyond_a_connections_limit_end_it(tmp_path: Path) -> None:
    options = ("--max-documents-per-connection", "5")
    async with (
        lay_siege(tmp_path, options=options) as siege,
        siege.undisturbed(),
        await RawClient.open(siege.port, "/hocuspocus") as client,
    ):
        for at in range(5):
            room = f"room-{at}"
            client.send(*HOCUSPOCUS.login(room), HOCUSPOCUS.step_1(room))
            await client.until(partial(judged, client, HOCUSPOCUS.key(room) + b"\x00\x01"))
        client.send(*HOCUSPOCUS.login("room-5"))
        await siege.closes_with(client, CloseCode.TOO_MANY_DOCUMENTS)


@by_dialect
async def test_a_document_that_has_reached_its_size_takes_no_more_and_stays_readable(
    tmp_path: Path, dialect: Dialect
) -> None:
    options = ("--max-document-bytes", "200KiB", "--max-message-bytes", "150KiB")
    room = "full"
    async with lay_siege(tmp_path, options=options) as siege, siege.undisturbed():
        sent = 0
        for size in (100_000, 80_000):
            async with await RawClient.join(siege.port, HOCUSPOCUS, room) as writer:
                writer.send(HOCUSPOCUS.update(room, typed(sent, size)))
                await writer.wait_for(lambda message: message == HOCUSPOCUS.key(room) + b"\x08\x01")
            sent += size
        for message in (
            dialect.update(room, typed(sent, 30_000)),
            dialect.step_2(room, typed(sent, 120_000)),
        ):
            async with await RawClient.join(siege.port, dialect, room) as writer:
                writer.send(message)
                await siege.closes_with(writer, CloseCode.DOCUMENT_FULL)
        for client, reads in enumerate(DIALECTS, start=9):
            async with await RawClient.join(siege.port, reads, room) as reader:
                payloads = [sync_payload(reads, room, message) for message in reader.messages]
                assert 180_000 < sum(len(payload) for payload in payloads if payload) < 190_000
                # Presence goes on.
                said = bytes((client, 1))
                reader.send(reads.awareness(room, b"\x01" + said + b"\x02{}"))
                await reader.wait_for(lambda message, said=said: said in message)  # type: ignore[misc]
        await siege.logs(CloseCode.DOCUMENT_FULL, 2)


async def test_a_document_as_large_as_it_may_be_costs_its_bytes_and_not_many_times_them(
    tmp_path: Path,
) -> None:
    options = ("--max-document-bytes", "24MiB", "--log-level", "debug")
    room, size = "large", 20 * MIB
    # glibc keeps what was freed for later, the more the larger it was: so what is counted is what is held.
    environment = {"MALLOC_MMAP_THRESHOLD_": str(256 << 10)}
    async with lay_siege(tmp_path, options=options, environment=environment) as siege:

        def is_folded() -> bool:
            """Whether so much is in the snapshot that what has come since is too little for another fold."""
            folds = [entry for entry in siege.server.logs if entry["event"] == "folded"]
            return any(fold["room"] == room and fold["upto"][1] * MIB >= size / 2 for fold in folds)

        # Itself; and its fold as it is read from the worker, taken out, packed for the log and compressed.
        async with siege.undisturbed(growth=5 * size):
            async with await RawClient.join(siege.port, HOCUSPOCUS, room) as writer:
                for count, clock in enumerate(range(0, size, MIB), start=1):
                    writer.send(HOCUSPOCUS.update(room, typed(clock, MIB)))
                    saved = HOCUSPOCUS.key(room) + b"\x08\x01"
                    await writer.until(lambda: writer.messages.count(saved) == count)  # noqa: B023
            await until(is_folded, "the last fold")
        # Two answers that are kept, and one that is made: taken apart, put together and copied.
        async with siege.undisturbed(growth=4 * size), AsyncExitStack() as stack:
            # Each asks with another vector, so that nobody's answer is anybody else's.
            for clock in range(1, 20):
                vector = b"\x01\x05" + bytes((clock,))
                opened = await RawClient.join(siege.port, Y_WEBSOCKET, room, vector=vector, keeps=False)
                await stack.enter_async_context(opened)
