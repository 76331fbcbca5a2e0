"""One room: its document in memory, who listens, and what is on its way to the log.

    update -> pending -> (window) -> merged -> tail, every live feed, log -> durable -> acknowledgements

All changes are synchronous, so that between two awaits a room is always whole.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from roomful.crdt.accept import MOST_RUNS
from roomful.crdt.check import Contents
from roomful.crdt.log import Log, Position
from roomful.crdt.merge import merge
from roomful.crdt.state import DocumentState, Part
from roomful.crdt.sync import UPDATE
from roomful.crdt.varint import Malformed

from .audience import Audience, Outlet
from .auth import Access
from .awareness import RoomAwareness
from .close_codes import CloseCode, Refused
from .events import Events
from .flusher import Due, Flusher
from .metrics import Metrics
from .presence import RoomPresence
from .protocols import hocuspocus
from .protocols.envelope import Envelope
from .protocols.roomful import RoomfulEnvelope

_log = structlog.get_logger()

_SOON_SECONDS = 0.002
"""What is due so soon goes out with what others have written: each write to a socket is saved for once."""

_LARGE_UPDATE = 16 << 10
"""A larger update is merged with no other: that takes as long as they are large."""


AWARENESS, STATELESS, PRESENCE, EVENTS = b"a", b"s", b"p", b"e"
"""What a message to other processes begins with: whose it is there."""


class Member(Protocol):
    """One session as its room sees it."""

    @property
    def access(self) -> Access: ...

    @property
    def envelope(self) -> Envelope: ...

    @property
    def socket(self) -> Outlet: ...

    def acknowledge(self, updates: int) -> None:
        """So many of this session's updates are durable."""

    def awareness(self, frame: bytes) -> None:
        """Write an awareness frame, or note that one was left out."""

    def say(self, *parts: bytes) -> None:
        """Write an answer."""

    def fail(self, error: Exception) -> None:
        """Something is wrong with what this session said."""

    def stateless(self, message: bytes) -> None:
        """Pass on another client's stateless message, where the protocol has such."""

    def storage(self, *, lost: bool) -> None:
        """Tell that updates can't be stored now, or can again, where the protocol has a word for it."""


