"""What every log promises (crdt/log.py), one promise a test."""

import asyncio
import os
import random
from pathlib import Path

import pytest
from pycrdt import Doc, Text

from roomful.crdt.log import ENTRY_BYTES, Gap, History, Log, LogError, Position, Stale
from tests.contract.backends import Open, Writer


def numbered(first: int, last: int) -> list[bytes]:
    """Updates that say which entry they are."""
    return [b"%d" % number for number in range(first, last + 1)]


# Order and positions


async def test_entries_are_kept_in_the_order_of_their_appends_and_numbered_without_holes(
    log: Log, writer: Writer
) -> None:
    last = await writer.write("room", *numbered(1, 500))
    history = await log.load("room")
    assert history.entries == numbered(1, 500)
    assert [position for *_, position in writer.durable] == [Position(last.epoch, n) for n in range(1, 501)]
    assert history.position == last


async def test_rooms_are_numbered_each_for_itself(log: Log, writer: Writer) -> None:
    for number in range(1, 101):
        writer.append("odd" if number % 2 else "even", b"%d" % number)
    await writer.settle()
    odd, even = await log.load("odd"), await log.load("even")
    assert odd.entries == numbered(1, 100)[::2]
    assert even.entries == numbered(1, 100)[1::2]
    assert (odd.position.offset, even.position.offset) == (50, 50)
    assert odd.epoch != even.epoch


async def test_numbering_goes_on_after_a_pause_and_after_all_was_folded(log: Log, writer: Writer) -> None:
    first = await writer.write("room", b"1")
    second = await writer.write("room", b"2")
    await log.fold("room", second, b"1+2")
    third = await writer.write("room", b"3")
    assert [first.offset, second.offset, third.offset] == [1, 2, 3]
    assert first.epoch == second.epoch == third.epoch


# Durability


async def test_each_entry_is_reported_durable_once_and_a_rooms_entries_in_order(
    log: Log, writer: Writer
) -> None:
    rng = random.Random(5)
    appended = [(f"room {rng.randrange(5)}", b"%d" % number) for number in range(2_000)]
    for at, (room, update) in enumerate(appended):
        writer.append(room, update)
        if at % 100 == 0:
            await asyncio.sleep(0)
    await writer.settle()
    reported = [(room, update) for room, update, _ in writer.durable]
    for number in range(5):
        room = f"room {number}"
        assert [each for each in reported if each[0] == room] == [
            each for each in appended if each[0] == room
        ]


async def test_durable_is_not_called_within_append_and_when_it_is_the_entry_can_be_loaded(log: Log) -> None:
    loop = asyncio.get_running_loop()
    reported: asyncio.Future[Position] = loop.create_future()
    log.append("room", b"x", reported.set_result)
    assert not reported.done()
    position = await reported
    assert await log.load("room") == History(position.epoch, 0, None, [b"x"])


async def test_a_callback_that_raises_keeps_none_of_the_others_from_being_called(
    log: Log, writer: Writer
) -> None:
    loop = asyncio.get_running_loop()
    faults: list[object] = []
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    fault = RuntimeError("a fault of the caller's")

    def broken(_: Position) -> None:
        raise fault

    writer.append("room", b"1")
    log.append("room", b"2", broken)
    writer.append("room", b"3")
    await writer.settle()
    loop.set_exception_handler(None)
    assert [update for _, update, _ in writer.durable] == [b"1", b"3"]
    assert faults == [fault]
    assert log.backlog_bytes == 0


async def test_the_backlog_is_what_is_not_yet_durable(log: Log, writer: Writer) -> None:
    assert (log.backlog_bytes, log.full, log.condition.failing) == (0, False, False)
    writer.append("room", bytes(1_000), bytes(500))
    assert (log.backlog_bytes, log.backlog_entries) == (1_500 + 2 * ENTRY_BYTES, 2)
    await writer.settle()
    assert (log.backlog_bytes, log.full, log.condition.failing) == (0, False, False)


# Bytes in, bytes out


@pytest.mark.parametrize(
    "update",
    [
        b"",
        b"\x00",
        bytes(range(256)),
        bytes(100_000),
        os.urandom(100_000),
        bytes(5 << 20),
        os.urandom(5 << 20),
    ],
    ids=lambda update: f"{len(update)} bytes",
)
async def test_any_bytes_come_back_as_they_were(log: Log, writer: Writer, update: bytes) -> None:
    await writer.write("room", update, b"next", update)
    assert (await log.load("room")).entries == [update, b"next", update]
    await log.fold("room", writer.durable[0][2], update)
    history = await log.load("room")
    assert (history.snapshot, history.entries) == (update, [b"next", update])


async def test_an_update_that_misses_its_ground_is_kept_like_any_other(log: Log, writer: Writer) -> None:
    doc: Doc[Text] = Doc({"text": Text()})
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    for letter in "abcd":
        doc["text"] += letter
    gapped = [updates[3], updates[1], updates[1]]
    await writer.write("room", *gapped)
    assert (await log.load("room")).entries == gapped


