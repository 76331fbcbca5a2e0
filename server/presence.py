"""Presence in one room: people come and go, and all who want to know are told, once a tick and alike.

    Roomful sessions ----------> tracker -> (tick) -> one frame to every Roomful session
    awareness of stock clients --^  |  \\--> (tick) -> awareness, of whom stock clients can't see otherwise
                                    \\----> gossip -> other processes' trackers

All changes are synchronous. Other processes hear of what is new after a moment, and not at a tick: else their
members would hear of it two ticks late. What is said in awareness is looked into once a tick only, and so a
moment before it; the ticks of a room fall together in all processes, as far as their hosts' clocks agree.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from roomful.crdt.varint import Malformed
from roomful.presence.awareness import Entry
from roomful.presence.pages import Page, Pages
from roomful.presence.roster import Roster
from roomful.presence.stand_ins import StandIns
from roomful.presence.tiers import Tier, interval_for, next_tick
from roomful.presence.tracker import Tracker
from roomful.presence.voices import Voices

from .auth import Access
from .metrics import Metrics
from .presence_neighbours import PresenceNeighbours
from .protocols.roomful import RoomfulEnvelope

_SHARE_SECONDS = 0.2
"""How long what is new waits for more of its kind before other processes are told."""
_ANSWER_SECONDS = 1.2
"""Within which other processes answer one that has just opened a room, and it has taken it in."""
_MERGED_AT_ONCE = 2_000
"""People that are looked at in a turn, and sessions of other processes, at some 25 µs for both; those beyond
wait for the next."""
_SETTLED_AT_ONCE = 200
"""Awareness states that a tick looks into, at some 30 µs each; the other rooms wait meanwhile."""


class Member(Protocol):
    """A session whose presence is what it says in awareness."""

    @property
    def access(self) -> Access: ...


class Listener(Member, Protocol):
    """A session that has typed presence. ``instance`` is what its client calls itself."""

    @property
    def name(self) -> str: ...

    @property
    def instance(self) -> str: ...

    def presence(self, frame: bytes) -> None:
        """Write a presence frame, or note that one was left out."""


Speak = Callable[[Any, Sequence[Entry]], Collection[Entry]]


class RoomPresence:
    """The presence of a room, here and at its ``neighbours``, if other processes may have it open.

    ``speak`` says something in awareness for a session, and returns the answer; ``on_idle`` is called when
    the last of those that were lost has been given up.
    """

    def __init__(
        self, name: str, tracker: Tracker, ceiling: int, largest: int, interval: float,
        envelope: RoomfulEnvelope, metrics: Metrics,
        neighbours: PresenceNeighbours | None = None,
    ) -> None:  # fmt: skip
        self.tracker = tracker
        self.on_idle: Callable[[], None] = _nothing
        self.speak: Speak = _say_nothing
        self._name = name
        self._roster = Roster(tracker.people, ceiling)
        self._pages = Pages(tracker.people)
        self._ceiling = ceiling
        self._voices = Voices(tracker, largest, lambda: secrets.token_urlsafe(9))
        self._stand_ins = StandIns()
        self._interval = interval
        self._envelope = envelope
        self._metrics = metrics
        self._neighbours = neighbours
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[str, Listener] = {}
        self._names: dict[Member, str] = {}
        # Who speaks in awareness as well, and who is to be shown there at the next tick.
        self._speaking: set[str] = set()
        self._shown: dict[str, None] = {}
        # From the loop's clock to the one that other processes have as well.
        self._clock_gap = 0.0 if neighbours is None else time.time() - self._loop.time()
        # uvloop's handle of what is due at once has no time to it.
        self._tick_timer: asyncio.Handle | None = None
        self._ticks_at = 0.0
        self._share_timer: asyncio.TimerHandle | None = None
        self._answered_at = 0.0
        self._care: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody is awaited who was lost."""
        return not self.tracker.awaits

    @property
    def _is_heard(self) -> bool:
        """Whether anybody hears what is told: else it is enough to know who is here."""
        return bool(self._listeners) or self._neighbours is not None

    # What sessions say and hear

    def enter(self, listener: Listener, patch: Mapping[str, object]) -> None:
        """Let a session in that is to be seen, and tell it what the others know. Raises Malformed."""
        instance = listener.instance and f"r:{listener.instance}"
        now = self._loop.time()
        self.tracker.join(now, listener.name, _user(listener), instance, patch)
        if listener in self._voices:
            self._voices.leave(now, listener, lost=False)
            self._speaking.add(listener.name)
        self._listeners[listener.name] = listener
        self._names[listener] = listener.name
        listener.presence(self.everything())
        self._arrange()

    def change(self, listener: Listener, patch: Mapping[str, object]) -> None:
        """Take what a session says of itself. Raises Malformed."""
        self.tracker.change(self._loop.time(), listener.name, patch)
        self._arrange()

    def heard(self, member: Member, entries: Collection[Entry]) -> None:
        """Take what was news in awareness: it is what a session without typed presence says of itself."""
        name = self._names.get(member)
        if name is None:
            now = self._loop.time()
            self._voices.hear(now, member, _user(member), entries)
            # Most only say something new, and the next tick is on its way, or nobody would hear of it.
            is_due = self._tick_timer is None or self._ticks_at > now + self._interval
            if self.tracker.has_news or (is_due and self._is_heard):
                self._arrange()
        elif any(not each.gone and each.client != self._stand_ins.client(name) for each in entries):
            self._speaking.add(name)
            self._withdraw(name)

    def asked(self, member: Member, entries: Collection[Entry]) -> bool:
        """In awareness a session is asked to raise its clocks. Returns whether it is shown there from here,
        and has done so."""
        name = self._names.get(member)
        answer = None if name is None else self._stand_ins.answer(name, entries)
        if name is None or answer is None:
            return False
        self._say(name, answer)
        return True

    def leave(self, member: Member, *, lost: bool) -> None:
        """Let a session out; if it is lost, the others see it for the grace."""
        now = self._loop.time()
        name = self._names.pop(member, None)
        if name is None:
            self._voices.leave(now, member, lost=lost)
        else:
            del self._listeners[name]
            self._stand_ins.forget(name)
            self._speaking.discard(name)
            self._shown.pop(name, None)
            if lost:
                self.tracker.lose(now, name)
            else:
                self.tracker.leave(name)
        self._arrange()

    def everything(self) -> bytes:
        """Return the frame for one who knows nothing, or has missed one."""
        return self._envelope.presence(self._roster.everything())

    def page(self, after: str, most: int, largest: int | None = None) -> Page:
        """Return so many people whose ids follow ``after``, in at most ``largest`` bytes; without that in as
        many as members are told at once.
        """
        if not self._is_heard:
            self._voices.settle(self._loop.time(), _SETTLED_AT_ONCE)
            self._merge()
        return self._pages.after(after, most, largest or self._ceiling, self.tracker.sessions)

    # What other processes say

    def start(self) -> None:
        """Ask the other processes who is there."""
        if self._neighbours is not None:
            self._answered_at = self._loop.time() + _ANSWER_SECONDS
        self._share_now()

    @property
    def unanswered_seconds(self) -> float:
        """How long people of other processes may still be unknown, because the room has just been opened."""
        return max(0.0, self._answered_at - self._loop.time())

    def stop(self) -> None:
        """The room is let go; nobody is in it."""
        for timer in (self._tick_timer, self._share_timer, self._care):
            if timer is not None:
                timer.cancel()
        if self._neighbours is not None:
            self._neighbours.leave()
            self._neighbours = None
        self._tick_timer = self._share_timer = self._care = None
        self.on_idle, self.speak = _nothing, _say_nothing

    def told(self, message: bytes) -> None:
        """Take what another process has told."""
        if self._neighbours is not None:
            self._neighbours.hear(message, self._loop.time())
            self._heard_others()

    def relinked(self) -> None:
        """What others told may have been missed."""
        if self._neighbours is not None:
            self._neighbours.missed()
            self._share_now()

    def departed(self, processes: Collection[str]) -> None:
        """These processes are gone, and their people after the grace."""
        if self._neighbours is not None:
            self._neighbours.depart(processes, self._loop.time())
            self._heard_others()

    def returned(self, processes: Collection[str]) -> None:
        """These processes were not gone after all, or are new."""
        if self._neighbours is not None:
            self._neighbours.come_back(processes)
            self._heard_others()

    def _heard_others(self) -> None:
        assert self._neighbours is not None
        self._neighbours.notice_gone(self._loop.time())
        self._share_now()
        self._arrange()

    # What time brings

    def _arrange(self) -> None:
        """See to it that what is new is told."""
        due = self.tracker.due()
        is_due = self.tracker.has_changed or (
            self._neighbours is not None and (self._neighbours.has_heard or due == -math.inf)
        )
        if is_due and self._share_timer is None:
            self._share_timer = self._loop.call_later(_SHARE_SECONDS, self._share)
        now = self._loop.time()
        if self._stand_ins or (self._is_heard and (self._voices.has_news or self._roster.is_busy)):
            due = now
        if due is None or (self._tick_timer is not None and self._ticks_at <= due):
            return
        interval = interval_for(len(self._listeners), self._interval)
        at = next_tick(max(now, due) + self._clock_gap, interval, self._name) - self._clock_gap
        if self._tick_timer is not None:
            if self._ticks_at <= at:
                return
            self._tick_timer.cancel()
        if self._neighbours is None:
            self._tick_timer = self._loop.call_at(at, self._tick, at)
        else:
            self._tick_timer = self._loop.call_at(at - _SHARE_SECONDS, self._settle, at)
        self._ticks_at = at

    def _share(self) -> None:
        self._share_timer = None
        self._merge()
        self._arrange()

    def _settle(self, at: float) -> None:
        """Let the other processes hear of what was said in awareness before they tick as well."""
        self._tick_timer = self._loop.call_at(at, self._tick, at)
        self._voices.settle(self._loop.time(), _SETTLED_AT_ONCE)
        self._merge()

    def _tick(self, at: float) -> None:
        self._tick_timer = None
        now = self._loop.time()
        self._metrics.tick_lateness_seconds.observe(max(0.0, now - at))
        if self._neighbours is None and self._listeners:
            self._voices.settle(now, _SETTLED_AT_ONCE)
        self._merge()
        body = self._roster.tick(now, self.tracker.sessions)
        if body is not None:
            frame = self._envelope.presence(body)
            self._metrics.presence_frames += len(self._listeners)
            self._metrics.presence_bytes += len(self._listeners) * len(frame)
            # One that takes nothing may be cut off by this, and leaves.
            for listener in tuple(self._listeners.values()):
                listener.presence(frame)
        self._show(now)
        self._arrange()

    def _merge(self) -> None:
        """Let what has happened become news for the roster and for other processes."""
        now = self._loop.time()
        awaited = self.tracker.awaits
        if self._neighbours is not None:
            self._neighbours.take_heard(_MERGED_AT_ONCE)
        changes = self.tracker.merge(now, _MERGED_AT_ONCE)
        conflated, ghosts = self.tracker.take_counts()
        self._metrics.presence_conflated += conflated
        self._metrics.ghosts += ghosts
        self._roster.take(now, changes)
        if changes.joined or changes.left:
            self._pages.forget_order()
        for session, _, _ in changes.own:
            if session in self._listeners:
                self._shown[session] = None
        if self._neighbours is not None:
            self._neighbours.put(changes.own)
        self._share_now()
        if awaited and not self.tracker.awaits:
            self.on_idle()

    def _show(self, now: float) -> None:
        """Let stock clients see those who are not in awareness, while the room is small enough to see all."""
        if self._roster.tier is not Tier.FULL:
            for name in self._listeners:
                self._withdraw(name)
            self._shown = dict.fromkeys(self._listeners)
            return
        shown, self._shown = self._shown, {}
        for name in shown:
            record = self.tracker.published(name)
            if record is not None and name not in self._speaking:
                self._stand_ins.show(name, record)
        for name, entry in tuple(self._stand_ins.entries(now, int(time.time()))):
            self._say(name, entry)

    def _withdraw(self, name: str) -> None:
        gone = self._stand_ins.forget(name)
        if gone is not None:
            self._say(name, gone)

    def _say(self, name: str, entry: Entry) -> None:
        listener = self._listeners[name]
        try:
            asked = self.speak(listener, [entry])
        except Malformed:
            # The session speaks for as many clients as it may already; stock clients see those.
            self._stand_ins.forget(name)
        else:
            self.asked(listener, asked)

    def _share_now(self) -> None:
        """Tell other processes what is due, and look again when something is due by itself."""
        if self._neighbours is None:
            return
        now = self._loop.time()
        self._neighbours.speak(now)
        due = self._neighbours.next_due(now)
        if self._care is not None:
            if due is not None and self._care.when() <= due:
                return
            self._care.cancel()
            self._care = None
        if due is not None:
            self._care = self._loop.call_at(max(due, now + 0.01), self._look)

    def _look(self) -> None:
        self._care = None
        if self._neighbours is not None:
            self._heard_others()


def _user(member: Member) -> str:
    """Return the user id as text that can be sent; an authorizer may have read it from anywhere."""
    return member.access.user.encode(errors="replace").decode()


def _nothing() -> None:
    """Nobody wants to know."""


def _say_nothing(_: Any, __: Sequence[Entry]) -> Collection[Entry]:
    """There is no awareness beside it."""
    return ()
