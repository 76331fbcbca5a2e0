"""When rooms send what they have gathered, on a clock that jumps."""

import asyncio

import pytest
from structlog.testing import capture_logs

from roomful.crdt.check import check_update
from roomful.crdt.log import Position
from roomful.crdt.state import DocumentState
from roomful.server.flusher import Flusher
from roomful.server.metrics import Metrics
from roomful.server.room import Room
from tests.server.members import Member, awareness_of, presence_of, written
from tests.server.memory_log import MemoryLog

pytestmark = pytest.mark.virtual_time

WINDOW = 0.01


@pytest.fixture
async def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def room(log: MemoryLog) -> Room:
    metrics = Metrics()
    return Room(
        "room", DocumentState(None), Position("", 0), awareness_of(metrics), presence_of(metrics), log,
        Flusher(WINDOW), metrics, 10_000,
    )  # fmt: skip


async def test_the_window_of_a_crowd_grows_with_it_up_to_the_longest() -> None:
    flusher = Flusher(0.010, 0.100)
    windows = [flusher.window(members) for members in (1, 62, 100, 640, 10_000)]
    assert windows == pytest.approx([0.010, 0.010, 0.016, 0.100, 0.100])
    assert Flusher(0.010, 0.001).window(1_000) == 0.010


async def test_what_is_nearly_due_goes_out_in_one_write_with_what_is_heard(
    room: Room, log: MemoryLog
) -> None:
    ann, bob, eve = Member(room), Member(room), Member(room)
    first, second = written(2)
    ann.write_to_room(first)
    ann.write_to_room(second)
    (bobs,) = written(1, client=2)
    bob.write_to_room(bobs)
    (heard,) = written(1, client=3)
    writes = len(eve.frames)
    await asyncio.sleep(WINDOW - 0.001)
    room.heard(Position("life", 1), (heard, check_update(heard)))
    assert len(eve.frames) == writes + 1
    assert eve.updates()[-2] == heard
    assert len(log.queued) == 2, "what was nearly due is on its way to the log as well"
    await asyncio.sleep(WINDOW)
    assert eve.frames == [], "the timer finds nothing"


async def test_who_wrote_all_that_is_nearly_due_hears_only_the_other(room: Room) -> None:
    ann, eve = Member(room), Member(room)
    first, second = written(2)
    ann.write_to_room(first)
    ann.write_to_room(second)
    (heard,) = written(1, client=3)
    await asyncio.sleep(WINDOW - 0.001)
    room.heard(Position("life", 1), (heard, check_update(heard)))
    assert (ann.updates(), eve.updates()) == ([heard], [first, heard, second])


async def test_what_is_not_yet_due_waits_and_what_is_heard_does_not(room: Room) -> None:
    ann, eve = Member(room), Member(room)
    first, second = written(2)
    ann.write_to_room(first)
    ann.write_to_room(second)
    (heard,) = written(1, client=3)
    await asyncio.sleep(WINDOW / 2)
    room.heard(Position("life", 1), (heard, check_update(heard)))
    assert eve.updates() == [first, heard]
    await asyncio.sleep(WINDOW)
    assert eve.updates() == [second]


async def test_a_room_flushed_early_has_a_whole_window_before_it_is_flushed_again(room: Room) -> None:
    ann, eve = Member(room), Member(room)
    first, second, third = written(3)
    ann.write_to_room(first)
    ann.write_to_room(second)
    await asyncio.sleep(WINDOW - 0.001)
    (heard,) = written(1, client=3)
    room.heard(Position("life", 1), (heard, check_update(heard)))
    eve.updates()
    ann.write_to_room(third)
    await asyncio.sleep(WINDOW / 2)
    assert eve.updates() == []
    await asyncio.sleep(WINDOW)
    assert eve.updates() == [third]


async def test_what_is_heard_reaches_everybody_even_if_what_was_to_go_with_it_can_not_be_merged(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, eve = Member(room), Member(room)
    first, *others = written(3)
    (heard,) = written(1, client=3)
    ann.write_to_room(first)
    ann.write_to_room(*others)
    eve.updates()
    monkeypatch.setattr("roomful.server.room.merge", _broken)
    await asyncio.sleep(WINDOW - 0.001)
    with capture_logs() as lines:
        room.heard(Position("life", 1), (heard, check_update(heard)))
    assert eve.updates() == [heard]
    assert [line["event"] for line in lines] == ["flush failed"]


def _broken(*_: object) -> None:
    raise ValueError("a fault")
