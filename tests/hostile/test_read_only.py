"""Those who may only read write by every way there is, and nothing of it arrives."""

import pytest

from roomful.crdt.varint import write_varbytes
from tests.attacks import item, update
from tests.hostile.siege import Siege
from tests.hostile.test_slow_readers import typed
from tests.raw_client import DIALECTS, HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient, sync_payload

pytestmark = pytest.mark.asyncio(loop_scope="session")

by_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)

LARGE = 100_000
"""Bytes that are checked in a worker."""

DELETION = b"\x00\x01\x05\x01\x00\x01"
WRITTEN = typed(0, 10)


async def held(siege: Siege, room: str) -> bytes:
    """All that somebody who comes now is sent of the document."""
    async with await RawClient.join(siege.port, Y_WEBSOCKET, room) as late:
        return b"".join(filter(None, (sync_payload(Y_WEBSOCKET, room, message) for message in late.messages)))


@by_dialect
async def test_no_way_of_writing_is_open_to_a_reader(siege: Siege, room: str, dialect: Dialect) -> None:
    news = {
        "text": typed(10, 10),
        "a large text": typed(10, LARGE),
        "somebody's first text": update(item(4, b"\x01a"), client=6),
        "a deletion": DELETION,
        "text that waits for other text": typed(500, 10),
    }
    async with (
        await RawClient.join(siege.port, HOCUSPOCUS, room) as writer,
        await RawClient.join(siege.port, dialect, room, token="readonly") as reader,
    ):
        writer.send(HOCUSPOCUS.update(room, WRITTEN))
        await reader.until(lambda: any(WRITTEN in message for message in reader.messages))
        before, refused = await held(siege, room), await siege.refused()

        for name, payload in news.items():
            for message in (dialect.update(room, payload), dialect.step_2(room, payload)):
                reader.messages.clear()
                reader.send(message, dialect.step_1(room))
                # The answer to the question behind it: the message has been dealt with.
                await reader.wait_for(lambda each: each.startswith(dialect.key(room) + b"\x00\x01"))
                if dialect.keyed:
                    assert dialect.key(room) + b"\x08\x00" in reader.messages, name
            assert await held(siege, room) == before, name
        assert await siege.server.metric("roomful_refused_messages_total", reason="read-only") > 0
        assert await siege.refused() - refused == 2 * len(news)
        assert reader.is_open and not any(b"\x00\x02" in message for message in writer.messages[3:])


@by_dialect
async def test_a_reader_may_say_what_is_known_and_be_seen(siege: Siege, room: str, dialect: Dialect) -> None:
    async with (
        await RawClient.join(siege.port, HOCUSPOCUS, room) as writer,
        await RawClient.join(siege.port, dialect, room, token="readonly") as reader,
    ):
        writer.send(HOCUSPOCUS.update(room, WRITTEN), HOCUSPOCUS.update(room, DELETION))
        await reader.until(lambda: any(DELETION[1:] in message for message in reader.messages))
        refused = await siege.refused()

        reader.send(
            dialect.step_2(room, WRITTEN), dialect.step_2(room, DELETION), dialect.update(room, WRITTEN)
        )
        reader.send(dialect.awareness(room, b"\x01\x08\x01" + write_varbytes(b'{"name":"ann"}')))

        await writer.until(lambda: any(b'"ann"' in message for message in writer.messages))
        assert await siege.refused() == refused
        if dialect.keyed:
            await reader.until(lambda: reader.messages.count(dialect.key(room) + b"\x08\x01") == 3)
            assert dialect.key(room) + b"\x08\x00" not in reader.messages


async def test_rights_that_are_lost_are_lost_for_what_is_on_its_way(siege: Siege, room: str) -> None:
    async with await RawClient.join(siege.port, HOCUSPOCUS, room) as client:
        client.send(HOCUSPOCUS.update(room, WRITTEN))
        await client.wait_for(lambda message: message == HOCUSPOCUS.key(room) + b"\x08\x01")
        client.messages.clear()
        client.send(*HOCUSPOCUS.login(room, "readonly"))
        await client.wait_for(lambda message: message.startswith(HOCUSPOCUS.key(room) + b"\x02\x02"))
        client.send(HOCUSPOCUS.update(room, typed(10, LARGE)))
        await client.wait_for(lambda message: message == HOCUSPOCUS.key(room) + b"\x08\x00")
        client.send(*HOCUSPOCUS.login(room, "denied"))
        await client.wait_for(lambda message: message.startswith(HOCUSPOCUS.key(room) + b"\x02\x01"))
        client.send(HOCUSPOCUS.update(room, typed(10, 10)), HOCUSPOCUS.step_1(room))
        await siege.more_edits()
        assert await held(siege, room) == WRITTEN