@pytest.mark.parametrize(
    "names",
    [
        ("a", "A", "a ", " a", "a/b", "a%2Fb", "../a", "a*", "a{b}", "a:b"),
        ("é", "e\u0301", "😀", "\u202e", "日本語"),
        ("\x00", "a\x00", "a\x00b", "'", '";--', "NULL", "\n"),
        ("x" * 512, "x" * 511, "x" * 511 + "y"),
        ("1", "01", "1.0", "-1", "0x1"),
    ],
    ids=["ascii", "unicode", "odd", "long", "numbers"],
)
async def test_rooms_of_any_names_are_apart(log: Log, writer: Writer, names: tuple[str, ...]) -> None:
    for name in names:
        writer.append(name, name.encode())
    await writer.settle()
    assert [(await log.load(name)).entries for name in names] == [[name.encode()] for name in names]


# Loading and reading


async def test_a_room_never_written_is_empty_and_in_the_empty_epoch(log: Log) -> None:
    assert await log.load("room") == History("", 0, None, [])
    assert await log.read("room", Position("", 0)) == []
    with pytest.raises(Gap):
        await log.read("room", Position("", 1))
    with pytest.raises(Gap):
        await log.read("room", Position("0123456789abcdef", 0))
    # Having looked makes no difference.
    assert await log.load("room") == History("", 0, None, [])


async def test_reading_on_gives_what_came_after(log: Log, writer: Writer) -> None:
    epoch, _ = await writer.write("room", *numbered(1, 10))
    await log.fold("room", Position(epoch, 4), b"1-4")
    for offset in range(4, 11):
        assert await log.read("room", Position(epoch, offset)) == numbered(offset + 1, 10)


async def test_reading_from_what_was_folded_away_or_is_not_yet_or_in_another_life_is_a_gap(
    log: Log, writer: Writer
) -> None:
    epoch, _ = await writer.write("room", *numbered(1, 10))
    await log.fold("room", Position(epoch, 4), b"1-4")
    for position in (Position(epoch, 0), Position(epoch, 3), Position(epoch, 11), Position("", 0)):
        with pytest.raises(Gap):
            await log.read("room", position)
    with pytest.raises(Gap):
        await log.read("room", Position("f" * len(epoch), 5))


async def test_whoever_loads_while_others_append_sees_a_beginning_that_only_grows(
    log: Log, writer: Writer
) -> None:
    seen = 0
    for number in range(1, 301):
        writer.append("room", b"%d" % number)
        if number % 10 == 0:
            entries = (await log.load("room")).entries
            assert entries == numbered(1, len(entries))
            assert seen <= len(entries) <= number
            seen = len(entries)
    await writer.settle()
    assert (await log.load("room")).entries == numbered(1, 300)


# Folding


async def test_a_fold_puts_the_snapshot_in_the_place_of_what_it_covers(log: Log, writer: Writer) -> None:
    epoch, _ = await writer.write("room", *numbered(1, 10))
    await writer.write("other", b"other")
    await log.fold("room", Position(epoch, 4), b"1-4")
    assert await log.load("room") == History(epoch, 4, b"1-4", numbered(5, 10))
    await log.fold("room", Position(epoch, 10), b"1-10")
    assert await log.load("room") == History(epoch, 10, b"1-10", [])
    assert (await log.load("other")).entries == [b"other"]


async def test_folding_at_the_same_point_again_replaces_the_snapshot(log: Log, writer: Writer) -> None:
    epoch, _ = await writer.write("room", *numbered(1, 3))
    await log.fold("room", Position(epoch, 2), b"first")
    await log.fold("room", Position(epoch, 2), b"second")
    assert await log.load("room") == History(epoch, 2, b"second", numbered(3, 3))


async def test_a_fold_that_comes_too_late_or_too_early_is_stale_and_changes_nothing(
    log: Log, writer: Writer
) -> None:
    epoch, _ = await writer.write("room", *numbered(1, 10))
    await log.fold("room", Position(epoch, 6), b"1-6")
    before = await log.load("room")
    for position in (Position(epoch, 5), Position(epoch, 11), Position("", 7), Position("f" * len(epoch), 7)):
        with pytest.raises(Stale):
            await log.fold("room", position, b"stale")
        assert await log.load("room") == before
    with pytest.raises(Stale):
        await log.fold("never written", Position(epoch, 0), b"stale")
    assert await log.load("never written") == History("", 0, None, [])
    assert (await writer.write("room", b"11")).offset == 11


