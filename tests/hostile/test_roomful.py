"""Attacks in the Roomful protocol: whatever is sent, others in the room are told nothing they can't read."""

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from roomful.crdt.check import check_update
from roomful.crdt.varint import write_varbytes
from roomful.presence.awareness import decode_entries
from roomful.server.close_codes import CloseCode
from roomful.server.protocols.roomful import ClientFrame, ServerFrame
from roomful.server.protocols.strict_msgpack import walk
from tests.attacks import ATTACKS, Attack
from tests.crdt.genuine import STATE_VECTORS
from tests.crdt.test_mutations import SOURCES, mutate
from tests.hostile.heavy import many_clocks
from tests.hostile.siege import ATTACKED, MIB, Siege, lay_siege
from tests.raw_client import PING, PONG, RawClient, frame
from tests.roomful_client import RoomfulClient, open_socket, packed, unpacked

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECONDS = float(os.environ.get("ROOMFUL_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("ROOMFUL_SEED", random.randrange(2**32)))
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).parents[2].joinpath("docs", "protocol-vectors.json").read_text("utf-8")
)
BATCH = 25
BEHIND = b"still there?"
VALUES = [None, 1, -5, 2.5, "text", b"bytes", [1, [2, {"a": 3}]], {"x": {"y": [None]}}]


class Listener:
    """Somebody in the attacked room who hears everything, and reads it as strictly as anybody might."""

    def __init__(self, client: RoomfulClient) -> None:
        self.client = client
        self.heard: Counter[str] = Counter()

    def read(self, rest: list[Any]) -> None:
        kind, *elements = rest
        self.heard[ServerFrame(kind).name] += 1
        match kind:
            case ServerFrame.UPDATE | ServerFrame.STEP_2:
                check_update(elements[0])
            case ServerFrame.AWARENESS:
                decode_entries(elements[0], most=1_000, largest=1 << 16)
            case ServerFrame.EVENT:
                payload = msgpack.packb(elements[1])
                assert walk(payload, 0, len(payload)) == len(payload)


@asynccontextmanager
async def listening(siege: Siege) -> AsyncIterator[Listener]:
    async with await RoomfulClient.connect(siege.port) as client:
        listener = Listener(client)
        room = await client.join(ATTACKED)
        room.on_frame = listener.read
        yield listener
        assert client.socket.is_open


async def greeted(port: int) -> RawClient:
    """A socket that has said hello and been welcomed."""
    socket = await open_socket(port)
    socket.send(packed(ClientFrame.HELLO, {"token": "eve"}))
    await socket.wait_for(lambda message: unpacked(message)[0] == ServerFrame.WELCOME)
    return socket


async def entered(port: int) -> tuple[RawClient, int]:
    """The same, in the attacked room, whose number comes along."""
    socket = await greeted(port)
    options = {"vector": b"\x00", "awareness": True, "events": True}
    socket.send(packed(ClientFrame.JOIN, 1, ATTACKED, options))
    joined = await socket.wait_for(lambda message: unpacked(message)[0] == ServerFrame.JOINED)
    socket.on_message = None
    return socket, int(unpacked(joined)[2])


def genuine(room: int, seq: int, chance: random.Random) -> bytes:
    """A frame as a client might send it."""
    match chance.randrange(10):
        case 0:
            return packed(ClientFrame.STEP_1, room, chance.choice(list(STATE_VECTORS)))
        case 1 | 2 | 3:
            kind = chance.choice((ClientFrame.STEP_2, ClientFrame.UPDATE))
            return packed(kind, room, seq, chance.choice(SOURCES))
        case 4:
            entry = bytes((1, chance.randrange(1, 100), chance.randrange(1, 100))) + write_varbytes(b"{}")
            return packed(ClientFrame.AWARENESS, room, entry)
        case 5:
            return packed(ClientFrame.PRESENCE, room, {"state": chance.choice(VALUES), "hand": True})
        case 6:
            return packed(ClientFrame.JOIN, seq, chance.choice((ATTACKED, "b")), {"events": True})
        case 7:
            return packed(ClientFrame.PEOPLE, room, seq, chance.choice(("", "u:eve")), 1 << 40)
        case _:
            name, keep = chance.choice(("one", "two")), chance.random() < 0.5
            return packed(ClientFrame.EVENT, room, name, chance.choice(VALUES), keep)


async def attack(port: int, seed: int, until: float) -> Counter[int | None]:
    """Send spoilt frames on one connection after the other; returns how often each close code came."""
    chance = random.Random(seed)
    codes: Counter[int | None] = Counter()
    while asyncio.get_running_loop().time() < until:
        socket, room = await entered(port)
        async with socket:
            pongs: list[bytes] = []
            socket.on_control = lambda opcode, payload, pongs=pongs: (
                pongs.append(payload) if opcode == PONG else 0
            )
            messages = [genuine(room, seq, chance) for seq in range(BATCH)]
            spoilt = [mutate(each, chance) if chance.random() < 0.3 else each for each in messages]
            socket.write(b"".join(map(frame, spoilt)) + frame(BEHIND, PING))
            await socket.until(
                lambda: BEHIND in pongs or socket.close_code is not None,  # noqa: B023
                within=20,
            )
            codes[socket.close_code] += 1
    return codes


