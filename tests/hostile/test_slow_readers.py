"""Clients that take nothing, or little: they cost an outbox, and others not a millisecond."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from roomful.crdt.check import check_update
from roomful.crdt.varint import write_varbytes, write_varuint
from roomful.server.close_codes import CloseCode
from tests.attacks import item, update
from tests.hostile.siege import ATTACKED, MIB, Siege, lay_siege
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient, sync_payload

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHUNK = 10_000
OUTBOX = 256 * 1024
by_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def typed(clock: int, size: int = CHUNK, client: int = 5) -> bytes:
    """A text of one client, after what it wrote before."""
    text = write_varbytes(b"a" * size)
    struct = b"\x84" + write_varuint(client) + write_varuint(clock - 1) + text if clock else item(4, text)
    return update(struct, client=client, clock=clock)


async def write_much(siege: Siege, room: str, size: int) -> None:
    """Write a document of this size, in many updates."""
    saved = HOCUSPOCUS.key(room) + b"\x08\x01"
    async with await RawClient.join(siege.port, HOCUSPOCUS, room) as writer:
        for count, clock in enumerate(range(0, size, CHUNK), start=1):
            writer.send(HOCUSPOCUS.update(room, typed(clock)))
            if count % 20 == 0:
                await writer.until(lambda: writer.messages.count(saved) == count)  # noqa: B023
        await writer.until(lambda: writer.messages.count(saved) == count)


class Ledger:
    """Up to which clock of one writer a client has been sent updates, without a hole."""

    def __init__(self, client: RawClient, dialect: Dialect, room: str, writer: int = 5) -> None:
        self.reached = 0
        self._ahead: list[tuple[int, int]] = []
        self._dialect, self._room, self._writer = dialect, room, writer
        client.on_message = self._take

    def _take(self, message: bytes) -> None:
        payload = sync_payload(self._dialect, self._room, message)
        if payload is not None:
            runs = check_update(payload).ranges
            self._ahead += [(start, end) for client, start, end in runs if client == self._writer]
            while reachable := [run for run in self._ahead if run[0] <= self.reached]:
                self.reached = max(self.reached, *(end for _, end in reachable))
                self._ahead = [run for run in self._ahead if run[0] > self.reached]


@by_dialect
async def test_one_who_does_not_read_is_sent_the_rest_when_it_does_and_loses_nothing(
    fortress: Siege, room: str, dialect: Dialect
) -> None:
    size = 500 * CHUNK
    async with AsyncExitStack() as stack:
        ledgers = {}
        for _ in range(10):
            opened = await RawClient.join(fortress.port, dialect, room, receive_buffer=4_096)
            client = await stack.enter_async_context(opened)
            ledgers[client] = Ledger(client, dialect, room)
            client.pause()
        # The document itself grows by as much as is written, and is held a second time while it is folded.
        async with fortress.undisturbed(growth=32 * MIB):
            await write_much(fortress, room, size)
            assert await fortress.server.metric("roomful_outbox_bytes") < 10 * 2 * OUTBOX
        async with fortress.undisturbed(growth=32 * MIB):
            for client, ledger in ledgers.items():
                client.resume()
                await client.until(lambda: ledger.reached == size, within=20)  # noqa: B023
        assert all(client.is_open for client in ledgers)


async def test_one_who_never_reads_is_cut_off_and_nobody_else(tmp_path: Path) -> None:
    options = ("--stall-seconds", "1", "--keepalive-seconds", "1")
    async with lay_siege(tmp_path, options=options) as siege, siege.undisturbed():
        async with await RawClient.join(siege.port, Y_WEBSOCKET, ATTACKED, receive_buffer=4_096) as stuck:
            stuck.pause()
            await write_much(siege, ATTACKED, 200 * CHUNK)
            await siege.server.wait_for_log("connection cut off", code=int(CloseCode.SLOW))
        await siege.logs(CloseCode.SLOW, 1)
        assert await siege.server.metric("roomful_outbox_bytes") == 0


async def trickle(client: RawClient) -> None:
    """Read ten times a second what the kernel holds, for three seconds."""
    for _ in range(30):
        before = client.received
        client.resume()
        await client.until(lambda: client.received > before)  # noqa: B023
        client.pause()
        await asyncio.sleep(0.1)


async def test_one_who_reads_a_little_now_and_then_keeps_its_place(tmp_path: Path) -> None:
    options = ("--stall-seconds", "1", "--keepalive-seconds", "1", "--outbox-bytes", "64KiB")
    async with lay_siege(tmp_path, options=options) as siege, siege.undisturbed():
        async with await RawClient.join(siege.port, HOCUSPOCUS, ATTACKED, receive_buffer=4_096) as slow:
            ledger = Ledger(slow, HOCUSPOCUS, ATTACKED)
            trickling = asyncio.create_task(trickle(slow))
            await write_much(siege, ATTACKED, 200 * CHUNK)
            await trickling
            assert ledger.reached < 200 * CHUNK, "it was to be slow"
            slow.resume()
            await slow.until(lambda: ledger.reached == 200 * CHUNK)
        await siege.logs(CloseCode.SLOW, 0)


async def test_stateless_messages_to_one_who_does_not_read_end_its_connection_not_the_memory(
    siege: Siege, room: str
) -> None:
    text = b"x" * (MIB // 2)
    message = HOCUSPOCUS.key(room) + b"\x05" + write_varbytes(text)
    seen = len(siege.server.logs)
    async with (
        await RawClient.join(siege.port, HOCUSPOCUS, room, receive_buffer=4_096) as stuck,
        await RawClient.join(siege.port, HOCUSPOCUS, room) as hearer,
        await RawClient.join(siege.port, HOCUSPOCUS, room) as speaker,
    ):
        stuck.pause()
        for count in range(1, 41):
            speaker.send(message)
            await hearer.until(lambda: hearer.messages.count(message) == count)  # noqa: B023
        await siege.server.wait_for_log("connection cut off", since=seen, code=int(CloseCode.SLOW))
        assert speaker.is_open and hearer.is_open


async def test_a_large_update_is_held_once_however_many_it_goes_to(fortress: Siege, room: str) -> None:
    # A session-aware provider has a key of its own, and with it a frame.
    async with AsyncExitStack() as stack:
        for at in range(40):
            key = f"{room}\x00session-{at}"
            opened = await RawClient.join(fortress.port, HOCUSPOCUS, key, receive_buffer=4_096)
            (await stack.enter_async_context(opened)).pause()
        async with (
            fortress.undisturbed(growth=48 * MIB),
            await RawClient.join(fortress.port, HOCUSPOCUS, room) as writer,
        ):
            writer.send(HOCUSPOCUS.key(room) + b"\x05" + write_varbytes(bytes(4 * MIB)))
            writer.send(HOCUSPOCUS.update(room, typed(0, 4 * MIB)))
            await writer.wait_for(lambda message: message == HOCUSPOCUS.key(room) + b"\x08\x01")
