"""A room's sessions in groups that are told in turn, so that what a crowd is told is no single burst.

A small room is one group. Each group has a record of what it has not been told: what comes to it late is as
new as what came to the others early.
"""

from collections import deque
from collections.abc import Collection
from typing import Final, Protocol

from roomful.presence.awareness import Entry, encode_entries

from .protocols.envelope import Envelope

_MEMBERS: Final = 50
_MOST_GROUPS: Final = 16
_BURST_BYTES: Final = 1 << 20
"""What goes out at once, at some 5 ms; edits wait for it."""


class Member(Protocol):
    """One session as it is told of the others."""

    @property
    def envelope(self) -> Envelope: ...

    def awareness(self, frame: bytes) -> None:
        """Write an awareness frame, or note that one was left out."""


class _Group:
    __slots__ = ("changed", "members")

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}
        self.changed: dict[int, Entry] = {}


class Groups:
    """Those who are told, and what they have not been told yet."""

    def __init__(self) -> None:
        # Those that have waited longest come first.
        self._groups = deque([_Group()])
        self._group_of: dict[Member, _Group] = {}

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return any(group.changed for group in self._groups)

    def enter(self, member: Member) -> None:
        """Let a session in that knows everything."""
        group = min(self._groups, key=lambda each: len(each.members))
        if len(group.members) >= _MEMBERS and len(self._groups) < _MOST_GROUPS:
            group = _Group()
            self._groups.append(group)
        group.members[member] = None
        self._group_of[member] = group

    def leave(self, member: Member) -> None:
        """Let a session out."""
        group = self._group_of.pop(member, None)
        if group is None:
            return
        del group.members[member]
        if not group.members and len(self._groups) > 1:
            self._groups.remove(group)

    def announce(self, entries: Collection[Entry]) -> None:
        """Take what all are to be told."""
        for group in self._groups:
            for entry in entries:
                group.changed[entry.client] = entry

    def tell(self, largest: int) -> tuple[int, float]:
        """Tell the group that waits longest what is new, ``largest`` bytes at most, and more groups while all
        that is little. Returns the most bytes that a session was told, and the share of the groups that had
        their turn."""
        most = told = turns = 0
        for _ in range(len(self._groups)):
            group = self._groups[0]
            self._groups.rotate(-1)
            size = _tell(group, largest) if group.changed else 0
            most = max(most, size)
            told += size * len(group.members)
            turns += 1
            if told >= _BURST_BYTES:
                break
        return most, turns / len(self._groups)


def _tell(group: _Group, largest: int) -> int:
    """Write what is new to everybody, the oldest first. Returns the bytes for each."""
    batch: list[Entry] = []
    size = 0
    for entry in group.changed.values():
        if batch and size + len(entry.raw) > largest:
            break
        batch.append(entry)
        size += len(entry.raw)
    for entry in batch:
        del group.changed[entry.client]
    entries = encode_entries(batch)
    frames: dict[bytes, bytes] = {}
    # One that takes nothing may be cut off by this, and leaves.
    for member in tuple(group.members):
        envelope = member.envelope
        frame = frames.get(envelope.prefix)
        if frame is None:
            frame = frames[envelope.prefix] = envelope.awareness(entries)
        member.awareness(frame)
    return size