async def test_spoilt_frames_cost_nobody_but_their_sender_anything(tmp_path: Path) -> None:
    print(f"ROOMFUL_SEED={SEED}")
    options = ("--fold-entries", "200", "--max-document-bytes", "1GiB")
    codes: Counter[int | None] = Counter()
    async with (
        lay_siege(tmp_path, options=options) as siege,
        siege.undisturbed(growth=128 * MIB, tolerated=("room quarantined",)),
        listening(siege) as listener,
    ):
        until = asyncio.get_running_loop().time() + SECONDS
        for ended_with in await asyncio.gather(*(attack(siege.port, SEED + at, until) for at in range(4))):
            codes += ended_with
    print(f"{sum(codes.values()) * BATCH} frames; ended with {dict(codes)}; heard {dict(listener.heard)}")
    assert set(codes) <= {None, CloseCode.MALFORMED, CloseCode.TOO_MANY_DOCUMENTS}
    assert codes[CloseCode.MALFORMED] > 0
    assert listener.heard["EVENT"] > 0 and listener.heard["UPDATE"] > 0


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: str(vector["name"]))
async def test_what_is_no_frame_costs_its_sender_the_connection(
    fortress: Siege, vector: dict[str, Any]
) -> None:
    socket, room = await entered(fortress.port)
    async with socket:
        message = bytes.fromhex(vector["bytes"])
        if message[2:3] == b"\x07":
            # The examples are of room 7.
            message = message[:2] + msgpack.packb(room) + message[3:]
        socket.send(message)
        await fortress.closes_with(socket, CloseCode.MALFORMED)


async def test_each_malformed_payload_costs_its_sender_the_connection_and_nobody_else_anything(
    siege: Siege,
) -> None:
    attacks = [each for each in ATTACKS if each.outcome == "rejected"]
    gate, faults = asyncio.Semaphore(8), list[str]()

    async def attack_with(attack: Attack) -> None:
        async with gate:
            socket, room = await entered(siege.port)
            async with socket:
                if attack.kind == "update":
                    socket.send(packed(ClientFrame.UPDATE, room, 0, attack.payload))
                else:
                    kind = ClientFrame.STEP_1 if attack.kind == "state vector" else ClientFrame.AWARENESS
                    socket.send(packed(kind, room, attack.payload))
                if await socket.closed(within=2) != CloseCode.MALFORMED:
                    faults.append(f"{attack.name}: closed with {socket.close_code}")

    async with listening(siege), asyncio.TaskGroup() as group:
        for each in attacks:
            group.create_task(attack_with(each))
    assert not faults


HEAVY = {
    "a join of a million values": packed(ClientFrame.JOIN, 1, "room", {"presence": {"a": [0] * MIB}}),
    "a join with a vector of a million clients": packed(
        ClientFrame.JOIN, 1, "room", {"vector": many_clocks(7 * MIB)}
    ),
    "a hello after the hello, of 8 MiB": packed(ClientFrame.HELLO, {"token": "t" * (8 * MIB - 100)}),
    "arrays that announce each other": b"\x94\x01\x01\xa1r\x81\xa1a" + b"\xdd\x00\x0f\xff\xff" * 200_000,
}


@pytest.mark.parametrize("name", HEAVY)
async def test_a_frame_made_to_cost_much_costs_its_sender_the_connection(siege: Siege, name: str) -> None:
    async with await greeted(siege.port) as socket:
        socket.send(HEAVY[name])
        assert await socket.closed() in (CloseCode.MALFORMED, CloseCode.TOO_MANY_DOCUMENTS)


async def test_one_who_sends_events_without_end_is_answered_and_nobody_else_hears_more_than_is_allowed(
    siege: Siege,
) -> None:
    async with listening(siege) as listener:
        socket, room = await entered(siege.port)
        async with socket:
            wave = frame(packed(ClientFrame.EVENT, room, "wave", "x" * 100, False))
            for _ in range(20):
                socket.write(wave * 1_000)
                await socket.drained()
            pongs: list[int] = []
            socket.on_control = lambda opcode, _: pongs.append(opcode)
            socket.write(frame(BEHIND, PING))
            # Who does not read its errors as fast as it makes them is cut off instead.
            await socket.until(lambda: PONG in pongs or not socket.is_open)
        assert listener.heard["EVENT"] <= 200 * 12, "two hundred a second"
    assert await siege.server.metric("roomful_refused_messages_total", reason="too-fast") > 10_000


async def test_one_who_reads_none_of_its_errors_is_cut_off(siege: Siege) -> None:
    seen = len(siege.server.logs)
    async with await open_socket(siege.port, receive_buffer=4_096) as socket:
        socket.send(packed(ClientFrame.HELLO, {}))
        socket.pause()
        unknown = frame(packed(100)) * 1_000
        for _ in range(200):
            socket.write(unknown)
        await siege.server.wait_for_log("connection cut off", since=seen, code=int(CloseCode.SLOW))


async def test_a_hundred_rooms_are_open_and_one_more_is_not(siege: Siege, room: str) -> None:
    async with await RoomfulClient.connect(siege.port) as eve:
        asked = [eve.ask(f"{room}-{at}") for at in range(101)]
        await eve.until(lambda: len(eve.rooms) == 100 and len(eve.errors) == 1, "answers")
        assert (eve.errors[0][0], eve.errors[0][2]) == (asked[-1], "too-many-rooms")
        assert eve.socket.is_open
