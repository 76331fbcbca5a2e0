"""Presence as a weapon: what is no state, too many of them, other people's, and clocks at the end of time."""

import json

import pytest

from roomful.crdt.varint import write_varbytes, write_varuint
from roomful.presence.awareness import decode_entries
from roomful.server.close_codes import CloseCode
from tests.hostile.siege import ATTACKED, Siege
from tests.raw_client import (
    CLOSE,
    DIALECTS,
    HOCUSPOCUS,
    PING,
    Y_WEBSOCKET,
    Dialect,
    RawClient,
    awareness_messages,
    frame,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

by_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)

States = dict[int, tuple[int, bytes]]


def entries(*states: tuple[int, int, bytes]) -> bytes:
    """An awareness update of (client, clock, state)."""
    parts = (
        write_varuint(client) + write_varuint(clock) + write_varbytes(state)
        for client, clock, state in states
    )
    return write_varuint(len(states)) + b"".join(parts)


def seen(client: RawClient, dialect: Dialect, room: str) -> States:
    """What a client has heard last of each client id: its clock, and its state without the length."""
    heard: States = {}
    for message in awareness_messages(dialect, room, client.messages):
        for entry in decode_entries(message, most=1 << 20, largest=1 << 20):
            known = heard.get(entry.client)
            if known is None or entry.clock > known[0] or (entry.clock == known[0] and entry.gone):
                heard[entry.client] = (entry.clock, entry.state)
    return heard


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def no_states() -> dict[str, bytes]:
    """Awareness updates that no client may send. Each has a client of its own: who left is remembered."""
    states = {
        "a state of 16 KiB and a byte": json.dumps({"a": "x" * (16 * 1024 - 8)}).encode(),
        "an array": b"[1]",
        "a number": b"1",
        "a text": b'"me"',
        "NaN": b'{"x":NaN}',
        "minus infinity": b'{"x":-Infinity}',
        "half an object": b'{"x":',
        "nothing": b"",
        "an object 65 deep": nested(65),
        "an object 3,000 deep": nested(3_000),
        "a number of 5,000 digits": b'{"x":' + b"9" * 5_000 + b"}",
        "a byte order mark": b"\xef\xbb\xbf{}",
    }
    return {
        **{
            name: entries((client, 1, state))
            for client, (name, state) in enumerate(states.items(), start=101)
        },
        "a megabyte of 0xff": b"\xff" * 1_000_000,
        "10,001 entries": entries(*((client, 1, b"{}") for client in range(1, 10_002))),
        "17 clients of one session": entries(*((client, 1, b"{}") for client in range(201, 218))),
        "a client of 2^53": b"\x01" + b"\xff" * 7 + b"\x10" + b"\x01\x02{}",
        "a clock of 2^53": b"\x01\x01" + b"\xff" * 7 + b"\x10" + b"\x02{}",
        "a clock of 2^53 - 1": entries((302, 2**53 - 1, b"{}")),
        "an entry too many announced": b"\x02" + entries((303, 1, b"{}"))[1:],
    }


@by_dialect
async def test_what_is_no_awareness_costs_its_sender_the_connection(
    siege: Siege, room: str, dialect: Dialect
) -> None:
    refused, logged = await siege.refused(), siege.logged(CloseCode.MALFORMED)
    faults = []

    for name, update in no_states().items():
        async with await RawClient.join(siege.port, dialect, room) as client:
            client.send(dialect.awareness(room, update))
            code = await client.closed(within=2)
            if code != CloseCode.MALFORMED:
                faults.append(f"{name}: closed with {code} {client.close_reason!r}")

    assert not faults
    assert await siege.refused() - refused == len(no_states())
    await siege.logs(CloseCode.MALFORMED, logged + len(no_states()))


