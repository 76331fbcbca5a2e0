"""Whoever follows a room's log, and keeps what it hears."""

from roomful.crdt.log import Position


class Ear:
    def __init__(self) -> None:
        self.updates: list[bytes | None] = []
        self.missed_times = 0
        self.messages: list[bytes] = []
        self.relinked_times = 0

    def heard(self, position: Position, update: bytes | None) -> None:
        self.updates.append(update)

    def missed(self) -> None:
        self.missed_times += 1

    def told(self, message: bytes) -> None:
        self.messages.append(message)

    def relinked(self) -> None:
        self.relinked_times += 1
