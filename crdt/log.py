"""The seam between a room and where its updates are kept.

A log is, for each room, an ordered list of Yjs updates, of which a prefix may have been folded into a
snapshot. Every backend promises, and ``tests/contract`` checks on each:

- **Order.** Entries of a room are kept in the order of the ``append`` calls, numbered without holes.
  Between rooms there is no order.
- **Atomicity.** An entry is there whole or not at all. A fold replaces a prefix by its snapshot in one
  step: whoever loads sees either the prefix or the snapshot, never both and never neither.
- **Durability.** ``durable`` is called once the entry survives what the configured level names, and
  not before; entries of a room become durable in order. An entry whose ``durable`` was not called may
  or may not be found after a crash. What a callback raises goes to the loop's exception handler.
- **Bytes in, bytes out.** A log does not look into updates; a causally gapped update is kept like any other.
- **Following.** Whoever opens a room hears of each entry that other processes append after what was loaded,
  once and in order of the offsets, or is told that some are missed. A log that several processes may have
  open tells in the same order where one's own entries stand (``tests/contract/test_following.py``).
- **Telling.** What a process tells of a room beside its entries reaches the others that follow the room, once
  and in the order in which it was told, or not at all; it is not kept, and no entry waits for it. Whoever
  may have missed some is told so. A process does not hear itself.
- **Position.** (epoch, offset) names a point in one life of a room: offset n is after the n-th entry.
  A reset starts a new epoch, so that a position of the old life cannot be taken for one of the new
  (counter-example: a client that has "entry 7" of a document that was deleted and written anew).
- **Gap.** Reading from a position that has been folded away or belongs to another epoch raises Gap;
  it never returns a list with a hole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol

ENTRY_BYTES = 512
"""About what an entry costs while it waits, beside its update: in the log, and in the room that wrote it."""


class LogError(Exception):
    """Base of what a log raises."""


class Gap(LogError):
    """What lies after the position can't be given without a hole; load the snapshot instead."""


class Stale(LogError):
    """A fold came too late: the room was reset, or folded further, meanwhile."""


class LogBusy(LogError):
    """The store is in another process' hands."""


class LogUnusable(LogError):
    """The store can't be opened: it is broken, of another release, or the disk refuses."""


class Position(NamedTuple):
    """A point in a room's log: after entry number ``offset`` (0 = before the first) of life ``epoch``."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class History:
    """A room as the log holds it: ``snapshot`` covers entries up to ``folded``, ``entries`` the rest."""

    epoch: str
    folded: int
    snapshot: bytes | None
    entries: list[bytes]

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.folded + len(self.entries))


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether the store takes appends: ``reason`` says why not and is empty when all is well.

    ``since`` is when it began to refuse (monotonic seconds).
    """

    reason: str = ""
    since: float = 0.0

    @property
    def failing(self) -> bool:
        return bool(self.reason)


class FoldTurn(Enum):
    """Whose turn it is to fold a room."""

    MINE = auto()
    """This process', for as long as it has asked."""
    OTHERS = auto()
    """Another process is at it."""
    PAST = auto()
    """Another process has done it: the log's snapshot reaches further than this one knows. All that this
    process has appended before it asked is in the log."""


Durable = Callable[[Position], None]


class Follower(Protocol):
    """Hears of a room's entries, on the loop."""

    def heard(self, position: Position, update: bytes | None) -> None:
        """The next entry has this position. The update is None when this process has appended it."""

    def missed(self) -> None:
        """Entries have been folded away or forgotten unheard: the room must be opened again."""

    def told(self, message: bytes) -> None:
        """Another process has told this."""

    def relinked(self) -> None:
        """What was told, by others or by this process, may have reached nobody until now."""


class Log(Protocol):
    """See the module's promises. All methods are called on the event loop's thread.

    Closed, it raises LogError.
    """

    @property
    def condition(self) -> Condition: ...

    @property
    def backlog_bytes(self) -> int:
        """Bytes appended and not yet durable, and ENTRY_BYTES for each entry."""

    @property
    def backlog_peak_bytes(self) -> int:
        """The most that ``backlog_bytes`` has been."""

    @property
    def backlog_entries(self) -> int:
        """Entries appended and not yet durable."""

    @property
    def full(self) -> bool:
        """Whether the backlog has reached its bound; ask before taking more from clients."""

    def append(self, room: str, update: bytes, durable: Durable) -> None:
        """Queue an entry; ``durable`` is called on the loop with its position. Never refuses."""

    def tell(self, room: str, message: bytes) -> None:
        """Tell the other processes that follow a room something that is not kept. Never refuses."""

    @property
    def untold(self) -> int:
        """Messages that were told and dropped here, for want of a server or of room."""

    async def load(self, room: str) -> History:
        """Return all durable entries of a room. One never written has none, and the empty epoch."""

    async def open(self, room: str) -> History:
        """Load a room, and keep what is appended to it elsewhere until ``follow`` or ``release``."""

    def follow(self, room: str, follower: Follower) -> None:
        """Tell an opened room's follower of all entries after what was loaded."""

    def release(self, room: str) -> None:
        """Follow a room no more."""

    async def read(self, room: str, after: Position) -> list[bytes]:
        """Return the durable entries after a position. Raises Gap."""

    async def claim_fold(self, room: str, known: Position, seconds: float) -> FoldTurn:
        """Ask to be the only one who folds a room, for so long at most, or until it is folded.

        ``known`` is the point up to which the snapshot is known to reach. Folding without a turn, or after
        it, costs only the work.
        """

    async def fold(self, room: str, upto: Position, snapshot: bytes) -> None:
        """Put ``snapshot`` in the place of all entries up to a position. Raises Stale and changes nothing."""

    async def reset(self, room: str) -> Position:
        """Forget a room's entries and snapshot and start a new epoch."""

    async def close(self) -> None:
        """Make all queued appends durable and let go of the store."""
