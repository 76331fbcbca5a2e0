"""Who is in a room, and what changes about it: a value that hears of sessions and tells of people.

Sessions of this process join, change, leave and are lost; those of other processes are heard of, each
under its process. All that happens between two merges is seen as one change for each person, and what
cancels out is not seen at all.

Time is given in seconds of any steady clock. The order of what different processes say is kept by a Lamport
clock: it counts what happens here, and goes on from the latest that is heard. It starts at the wall clock's
milliseconds, so that a tracker which has heard nothing yet is not taken for one of long ago.
"""

import heapq
import math
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple, TypeVar

from roomful.crdt.varint import Malformed

from .fields import NO_FIELDS, patched
from .people import Person, person_of
from .record import Record, check_identity, decode_record, encode_record

_LONGEST_SESSION = 64
_REMEMBERED = 4_096
"""Sessions and processes that have ended, so that what comes late does not bring them back."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Announcement(NamedTuple):
    """What other processes are to hear of a session of this one: a record, or None when it is over."""

    session: str
    clock: int
    record: Record | None

    @property
    def value(self) -> bytes | None:
        """The record's bytes, as ``Tracker.hear`` takes them."""
        return None if self.record is None else encode_record(self.clock, self.record)


class Changes(NamedTuple):
    """What has changed since the last merge."""

    joined: list[Person]
    updated: list[Person]
    left: list[str]
    own: list[Announcement]


class Patience(NamedTuple):
    """Times in seconds.

    ``typing``: after so long without being said again it ends. ``grace``: so long a lost connection or a
    process holds its people's places. ``change``: of a session's changes within it, the newest is seen.
    """

    typing: float = 6.0
    grace: float = 10.0
    change: float = 0.2


PATIENCE = Patience()


class _Own:
    """A session of this process: what it is, and what others have been told of it."""

    __slots__ = ("lost_until", "published", "record", "seen_again_at", "typing_until")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.published: Record | None = None
        self.seen_again_at = 0.0
        self.typing_until = 0.0
        self.lost_until = 0.0


