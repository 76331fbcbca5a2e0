"""Which process serves which key: slots by a stable hash, processes by weighted rendezvous.

    slot(key)            := XXH64(utf8(key), seed 0) mod 4096
    draw(member, slot)   := (XXH64(utf8(member "/" slot), seed 0) div 2^11 + 0.5) / 2^53, in (0, 1)
    score(member, slot)  := -ln(draw) / weight

The member with the lowest score has the slot, the next is the first alternative, and so on; equal scores go
by name. When a member joins or leaves, only slots that it takes or had move: of n equal members, one in n.
Neither the hash nor the number of slots ever changes, so that clients and balancers may compute them too;
``docs/sharding-vectors.json`` holds examples to test them with. Source: Thaler and Ravishankar, "Using
name-based mappings to increase hit rates" (1998); the weights are Schindelhauer and Schomaker's logarithmic
method (2005).

Placement is an optimisation, never a condition: every process can serve every user.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from xxhash import xxh64_intdigest

SLOTS = 4096


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A process that takes slots; twice the weight takes twice as many. The weight is above 0."""

    name: str
    weight: float = 1.0


def slot_of(key: str) -> int:
    """Return the slot of a key, 0 to 4095. What is not Unicode text in it counts as '?'."""
    return xxh64_intdigest(key.encode(errors="replace")) % SLOTS


def ranked(slot: int, members: Iterable[Member]) -> list[Member]:
    """Return all members in the order in which a slot prefers them: who has it, then the alternatives."""
    return sorted(members, key=lambda member: (_score(slot, member), member.name))


def _score(slot: int, member: Member) -> float:
    # The upper 53 bits are what a double holds exactly, in every language.
    draw = ((xxh64_intdigest(f"{member.name}/{slot}".encode()) >> 11) + 0.5) / (1 << 53)
    return -math.log(draw) / member.weight
