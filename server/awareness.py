"""Awareness in one room: who is told of whom, and how often.

    session -> unread -> clients -> changed -> (interval) -> one frame to every session
                                \\-> untold  -> (interval) -> other processes (neighbours.py) -> clients ...

What comes within an interval is looked into together, a tenth of a second late at most: a message that is
handled by itself costs ten times as much, since nothing that it needs is in the processor's caches any more.

It shares nothing with the room's document: an edit waits for no cursor. All changes are synchronous.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from roomful.presence.awareness import Entry, encode_entries
from roomful.presence.claims import NOBODY, user_key
from roomful.presence.clients import Clients

from . import awareness_groups
from .auth import Access
from .awareness_groups import Groups
from .metrics import Metrics
from .neighbours import NUDGE, Neighbours
from .unread_awareness import Speaker, UnreadAwareness, at_once

_MOST_NUDGED: Final = 50
_NUDGE_SECONDS: Final = 2.0
_SECONDS_PER_CLIENT: Final = 0.004
"""Of the interval, at least: so that a room's sessions are written no more than 250 frames a second, until
there are so many of them that the longest interval is shorter."""
_SHORTEST_LOOK: Final = 0.01
_READ_SECONDS: Final = 0.1
"""How long something that is said may wait to be looked into."""


class Member(awareness_groups.Member, Speaker, Protocol):
    """One session as awareness sees it."""

    @property
    def access(self) -> Access: ...


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
    A client's state has at most ``largest`` bytes.

    ``neighbours`` are the other processes that have the room open, where there may be such. ``on_idle`` is
    called when the last of those that were lost has been given up, ``on_news`` with what sessions here say,
    and ``on_asked`` when a session's clients are to raise their clocks; it returns whether that is done.
    """

    def __init__(
        self, clients: Clients, pace: Pace, grace: float, largest: int, metrics: Metrics,
        neighbours: Neighbours | None = None,
    ) -> None:  # fmt: skip
        self.on_idle: Callable[[], None] = _nothing
        self.on_news: Callable[[Member, Collection[Entry]], None] = _unheard
        self.on_asked: Callable[[Member, Collection[Entry]], bool] = _unanswered
        self._clients = clients
        self._pace = pace
        self._grace = grace
        self._metrics = metrics
        self._neighbours = neighbours
        self._loop = asyncio.get_running_loop()
        # Each with its user.
        self._members: dict[Member, bytes] = {}
        self._groups = Groups()
        self._unread = UnreadAwareness[Member](largest)
        self._read_timer: asyncio.TimerHandle | None = None
        self._flush_due = False
        self._rests_until = 0.0
        self._look_at: asyncio.TimerHandle | None = None
        # Whether somebody is back, and the others have not said themselves anew since.
        self._is_back = False
        self._nudged_at = -_NUDGE_SECONDS

    @property
    def idle(self) -> bool:
        """Whether nobody is awaited who was lost."""
        return not self._clients.awaits

    def start(self) -> None:
        """Ask the other processes who is there."""
        self._speak()

    def stop(self) -> None:
        """The room is let go."""
        if self._neighbours is not None:
            self._flush()
            self._neighbours.leave()
            self._neighbours = None
        for timer in (self._look_at, self._read_timer):
            if timer is not None:
                timer.cancel()
        self._look_at = self._read_timer = None
        self.on_idle, self.on_news, self.on_asked = _nothing, _unheard, _unanswered

    # What sessions say and hear

    def enter(self, member: Member) -> None:
        """Let a session in, and tell it who is here."""
        self.read()
        user = self._members[member] = user_key(member.access.user)
        self._groups.enter(member)
        if told := self._clients.enter(member, user):
            member.awareness(_frame(member, told))

    def leave(self, member: Member, *, lost: bool) -> None:
        """Let a session out, and tell the others whom it takes along; if it is lost, after the grace."""
        self.read()
        self._members.pop(member, None)
        self._groups.leave(member)
        if lost and self._grace:
            self._clients.lose(member, self._loop.time() + self._grace)
            # Nothing is to be seen here; but the client may be quick to come back elsewhere.
            self._tell_neighbours()
            self._schedule()
            self._arrange()
        else:
            self._announce(self._clients.leave(member))

    def hear(self, member: Member, message: bytes) -> None:
        """Take an awareness message, and look into it: after a pause at once, else with those that follow.

        The session is told then what is to be said to it, and what is wrong.
        """
        self._unread.add(member, message)
        rest = self._rests_until - self._loop.time()
        if rest <= 0 and not self._flush_due:
            self._flush()
        elif self._unread.is_much:
            self._unread.look_into(self._take, at_once)
            self._schedule()
        elif self._read_timer is None:
            self._read_timer = self._loop.call_later(max(0.0, min(rest, _READ_SECONDS)), self._read_late)

    def read(self) -> None:
        """Look into all that has been said; what is to be said to those that it comes from is said soon."""
        self._unread.look_into(self._take, self._loop.call_soon)

    def _read_late(self) -> None:
        self._read_timer = None
        self._unread.look_into(self._take, at_once)
        self._schedule()

    def speak(self, member: Member, entries: Sequence[Entry]) -> list[Entry]:
        """Take what is said for a session at once. Returns what to tell it in answer. Raises Malformed."""
        answer = self._take(member, entries)
        self._schedule()
        return answer

    def _take(self, member: Member, entries: Sequence[Entry]) -> list[Entry]:
        user = self._members.get(member, NOBODY)
        news, corrections = self._clients.apply(member, entries, user, int(time.time() * 1000))
        self._metrics.awareness_changes += len(news)
        self._groups.announce(news)
        if news:
            self.on_news(member, news)
        return corrections

    def everybody(self, member: Member) -> bytes:
        """Return the frame with everybody's awareness."""
        return _frame(member, self._clients.entries())

    def everybody_and_the_departed(self, member: Member) -> bytes:
        """Return the frame for one who has missed some: who is here, and who has left lately."""
        return _frame(member, [*self._clients.entries(), *self._clients.departed()])

    # What other processes say

    def told(self, message: bytes) -> None:
        """Take what another process has told."""
        if self._neighbours is None:
            return
        if message == NUDGE:
            self._nudge()
            return
        # Who is back here may have spoken before others knew that it was gone.
        self.read()
        now = self._loop.time()
        news = self._neighbours.hear(message, now)
        self._orphan(self._neighbours.take_gone(now))
        self._announce(news)
        self._speak()

    def relinked(self) -> None:
        """What was told, by others or by this process, may have reached nobody."""
        if self._neighbours is not None:
            self._neighbours.missed()
            self._speak()

    def departed(self, processes: Collection[str]) -> None:
        """These processes are gone; their clients may come back here."""
        self.read()
        if self._neighbours is not None and (known := self._neighbours.depart(processes)):
            self._orphan(known)
            self._arrange()

    def returned(self, processes: Collection[str]) -> None:
        """These processes are there; of such that were not gone after all everything is asked for."""
        if self._neighbours is not None and self._neighbours.come_back(processes):
            self._speak()

    def _orphan(self, processes: Collection[str]) -> None:
        for process in processes:
            self._clients.orphan(process, self._loop.time() + self._grace)
        self._schedule()

    # How it goes out

    def _announce(self, entries: Collection[Entry]) -> None:
        self._groups.announce(entries)
        self._schedule()

    def _schedule(self) -> None:
        """Say what is new: at once after a pause, else when the interval is over."""
        if self._flush_due or not self._has_news:
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

    @property
    def _has_news(self) -> bool:
        return self._groups.has_news or self._clients.has_untold

    def _flush(self) -> None:
        self._unread.look_into(self._take, at_once)
        if not self._has_news:
            return
        size, share = self._groups.tell(self._pace.largest)
        clients = max(len(self._members), len(self._clients))
        # Each group has its turn once in the interval.
        self._rests_until = self._loop.time() + share * self._pace.rest(clients, size)
        for member, entries in self._clients.take_sought().items():
            if member in self._members:
                self._ask(member, entries)
        for member, entry in self._clients.take_presumed(self._loop.time()):
            if member in self._members:
                self.on_news(member, [entry])
        self._tell_neighbours()
        self._is_back |= self._clients.take_returned()
        if self._is_back:
            self._nudge_all()
        self._arrange()
        self._schedule()

    def _tell_neighbours(self) -> None:
        untold = self._clients.take_untold()
        if self._neighbours is not None and untold:
            self._neighbours.put(untold)
            self._speak()

    def _nudge_all(self) -> None:
        """Have everybody raise their clocks: one who is back remembers them, and takes no others for news.

        In a large room it sees each of them when they say something new, or renew what they have said.
        """
        if self._loop.time() < self._nudged_at + _NUDGE_SECONDS:
            self._arrange()
            return
        self._nudge()
        if self._neighbours is not None:
            self._neighbours.nudge()

    def _nudge(self) -> None:
        self._is_back = False
        self._nudged_at = self._loop.time()
        if len(self._clients) > _MOST_NUDGED:
            return
        for member in tuple(self._members):
            if asked := self._clients.ask(member):
                self._ask(member, asked)

    def _ask(self, member: Member, entries: Collection[Entry]) -> None:
        """Have a session's clients raise their clocks above these, and say themselves anew."""
        if not self.on_asked(member, entries):
            member.awareness(_frame(member, entries))

    # What time brings

    def _speak(self) -> None:
        if self._neighbours is not None:
            self._neighbours.speak(self._loop.time())
            self._arrange()

    def _arrange(self) -> None:
        """Look again when something is due by itself."""
        now = self._loop.time()
        end = self._clients.next_end
        tell = self._neighbours.next_due(now) if self._neighbours is not None else None
        nudge = self._nudged_at + _NUDGE_SECONDS if self._is_back else None
        due = min((at for at in (end, tell, nudge) if at is not None), default=None)
        if self._look_at is not None:
            if due is not None and self._look_at.when() <= due:
                return
            self._look_at.cancel()
            self._look_at = None
        if due is not None:
            self._look_at = self._loop.call_at(max(due, now + _SHORTEST_LOOK), self._look)

    def _look(self) -> None:
        self._look_at = None
        self.read()
        now = self._loop.time()
        awaited = self._clients.awaits
        self._announce(self._clients.expire(now))
        if self._neighbours is not None:
            self._orphan(self._neighbours.take_gone(now))
            self._neighbours.speak(now)
        if self._is_back:
            self._nudge_all()
        self._arrange()
        if awaited and not self._clients.awaits:
            self.on_idle()


def _frame(member: Member, entries: Iterable[Entry]) -> bytes:
    return member.envelope.awareness(encode_entries(entries))


def _nothing() -> None:
    """Nobody wants to know."""


def _unheard(_: Member, __: Collection[Entry]) -> None:
    """Nobody listens to what sessions here say."""


def _unanswered(_: Member, __: Collection[Entry]) -> bool:
    """All sessions speak for themselves."""
    return False
