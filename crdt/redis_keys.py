"""The names under which a room is kept in Redis.

    key      := prefix ":" "{" partition "}" ":" kind ":" room
    kind     := "room" | "log" | "snapshot"
    channel  := prefix ":" "{" partition "}" ":" "news" ":" room

The partition, 0 to 127, is a hash of the room's name. It is the hash tag of a Redis Cluster: all keys of one
room are on one of its nodes, and a script may touch them together.
"""

from typing import NamedTuple
from zlib import crc32

PARTITIONS = 128


class RoomKeys(NamedTuple):
    """The keys of one room, and the channel that tells its news."""

    room: str
    log: str
    snapshot: str
    news: str


def room_keys(prefix: str, room: str) -> RoomKeys:
    """Return the names of a room."""
    start = f"{prefix}:{{{crc32(room.encode()) % PARTITIONS}}}:"
    return RoomKeys(*(f"{start}{kind}:{room}" for kind in ("room", "log", "snapshot", "news")))