@by_dialect
async def test_nobody_speaks_for_somebody_else(siege: Siege, room: str, dialect: Dialect) -> None:
    async with (
        await RawClient.join(siege.port, Y_WEBSOCKET, room) as victim,
        await RawClient.join(siege.port, dialect, room) as attacker,
        await RawClient.join(siege.port, HOCUSPOCUS, room) as witness,
    ):
        # Who is new is told that it is gone, and then says again that it is not, as stock clients do.
        victim.send(Y_WEBSOCKET.awareness(room, entries((7, 5, b'{"name":"ann"}'))))
        await victim.until(lambda: 7 in seen(victim, Y_WEBSOCKET, room))
        victim.send(Y_WEBSOCKET.awareness(room, entries((7, 6, b'{"name":"ann"}'))))
        ann = (6, write_varbytes(b'{"name":"ann"}'))
        await witness.until(lambda: seen(witness, HOCUSPOCUS, room).get(7) == ann)

        attacker.send(
            dialect.awareness(room, entries((7, 7, b'{"name":"eve"}'))),
            dialect.awareness(room, entries((7, 7, b"null"))),
            dialect.awareness(room, entries((7, 2**31, b'{"name":"eve"}'))),
            dialect.awareness(room, entries((7, 6, b"null"), (8, 1, b'{"name":"eve"}'))),
        )
        await witness.until(lambda: 8 in seen(witness, HOCUSPOCUS, room))

        assert seen(witness, HOCUSPOCUS, room)[7] == ann
        assert seen(victim, Y_WEBSOCKET, room)[7] in (ann, (5, b"\x04null"))
        async with await RawClient.join(siege.port, dialect, room) as late:
            await late.until(lambda: {7, 8} <= seen(late, dialect, room).keys())
            assert seen(late, dialect, room)[7] == ann
        attacker.write(frame((1000).to_bytes(2, "big"), CLOSE))
        await witness.until(lambda: seen(witness, HOCUSPOCUS, room)[8][1] == b"\x04null")
        assert seen(witness, HOCUSPOCUS, room)[7] == ann


async def test_one_who_takes_an_id_while_its_owner_is_away_cannot_push_it_past_the_end_of_clocks(
    siege: Siege, room: str
) -> None:
    # The owner's library answers its own death at clock n with n + 1: that must be a clock it may have.
    async with await RawClient.join(siege.port, Y_WEBSOCKET, room) as attacker:
        attacker.send(Y_WEBSOCKET.awareness(room, entries((7, 2**31, b'{"name":"eve"}'))))
        attacker.send(Y_WEBSOCKET.awareness(room, entries((7, 2**32, b'{"name":"eve"}'))))
        await attacker.until(lambda: 7 in seen(attacker, Y_WEBSOCKET, room))
    async with await RawClient.join(siege.port, Y_WEBSOCKET, room) as owner:
        owner.send(Y_WEBSOCKET.awareness(room, entries((7, 5, b'{"name":"ann"}'))))
        await owner.until(lambda: 7 in seen(owner, Y_WEBSOCKET, room))
        clock, state = seen(owner, Y_WEBSOCKET, room)[7]
        assert state == b"\x04null"

        owner.send(Y_WEBSOCKET.awareness(room, entries((7, clock + 1, b'{"name":"ann"}'))))
        async with await RawClient.join(siege.port, HOCUSPOCUS, room) as witness:
            ann = (clock + 1, write_varbytes(b'{"name":"ann"}'))
            await witness.until(lambda: seen(witness, HOCUSPOCUS, room).get(7) == ann)


@by_dialect
async def test_a_storm_of_states_reaches_others_once_a_window(siege: Siege, dialect: Dialect) -> None:
    state = json.dumps({"a": "x" * 16_000}).encode()
    async with (
        await RawClient.join(siege.port, dialect, ATTACKED) as attacker,
        await RawClient.join(siege.port, HOCUSPOCUS, ATTACKED, keeps=False) as other,
    ):
        before = other.received
        attacker.send(*(dialect.awareness(ATTACKED, entries((3, clock, state))) for clock in range(1, 1_001)))
        await attacker.until(lambda: attacker.unsent == 0)
        await siege.more_edits()
        assert other.received - before < 1_000 * len(state) / 2


async def test_ids_that_come_and_go_are_not_remembered_for_ever(siege: Siege, room: str) -> None:
    pongs: list[bytes] = []
    async with await RawClient.join(siege.port, Y_WEBSOCKET, room) as attacker:
        attacker.on_control = lambda _, payload: pongs.append(payload)
        for first in range(1, 100_000, 10):
            for state in (b"{}", b"null"):
                states = [(client, 1, state) for client in range(first, first + 10)]
                attacker.send(Y_WEBSOCKET.awareness(room, entries(*states)))
            # Each newcomer is answered, and who does not read the answers is cut off for that.
            mark = b"%d" % first
            attacker.write(frame(mark, PING))
            await attacker.until(lambda mark=mark: mark in pongs[-3:])  # type: ignore[misc]
        await siege.more_edits()
        assert attacker.is_open
