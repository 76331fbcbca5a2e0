"""Sessions as a room sees them, for tests of rooms."""

from collections.abc import Callable

from roomful.crdt.check import check_update
from roomful.crdt.log import Position
from roomful.crdt.state import DocumentState
from roomful.crdt.sync import UPDATE, read_payload, read_sync
from roomful.presence.awareness import decode_entries
from roomful.presence.clients import Clients
from roomful.presence.tracker import Patience, Tracker
from roomful.server.audience import Write
from roomful.server.auth import Access
from roomful.server.awareness import Pace, RoomAwareness
from roomful.server.flusher import Flusher
from roomful.server.metrics import Metrics
from roomful.server.presence import RoomPresence
from roomful.server.protocols.envelope import YjsEnvelope
from roomful.server.protocols.roomful import RoomfulEnvelope
from roomful.server.room import Room
from tests.crdt.writers import Writers
from tests.server.memory_log import MemoryLog
from tests.server.wire import messages, unframe


def written(edits: int, client: int = 1) -> list[bytes]:
    """Updates of one client."""
    writers = Writers(client, clients=[client])
    writers.write(edits)
    return writers.updates


def awareness_of(
    metrics: Metrics, *, each: int = 2, interval: float = 0.01, grace: float = 0.0
) -> RoomAwareness:
    """Return the awareness of a room that no other process has open; ``each`` session has so many clients."""
    pace = Pace(interval, interval, 1 << 20)
    return RoomAwareness(Clients(clients_per_session=each), pace, grace, 1_000, metrics)


def presence_of(metrics: Metrics, *, grace: float = 0.0, interval: float = 2.0) -> RoomPresence:
    """Return the presence of a room that no other process has open."""
    tracker = Tracker(largest=4_096, clock=0, patience=Patience(grace=grace))
    return RoomPresence("room", tracker, 16_384, 4_096, interval, RoomfulEnvelope(1), metrics)


def room_of(metrics: Metrics, awareness: RoomAwareness, window: float = 0.01) -> Room:
    """Return an empty room that no other process has open."""
    return Room(
        "room", DocumentState(None), Position("", 0), awareness, presence_of(metrics), MemoryLog(),
        Flusher(window), metrics, 10_000,
    )  # fmt: skip


class Outlet:
    """A socket without a descriptor: what is written to it stays here."""

    descriptor = None

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.write: Write = self.frames.append


class Live:
    """What a feed is to the room."""

    def __init__(self, socket: Outlet) -> None:
        self.socket = socket


class Member:
    """A session that is live from the start, and keeps what it is sent and told."""

    def __init__(self, room: Room, key: bytes = b"", socket: "Member | None" = None, user: str = "") -> None:
        self.room = room
        self.access = Access(user=user)
        self.envelope = YjsEnvelope(key)
        self.socket: Outlet = Outlet() if socket is None else socket.socket
        self.frames = self.socket.frames
        self.awareness_frames: list[bytes] = []
        self.answers: list[bytes] = []
        self.failures: list[Exception] = []
        self.on_failure: Callable[[], None] | None = None
        self.acknowledged: list[int] = []
        self.heard: list[bytes] = []
        self.storage_told: list[str] = []
        self.feed = Live(self.socket)
        room.enter(self)
        room.audience(self.envelope).enter(self.feed)

    def acknowledge(self, updates: int) -> None:
        self.acknowledged.append(updates)

    def awareness(self, frame: bytes) -> None:
        self.awareness_frames.append(frame)

    def say(self, *parts: bytes) -> None:
        self.answers += parts

    def fail(self, error: Exception) -> None:
        self.failures.append(error)
        if self.on_failure is not None:
            self.on_failure()

    def stateless(self, message: bytes) -> None:
        self.heard.append(message)

    def storage(self, *, lost: bool) -> None:
        self.storage_told.append("lost" if lost else "back")

    def write_to_room(self, *updates: bytes) -> None:
        for update in updates:
            self.room.take(self, update, check_update(update))

    def leave(self, *, lost: bool = False) -> None:
        self.room.audience(self.envelope).leave(self.feed)
        self.room.leave(self, lost=lost)

    def updates(self) -> list[bytes]:
        """Return the updates of the frames since the last look."""
        # A large update is written apart from its head.
        written = messages(self.frames)
        self.frames.clear()
        found = []
        for message in written:
            assert message.startswith(self.envelope.prefix)
            step, payload = read_sync(message, len(self.envelope.prefix) + 1)
            assert step == UPDATE
            found.append(payload)
        return found

    def clients(self) -> list[dict[int, bool]]:
        """Return for each awareness frame since the last look who is in it, and whether they are here."""
        found = []
        for frame in self.awareness_frames:
            entries = read_payload(unframe(frame), len(self.envelope.prefix) + 1)
            decoded = decode_entries(entries, most=1_000, largest=1_000)
            found.append({each.client: not each.gone for each in decoded})
        self.awareness_frames.clear()
        return found
