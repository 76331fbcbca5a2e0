"""Who is in a room: its awareness clients, here and at other processes, and who may speak for them."""

import math
from collections.abc import Sequence
from typing import Final

from roomful.crdt.varint import Malformed

from .awareness import Entry, check_state, gone_entry
from .claims import NOBODY, Claim

_LONGEST_LEAP: Final = 1 << 31
"""How far a clock may rise at once. Were it pushed to the last number there is while its client is away,
that client could not say any more that it is back."""
_REMEMBERED_GONE: Final = 1_024
_TRIAL_SECONDS: Final = 20.0
"""Stock clients say themselves anew 15 s after the last time, or 3 s later."""


class _Client:
    """A client that is seen. ``session`` speaks for it, unless it is another process' or lost; ``contender``
    is one that came saying it were this client, and ``repeats`` whether it said the very entry.

    ``asked`` is the clock at which it was last asked to raise it, until it says something; ``answers`` is
    whether it said so at once the last time, None before it was asked by this process. Hocuspocus providers
    from version 4 on raise it in silence. ``highest`` is the highest clock it was seen with here: when it
    moves, a process that it has left may still speak for it, with an older one.
    """

    __slots__ = ("answers", "asked", "claim", "contender", "highest", "repeats", "session")

    def __init__(self, claim: Claim, session: object) -> None:
        self.claim = claim
        self.session = session
        self.highest = 0
        self.contender: object = None
        self.repeats = False
        self.asked: int | None = None
        self.answers: bool | None = None

    def said(self, clock: int) -> None:
        """It has said something."""
        if self.asked is not None:
            self.answers = clock == self.asked + 1
            self.asked = None


