"""The names under which a room is kept in Redis.

    key      := prefix ":" "{" tag "}" ":" kind ":" room
    kind     := "room" | "log"
              | "lease" | "nodes"             these have names instead of rooms, and are in partition 0
    channel  := prefix ":" "{" tag "}" ":" "news" ":" room

The partition of a room, 0 to 127, is the CRC-32 of its name modulo 128. ``tag`` is the hash tag of a Redis
Cluster, so that all keys of one room are on one of its nodes and a script may touch them together: the first
decimal number whose slot is in the partition's 128 of the 16384 slots. Tags that simply counted the
partitions would fall on the slots at random, and leave one node with twice what another has.
"""

from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple
from zlib import crc32

from redis.crc import key_slot

PARTITIONS: Final = 128
FORGET_SECONDS: Final = 86_400
"""After so long a writer that has said nothing more is no longer told what it has said already."""
_SLOTS: Final = 16384


class RoomKeys(NamedTuple):
    """The keys of one room, and the channel that tells its news."""

    room: str
    log: str
    news: str


def partition_of(room: str) -> int:
    """Return the partition of a room."""
    return crc32(room.encode()) % PARTITIONS


def slot_of(partition: int) -> int:
    """Return the slot, in a Redis Cluster, of a partition's keys."""
    return key_slot(_TAGS[partition].encode())


@lru_cache(maxsize=16_384)
def room_keys(prefix: str, room: str) -> RoomKeys:
    """Return the names of a room."""
    start = f"{prefix}:{{{_TAGS[partition_of(room)]}}}:"
    return RoomKeys(*(f"{start}{kind}:{room}" for kind in ("room", "log", "news")))


def lease_key(prefix: str, name: str) -> str:
    """Return the key of a lease that is no room's; it is in partition 0."""
    return f"{prefix}:{{{_TAGS[0]}}}:lease:{name}"


def node_keys(prefix: str) -> list[str]:
    """Return the keys of what processes know of each other: leases and descriptions. In partition 0."""
    return [f"{prefix}:{{{_TAGS[0]}}}:nodes:{name}" for name in ("leases", "processes")]


def _tags() -> list[str]:
    tags: dict[int, str] = {}
    for number in count():
        tags.setdefault(key_slot(b"%d" % number) * PARTITIONS // _SLOTS, str(number))
        if len(tags) == PARTITIONS:
            break
    return [tags[partition] for partition in range(PARTITIONS)]


_TAGS: Final = _tags()
