"""The other processes that have a room open: what they say of its clients, and what they are told."""

from collections.abc import Callable, Collection
from typing import Final

import structlog

from roomful.crdt.varint import Malformed
from roomful.presence.awareness import Entry
from roomful.presence.claims import Claim, client_key, read_client
from roomful.presence.clients import Clients
from roomful.presence.gossip import Change, Gossip

from .metrics import Metrics

_log = structlog.get_logger()

NUDGE: Final = b"\xc0"
"""What a process tells when one of its clients is back; gossip begins with an array of msgpack."""


class Neighbours:
    """Keeps ``clients`` as the others know them, and tells them by ``tell`` of those that are here."""

    def __init__(
        self, room: str, clients: Clients, gossip: Gossip, tell: Callable[[bytes], None], metrics: Metrics
    ) -> None:
        self._room = room
        self._clients = clients
        self._gossip = gossip
        self._tell = tell
        self._metrics = metrics

    def put(self, claims: dict[int, Claim | None]) -> None:
        """Take what has changed of those that are here; the next ``speak`` tells it."""
        for number, claim in claims.items():
            self._gossip.put(client_key(number), None if claim is None else claim.encode())

    def speak(self, now: float) -> None:
        """Tell what is due, be it a question or an answer."""
        for message in self._gossip.due(now):
            self._tell(message)

    def nudge(self) -> None:
        """Have the others ask their clients to raise their clocks."""
        self._tell(NUDGE)

    def next_due(self, now: float) -> float | None:
        """Return when ``speak`` has something to tell by itself, or ``take_gone`` somebody to give."""
        return self._gossip.next_due(now)

    def take_gone(self, now: float) -> list[str]:
        """Return the processes that have let the room go, or say nothing any more."""
        return self._gossip.take_gone(now)

    def hear(self, message: bytes, now: float) -> list[Entry]:
        """Take what another process has told. Returns what is news for the room."""
        try:
            changes = self._gossip.hear(message, now)
        except Malformed as error:
            self._refused(error)
            return []
        return [news for change in changes if (news := self._take(change)) is not None]

    def missed(self) -> None:
        """Something may have reached nobody, or not this process: the next ``speak`` asks for everything."""
        self._gossip.ask_all()

    def depart(self, processes: Collection[str]) -> list[str]:
        """These processes are gone. Returns those that had told anything."""
        return [process for process in processes if self._gossip.depart(process)]

    def come_back(self, processes: Collection[str]) -> bool:
        """These processes are there. Returns whether one of them had been said to be gone."""
        return sum(map(self._gossip.come_back, processes)) > 0

    def leave(self) -> None:
        """Tell that the room is let go."""
        self._tell(self._gossip.bye())

    def _take(self, change: Change) -> Entry | None:
        process, key, value = change
        try:
            number = read_client(key)
            claim = None if value is None else Claim.decode(process, key, value)
            return self._clients.hear(process, number, claim)
        except Malformed as error:
            self._refused(error)
            return None

    def _refused(self, error: Malformed) -> None:
        self._metrics.refused["gossip"] += 1
        _log.warning("what another process told is refused", room=self._room, error=str(error))
