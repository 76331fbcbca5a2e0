"""Rooms come into memory when they are needed and leave it when they are not, whatever else goes on."""

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from roomful.crdt.check import Contents, check_update
from roomful.crdt.log import Condition, History, LogError, Position
from roomful.crdt.log_sqlite import SqliteLog
from roomful.crdt.snapshot import Snapshot, encode_snapshot
from roomful.crdt.varint import write_varstring
from roomful.crdt.worker import WorkerPool
from roomful.server.close_codes import CloseCode, Refused
from roomful.server.config import Config
from roomful.server.folder import Folder
from roomful.server.metrics import Metrics
from roomful.server.room import Room
from roomful.server.rooms import Rooms
from tests.attacks import item, update
from tests.contract.backends import Writer
from tests.crdt.orphan import tar_pit
from tests.waiting import until

Make = Callable[[Config], Awaitable[Rooms]]


class SlowLog(SqliteLog):
    """Loads when it may, and counts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, commit_interval=0.001)
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.loads: list[str] = []
        self.fault: LogError | None = None

    async def load(self, room: str) -> History:
        self.loads.append(room)
        await self.may_load.wait()
        if self.fault is not None:
            raise self.fault
        return await super().load(room)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SlowLog]:
    async with SlowLog(tmp_path) as log:
        yield log


@pytest.fixture
async def make(log: SlowLog) -> AsyncIterator[Make]:
    """Makes rooms as the server does, with the workers that it has."""
    async with AsyncExitStack() as stack:

        async def make(config: Config) -> Rooms:
            metrics = Metrics()
            checks, folds = (WorkerPool(1, memory=1 << 30, seconds=15) for _ in range(2))
            folder = Folder(folds, log, config.folding, metrics)
            for close in (checks.close, folds.close, folder.close):
                stack.push_async_callback(close)
            return Rooms(log, folder, checks, config, metrics)

        yield make


def config(*, idle: float = 0.0, max_rooms: int = 10, fold_entries: int = 500) -> Config:
    default = Config()
    return replace(
        default,
        timing=replace(default.timing, idle_room_seconds=idle),
        limits=replace(default.limits, max_rooms=max_rooms),
        folding=replace(default.folding, fold_entries=fold_entries),
    )


async def enter(rooms: Rooms, name: str, stay: asyncio.Event | None = None) -> Room:
    """Visit a room, for as long as may be."""
    async with rooms.open(name) as room:
        if stay is not None:
            await stay.wait()
        return room


async def all_gone(rooms: Rooms) -> None:
    await until(lambda: not len(rooms), "the last room's leaving")
    assert not rooms._empty
    assert not rooms._expected
    assert not rooms._loading


async def refusal(visit: Awaitable[Room]) -> CloseCode:
    with pytest.raises(Refused) as caught:
        await visit
    return caught.value.code


async def test_all_who_come_while_a_room_is_loaded_share_one_load_and_one_room(
    log: SlowLog, make: Make
) -> None:
    rooms = await make(config())
    log.may_load.clear()
    visits = [asyncio.create_task(enter(rooms, "room")) for _ in range(5)]
    await until(lambda: bool(log.loads))
    log.may_load.set()
    found = await asyncio.gather(*visits)
    assert log.loads == ["room"]
    assert len(set(found)) == 1
    await all_gone(rooms)


async def test_a_room_is_let_go_when_nobody_has_been_in_it_for_a_while_and_loads_again(
    log: SlowLog, make: Make
) -> None:
    await Writer(log).write("room", update(item(4, write_varstring("kept"))))
    rooms = await make(config(idle=0.05))
    stay = asyncio.Event()
    visit = asyncio.create_task(enter(rooms, "room", stay))
    await until(lambda: len(rooms) == 1)
    second = await enter(rooms, "room")
    assert not rooms._empty
    stay.set()
    assert await visit is second
    await all_gone(rooms)
    again = await enter(rooms, "room")
    assert again is not second
    assert b"kept" in (again.state.since(0) or b"")


async def test_a_room_whose_visitors_gave_up_while_it_was_loaded_is_let_go(log: SlowLog, make: Make) -> None:
    rooms = await make(config())
    log.may_load.clear()
    visits = [asyncio.create_task(enter(rooms, "room")) for _ in range(3)]
    await until(lambda: bool(log.loads))
    for visit in visits:
        visit.cancel()
    await asyncio.gather(*visits, return_exceptions=True)
    log.may_load.set()
    await until(lambda: not rooms._loading)
    await all_gone(rooms)


async def test_who_stays_keeps_a_room_that_others_gave_up(log: SlowLog, make: Make) -> None:
    rooms = await make(config())
    log.may_load.clear()
    stay = asyncio.Event()
    staying, leaving = (asyncio.create_task(enter(rooms, "room", stay)) for _ in range(2))
    await until(lambda: bool(log.loads))
    leaving.cancel()
    log.may_load.set()
    await until(lambda: len(rooms) == 1)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(rooms) == 1
    stay.set()
    await staying
    await all_gone(rooms)


async def test_place_for_a_room_is_made_by_the_one_left_longest_ago(make: Make) -> None:
    rooms = await make(config(idle=60, max_rooms=2))
    first, second = await enter(rooms, "first"), await enter(rooms, "second")
    assert await enter(rooms, "first") is first
    await enter(rooms, "third")
    assert len(rooms) == 2
    assert await enter(rooms, "first") is first
    assert await enter(rooms, "second") is not second


async def test_where_every_room_is_in_use_no_other_is_opened(make: Make) -> None:
    rooms = await make(config(max_rooms=2))
    stay = asyncio.Event()
    visits = [asyncio.create_task(enter(rooms, name, stay)) for name in ("first", "second")]
    await until(lambda: len(rooms) == 2)
    assert await refusal(enter(rooms, "third")) is CloseCode.FULL
    stay.set()
    await asyncio.gather(*visits)
    await all_gone(rooms)
    await enter(rooms, "third")


async def test_a_room_that_can_not_be_read_is_refused_and_the_others_are_not(
    log: SlowLog, make: Make, tmp_path: Path
) -> None:
    writer = Writer(log)
    for name in ("broken", "good"):
        end = await writer.write(name, update(item(4, write_varstring(name))))
        await log.fold(name, end, encode_snapshot(Snapshot([], b"\x00")))
    with sqlite3.connect(tmp_path / "log.sqlite") as db:
        rows = db.execute("SELECT id FROM rooms WHERE name = 'broken'").fetchone()
        db.execute("UPDATE snapshots SET payload = x'07' WHERE room = ?", rows)
    db.close()
    rooms = await make(config())
    assert await refusal(enter(rooms, "broken")) is CloseCode.UNAVAILABLE
    await enter(rooms, "good")
    await all_gone(rooms)


async def test_while_storage_refuses_only_rooms_in_memory_are_opened(log: SlowLog, make: Make) -> None:
    rooms = await make(config(idle=60))
    warm = await enter(rooms, "warm")
    log._condition = Condition("no space left")
    assert await refusal(enter(rooms, "cold")) is CloseCode.STORAGE
    assert await enter(rooms, "warm") is warm
    log._condition = Condition()
    await enter(rooms, "cold")


async def test_a_long_tail_makes_the_same_room_as_a_short_one_and_folds_at_the_right_place(
    log: SlowLog, make: Make
) -> None:
    """The long one is merged first, so that entries in memory and in the log differ in number."""
    words = [update(item(4, write_varstring("x" * 400)), client=client) for client in range(1, 100)]
    gapped = update(item(4, write_varstring("gapped")), client=7, clock=1_000)
    tail = [*words, gapped]
    assert sum(map(len, tail)) > Config().folding.inline_check_bytes
    end = await Writer(log).write("room", *tail)

    rooms = await make(config(idle=0.05, fold_entries=4))
    stay = asyncio.Event()
    visit = asyncio.create_task(enter(rooms, "room", stay))
    await until(lambda: len(rooms) == 1)
    room = rooms._rooms["room"]
    assert room.position == end
    for each in tail:
        assert room.state.adds_nothing(each, check_update(each))
    assert not room.state.adds_nothing(*_checked(update(item(4, b"\x01y"), client=7, clock=999)))

    more = [update(item(4, b"\x01z"), client=client) for client in (200, 201, 202)]
    for each in more:
        room.take(_Silent(), *_checked(each))  # type: ignore[arg-type]
        await until(lambda: room.idle)
    await until(lambda: not room.state.tail, "the fold")
    stay.set()
    await visit
    history = await log.load("room")
    assert (history.entries, history.position) == ([], Position(end.epoch, 103))
    await all_gone(rooms)
    again = await enter(rooms, "room")
    for each in (*words, *more):
        assert again.state.adds_nothing(each, check_update(each))
    answer = [*again.state.lacking(b"\x00"), again.state.since(0) or b""]
    assert any(b"gapped" in part for part in answer)


async def test_a_document_that_the_library_hangs_on_keeps_nobody_out_of_any_room(
    log: SlowLog, make: Make
) -> None:
    letters = tar_pit(15_000)
    writer = Writer(log)
    writer.append("tar pit", *letters)
    await writer.settle()
    rooms = await make(config())
    folding = asyncio.create_task(rooms._folder._workers.fold([], letters, merge_only=False))
    await until(lambda: bool(rooms._folder._workers._busy))
    async with asyncio.timeout(5):
        room = await enter(rooms, "tar pit")
    assert not folding.done()
    for letter in letters[::100]:
        assert room.state.adds_nothing(letter, check_update(letter))
    folding.cancel()
    await asyncio.wait([folding])
    await all_gone(rooms)


def _checked(data: bytes) -> tuple[bytes, Contents]:
    return data, check_update(data)


class _Silent:
    """Somebody who writes, and isn't told anything."""

    def acknowledge(self, updates: int) -> None:
        pass