class Tracker:
    """The people of one room."""

    def __init__(
        self, *, largest: int, clock: int, patience: Patience = PATIENCE, most_sessions: int = 100_000
    ) -> None:
        self.people: dict[str, Person] = {}
        self._conflated = 0
        self._ghosts = 0
        self._largest = largest
        self._clock = clock
        self._patience = patience
        self._most_sessions = most_sessions
        self._own: dict[str, _Own] = {}
        self._unpublished: dict[str, None] = {}
        self._lost: dict[str, set[str]] = {}
        self._timers: list[tuple[float, str]] = []
        self._news: dict[str, Announcement] = {}
        self._clocks: dict[str, dict[str, int]] = {}
        self._ended: dict[tuple[str, str], int] = {}
        self._lost_until: dict[str, float] = {}
        self._dead: dict[str, None] = {}
        # Of each person, the sessions as they are to be seen, by process and name; "" is this process.
        self._sessions: dict[str, dict[tuple[str, str], Record]] = {}
        self._records: dict[tuple[str, str], Record] = {}
        self._changed: dict[str, None] = {}

    @property
    def sessions(self) -> int:
        """How many sessions there are, lost ones included as long as they hold a place."""
        return len(self._records)

    def take_counts(self) -> tuple[int, int]:
        """Return how many changes were replaced before they were seen, and how many sessions that were lost
        have been given up, since the last time.
        """
        counts = (self._conflated, self._ghosts)
        self._conflated = self._ghosts = 0
        return counts

    @property
    def awaits(self) -> bool:
        """Whether a session of this process is lost and may come back."""
        return bool(self._lost)

    def published(self, session: str) -> Record | None:
        """Return what others have been told of a session of this process."""
        own = self._own.get(session)
        return None if own is None else own.published

    @property
    def has_news(self) -> bool:
        """Whether a merge has something to say now."""
        return bool(self._changed or self._unpublished or self._news)

    def due(self) -> float | None:
        """Return from when on a merge has something to say, as things stand; -inf: now."""
        if self.has_news:
            return -math.inf
        times = [*self._lost_until.values(), *(at for at, _ in self._timers[:1])]
        return min(times, default=None)

    def join(self, now: float, session: str, user: str, instance: str, patch: Mapping[str, object]) -> None:
        """Take a session in, under a name that no session had before. Raises Malformed."""
        check_identity(user, instance)
        fields = patched(NO_FIELDS, patch, self._largest)
        self._clock += 1
        record = Record(user, instance, self._clock, self._clock, fields=fields)
        for other in tuple(self._lost.get(record.person(session), ())):
            self.leave(other)
        own = self._own[session] = _Own(record)
        self._unpublished[session] = None
        if "typing" in fields:
            self._types(now, session, own)

    def change(self, now: float, session: str, patch: Mapping[str, object]) -> None:
        """Take what a session says of itself. Raises Malformed, and then has taken nothing."""
        own = self._own[session]
        fields = patched(own.record.fields, patch, self._largest)
        if patch.get("typing") is not None:
            self._types(now, session, own)
        if fields == own.record.fields:
            return
        if session in self._unpublished:
            self._conflated += 1
        self._clock += 1
        own.record = own.record._replace(said=self._clock, fields=fields)
        self._unpublished[session] = None

    def leave(self, session: str) -> None:
        """Let a session go that has said goodbye."""
        own = self._own.pop(session, None)
        if own is None:
            return
        self._unpublished.pop(session, None)
        self._forget_lost(session, own.record)
        if own.published is not None:
            self._news[session] = Announcement(session, self._clock, None)
            self._set("", session, None)

    def lose(self, now: float, session: str) -> None:
        """A session's connection was lost: its place is held for the grace, if it could be known again."""
        own = self._own.get(session)
        if own is None or own.record.lost:
            return
        if own.published is None or not own.record.may_return:
            self.leave(session)
            return
        fields = {name: value for name, value in own.record.fields.items() if name != "typing"}
        own.record = own.record._replace(lost=True, fields=fields)
        own.lost_until = now + self._patience.grace
        self._lost.setdefault(own.record.person(session), set()).add(session)
        heapq.heappush(self._timers, (own.lost_until, session))
        self._unpublished[session] = None

    def hear(self, process: str, session: str, value: bytes | None) -> bool:
        """Take what another process announced. Returns whether it was news. Raises Malformed."""
        if process in self._dead:
            return False
        clocks = self._clocks.get(process, {})
        if value is None:
            clock = clocks.pop(session, None)
            if clock is not None:
                _remember(self._ended, (process, session), clock)
                self._set(process, session, None)
            return clock is not None
        # Its name is a key in what clients are sent.
        if not (0 < len(session) <= _LONGEST_SESSION and session.isascii() and session != "__proto__"):
            raise Malformed("content", "presence of a session with a name that is none")
        clock, record = decode_record(value, self._largest)
        if clock <= clocks.get(session, self._ended.get((process, session), -1)):
            return False
        if session not in clocks and self.sessions >= self._most_sessions:
            raise Malformed("limit", f"more than {self._most_sessions} sessions in a room")
        self._clocks.setdefault(process, {})[session] = clock
        self._clock = max(self._clock, clock)
        self._set(process, session, record)
        return True

    def lose_process(self, now: float, process: str) -> None:
        """A process is gone: so are its sessions, after the grace, unless it is found again before."""
        if process not in self._clocks:
            _remember(self._dead, process, None)
        elif process not in self._lost_until:
            self._lost_until[process] = now + self._patience.grace
            self._look_again_at(process)

    def find_process(self, process: str) -> None:
        """A process is there. One that was dropped has to be heard anew."""
        self._dead.pop(process, None)
        if self._lost_until.pop(process, None) is not None:
            self._look_again_at(process)

    def forget_process(self, process: str) -> None:
        """A process begins anew: what it said before is over, and what it says next counts."""
        self._lost_until.pop(process, None)
        self._dead.pop(process, None)
        for session in self._clocks.pop(process, {}):
            self._set(process, session, None)

    @property
    def has_changed(self) -> bool:
        """Whether a merge would look at anybody again."""
        return bool(self._changed)

    def merge(self, now: float, most: int | None = None) -> Changes:
        """Let time pass, and return what has changed for the room and for the other processes.

        It looks at ``most`` people, those first that wait longest; the others are left for the next one.
        """
        self._expire(now)
        for session in tuple(self._unpublished):
            self._publish(now, session, self._own[session])
        own, self._news = list(self._news.values()), {}
        changes = Changes([], [], [], own)
        for person in list(islice(self._changed, most)):
            del self._changed[person]
            before, after = self.people.get(person), self._seen(person)
            if after is None:
                if before is not None:
                    del self.people[person]
                    changes.left.append(person)
            elif after != before:
                self.people[person] = after
                (changes.updated if before is not None else changes.joined).append(after)
        return changes

    def _types(self, now: float, session: str, own: _Own) -> None:
        if not own.typing_until:
            heapq.heappush(self._timers, (now + self._patience.typing, session))
        own.typing_until = now + self._patience.typing

    def _expire(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, session = heapq.heappop(self._timers)
            own = self._own.get(session)
            if own is None:
                continue
            if own.lost_until:
                if own.lost_until <= now:
                    self._ghosts += 1
                    self.leave(session)
            elif own.typing_until > now:
                heapq.heappush(self._timers, (own.typing_until, session))
            else:
                own.typing_until = 0.0
                if "typing" in own.record.fields:
                    own.record = own.record._replace(
                        fields=patched(own.record.fields, {"typing": None}, self._largest)
                    )
                    self._unpublished[session] = None
        for process in [process for process, until in self._lost_until.items() if until <= now]:
            self._drop(process)

    def _drop(self, process: str) -> None:
        del self._lost_until[process]
        sessions = self._clocks.pop(process, {})
        self._ghosts += len(sessions)
        for session in sessions:
            self._set(process, session, None)
        _remember(self._dead, process, None)

    def _publish(self, now: float, session: str, own: _Own) -> None:
        if now < own.seen_again_at:
            return
        del self._unpublished[session]
        if own.record == own.published:
            return
        self._clock += 1
        own.published = own.record
        own.seen_again_at = now + self._patience.change
        self._news[session] = Announcement(session, self._clock, own.record)
        self._set("", session, own.record)

    def _set(self, process: str, session: str, record: Record | None) -> None:
        key = (process, session)
        before = self._records.pop(key, None)
        if before is not None:
            person = before.person(session)
            self._changed[person] = None
            of_person = self._sessions[person]
            del of_person[key]
            if not of_person:
                del self._sessions[person]
        if record is not None:
            person = record.person(session)
            self._changed[person] = None
            self._records[key] = record
            self._sessions.setdefault(person, {})[key] = record

    def _seen(self, person: str) -> Person | None:
        sessions = self._sessions.get(person)
        if sessions is None:
            return None
        return person_of(
            person,
            {
                session: record._replace(lost=True) if process in self._lost_until else record
                for (process, session), record in sessions.items()
            },
        )

    def _look_again_at(self, process: str) -> None:
        for session in self._clocks.get(process, ()):
            self._changed[self._records[process, session].person(session)] = None

    def _forget_lost(self, session: str, record: Record) -> None:
        person = record.person(session)
        lost = self._lost.get(person)
        if lost is not None:
            lost.discard(session)
            if not lost:
                del self._lost[person]


def _remember(remembered: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Note what is over, and forget the oldest of too many."""
    remembered.pop(key, None)
    if len(remembered) >= _REMEMBERED:
        del remembered[next(iter(remembered))]
    remembered[key] = value
