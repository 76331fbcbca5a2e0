"""What the real Yjs emits, and how it reads it back: vectors/vectors.json, made by vectors/make.mjs."""

import json
from dataclasses import dataclass
from pathlib import Path

from roomful.crdt.varint import read_varuint

VECTORS = Path(__file__).with_name("vectors")
_READ = json.loads((VECTORS / "vectors.json").read_text())

Range = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Genuine:
    """An update, and how Yjs reads it: runs of structs and deletions, (client, first clock, clock after)."""

    name: str
    update: bytes
    ranges: list[Range]
    deletes: list[Range]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Group:
    """Updates of writers who worked together, in the order of their making, and what they add up to."""

    updates: list[bytes]
    vector: dict[int, int]
    text: str


def _ranges(listed: list[list[int]]) -> list[Range]:
    return [(client, start, end) for client, start, end in listed]


UPDATES = [
    Genuine(one["name"], bytes.fromhex(one["hex"]), _ranges(one["ranges"]), _ranges(one["deletes"]))
    for one in _READ["updates"]
]
UNMERGEABLE: dict[str, bytes] = {one["name"]: bytes.fromhex(one["hex"]) for one in _READ["unmergeable"]}
STATE_VECTORS: dict[bytes, dict[int, int]] = {
    bytes.fromhex(one["hex"]): dict(one["clocks"]) for one in _READ["vectors"]
}
GROUPS = [
    Group([bytes.fromhex(update) for update in one["updates"]], dict(one["vector"]), one["text"])
    for one in _READ["groups"]
]


def read_deletes(data: bytes, at: int) -> list[Range]:
    """Read an encoded delete set the plain way."""
    ranges = []
    clients, at = read_varuint(data, at)
    for _ in range(clients):
        client, at = read_varuint(data, at)
        count, at = read_varuint(data, at)
        for _ in range(count):
            clock, at = read_varuint(data, at)
            length, at = read_varuint(data, at)
            ranges.append((client, clock, clock + length))
    assert at == len(data)
    return ranges
