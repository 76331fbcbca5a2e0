"""Genuine updates, spoilt at random: what the check accepts, the library's document-less functions survive.

``ROOMFUL_MUTANTS=1000000`` tries that many; ``ROOMFUL_SEED`` repeats a run.
"""

import os
import random

from pycrdt import merge_updates

from roomful.crdt.check import check_state_vector, check_update
from roomful.crdt.split import split_update
from roomful.crdt.varint import Malformed, write_varuint
from tests.crdt.genuine import GROUPS, STATE_VECTORS, UPDATES
from tests.crdt.library import ask

MUTANTS = int(os.environ.get("ROOMFUL_MUTANTS", "20000"))
SEED = int(os.environ.get("ROOMFUL_SEED", random.randrange(2**32)))
BATCH = 20_000

SOURCES = [
    *(genuine.update for genuine in UPDATES if len(genuine.update) < 5_000),
    *(update for group in GROUPS for update in group.updates if len(update) < 1_000),
    *(merge_updates(*group.updates[:8]) for group in GROUPS),
]
TELLING = [0, 1, 2, 5, 10, 31, 0x75, 0x76, 0x7F, 0x80, 0xFF]

LARGE = [2**14, 2**28, 2**31 - 1, 2**32, 2**53 - 1]


def mutate(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((1, 1, 1, 2, 5, 30)))
    match chance.randrange(8):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([chance.choice(TELLING)]) + data[at + 1 :]
        case 2:
            return data[:at] + bytes([data[at % len(data)] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        case 3:
            return data[:at] + bytes(chance.choices(TELLING, k=chance.randrange(1, 5))) + data[at:]
        case 4:
            return data[:at] + data[end:]
        case 5:
            return data[:at] + data[at:end] * chance.choice((2, 2, 3, 100)) + data[end:]
        case 6:
            return data[:at] + write_varuint(chance.choice(LARGE)) + data[end:]
        case _:
            other = chance.choice(SOURCES)
            return data[:at] + other[chance.randrange(len(other)) :]


def test_what_the_check_accepts_the_library_survives() -> None:
    for batch in range(0, MUTANTS, BATCH):
        chance = random.Random(SEED + batch)
        accepted: list[bytes] = []
        for _ in range(min(BATCH, MUTANTS - batch)):
            mutant = chance.choice(SOURCES)
            for _ in range(chance.choice((1, 1, 1, 2, 4))):
                mutant = mutate(mutant, chance) or b"\x00\x00"
            try:
                check_update(mutant)
            except Malformed:
                continue
            accepted.append(mutant)
            for piece in split_update(mutant, 10):
                check_update(piece)
        assert len(accepted) > 100, f"seed {SEED}"
        questions = [{"bytes": [mutant.hex(), chance.choice(SOURCES).hex()]} for mutant in accepted]
        answers = ask(questions)
        for mutant, answer in zip(accepted, answers, strict=False):
            assert answer["error"] is None, f"seed {SEED}: {mutant.hex()}: {answer['error']}"
        died_of = accepted[len(answers)].hex() if len(answers) < len(accepted) else None
        assert died_of is None, f"seed {SEED}"


def test_spoilt_state_vectors_are_read_or_malformed() -> None:
    chance = random.Random(SEED)
    vectors = list(STATE_VECTORS)
    for _ in range(MUTANTS // 10):
        mutant = mutate(chance.choice(vectors), chance)
        try:
            clocks = check_state_vector(mutant)
        except Malformed:
            continue
        assert all(clock < 2**31 and client < 2**53 for client, clock in clocks.items())
