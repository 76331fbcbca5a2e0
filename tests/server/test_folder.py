"""A room that another process has folded: what is in memory here is exchanged for the snapshot, or kept."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from roomful.crdt.check import check_update
from roomful.crdt.folding import fold
from roomful.crdt.log import FoldTurn, History, Position
from roomful.crdt.merge import merge
from roomful.crdt.snapshot import encode_snapshot
from roomful.crdt.varint import write_varstring
from roomful.crdt.worker import WorkerPool
from roomful.server.folder import Folder
from roomful.server.metrics import Metrics
from roomful.server.room import Room
from roomful.server.rooms import Rooms
from tests.attacks import item, update
from tests.server.memory_log import MemoryLog
from tests.server.nodes import configured
from tests.waiting import until

WRITTEN = [update(item(4, write_varstring(f"by {client}")), client=client) for client in range(1, 6)]


@pytest.fixture
async def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def room(log: MemoryLog, metrics: Metrics) -> AsyncIterator[Room]:
    """Its tail is what was WRITTEN, all but the last; another process has had its turn to fold it."""
    log.turn = FoldTurn.PAST
    log.histories["room"] = History("life", 0, None, WRITTEN[:4])
    config = configured(fold_entries=4)
    async with AsyncExitStack() as stack:
        checks, folds = (WorkerPool(1, memory=1 << 30, seconds=15) for _ in range(2))
        folder = Folder(folds, log, config.folding, metrics)
        for close in (checks.close, folds.close, folder.close):
            stack.push_async_callback(close)
        rooms = Rooms(log, folder, checks, config, metrics)
        room = await stack.enter_async_context(rooms.open("room"))
        assert len(room.state.tail) == 4
        yield room


def folded(*updates: bytes, then: tuple[bytes, ...] = ()) -> History:
    snapshot = encode_snapshot(fold([], updates, merge_only=False))
    return History("life", len(updates), snapshot, list(then))


def holds(room: Room, updates: list[bytes]) -> bool:
    return all(room.state.adds_nothing(each, check_update(each)) for each in updates)


async def test_a_snapshot_that_holds_all_that_is_here_takes_its_place(
    log: MemoryLog, metrics: Metrics, room: Room
) -> None:
    log.histories["room"] = folded(*WRITTEN[:3], then=tuple(WRITTEN[3:]))
    room.on_saved(room)
    await until(lambda: metrics.folds_taken == 1)
    assert room.state.tail == []
    assert room.folded == Position("life", 3)
    assert holds(room, WRITTEN[:4])


async def test_what_a_log_that_came_back_with_less_lacks_stays_here(
    log: MemoryLog, metrics: Metrics, room: Room
) -> None:
    log.histories["room"] = folded(WRITTEN[0], then=(WRITTEN[4],))
    room.on_saved(room)
    await until(lambda: not room.state.tail)
    assert holds(room, WRITTEN[:4])
    assert (metrics.folds_taken, log.folds) == (0, [])
    joined = merge(list(room.state.pieces))
    assert check_update(joined).ranges == [(client, 0, 4) for client in (4, 3, 2, 1)]
