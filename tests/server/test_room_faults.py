"""What goes wrong at one session or in one room stays there."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from roomful.crdt.check import check_update
from roomful.crdt.log import Position
from roomful.crdt.state import DocumentState
from roomful.crdt.sync import UPDATE
from roomful.crdt.varint import write_varstring
from roomful.server.audience import Write
from roomful.server.auth import Access
from roomful.server.close_codes import CloseCode, Refused
from roomful.server.feed import Feed
from roomful.server.flusher import Flusher
from roomful.server.metrics import Metrics
from roomful.server.protocols.envelope import YjsEnvelope
from roomful.server.room import Room
from tests.attacks import item, update
from tests.server.lines import Line, Opening
from tests.server.members import awareness_of, presence_of
from tests.server.memory_log import MemoryLog

HELLO = update(item(4, write_varstring("hello")))


class Socket:
    """Keeps what is written to it; is congested from the first frame on if told so."""

    is_open = True
    descriptor = None

    def __init__(self, *, slow: bool = False) -> None:
        self.frames: list[bytes] = []
        self.is_congested = False
        self.on_congested: list[Callable[[], object]] = []
        self._slow = slow
        self.write: Write = self._write

    def _write(self, frame: bytes) -> None:
        self.frames.append(frame)
        if self._slow and not self.is_congested:
            self.is_congested = True
            for tell in self.on_congested:
                tell()

    def drain(self) -> list[bytes]:
        self.is_congested = self._slow = False
        frames, self.frames = self.frames, []
        return frames


class Mute:
    """A session that takes no notice of what it is told."""

    access = Access(user="")

    def acknowledge(self, updates: int) -> None: ...

    def awareness(self, frame: bytes) -> None: ...

    def say(self, *parts: bytes) -> None: ...

    def fail(self, error: Exception) -> None: ...

    def stateless(self, message: bytes) -> None: ...

    def storage(self, *, lost: bool) -> None: ...


class Spectator(Mute):
    """A session that stays in its audience, on a real socket."""

    def __init__(self, room: Room, key: bytes, line: Line) -> None:
        self.envelope = YjsEnvelope(key)
        self.socket = line
        room.enter(self)


class Member(Mute):
    """A session that falls behind when its socket is congested, and counts what it is told."""

    def __init__(self, room: Room, socket: Socket, key: bytes = b"") -> None:
        self.envelope = YjsEnvelope(key)
        self.socket = socket
        self.acknowledged = 0
        self.heard: list[str] = []
        self.on_stateless: Callable[[], None] | None = None
        self.feed = Feed(room.state, socket, self.envelope, room.audience(self.envelope))  # type: ignore[arg-type]
        socket.on_congested.append(self.feed.fall_behind)
        room.enter(self)

    def acknowledge(self, updates: int) -> None:
        self.acknowledged += updates

    def stateless(self, message: bytes) -> None:
        self.heard.append(message.decode())
        if self.on_stateless is not None:
            self.on_stateless()


@pytest.fixture
async def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def room(log: MemoryLog, metrics: Metrics) -> Room:
    return make_room("room", log, metrics, Flusher(0.0))


def make_room(name: str, log: MemoryLog, metrics: Metrics, flusher: Flusher) -> Room:
    awareness = awareness_of(metrics, each=1)
    return Room(
        name,
        DocumentState(None),
        Position("", 0),
        awareness,
        presence_of(metrics),
        log,
        flusher,
        metrics,
        1 << 20,
    )


async def test_two_sessions_on_a_socket_that_is_congested_by_the_firsts_frame_both_get_the_update(
    room: Room,
) -> None:
    """The second is taken out of the live ones while its turn is still to come."""
    socket = Socket()
    sessions = [Member(room, socket, key) for key in (b"\x01a", b"\x01b")]
    for session in sessions:
        session.feed.start(b"\x00")
    socket.drain()
    socket._slow = True

    room.take(Member(room, Socket()), HELLO, check_update(HELLO))
    frames = socket.drain()
    for session in sessions:
        session.feed.pump()
    frames += socket.drain()
    assert [sum(HELLO in frame and key in frame for frame in frames) for key in (b"\x01a", b"\x01b")] == [
        1,
        1,
    ]


@pytest.mark.both_loops
async def test_nothing_overtakes_what_a_socket_of_two_sessions_still_holds(room: Room, line: Opening) -> None:
    """The first session's frame stays in the transport in part; the second's must go behind it."""
    shared = await line()
    keys = (b"\x01a", b"\x01b")
    for key in keys:
        member = Spectator(room, key, shared)
        room.audience(member.envelope).enter(member)
    before = shared.leave_room_for(1)
    received = b""

    def write(data: bytes) -> None:
        """The client reads at the worst moment: the kernel has room again, and the transport still holds."""
        nonlocal received
        shared.transport.write(data)
        if not received:
            received = shared.client.recv(1 << 20)

    shared.write = write
    room.take(Member(room, Socket()), HELLO, check_update(HELLO))
    expected = [room.audience(YjsEnvelope(key)).envelope.sync(UPDATE, HELLO) for key in keys]
    received += await shared.read(len(before) + sum(map(len, expected)) - len(received))
    assert received[len(before) :] == b"".join(expected)


async def test_a_session_that_leaves_when_it_is_spoken_to_keeps_nobody_from_hearing(room: Room) -> None:
    members = [Member(room, Socket()) for _ in range(4)]
    for member in members:
        member.on_stateless = lambda member=member: room.leave(member)
    speaker = Member(room, Socket())
    room.relay(speaker, b"to all")
    assert [member.heard for member in members] == [["to all"]] * 4
    assert room.members == {speaker}


async def test_a_room_that_can_not_be_flushed_keeps_no_other_from_being_flushed(
    log: MemoryLog, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    flusher = Flusher(0.01)
    bad, good = (make_room(name, log, metrics, flusher) for name in ("bad", "good"))
    now = asyncio.get_running_loop().time()
    for room in (bad, good):
        # As after a flush just now, so that the update waits for the window.
        room._flushed_at = now
    monkeypatch.setattr(bad.state, "append", _broken)
    with capture_logs() as lines:
        for room in (bad, good):
            room.take(Member(room, Socket()), HELLO, check_update(HELLO))
        await asyncio.sleep(0.05)
    assert [appended.update for appended in log.queued] == [HELLO]
    assert [(line["event"], line["room"]) for line in lines] == [("flush failed", "bad")]


def _broken(*_: object) -> None:
    raise ValueError("a fault")


@pytest.mark.parametrize("writer_listens", [True, False])
async def test_deliveries_are_counted_once_for_each_who_is_sent_the_update(
    room: Room, metrics: Metrics, writer_listens: bool
) -> None:
    writer, *others = members = [Member(room, Socket()) for _ in range(4)]
    for member in members if writer_listens else others:
        member.feed.start(b"\x00")
    room.take(writer, HELLO, check_update(HELLO))
    assert (metrics.updates, metrics.deliveries) == (1, 3)
    frames = [frame for member in others for frame in member.socket.frames if HELLO in frame]
    assert metrics.delivered_bytes == sum(map(len, frames))


async def test_what_says_nothing_new_is_confirmed_when_what_it_repeats_is_durable(
    room: Room, log: MemoryLog
) -> None:
    writer, repeater = Member(room, Socket()), Member(room, Socket())
    room.take(writer, HELLO, check_update(HELLO))
    room.confirm(repeater)
    assert (writer.acknowledged, repeater.acknowledged) == (0, 0)
    log.commit()
    assert (writer.acknowledged, repeater.acknowledged) == (1, 1)
    room.confirm(repeater)
    assert repeater.acknowledged == 2


async def test_when_no_more_can_be_stored_updates_are_refused_and_nobody_is_sent_them(
    room: Room, log: MemoryLog
) -> None:
    reader = Member(room, Socket())
    reader.feed.start(b"\x00")
    reader.socket.drain()
    log.full = True
    with pytest.raises(Refused) as caught:
        room.take(Member(room, Socket()), HELLO, check_update(HELLO))
    assert caught.value.code is CloseCode.STORAGE
    assert (reader.socket.frames, log.queued) == ([], [])
    log.full = False
    room.take(Member(room, Socket()), HELLO, check_update(HELLO))
    assert len(reader.socket.frames) == 1
