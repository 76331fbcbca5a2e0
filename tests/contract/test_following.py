"""What a log that several processes have open promises those who follow a room (crdt/log.py)."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomful.crdt.log import FoldTurn, Log, Position
from tests.contract.backends import SECONDS, SHARED, Open, Writer
from tests.waiting import until_equal


@pytest.fixture(params=list(SHARED.values()), ids=list(SHARED))
def open_log(request: pytest.FixtureRequest) -> Open:
    opener: Open = request.param
    return opener


@pytest.fixture
async def logs(open_log: Open, tmp_path: Path) -> AsyncIterator[tuple[Log, Log]]:
    """The same log, opened twice, as by two processes."""
    async with open_log(tmp_path) as one, open_log(tmp_path) as other:
        yield one, other


class Ear:
    """Follows a room, and keeps what it hears."""

    def __init__(self) -> None:
        self.entries: list[tuple[Position, bytes | None]] = []
        self.missed_times = 0
        self.messages: list[bytes] = []
        self.relinked_times = 0
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, position: Position, update: bytes | None) -> None:
        self.entries.append((position, update))
        self._tell()

    def missed(self) -> None:
        self.missed_times += 1
        self._tell()

    def told(self, message: bytes) -> None:
        self.messages.append(message)

    def relinked(self) -> None:
        self.relinked_times += 1

    def _tell(self) -> None:
        async def tell() -> None:
            async with self._news:
                self._news.notify_all()

        task = asyncio.create_task(tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: len(self.entries) >= count)

    async def until_missed(self) -> None:
        async with asyncio.timeout(SECONDS), self._news:
            await self._news.wait_for(lambda: self.missed_times > 0)


async def test_a_follower_hears_what_others_append_in_order_and_of_its_own_only_the_position(
    logs: tuple[Log, Log],
) -> None:
    one, other = logs
    ear = Ear()
    assert (await one.open("room")).entries == []
    one.follow("room", ear)
    epoch, _ = await Writer(other).write("room", b"1", b"2")
    await Writer(one).write("room", b"3")
    await Writer(other).write("room", b"4")
    await ear.until(4)
    assert ear.entries == [
        (Position(epoch, 1), b"1"),
        (Position(epoch, 2), b"2"),
        (Position(epoch, 3), None),
        (Position(epoch, 4), b"4"),
    ]


async def test_what_comes_between_opening_and_following_is_kept(logs: tuple[Log, Log]) -> None:
    one, other = logs
    ear = Ear()
    writer = Writer(other)
    await writer.write("room", b"1")
    history = await one.open("room")
    assert history.entries == [b"1"]
    await writer.write("room", b"2")
    one.follow("room", ear)
    await writer.write("room", b"3")
    await ear.until(2)
    assert [update for _, update in ear.entries] == [b"2", b"3"]


async def test_nothing_is_heard_after_a_release_and_everything_after_opening_again(
    logs: tuple[Log, Log],
) -> None:
    one, other = logs
    first, second = Ear(), Ear()
    writer = Writer(other)
    await one.open("room")
    one.follow("room", first)
    one.release("room")
    await writer.write("room", b"1")
    assert (await one.open("room")).entries == [b"1"]
    one.follow("room", second)
    await writer.write("room", b"2")
    await second.until(1)
    assert (first.entries, [update for _, update in second.entries]) == ([], [b"2"])


async def test_many_writers_and_followers_agree_on_one_order(open_log: Open, tmp_path: Path) -> None:
    seed = 11
    rng = random.Random(seed)
    async with open_log(tmp_path) as one, open_log(tmp_path) as two, open_log(tmp_path) as three:
        ears = [Ear() for _ in range(3)]
        writers = [Writer(log) for log in (one, two, three)]
        for log, ear in zip((one, two, three), ears, strict=True):
            await log.open("room")
            log.follow("room", ear)
        for number in range(300):
            rng.choice(writers).append("room", b"%d" % number)
            if rng.random() < 0.2:
                await asyncio.sleep(0)
        for writer in writers:
            await writer.settle()
        entries = (await one.load("room")).entries
        assert sorted(entries) == sorted(b"%d" % number for number in range(300))
        for ear, writer in zip(ears, writers, strict=True):
            await ear.until(300)
            own = {position.offset: update for _, update, position in writer.durable}
            heard = [own[position.offset] if update is None else update for position, update in ear.entries]
            assert heard == entries
            assert [position.offset for position, _ in ear.entries] == list(range(1, 301))


async def test_a_fold_elsewhere_disturbs_nobody(logs: tuple[Log, Log]) -> None:
    one, other = logs
    ear = Ear()
    writer = Writer(other)
    await one.open("room")
    one.follow("room", ear)
    position = await writer.write("room", b"1", b"2")
    await other.fold("room", position, b"1+2")
    await writer.write("room", b"3")
    await ear.until(3)
    assert ([update for _, update in ear.entries], ear.missed_times) == ([b"1", b"2", b"3"], 0)


async def test_whoever_follows_a_room_that_is_reset_is_told_to_read_it_again(logs: tuple[Log, Log]) -> None:
    one, other = logs
    ear = Ear()
    writer = Writer(other)
    await one.open("room")
    one.follow("room", ear)
    await writer.write("room", b"1")
    await ear.until(1)
    await other.reset("room")
    await writer.write("room", b"anew")
    await ear.until_missed()
    history = await one.open("room")
    assert history.entries == [b"anew"]


async def test_of_several_who_want_to_fold_a_room_one_has_the_turn(logs: tuple[Log, Log]) -> None:
    one, other = logs
    position = await Writer(one).write("room", b"1", b"2")
    start = Position(position.epoch, 0)
    assert await one.claim_fold("room", start, 30) is FoldTurn.MINE
    assert await other.claim_fold("room", start, 30) is FoldTurn.OTHERS
    assert await one.claim_fold("room", start, 30) is FoldTurn.MINE, "asked again"
    await one.fold("room", position, b"1+2")
    assert await other.claim_fold("room", start, 30) is FoldTurn.PAST
    assert await other.claim_fold("room", position, 30) is FoldTurn.MINE, "there is more to fold since"


async def test_a_turn_to_fold_ends_by_itself(logs: tuple[Log, Log]) -> None:
    one, other = logs
    position = await Writer(one).write("room", b"1")
    start = Position(position.epoch, 0)
    assert await one.claim_fold("room", start, 0.05) is FoldTurn.MINE

    async def turn() -> FoldTurn:
        return await other.claim_fold("room", start, 30)

    await until_equal(turn, FoldTurn.MINE)