class Room:
    """A loaded room. ``state`` is its document; it holds all that the log does up to ``position``,
    unless it is ``incomplete``: then no snapshot of it may stand for the log's entries. ``number`` is what
    Roomful frames call it, in this process and never again.
    """

    def __init__(
        self, name: str, state: DocumentState, position: Position, awareness: RoomAwareness,
        presence: RoomPresence, log: Log, flusher: Flusher, metrics: Metrics, max_document_bytes: int,
        number: int = 0,
    ) -> None:  # fmt: skip
        self.name = name
        self.number = number
        self.state = state
        self.position = position
        # Up to where the log's snapshot is known to reach.
        self.folded = Position(position.epoch, 0)
        self.quarantined = False
        self.incomplete = False
        self.storage_lost = False
        self.members: set[Member] = set()
        self.events = Events(RoomfulEnvelope(number), flusher.window, metrics)
        self.on_saved: Callable[[Room], None] = _nothing
        self.awareness = awareness
        awareness.on_idle = self._idle_perhaps
        # Who is in one of them is seen in the other.
        self.presence = presence
        awareness.on_news = presence.heard
        awareness.on_asked = presence.asked
        presence.speak = awareness.speak
        presence.on_idle = self._idle_perhaps
        self._log = log
        self._flusher = flusher
        self._metrics = metrics
        self._max_document_bytes = max_document_bytes
        self._loop = asyncio.get_running_loop()
        self._audiences: dict[bytes, Audience] = {}
        self._flushed_at = 0.0
        # With whom it will be flushed, if there is something to be.
        self._due: Due | None = None
        self._parts: list[Part] = []
        self._first_part_at = 0.0
        self._senders: dict[Member, int] = {}
        self._unsaved: deque[dict[Member, int]] = deque()

    @property
    def idle(self) -> bool:
        """Whether nobody listens or may be back soon, and nothing waits to be durable."""
        return (
            not (self.members or self._parts or self._unsaved) and self.awareness.idle and self.presence.idle
        )

    def enter(self, member: Member) -> None:
        """Let a session in, and tell it who is here."""
        self.members.add(member)
        self.audience(member.envelope).members += 1
        self.awareness.enter(member)
        if self.storage_lost:
            member.storage(lost=True)

    def leave(self, member: Member, *, lost: bool = False) -> None:
        """Let a session out, and tell the others whom it takes along. Its updates stay on their way.

        One that is lost may be back soon: for a while the others see it as if nothing had happened.
        """
        self.awareness.read()
        self.members.discard(member)
        audience = self.audience(member.envelope)
        audience.members -= 1
        if not audience.members:
            # A session-aware provider has a prefix of its own for each session.
            del self._audiences[member.envelope.prefix]
        self.presence.leave(member, lost=lost)
        self.awareness.leave(member, lost=lost)

    def audience(self, envelope: Envelope) -> Audience:
        """Return those who are served the same frames."""
        audience = self._audiences.get(envelope.prefix)
        if audience is None:
            audience = self._audiences[envelope.prefix] = Audience(envelope)
        return audience

    def take(self, sender: Member, update: bytes, contents: Contents) -> None:
        """Take a checked update: to everybody at once or at the end of the window, and to the log with it.

        Raises Refused when the document would be too large, or nothing more can be stored.
        """
        if self.state.size + len(update) > self._max_document_bytes or self.state.runs > MOST_RUNS:
            raise Refused(CloseCode.DOCUMENT_FULL, "the document has reached its largest size")
        if self._log.full:
            raise Refused(CloseCode.STORAGE, "storage is not available")
        now = self._loop.time()
        if self._parts and len(update) > _LARGE_UPDATE:
            self.flush()
        if not self._parts:
            # uvloop's own clock counts milliseconds.
            self._first_part_at = time.perf_counter()
        self._parts.append((update, contents))
        self._senders[sender] = self._senders.get(sender, 0) + 1
        self._metrics.updates += 1
        self._metrics.update_bytes += len(update)
        if len(update) > _LARGE_UPDATE:
            self.flush()
        else:
            self._schedule(now)

    def heard(self, position: Position, part: Part | None) -> None:
        """Take what another process appended; it goes out at once, since it has waited a window there, and
        takes along what is nearly due here.

        Without one, only learn up to where all that the log holds is here.
        """
        # Our own entry may have been known to be durable, and to follow, before it was heard.
        if position.epoch != self.position.epoch or position.offset > self.position.offset:
            self.position = position
        if part is not None and not self.state.adds_nothing(*part):
            update = part[0]
            self.state.append(update, [part])
            if self._due is not None and self._due.at - self._loop.time() < _SOON_SECONDS:
                self._take_along(update)
            else:
                self._fan_out([update], 1, None)
        self.on_saved(self)

    def _take_along(self, update: bytes) -> None:
        try:
            self.flush(behind=update)
        except BaseException:  # noqa: BLE001 - as in Flusher; what was heard is not at fault, nor is who told it
            _log.exception("flush failed", room=self.name)
            # Perhaps for the second time, which changes nothing.
            self._fan_out([update], 1, None)

    def give_back(self, update: bytes) -> None:
        """Append what the log has forgotten."""
        self._unsaved.append({})
        self._log.append(self.name, update, self._durable)

    def confirm(self, member: Member) -> None:
        """Acknowledge an update that says nothing new, once what the document holds already is durable."""
        if self._parts:
            self._senders[member] = self._senders.get(member, 0) + 1
        elif self._unsaved:
            last = self._unsaved[-1]
            last[member] = last.get(member, 0) + 1
        else:
            member.acknowledge(1)

    def relay(self, sender: Member, message: bytes) -> None:
        """Pass a stateless message to every other session that can hear it."""
        self._metrics.stateless += 1
        self._pass_on(message, sender)
        self._log.tell(self.name, STATELESS + message)

    def told(self, message: bytes) -> None:
        """Take what another process has told of this room."""
        if message.startswith(AWARENESS):
            self.awareness.told(message[1:])
        elif message.startswith(PRESENCE):
            self.presence.told(message[1:])
        elif message.startswith(EVENTS):
            self.events.told(message[1:])
        elif message.startswith(STATELESS):
            try:
                text = hocuspocus.read_stateless(message, 2)
            except Malformed as error:
                self._metrics.refused["gossip"] += 1
                _log.warning("what another process told is refused", room=self.name, error=str(error))
            else:
                self._pass_on(hocuspocus.stateless(text), None)
        # What a later version tells is not for this one.

    def relinked(self) -> None:
        """What other processes told may have been missed."""
        self.awareness.relinked()
        self.presence.relinked()
        self.events.relinked()

    def stop(self) -> None:
        """The room is let go: tell the other processes, and do nothing more by itself."""
        self.presence.stop()
        self.events.stop()
        self.awareness.stop()

    def _pass_on(self, message: bytes, sender: Member | None) -> None:
        # One that takes nothing is cut off by this, and leaves.
        for member in tuple(self.members):
            if member is not sender:
                member.stateless(message)

    def tell_storage(self, *, lost: bool) -> None:
        """Tell everybody that updates can't be stored now, and whoever enters meanwhile, or that they can."""
        if lost == self.storage_lost:
            return
        self.storage_lost = lost
        # One that takes nothing is cut off by this, and leaves.
        for member in tuple(self.members):
            member.storage(lost=lost)

    def flush(self, behind: bytes | None = None) -> None:
        """Send what is pending, behind what another process has appended, if that is given."""
        if self._due is not None:
            self._due.rooms.pop(self, None)
            self._due = None
        self._flushed_at = self._loop.time()
        if self._parts:
            self._flush_updates(behind)

    def _schedule(self, now: float) -> None:
        if self._due is not None:
            return
        window = self._flusher.window(len(self.members))
        rest = self._flushed_at + window - now
        if rest <= 0:
            self.flush()
        else:
            self._due = self._flusher.add(self, window, rest)

    def _flush_updates(self, behind: bytes | None) -> None:
        parts, self._parts = self._parts, []
        senders, self._senders = self._senders, {}
        update = parts[0][0] if len(parts) == 1 else merge([part for part, _ in parts])
        self.state.append(update, parts)
        # Who wrote all of it has all of it.
        only = next(iter(senders)) if len(senders) == 1 else None
        if behind is None:
            self._fan_out([update], len(parts), only)
        elif only is None:
            self._fan_out([behind, update], len(parts) + 1, None)
        else:
            self._fan_out([behind], 1, None)
            self._fan_out([update], len(parts), only)
        self._unsaved.append(senders)
        self._log.append(self.name, update, self._durable)
        self._metrics.fan_out_seconds.observe(time.perf_counter() - self._first_part_at)

    def _fan_out(self, updates: Sequence[bytes], parts: int, only: Member | None) -> None:
        """Write updates, merged of so many parts, to everybody who is live but their only writer."""
        # Asked for before the first write: that may congest a socket and take other sessions of it, yet to be
        # served, out of their audiences; to them this update counts as sent.
        served = [(audience.envelope, audience.receivers) for audience in self._audiences.values()]
        small = sum(map(len, updates)) <= _LARGE_UPDATE
        direct = small
        for envelope, receivers in served:
            count = len(receivers)
            if not count:
                continue
            pieces = [
                piece for update in updates for piece in (envelope.sync_start(UPDATE, len(update)), update)
            ]
            frames = [b"".join(pieces)] if small else pieces
            # Two sessions on one socket share its write, but not their envelope.
            writer = only.socket if only and only.envelope.prefix == envelope.prefix else None
            if direct:
                direct = receivers.send(frames[0], writer)
            else:
                # All audiences share the bytes of a large update; a small one is worth a single write.
                for frame in frames:
                    receivers.queue(frame, writer)
            if writer is not None and writer in receivers:
                count -= 1
            self._metrics.deliveries += count * parts
            self._metrics.delivered_bytes += count * sum(map(len, pieces))

    def _durable(self, position: Position) -> None:
        # Else entries of other processes are still to be heard before it.
        if position.offset == self.position.offset + 1 and self.position.epoch in ("", position.epoch):
            self.position = position
        for member, updates in self._unsaved.popleft().items():
            # Who has left would take it for the answer to an update of a later session under its key.
            if member in self.members:
                member.acknowledge(updates)
        self.on_saved(self)

    def _idle_perhaps(self) -> None:
        self.on_saved(self)


def _nothing(_: Room) -> None:
    """Nobody wants to know."""