async def test_whoever_looks_while_a_prefix_is_folded_sees_the_prefix_or_the_snapshot(
    log: Log, writer: Writer
) -> None:
    """Snapshots here say how far they reach, so that both together must count from 1 to the end."""
    position = await writer.write("room", b"1")
    looks = 0

    async def look() -> None:
        nonlocal looks
        while not done.is_set():
            history = await log.load("room")
            assert history.folded == int(history.snapshot or b"0")
            assert history.entries == numbered(history.folded + 1, history.position.offset)
            at = Position(history.epoch, history.folded)
            try:
                entries = await log.read("room", at)
            except Gap:
                assert (await log.load("room")).folded > at.offset
            else:
                assert entries == numbered(at.offset + 1, at.offset + len(entries))
            looks += 1

    done = asyncio.Event()
    watching = [asyncio.create_task(look()) for _ in range(2)]
    for number in range(2, 201):
        writer.append("room", b"%d" % number)
        if number % 5 == 0:
            await writer.settle()
            position = writer.durable[-1][2]
            await log.fold("room", position, b"%d" % position.offset)
    done.set()
    await asyncio.gather(*watching)
    assert looks > 10


# Resetting


async def test_a_reset_forgets_everything_and_begins_a_new_life(log: Log, writer: Writer) -> None:
    old = await writer.write("room", *numbered(1, 5))
    await log.fold("room", Position(old.epoch, 2), b"1-2")
    await writer.write("other", b"other")
    start = await log.reset("room")
    assert start.offset == 0
    assert start.epoch not in ("", old.epoch)
    assert await log.load("room") == History(start.epoch, 0, None, [])
    assert (await log.load("other")).entries == [b"other"]
    with pytest.raises(Gap):
        await log.read("room", old)
    with pytest.raises(Stale):
        await log.fold("room", old, b"1-5")
    assert await writer.write("room", b"anew") == Position(start.epoch, 1)
    assert await log.read("room", start) == [b"anew"]


async def test_what_was_appended_before_a_reset_does_not_outlive_it(log: Log, writer: Writer) -> None:
    writer.append("room", *numbered(1, 5))
    await log.reset("room")
    await writer.settle()
    assert (await log.load("room")).entries == []


async def test_no_two_lives_of_a_room_share_an_epoch(log: Log, writer: Writer) -> None:
    epochs = [(await log.reset("room")).epoch for _ in range(20)]
    epochs.append((await writer.write("other", b"1")).epoch)
    assert len(set(epochs)) == 21
    assert (await log.load("room")).epoch == epochs[19]


# Many and large


async def test_thousands_of_rooms(log: Log, writer: Writer) -> None:
    for number in range(3_000):
        writer.append(f"room {number}", b"%d" % number)
    await writer.settle()
    for number in reversed(range(3_000)):
        writer.append(f"room {number}", b"again")
    await writer.settle()
    for number in (0, 1, 1_499, 2_999):
        history = await log.load(f"room {number}")
        assert history.entries == [b"%d" % number, b"again"]
    assert len({position.epoch for *_, position in writer.durable}) == 3_000


# Closing and opening


async def test_what_was_written_is_there_after_reopening_and_goes_on_where_it_was(
    open_log: Open, tmp_path: Path
) -> None:
    async with open_log(tmp_path / "log") as log:
        writer = Writer(log)
        epoch, _ = await writer.write("room", *numbered(1, 10))
        await log.fold("room", Position(epoch, 4), b"1-4")
        reset = await log.reset("reset")
    for opening in (1, 2):
        async with open_log(tmp_path / "log") as log:
            assert (await log.load("reset")).position == reset
            history = await log.load("room")
            assert (history.epoch, history.folded, history.snapshot) == (epoch, 4, b"1-4")
            assert history.entries == numbered(5, 9 + opening)
            writer = Writer(log)
            assert await writer.write("room", b"%d" % (10 + opening)) == Position(epoch, 10 + opening)


async def test_close_makes_what_is_queued_durable_and_says_so(open_log: Open, tmp_path: Path) -> None:
    async with open_log(tmp_path / "log") as log:
        writer = Writer(log)
        writer.append("room", *numbered(1, 1_000))
    assert [update for _, update, _ in writer.durable] == numbered(1, 1_000)
    async with open_log(tmp_path / "log") as log:
        assert (await log.load("room")).entries == numbered(1, 1_000)


async def test_closing_twice_is_closing_once(open_log: Open, tmp_path: Path) -> None:
    async with open_log(tmp_path / "log") as log:
        await Writer(log).write("room", b"1")
        await log.close()
        await log.close()


async def test_what_a_closed_log_can_not_do_it_refuses(open_log: Open, tmp_path: Path) -> None:
    async with open_log(tmp_path / "log") as log:
        position = await Writer(log).write("room", b"1")
    async with asyncio.timeout(5):
        with pytest.raises(LogError):
            await log.fold("room", position, b"1")
        with pytest.raises(LogError):
            await log.reset("room")
        with pytest.raises(LogError):
            await log.load("room")
        with pytest.raises(LogError):
            await log.read("room", position)