class Clients:
    """The awareness clients of one room, and which session each of them belongs to.

    A session may speak only for client ids that it was the first to use, be it at another process; stock
    clients repeat what they hear of others, and such echoes are dropped. Clocks of clients that have left are
    remembered for a while, so that a late echo does not bring them back.

    A client whose session is lost is kept, and may be taken over by another session of the same user. No echo
    has a higher clock than what has been told; and one that comes back with the clock that it had is known by
    its first message, in which stock clients speak of themselves alone. When it was not told of the client,
    it is that client. Otherwise it contends for it: it is asked to raise its clock as soon as the old session
    is known to be lost, and has the client when it does; a user with a name has it even while the old session
    is still believed in. If the first it said was the client's very entry, it has it as soon as the loss is
    known, on trial until it says itself anew: some raise their clock in silence. Should it have been an echo
    after all, one session sees a client vanish too soon, and the others see it a little longer.

    ``process`` is this one's name among those that have the room open.
    """

    def __init__(self, *, clients_per_session: int, process: str = "") -> None:
        self._clients_per_session = clients_per_session
        self._process = process
        self._clients: dict[int, _Client] = {}
        self._owned: dict[object, set[int]] = {}
        # Sessions that have said something, and of the others those that were not told of some client.
        self._spoken: set[object] = set()
        self._untold_of: dict[object, set[int]] = {}
        self._sought: dict[object, list[Entry]] = {}
        # Until when those on trial have to be said anew, and what their sessions are taken to say.
        self._trials: dict[int, float] = {}
        self._presumed: list[tuple[object, Entry]] = []
        self._lost: set[int] = set()
        # Until when those are kept whose end is for this process to say; it keeps all for the same time.
        self._ends: dict[int, float] = {}
        self._gone: dict[int, int] = {}
        self._changed: set[int] = set()
        self._returned = False

    def __len__(self) -> int:
        return len(self._clients)

    def entries(self) -> list[Entry]:
        """Return the state of everybody who is here."""
        return [client.claim.entry for client in self._clients.values()]

    def departed(self) -> list[Entry]:
        """Return who has left lately, for one who may have missed it."""
        return [
            gone_entry(client, clock) for client, clock in self._gone.items() if client not in self._clients
        ]

    @property
    def awaits(self) -> bool:
        """Whether a client of this process is lost and may come back."""
        return any(self._clients[number].claim.process == self._process for number in self._lost)

    @property
    def next_end(self) -> float | None:
        """When the next of those that are lost, or on trial, is given up."""
        end = min((next(iter(self._ends.values()), math.inf), *self._trials.values()))
        return None if end == math.inf else end

    def take_returned(self) -> bool:
        """Return whether somebody has come back, here or elsewhere, since the last time."""
        returned, self._returned = self._returned, False
        return returned

    # What sessions here say

    def enter(self, session: object, user: bytes = NOBODY) -> list[Entry]:
        """Return what a newcomer is told: the state of everybody whom it can't be itself."""
        own = {number for number in (*self._lost, *self._trials) if self._clients[number].claim.user == user}
        if own:
            self._untold_of[session] = own
        return [client.claim.entry for number, client in self._clients.items() if number not in own]

    def apply(
        self, session: object, entries: Sequence[Entry], user: bytes = NOBODY, since: int = 0
    ) -> tuple[list[Entry], list[Entry]]:
        """Take what a session says. Returns (news for the room, corrections for the session alone).

        A correction tells a client that it was declared gone under its present clock; stock clients then
        raise the clock and announce themselves again. Whoever is new to the room gets one, since peers
        may remember its clock from before they, it or the server were away, and would not take the same
        clock for news. Raises Malformed for a state that is no JSON object, for a clock that leaps, or for
        more client ids than a session may own; what stood before the offending entry has been taken.

        ``since`` is now, in milliseconds of a clock that other processes share as well as they can.
        """
        news: list[Entry] = []
        corrections: list[Entry] = []
        is_itself = len(entries) == 1 and session not in self._spoken
        untold_of = self._untold_of.pop(session, ())
        self._spoken.add(session)
        for entry in entries:
            client = self._clients.get(entry.client)
            if client is None:
                # Peers take an unknown client's clock for 0, so a state at clock 0 is news to nobody.
                if entry.gone or entry.clock == 0:
                    continue
                gone = self._gone.get(entry.client)
                self._returned |= gone is not None
                if gone is not None and entry.clock <= gone:
                    corrections.append(gone_entry(entry.client, gone))
                    continue
                _check_leap(entry, gone or 0)
                check_state(entry)
                self._own(session, entry.client)
                claim = Claim(self._process, entry, user, since)
                corrections.append(gone_entry(entry.client, entry.clock))
            elif client.session is session:
                known = client.claim.entry.clock
                # One on trial may only repeat that it is gone.
                says_gone = entry.gone and entry.client not in self._trials
                if entry.clock < known or (entry.clock == known and not says_gone):
                    continue
                _check_leap(entry, known)
                check_state(entry)
                before = client.claim
                claim = Claim(before.process, entry, before.user, before.since, before.lost)
                client.said(entry.clock)
            elif entry.gone or client.claim.user != user:
                continue
            else:
                known = client.claim.entry.clock
                if not self._may_take(
                    session, client, entry, is_untold=is_itself and entry.client in untold_of
                ):
                    if is_itself and client.claim.lost:
                        corrections.append(gone_entry(entry.client, known))
                    elif is_itself:
                        client.contender = session
                        client.repeats = entry.raw == client.claim.entry.raw
                    continue
                _check_leap(entry, known)
                check_state(entry)
                self._own(session, entry.client)
                self._release(entry.client, client)
                self._returned = True
                claim = Claim(self._process, entry, user, since)
            if entry.gone:
                self._depart(entry.client, entry.clock)
            else:
                self._hold(entry.client, claim, session)
            self._changed.add(entry.client)
            # Of one that is back those have not heard who came meanwhile.
            news.append(entry)
        for each in corrections:
            if (client := self._clients.get(each.client)) is not None and client.session is session:
                client.asked = each.clock
        return news, corrections

    def _may_take(self, session: object, client: _Client, entry: Entry, *, is_untold: bool) -> bool:
        """Whether a session of its user has a client that another one had."""
        known = client.claim.entry.clock
        if client.claim.lost or entry.client in self._trials:
            return entry.clock > known or (entry.raw == client.claim.entry.raw and is_untold)
        # Among those without a name anybody could have anybody's client.
        return entry.clock > known and client.contender is session and client.claim.user != NOBODY

    def ask(self, session: object) -> list[Entry]:
        """Return what asks a session's clients to raise their clocks and say themselves anew.

        Those that would do so in silence are left out: it would only put off what they say by themselves.
        """
        asked = []
        for number in self._owned.get(session, ()):
            client = self._clients[number]
            if client.answers is not False and client.asked is None:
                client.asked = client.claim.entry.clock
                asked.append(gone_entry(number, client.asked))
        return asked

    def leave(self, session: object) -> list[Entry]:
        """Forget a session; returns what tells the others that its clients are gone."""
        self._dismiss(session)
        return [self._depart(client) for client in self._owned.pop(session, ())]

    def lose(self, session: object, ends_at: float) -> None:
        """A session is lost. Its clients are kept until then, should they come back."""
        self._dismiss(session)
        for number in self._owned.pop(session, ()):
            self._hold(number, self._clients[number].claim._replace(lost=True), None, ends_at)
            self._changed.add(number)

    def take_sought(self) -> dict[object, list[Entry]]:
        """Return which sessions are to be asked whether they are clients that are lost, by these entries."""
        sought, self._sought = self._sought, {}
        return sought

    def take_presumed(self, now: float) -> list[tuple[object, Entry]]:
        """Return what sessions are taken to say: that they are a client, whose trial begins now, or not."""
        presumed, self._presumed = self._presumed, []
        for number, end in self._trials.items():
            self._trials[number] = min(end, now + _TRIAL_SECONDS)
        return presumed

    def expire(self, now: float) -> list[Entry]:
        """Give up those that have not come back in time; returns what says that they are gone."""
        for number in [number for number, end in self._trials.items() if end <= now]:
            client = self._clients[number]
            self._release(number, client)
            # Whoever has come meanwhile may be the right one.
            self._hold(number, client.claim._replace(lost=True), None, now)
        ended = [number for number, end in self._ends.items() if end <= now]
        return [self._depart(number) for number in ended]

    # What other processes say, and are told

    def hear(self, process: str, number: int, claim: Claim | None) -> Entry | None:
        """Take another process' claim for a client, or with None that it has it no more.

        Returns what is news for the room. Raises Malformed as ``apply`` does.
        """
        client = self._clients.get(number)
        if claim is None:
            return self._depart(number) if client is not None and client.claim.process == process else None
        if client is None:
            known = self._gone.get(number, 0)
        elif client.claim.process == process:
            known = client.claim.entry.clock
        else:
            # One of them does not know yet that it has moved.
            self._returned = True
            if not claim.outranks(client.claim):
                return None
            known = client.claim.entry.clock
        check_state(claim.entry)
        if client is not None and client.claim.process == self._process:
            # It has moved, and is the other's to speak of.
            self._release(number, client)
            self._changed.add(number)
            client.contender, client.repeats = client.session, False
        is_back = client is not None and client.claim.lost and not claim.lost
        self._hold(number, claim, None)
        # Of one that is back those have not heard who came meanwhile.
        return claim.entry if is_back or claim.entry.clock > known else None

    def orphan(self, process: str, ends_at: float) -> None:
        """A process is gone: its clients may come back elsewhere until then."""
        for number, client in self._clients.items():
            if client.claim.process == process:
                self._hold(number, client.claim._replace(lost=True), None, ends_at)

    def claim(self, number: int) -> Claim | None:
        """Return who has a client."""
        client = self._clients.get(number)
        return None if client is None else client.claim

    @property
    def has_untold(self) -> bool:
        """Whether ``take_untold``, ``take_sought`` and the others of their kind have anything to return."""
        return bool(self._changed or self._sought or self._presumed or self._returned)

    def take_untold(self) -> dict[int, Claim | None]:
        """Return what has changed since the last time of what this process claims; None: nothing any more."""
        untold, self._changed = self._changed, set()
        claims = {number: self.claim(number) for number in untold}
        return {
            number: claim if claim is not None and claim.process == self._process else None
            for number, claim in claims.items()
        }

    def _hold(self, number: int, claim: Claim, session: object, ends_at: float | None = None) -> None:
        client = self._clients.get(number)
        if client is None:
            client = self._clients[number] = _Client(claim, session)
        before, client.claim, client.session = client.claim, claim, session
        client.highest = max(client.highest, claim.entry.clock)
        if (before.entry.raw, before.user) != (claim.entry.raw, claim.user):
            # The client goes on: who repeats what it said is another.
            client.repeats = False
        self._trials.pop(number, None)
        self._ends.pop(number, None)
        if ends_at is not None:
            self._ends[number] = ends_at
        if claim.lost:
            self._lost.add(number)
            contender, client.contender = client.contender, None
            if contender in self._spoken:
                self._sought.setdefault(contender, []).append(gone_entry(number, claim.entry.clock))
                if client.repeats and len(self._owned.get(contender, ())) < self._clients_per_session:
                    self._hand_over(number, client, contender)
        else:
            self._lost.discard(number)

    def _hand_over(self, number: int, client: _Client, session: object) -> None:
        """Let a session have a client that is lost, on trial."""
        self._own(session, number)
        claim = client.claim._replace(process=self._process, lost=False)
        self._hold(number, claim, session)
        client.asked, client.repeats = claim.entry.clock, False
        self._trials[number] = math.inf
        self._presumed.append((session, claim.entry))
        self._changed.add(number)
        self._returned = True

    def _dismiss(self, session: object) -> None:
        self._spoken.discard(session)
        self._untold_of.pop(session, None)
        self._sought.pop(session, None)

    def _own(self, session: object, number: int) -> None:
        owned = self._owned.setdefault(session, set())
        if len(owned) >= self._clients_per_session:
            raise Malformed("limit", f"a session speaks for at most {self._clients_per_session} client ids")
        owned.add(number)

    def _release(self, number: int, client: _Client) -> None:
        if number in self._trials:
            self._presumed.append((client.session, gone_entry(number, client.claim.entry.clock)))
        if (owned := self._owned.get(client.session)) is not None:
            owned.discard(number)

    def _depart(self, number: int, clock: int = 0) -> Entry:
        # The id stays no session's: the same editor may come back on another socket.
        client = self._clients.pop(number)
        self._release(number, client)
        self._lost.discard(number)
        self._trials.pop(number, None)
        self._ends.pop(number, None)
        if client.claim.process == self._process:
            self._changed.add(number)
        # A lower one would be news to nobody, and the client stay for ever.
        clock = max(client.highest, clock)
        self._remember_gone(number, clock)
        return gone_entry(number, clock)

    def _remember_gone(self, client: int, clock: int) -> None:
        self._gone.pop(client, None)
        if len(self._gone) >= _REMEMBERED_GONE:
            self._gone.pop(next(iter(self._gone)))
        self._gone[client] = clock


def _check_leap(entry: Entry, clock: int) -> None:
    if entry.clock - clock > _LONGEST_LEAP:
        raise Malformed("clock", f"awareness clock rises from {clock} to {entry.clock}")
