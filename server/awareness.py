"""Awareness in one room: who is told of whom, how often, and what other processes hear of it.

    session -> clients -> changed -> (interval) -> one frame to every session
                     \\-> gossip  -> (interval) -> other processes -> clients, changed, ... there

It shares nothing with the room's document: an edit waits for no cursor. All changes are synchronous.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from roomful.crdt.varint import Malformed
from roomful.presence.awareness import Entry, encode_entries, gone_entry
from roomful.presence.claims import NOBODY, Claim, client_key, read_client, user_key
from roomful.presence.clients import Clients
from roomful.presence.gossip import Gossip

from .auth import Access
from .metrics import Metrics
from .protocols.envelope import Envelope

_log = structlog.get_logger()

_NUDGE = b"\xc0"
"""What a process tells the others when one of its clients is back; gossip begins with an array."""
_MOST_NUDGED = 50
_NUDGE_SECONDS = 2.0
_SECONDS_PER_CLIENT = 0.004
"""Of the interval, at least: so that a room's sessions are written no more than 250 frames a second, until
there are so many of them that the longest interval is shorter."""


class Member(Protocol):
    """One session as awareness sees it."""

    @property
    def access(self) -> Access: ...

    @property
    def envelope(self) -> Envelope: ...

    def awareness(self, frame: bytes) -> None:
        """Write an awareness frame, or note that one was left out."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a room says what is new: intervals in seconds, and bytes a second to each session.

    Without an interval everything goes out at once, however much it is.
    """

    shortest: float
    longest: float
    bytes_per_second: int

    def rest(self, clients: int, size: int) -> float:
        """Return how long a room with so many clients says nothing after so many bytes."""
        if not self.shortest:
            return 0.0
        interval = max(self.shortest, min(clients * _SECONDS_PER_CLIENT, self.longest))
        return max(interval, size / self.bytes_per_second)

    @property
    def largest(self) -> int:
        """How many bytes go out at once. A single entry may be larger."""
        return int(self.bytes_per_second * max(self.shortest, self.longest)) if self.shortest else 1 << 30


class RoomAwareness:
    """The awareness of a room. ``grace`` is for how long a lost session's clients are kept, in seconds.

    With ``gossip`` it tells other processes, by ``tell``. ``on_idle`` is called when the last of those that
    were lost has been given up.
    """

    def __init__(
        self, name: str, clients: Clients, pace: Pace, grace: float, metrics: Metrics,
        gossip: Gossip | None = None, tell: Callable[[bytes], None] | None = None,
    ) -> None:  # fmt: skip
        self.on_idle: Callable[[], None] = _nothing
        self._name = name
        self._clients = clients
        self._pace = pace
        self._grace = grace
        self._metrics = metrics
        self._gossip = gossip
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        # Each with its user.
        self._members: dict[Member, bytes] = {}
        self._changed: dict[int, Entry] = {}
        self._nudges = False
        self._nudged_at = -_NUDGE_SECONDS
        self._flush_due = False
        self._rests_until = 0.0
        self._care: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody is awaited who was lost."""
        return not self._clients.awaits

    def start(self) -> None:
        """Ask the other processes who is there."""
        self._gossip_now()

    def stop(self) -> None:
        """The room is let go; nobody is in it."""
        if self._care is not None:
            self._care.cancel()
            self._care = None
        if self._gossip is not None and self._tell is not None:
            self._tell(self._gossip.bye())
        self._gossip = None

    # What sessions say and hear

    def enter(self, member: Member) -> None:
        """Let a session in, and tell it who is here."""
        self._members[member] = user_key(member.access.user)
        if len(self._clients):
            member.awareness(self.everybody(member))

    def leave(self, member: Member, *, lost: bool) -> None:
        """Let a session out, and tell the others whom it takes along; if it is lost, after the grace."""
        self._members.pop(member, None)
        if lost and self._grace:
            self._clients.lose(member, self._loop.time() + self._grace)
            self._schedule()
            self._arrange()
        else:
            self._announce(self._clients.leave(member))

    def speak(self, member: Member, entries: Sequence[Entry]) -> list[Entry]:
        """Take what a session says of its clients. Returns what to tell it in answer. Raises Malformed."""
        user = self._members.get(member, NOBODY)
        returning = self._clients.returning(entries)
        news, corrections = self._clients.apply(member, entries, user, int(time.time() * 1000))
        self._metrics.awareness_changes += len(news)
        self._nudges |= returning
        self._announce(news)
        return corrections

    def everybody(self, member: Member) -> bytes:
        """Return the frame with everybody's awareness."""
        return member.envelope.awareness(encode_entries(self._clients.entries()))

    def everybody_and_the_departed(self, member: Member) -> bytes:
        """Return the frame for one who has missed some: who is here, and who has left lately."""
        entries = [*self._clients.entries(), *self._clients.departed()]
        return member.envelope.awareness(encode_entries(entries))

    # What other processes say

    def told(self, message: bytes) -> None:
        """Take what another process has told."""
        if self._gossip is None:
            return
        if message == _NUDGE:
            self._nudge()
            return
        try:
            changes = self._gossip.hear(message, self._loop.time())
        except Malformed as error:
            self._refused(error)
            return
        for process, key, value in changes:
            try:
                number = read_client(key)
                claim = None if value is None else Claim.decode(process, key, value)
                news = self._clients.hear(process, number, claim)
            except Malformed as error:
                self._refused(error)
                continue
            if news is not None:
                self._changed[number] = news
        self._forget(self._gossip.take_gone(self._loop.time()))
        self._schedule()
        self._gossip_now()

    def relinked(self) -> None:
        """What others told may have been missed."""
        if self._gossip is not None:
            self._gossip.ask_all()
            self._gossip_now()

    def departed(self, processes: Collection[str]) -> None:
        """These processes are gone; their clients may come back here."""
        if self._gossip is not None:
            for process in processes:
                self._gossip.depart(process)
            self._forget(processes)

    def returned(self, processes: Collection[str]) -> None:
        """These processes were not gone after all."""
        if self._gossip is not None:
            for process in processes:
                self._gossip.come_back(process)
            self._gossip_now()

    # How it goes out

    def _announce(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._changed[entry.client] = entry
        self._schedule()

    def _schedule(self) -> None:
        """Say what is new: at once after a pause, else when the interval is over."""
        if self._flush_due or not (self._changed or self._clients.has_untold):
            return
        rest = self._rests_until - self._loop.time()
        if rest <= 0:
            self._flush()
        else:
            self._flush_due = True
            self._loop.call_later(rest, self._flush_late)

    def _flush_late(self) -> None:
        self._flush_due = False
        self._flush()

    def _flush(self) -> None:
        size = self._fan_out() if self._changed else 0
        self._seek()
        clients = max(len(self._members), len(self._clients))
        self._rests_until = self._loop.time() + self._pace.rest(clients, size)
        untold = self._clients.take_untold()
        if self._gossip is not None:
            for number, claim in untold.items():
                self._gossip.put(client_key(number), None if claim is None else claim.encode())
            self._gossip_now()
        if self._nudges:
            self._nudges = False
            self._nudge_all()
        self._schedule()

    def _fan_out(self) -> int:
        """Write what is new to everybody, those first that wait longest. Returns the bytes for each."""
        batch: list[Entry] = []
        size = 0
        for entry in self._changed.values():
            if batch and size + len(entry.raw) > self._pace.largest:
                break
            batch.append(entry)
            size += len(entry.raw)
        for entry in batch:
            del self._changed[entry.client]
        entries = encode_entries(batch)
        frames: dict[bytes, bytes] = {}
        for member in tuple(self._members):
            envelope = member.envelope
            frame = frames.get(envelope.prefix)
            if frame is None:
                frame = frames[envelope.prefix] = envelope.awareness(entries)
            member.awareness(frame)
        return size

    # Those who come back

    def _seek(self) -> None:
        """Find out whether clients that are lost have come back already: they were taken for echoes then.

        Who hears that it is gone, and is not, says so with a higher clock.
        """
        for member, entries in self._clients.take_sought().items():
            if member in self._members:
                member.awareness(member.envelope.awareness(encode_entries(entries)))

    def _nudge_all(self) -> None:
        """Have everybody raise their clocks: one who is back remembers them, and takes nothing else for news.

        In a large room it sees them when they say something new, or renew what they have said.
        """
        now = self._loop.time()
        if len(self._clients) <= _MOST_NUDGED and now >= self._nudged_at + _NUDGE_SECONDS:
            self._nudged_at = now
            self._nudge()
            if self._tell is not None:
                self._tell(_NUDGE)

    def _nudge(self) -> None:
        if len(self._clients) > _MOST_NUDGED:
            return
        for member in tuple(self._members):
            if said := self._clients.spoken_for_by(member):
                entries = encode_entries(gone_entry(each.client, each.clock) for each in said)
                member.awareness(member.envelope.awareness(entries))

    # What time brings

    def _gossip_now(self) -> None:
        if self._gossip is not None and self._tell is not None:
            for message in self._gossip.due(self._loop.time()):
                self._tell(message)
        self._arrange()

    def _arrange(self) -> None:
        """Look again when something is due by itself."""
        now = self._loop.time()
        times = [self._clients.next_end, self._gossip.next_due(now) if self._gossip is not None else None]
        due = min((at for at in times if at is not None), default=None)
        if self._care is not None:
            if due is not None and self._care.when() <= due:
                return
            self._care.cancel()
            self._care = None
        if due is not None:
            self._care = self._loop.call_at(max(due, now + 0.01), self._look)

    def _look(self) -> None:
        self._care = None
        now = self._loop.time()
        awaited = self._clients.awaits
        self._announce(self._clients.expire(now))
        if self._gossip is not None:
            self._forget(self._gossip.take_gone(now))
        self._gossip_now()
        if awaited and not self._clients.awaits:
            self.on_idle()

    def _forget(self, processes: Collection[str]) -> None:
        for process in processes:
            self._clients.orphan(process, self._loop.time() + self._grace)
        if processes:
            self._schedule()
            self._arrange()

    def _refused(self, error: Malformed) -> None:
        self._metrics.refused["gossip"] += 1
        _log.warning("what another process told is refused", room=self._name, error=str(error))


def _nothing() -> None:
    """Nobody wants to know."""