async def test_a_room_that_lacks_an_entry_of_the_log_is_not_folded(log: SlowLog, make: Make) -> None:
    """A snapshot of it would stand for the entry that it does not hold."""
    rooms = await make(config(idle=0.05, fold_entries=2))
    stay = asyncio.Event()
    visit = asyncio.create_task(enter(rooms, "room", stay))
    await until(lambda: len(rooms) == 1)
    room = rooms._rooms["room"]
    room.incomplete = True
    for client in range(1, 6):
        room.take(_Silent(), *_checked(update(item(4, b"\x01z"), client=client)))  # type: ignore[arg-type]
        await until(lambda: room.idle or not room._unsaved)
    assert not rooms._folder.busy(room)
    stay.set()
    await visit
    await all_gone(rooms)
    history = await log.load("room")
    assert history.snapshot is None
    assert len(history.entries) >= 2


async def test_what_is_saved_while_the_server_stops_starts_no_fold(log: SlowLog, make: Make) -> None:
    await Writer(log).write("room", update(item(4, write_varstring("long"))))
    rooms = await make(config(fold_entries=1))
    async with rooms.open("room") as room:
        await rooms._folder.close()
        room.on_saved(room)
        assert not rooms._folder.busy(room)


async def test_a_load_that_fails_when_nobody_waits_for_it_any_more_is_no_error_of_the_loop(
    log: SlowLog, make: Make
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    rooms = await make(config())
    log.may_load.clear()
    visit = asyncio.create_task(enter(rooms, "room"))
    await until(lambda: bool(log.loads))
    visit.cancel()
    await asyncio.gather(visit, return_exceptions=True)
    log.fault = LogError("away")
    log.may_load.set()
    await until(lambda: not rooms._loading)
    # Its traceback leads to the load.
    del visit
    gc.collect()
    assert complaints == []
