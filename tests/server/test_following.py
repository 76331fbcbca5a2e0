"""Entries of other processes, small and large, good and bad, and rooms that have to be read again."""

import asyncio
from typing import cast

import pytest
import structlog

from roomful.crdt.log import History, LogError, Position
from roomful.crdt.merge import merge
from roomful.crdt.state import DocumentState, Part
from roomful.crdt.worker import WorkerFailed, WorkerPool
from roomful.server.flusher import Flusher
from roomful.server.following import Following
from roomful.server.metrics import Metrics
from roomful.server.room import AWARENESS, Room
from tests.crdt.writers import document, same
from tests.server.members import Member, awareness_of, presence_of, written
from tests.server.memory_log import MemoryLog
from tests.server.nodes import Checks
from tests.waiting import until

INLINE = 200


class Workers(Checks):
    """Also merges, as a real pool does."""

    async def merge(self, updates: list[bytes]) -> Part:
        merged = merge(updates)
        return merged, await self.check(merged)


class House:
    """A room that is followed."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.metrics = Metrics()
        self.workers = Workers()
        self.room = Room(
            "room", DocumentState(None), Position("", 0), awareness_of(self.metrics, each=1),
            presence_of(self.metrics), self.log, Flusher(0.0), self.metrics, 1 << 20,
        )  # fmt: skip
        self.member = Member(self.room)
        checks = cast("WorkerPool", self.workers)
        self.following = Following(self.room, self.log, checks, INLINE, self.metrics)
        self.following.start()

    def say(self, offset: int, update: bytes | None, epoch: str = "life") -> None:
        self.log.followers["room"].heard(Position(epoch, offset), update)


@pytest.fixture
async def house() -> House:
    return House()


async def test_a_fault_in_what_others_tell_costs_a_line_in_the_log(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    follower = house.log.followers["room"]
    for name in ("told", "relinked"):
        monkeypatch.setattr(house.room.awareness, name, fail)
    with structlog.testing.capture_logs() as logs:
        follower.told(AWARENESS + b"anything")
        follower.relinked()
    assert [entry["log_level"] for entry in logs] == ["error", "error"]


def large(client: int = 9) -> bytes:
    doc = document(client=client)
    doc["text"].insert(0, "x" * 2 * INLINE)
    return doc.get_update()


async def test_a_small_entry_is_taken_at_once_and_one_of_ones_own_moves_the_position_only(
    house: House,
) -> None:
    (update,) = written(1)
    house.say(1, update)
    house.say(2, None)
    assert house.member.updates() == [update]
    assert house.room.position == Position("life", 2)
    assert house.workers.checked == []


async def test_what_follows_a_large_entry_waits_for_its_check(house: House) -> None:
    first, second, third = written(3)
    house.workers.may.clear()
    house.say(1, first)
    house.say(2, large())
    house.say(3, second)
    await asyncio.sleep(0)
    assert house.member.updates() == [first]
    assert house.room.position == Position("life", 1)
    house.workers.may.set()
    await until(lambda: house.room.position == Position("life", 3))
    assert house.member.updates() == [large(), second]
    # Nothing waits any more.
    house.say(4, third)
    assert house.member.updates() == [third]


@pytest.mark.parametrize(
    "fault", [None, WorkerFailed("timeout", "took too long")], ids=["malformed", "worker"]
)
async def test_an_entry_that_cannot_be_read_is_passed_over_and_counted(
    house: House, fault: Exception | None
) -> None:
    (update,) = written(1)
    house.workers.fault = fault
    house.say(1, b"\xff" if fault is None else large())
    house.say(2, update)
    await until(lambda: house.room.position == Position("life", 2))
    assert house.metrics.refused["log"] == 1
    assert house.room.incomplete
    assert house.member.updates() == [update]


async def test_a_room_that_missed_something_takes_what_is_new_and_gives_back_what_the_log_lacks(
    house: House,
) -> None:
    """The log has come back without the second entry, and with one of somebody else."""
    first, second = written(2)
    (theirs,) = written(1, client=77)
    house.say(1, first)
    house.say(2, second)
    house.log.histories["room"] = History("newer", 0, None, [first, theirs])
    house.log.followers["room"].missed()
    await until(lambda: len(house.log.queued) == 1)
    assert house.room.position == Position("newer", 2)
    assert same(document([house.log.queued[0].update, first, theirs]), document([first, second, theirs]))
    assert same(document(house.member.updates()), document([first, second, theirs]))
    house.say(3, None, "newer")
    assert house.room.position == Position("newer", 3)


async def test_a_room_that_missed_something_and_lacks_nothing_gives_nothing_back(house: House) -> None:
    updates = written(5)
    house.say(1, updates[0])
    house.log.histories["room"] = History("life", 0, None, updates)
    house.log.followers["room"].missed()
    await until(lambda: house.room.position == Position("life", 5))
    assert house.log.queued == []
    assert same(document(house.member.updates()), document(updates))


async def test_reading_again_goes_on_until_the_log_can_be_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful.server.following._RETRY_SECONDS", 0.01)
    house.log.fault = LogError("away")
    with structlog.testing.capture_logs() as logged:
        house.log.followers["room"].missed()
        await until(lambda: len(house.log.loads) > 2)
    assert [entry["log_level"] for entry in logged[:2]] == ["warning", "debug"]
    house.log.fault = None
    house.log.histories["room"] = History("life", 0, None, written(1))
    await until(lambda: house.room.position == Position("life", 1))


async def test_who_stops_hears_no_more(house: House) -> None:
    house.workers.may.clear()
    house.say(1, large())
    house.following.stop()
    house.workers.may.set()
    await asyncio.sleep(0.01)
    assert house.log.followers == {}
    assert house.member.updates() == []


async def test_a_room_that_was_further_than_the_log_is_now_takes_its_position_back(house: House) -> None:
    """Else its next snapshot might stand for an entry that has taken a forgotten one's place."""
    updates = written(3)
    for offset, update in enumerate(updates, 1):
        house.say(offset, update)
    house.log.histories["room"] = History("life", 0, None, updates[:2])
    house.log.followers["room"].missed()
    await until(lambda: len(house.log.queued) == 1)
    assert house.room.position == Position("life", 2)
