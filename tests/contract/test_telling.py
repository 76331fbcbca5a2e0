"""What a log promises of that which is told beside a room's entries (crdt/log.py)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roomful.crdt.log import Log
from tests.contract.backends import SECONDS, SHARED, Open, Writer
from tests.crdt.ear import Ear
from tests.waiting import until


@pytest.fixture
async def logs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Log, Log, Log]]:
    """The same log, opened three times, as by as many processes."""
    opener: Open = request.param
    async with opener(tmp_path) as one, opener(tmp_path) as two, opener(tmp_path) as three:
        yield one, two, three


of_several = pytest.mark.parametrize("logs", SHARED.values(), ids=SHARED, indirect=True)


async def follow(log: Log, room: str = "room") -> Ear:
    ear = Ear()
    await log.open(room)
    log.follow(room, ear)
    return ear


async def test_what_is_told_where_nobody_else_is_goes_nowhere(log: Log, writer: Writer) -> None:
    ear = await follow(log)
    log.tell("room", b"me")
    await writer.write("room", b"1")
    assert (await log.load("room")).entries == [b"1"]
    assert (ear.messages, log.untold) == ([], 0)


@of_several
async def test_others_that_follow_the_room_hear_it_in_order_and_nobody_else(
    logs: tuple[Log, Log, Log],
) -> None:
    one, two, three = logs
    own, ear, elsewhere = await follow(one), await follow(two), await follow(three, "another")
    messages = [b"%d" % number for number in range(200)]
    for message in messages:
        one.tell("room", message)
    await until(lambda: len(ear.messages) >= len(messages), "hearing", within=SECONDS)
    three.tell("another", b"unheard")
    two.tell("room", b"back")
    await until(lambda: own.messages == [b"back"], "hearing", within=SECONDS)
    assert (ear.messages, elsewhere.messages, one.untold) == (messages, [], 0)


@of_several
async def test_it_is_not_kept_and_entries_are_numbered_as_without_it(logs: tuple[Log, Log, Log]) -> None:
    one, two, _ = logs
    ear = await follow(two)
    writer = Writer(one)
    for number in range(20):
        one.tell("room", bytes([number]))
        await writer.write("room", b"%d" % number)
    await until(lambda: len(ear.updates) == len(ear.messages) == 20, "hearing", within=SECONDS)
    assert (await two.load("room")).position.offset == 20
    assert ear.missed_times == 0


@of_several
async def test_whoever_follows_no_more_hears_nothing(logs: tuple[Log, Log, Log]) -> None:
    one, two, three = logs
    gone, ear = await follow(two), await follow(three)
    two.release("room")
    one.tell("room", b"1")
    await until(lambda: ear.messages == [b"1"], "hearing", within=SECONDS)
    assert gone.messages == []
