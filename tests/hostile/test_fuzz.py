"""Genuine messages of both protocols, spoilt at random, for as long as one likes.

``ROOMFUL_FUZZ_SECONDS=600`` goes on for so long; ``ROOMFUL_SEED`` sends the same messages again.
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from roomful.crdt.varint import write_varbytes
from tests.crdt.genuine import STATE_VECTORS
from tests.crdt.test_mutations import SOURCES, mutate
from tests.hostile.siege import ATTACKED, MIB, lay_siege
from tests.raw_client import DIALECTS, PING, PONG, Dialect, RawClient, frame
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECONDS = float(os.environ.get("ROOMFUL_FUZZ_SECONDS", "5"))
SEED = int(os.environ.get("ROOMFUL_SEED", random.randrange(2**32)))
BATCH = 25
ROOMS = (ATTACKED, "fuzzed")
ATTACKERS = 4
"""For each protocol."""

STATES = [b'{"user":{"name":"Ann","color":"#fb0"},"cursor":{"anchor":3,"head":9}}', b"null", b"{}"]
BEHIND_THE_UPDATES = b"still there?"


def genuine(dialect: Dialect, room: str, chance: random.Random) -> bytes:
    """A message as a stock client might send it."""
    key = dialect.key(room)
    match chance.randrange(8):
        case 0:
            return dialect.step_1(room, chance.choice(list(STATE_VECTORS)))
        case 1:
            return dialect.step_2(room, chance.choice(SOURCES))
        case 2 | 3 | 4:
            return dialect.update(room, chance.choice(SOURCES))
        case 5 | 6:
            client, clock = chance.randrange(1, 100), chance.randrange(1, 100)
            entry = bytes((1, client, clock)) + write_varbytes(chance.choice(STATES))
            return dialect.awareness(room, entry)
        case _:
            own = [key + b"\x05" + write_varbytes(b"hello"), key + b"\x07", b"\x09", *dialect.login(room)]
            return chance.choice(own) if dialect.keyed else key + b"\x03"


def spoilt(message: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice((0, 1, 1, 1, 2))):
        message = mutate(message, chance) if message else message
    return message


async def attack(port: int, dialect: Dialect, seed: int, until: float) -> Counter[int | None]:
    """Send spoilt messages on one connection after the other; returns how often each close code came."""
    chance = random.Random(seed)
    codes: Counter[int | None] = Counter()
    while asyncio.get_running_loop().time() < until:
        room = chance.choice(ROOMS)
        async with await RawClient.join(port, dialect, room, keeps=False) as client:
            pongs: list[bytes] = []
            client.on_control = lambda opcode, payload, pongs=pongs: (
                pongs.append(payload) if opcode == PONG else 0
            )
            frames = [frame(spoilt(genuine(dialect, room, chance), chance)) for _ in range(BATCH)]
            if chance.random() < 0.1:
                client.write(mutate(b"".join(frames), chance))
                await client.until(lambda: client.unsent == 0 or not client.is_open)
            else:
                client.write(b"".join(frames) + frame(BEHIND_THE_UPDATES, PING))
                await client.until(
                    lambda: BEHIND_THE_UPDATES in pongs or client.close_code is not None,  # noqa: B023
                    within=20,
                )
            codes[client.close_code] += 1
    return codes


async def test_spoilt_messages_cost_nobody_but_their_sender_anything(tmp_path: Path) -> None:
    print(f"ROOMFUL_SEED={SEED}")
    options = ("--fold-entries", "200", "--max-document-bytes", "1GiB")
    codes: Counter[int | None] = Counter()
    async with (
        lay_siege(tmp_path, options=options) as siege,
        siege.undisturbed(growth=128 * MIB, tolerated=("room quarantined",)),
    ):
        until = asyncio.get_running_loop().time() + SECONDS
        attacks = [
            attack(siege.port, dialect, SEED + at, until)
            for at, dialect in enumerate(dialect for dialect in DIALECTS for _ in range(ATTACKERS))
        ]
        for ended_with in await asyncio.gather(*attacks):
            codes += ended_with
    print(f"{sum(codes.values()) * BATCH} messages; connections ended with {dict(codes)}")
    assert set(codes) <= {None, 1000, 1002, 1003, 1006, 1009, 4400, 4403, 4429}
    # Whatever was taken in can be read back and given to the next who comes.
    async with ServerProcess(tmp_path) as server:
        for room in ROOMS:
            for dialect in DIALECTS:
                (await RawClient.join(server.port, dialect, room, keeps=False)).abort()
