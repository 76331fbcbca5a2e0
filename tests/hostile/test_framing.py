"""Bytes below the protocols: what is no HTTP, what is no WebSocket frame, and frames by the thousand."""

import asyncio
import struct

import pytest

from roomful.server.close_codes import CloseCode
from tests.hostile.siege import ATTACKED, MIB, Siege
from tests.raw_client import (
    CLOSE,
    CONTINUATION,
    DIALECTS,
    PING,
    PONG,
    TEXT,
    Y_WEBSOCKET,
    Dialect,
    RawClient,
    frame,
    upgrade,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

by_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


NO_FRAMES: dict[str, tuple[bytes, CloseCode]] = {
    "reserved bits": (b"\xf2\x80" + bytes(4), CloseCode.PROTOCOL_ERROR),
    "opcode 3": (b"\x83\x80" + bytes(4), CloseCode.PROTOCOL_ERROR),
    "opcode 15": (b"\x8f\x80" + bytes(4), CloseCode.PROTOCOL_ERROR),
    "a compressed frame": (b"\xc2\x81" + bytes(4) + b"\x00", CloseCode.PROTOCOL_ERROR),
    "a continuation of nothing": (frame(b"a", CONTINUATION), CloseCode.PROTOCOL_ERROR),
    "a message inside a message": (
        frame(b"a", fin=False) + frame(b"b", fin=False),
        CloseCode.PROTOCOL_ERROR,
    ),
    "a ping in fragments": (frame(b"a", PING, fin=False), CloseCode.PROTOCOL_ERROR),
    "a ping of 126 bytes": (frame(bytes(126), PING), CloseCode.PROTOCOL_ERROR),
    "a close frame of one byte": (frame(b"\x03", CLOSE), CloseCode.PROTOCOL_ERROR),
    "a close code that nobody may send": (frame(b"\x03\xe7", CLOSE), CloseCode.PROTOCOL_ERROR),
    "a close reason that is not UTF-8": (frame(b"\x03\xe8\xff", CLOSE), CloseCode.PROTOCOL_ERROR),
    "a text": (frame(b"hello", TEXT), CloseCode.UNSUPPORTED),
    "a text that is not UTF-8": (frame(b"\xff", TEXT), CloseCode.UNSUPPORTED),
    "a message of 2^63 bytes announced": (
        struct.pack(">BBQ", 0x82, 0xFF, 2**63) + bytes(4),
        CloseCode.TOO_BIG,
    ),
    "a message of 9 MiB announced": (struct.pack(">BBQ", 0x82, 0xFF, 9 * MIB) + bytes(4), CloseCode.TOO_BIG),
    "a message of 9 MiB in fragments": (
        frame(bytes(4 * MIB), fin=False)
        + frame(bytes(4 * MIB), CONTINUATION, fin=False)
        + frame(bytes(MIB), CONTINUATION),
        CloseCode.TOO_BIG,
    ),
}


@by_dialect
async def test_what_is_no_websocket_message_is_closed_with_the_code_for_it(
    siege: Siege, dialect: Dialect
) -> None:
    logged = {code: siege.logged(code) for _, code in NO_FRAMES.values()}

    for name, (sent, code) in NO_FRAMES.items():
        async with await RawClient.join(siege.port, dialect, ATTACKED) as client:
            client.write(sent)
            given = await client.closed(within=2)
            assert given == code, f"{name}: closed with {given} {client.close_reason!r}"

    for code, before in logged.items():
        of_this_code = sum(each == code for _, each in NO_FRAMES.values())
        await siege.logs(code, before + of_this_code)
        assert (
            await siege.server.metric("roomful_closed_connections_total", code=str(int(code))) >= of_this_code
        )


def no_messages(dialect: Dialect, room: str) -> dict[str, bytes]:
    """What is a WebSocket message, and none of the protocol's."""
    key = dialect.key(room)
    step_1 = dialect.step_1(room)
    unfinished = {
        f"step 1 cut after {size} bytes": step_1[:size] for size in range(len(key) + 1, len(step_1))
    }
    messages = {
        **unfinished,
        "no type": key,
        "type 127": key + b"\x7f",
        "type of 2^53": key + b"\xff" * 7 + b"\x10",
        "type of 1,000,000 bytes": key + b"\xff" * 1_000_000,
        "sync step 3": key + b"\x00\x03\x01\x00",
        "sync step of 2^40": key + b"\x00" + b"\x80" * 5 + b"\x20\x01\x00",
        "payload of 2^32 bytes announced": key + b"\x00\x02" + b"\x80\x80\x80\x80\x10",
        "payload of 2^53 bytes announced": key + b"\x00\x02" + b"\xff" * 7 + b"\x10",
        "bytes after step 1": step_1 + b"\x00",
        "bytes after an awareness message": dialect.awareness(room, b"\x00") + b"\x00",
        "awareness of 2^28 bytes announced": key + b"\x01\x80\x80\x80\x80\x01",
    }
    if dialect.keyed:
        for kind in (4, 6, 8, 9, 10):
            messages[f"type {kind} of servers"] = key + bytes((kind,))
        messages |= {
            "key that is not UTF-8": b"\x01\xff\x00",
            "key of 1,000 bytes": b"\xe8\x07" + b"k" * 1_000 + b"\x00",
            "key of 2^40 bytes announced": b"\x80" * 5 + b"\x20",
            "key cut off": key[:-1],
            "auth without a kind": key + b"\x02",
            "auth of a server": key + b"\x02\x02\x0aread-write",
            "token of 1 MiB": key + b"\x02\x00\x80\x80\x40" + bytes(MIB),
            "token that is not UTF-8": key + b"\x02\x00\x01\xff",
            "stateless cut off": key + b"\x05\x05abc",
            "bytes after a stateless message": key + b"\x05\x01ab",
        }
    else:
        messages |= {"auth from a client": b"\x02\x00\x03you", "type 4": b"\x04", "type 102": b"\x66"}
    return messages


@by_dialect
async def test_what_is_no_message_of_the_protocol_is_malformed(siege: Siege, dialect: Dialect) -> None:
    messages = no_messages(dialect, ATTACKED) | {"nothing": b""}
    refused, logged = await siege.refused(), siege.logged(CloseCode.MALFORMED)
    faults = []

    for name, message in messages.items():
        async with await RawClient.join(siege.port, dialect, ATTACKED) as client:
            client.send(message)
            code = await client.closed(within=2)
            if code != CloseCode.MALFORMED:
                faults.append(f"{name}: closed with {code} {client.close_reason!r}")

    assert not faults
    assert await siege.refused() - refused == len(messages)
    await siege.logs(CloseCode.MALFORMED, logged + len(messages))


async def test_a_message_in_thousands_of_fragments_is_a_message_like_any_other(siege: Siege) -> None:
    async with await RawClient.join(siege.port, Y_WEBSOCKET, ATTACKED) as client:
        step_1 = Y_WEBSOCKET.step_1(ATTACKED, b"\x01\x01\x01")
        nothing = frame(b"", CONTINUATION, fin=False) * 20_000
        client.write(frame(step_1[:1], fin=False))
        for byte in step_1[1:]:
            client.write(nothing + frame(bytes((byte,)), CONTINUATION, fin=False))
        client.messages.clear()
        client.write(frame(b"", CONTINUATION))

        await client.wait_for(lambda message: message.startswith(b"\x00\x01"))


async def test_a_large_frame_byte_by_byte_costs_no_more_than_its_bytes(siege: Siege) -> None:
    async with await RawClient.join(siege.port, Y_WEBSOCKET, ATTACKED) as client:
        client.write(struct.pack(">BBQ", 0x82, 0xFF, 8 * MIB - 1) + bytes(4))
        for _ in range(20_000):
            client.write(b"\x00")
            await asyncio.sleep(0)
        assert client.is_open


@by_dialect
async def test_a_flood_of_pings_is_answered_and_felt_by_nobody(siege: Siege, dialect: Dialect) -> None:
    async with await RawClient.join(siege.port, dialect, ATTACKED) as client:
        pongs: list[bytes] = []
        client.on_control = lambda opcode, payload: pongs.append(payload) if opcode == PONG else None

        client.write(frame(bytes(100), PING) * 50_000 + frame(b"last", PING))
        await client.until(lambda: b"last" in pongs[-1:], within=20)


async def test_a_flood_of_pings_from_one_who_does_not_read_stays_in_its_outbox(siege: Siege) -> None:
    async with await RawClient.join(siege.port, Y_WEBSOCKET, ATTACKED, receive_buffer=4_096) as client:
        client.pause()
        client.write(frame(bytes(125), PING) * 500_000)
        await siege.more_edits()
        assert await siege.server.metric("roomful_outbox_bytes") < 2 * MIB


NO_HTTP: dict[str, bytes] = {
    "nothing of sense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "a method of 10,000 letters": b"G" * 10_000 + b" / HTTP/1.1\r\n\r\n",
    "a path of 100,000 letters": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "a header of 100,000 letters": b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
    "100,000 headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
    "a header with a zero byte": b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "a negative length": b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "a chunk of 2^64 bytes": b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
    "a body nobody asked for": b"POST /healthz HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000),
    "a path out of the folder": b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "a hidden path": b"GET /.%2e/config.py HTTP/1.1\r\nHost: a\r\n\r\n",
    "an upgrade without a key": upgrade("/sync/a", Sec_WebSocket_Key=""),
    "an upgrade with a key that is no text": upgrade("/sync/a", Sec_WebSocket_Key="\xff\xfe"),
    "an upgrade of another version": upgrade("/sync/a", Sec_WebSocket_Version="7"),
    "an upgrade to something else": upgrade("/sync/a", Upgrade="h2c"),
    "an upgrade of a page": upgrade("/healthz") + bytes(100_000),
}


async def test_what_is_no_request_is_answered_with_an_error_or_not_at_all(siege: Siege) -> None:
    for name, request in NO_HTTP.items():
        async with await RawClient.connect(siege.port) as client:
            client.write(request)
            await client.until(lambda: client.status is not None or not client.is_open)
            expected = (200,) if name == "an upgrade of a page" else (None, 400, 404, 405, 426)
            assert client.status in expected, f"{name}: {client.status}"


async def test_a_subprotocol_that_is_no_token_is_not_sent_back(siege: Siege) -> None:
    for offered in ("\xff\xfe", "a b", "a\tb", "", ",", "y\x7f"):
        async with await RawClient.connect(siege.port) as client:
            client.write(upgrade(f"/sync/{ATTACKED}", Sec_WebSocket_Protocol=offered))
            await client.until(lambda: client.status is not None or not client.is_open)
            assert client.status in (101, 400), f"{offered!r}: {client.status}"


async def test_requests_that_nobody_waits_for_wait_on_their_senders_side(siege: Siege) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    async with await RawClient.connect(siege.port, receive_buffer=4_096) as client:
        client.pause()
        client.write(request * 500_000)
        await siege.more_edits()
