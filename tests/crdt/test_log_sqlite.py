"""What the embedded log owes beyond the contract: two processes, a full disk, a broken file, kill -9."""

import asyncio
import os
import random
import secrets
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from roomful.crdt.log import ENTRY_BYTES, Condition, LogBusy, LogUnusable, Position
from roomful.crdt.log_sqlite import SqliteLog
from roomful.crdt.sqlite_store import SqliteStore
from tests.contract.backends import Writer
from tests.crdt import log_writer
from tests.small_disk import SmallDisk, size_limit, tmpfs
from tests.waiting import until

SECONDS = 10.0
DURABILITIES = ("machine", "process")


@pytest.fixture(params=[tmpfs, size_limit], ids=["no-space", "file-too-large"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    make: Callable[[Path], AbstractContextManager[SmallDisk]] = request.param
    small = make(tmp_path / "disk")
    try:
        disk = small.__enter__()
    except OSError as error:
        pytest.skip(f"a file system can't be mounted here: {error}")
    yield disk
    disk.free(os.getpid())
    small.__exit__(None, None, None)


def numbered(first: int, last: int, size: int = 0) -> list[bytes]:
    return [b"%d " % number + os.urandom(size) for number in range(first, last + 1)]


async def refusing(log: SqliteLog, writer: Writer, updates: list[bytes]) -> list[bytes]:
    """Append to "room" until the disk refuses, and return what was appended."""
    appended = []
    for update in updates:
        writer.append("room", update)
        appended.append(update)
        await until(lambda: writer.settled or log.condition.failing)
        if log.condition.failing:
            return appended
    raise AssertionError(f"the disk took all {len(updates)} entries")


# A full disk


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_on_a_full_disk_appends_wait_and_go_in_in_order_when_there_is_room(
    disk: SmallDisk, durability: str
) -> None:
    async with SqliteLog(disk.folder / "data", durability=durability, commit_interval=0.001) as log:
        writer = Writer(log)
        before = numbered(1, 20)
        await writer.write("room", *before)
        disk.fill(os.getpid())
        appended = before + await refusing(log, writer, numbered(21, 220, 20_000))
        durable = [update for _, update, _ in writer.durable]
        assert log.condition.reason
        for number in range(30):
            writer.append(f"other {number % 3}", b"%d" % number)
        await until(lambda: log._orders.qsize() > 0)

        assert (await log.load("room")).entries == durable == appended[: len(durable)]
        waiting = appended[len(durable) :]
        assert log.backlog_entries == len(waiting) + 30
        assert log.backlog_bytes == sum(map(len, waiting)) + 50 + log.backlog_entries * ENTRY_BYTES

        disk.free(os.getpid())
        await writer.settle()
        assert (log.condition, log.backlog_bytes, log.full) == (Condition(), 0, False)
        assert [update for room, update, _ in writer.durable if room == "room"] == appended
        assert (await log.load("room")).entries == appended
    async with SqliteLog(disk.folder / "data") as log:
        assert (await log.load("room")).entries == appended
        assert (await log.load("other 2")).entries == [b"%d" % number for number in range(2, 30, 3)]


async def test_a_log_is_full_while_its_backlog_is_beyond_the_bound(disk: SmallDisk) -> None:
    async with SqliteLog(disk.folder, commit_interval=0.001, backlog_limit=100_000) as log:
        writer = Writer(log)
        await writer.write("room", b"1")
        disk.fill(os.getpid())
        await refusing(log, writer, numbered(2, 201, 20_000))
        full = [log.full]
        writer.append("room", *numbered(1, 5, 20_000))
        full.append(log.full)
        disk.free(os.getpid())
        await writer.settle()
        assert [*full, log.full] == [False, True, False]


async def test_a_fold_that_the_disk_refuses_changes_nothing(disk: SmallDisk) -> None:
    async with SqliteLog(disk.folder, commit_interval=0.001) as log:
        writer = Writer(log)
        end = await writer.write("room", *numbered(1, 20))
        before = await log.load("room")
        disk.fill(os.getpid())
        snapshot = os.urandom(1 << 20)
        with pytest.raises(sqlite3.Error):
            await log.fold("room", end, snapshot)
        assert await log.load("room") == before
        disk.free(os.getpid())
        assert (await writer.write("room", b"on")).offset == 21
        await log.fold("room", end, snapshot)
        assert (await log.load("room")).snapshot == snapshot


async def test_closing_while_the_disk_refuses_gives_up_soon_and_leaves_no_hole(disk: SmallDisk) -> None:
    async with SqliteLog(disk.folder, commit_interval=0.001) as log:
        writer = Writer(log)
        await writer.write("room", b"1")
        disk.fill(os.getpid())
        appended = [b"1", *await refusing(log, writer, numbered(2, 201, 20_000))]
        # Would fit where the one before it did not.
        groups = log._orders.qsize()
        writer.append("room", b"small")
        await until(lambda: log._orders.qsize() > groups)
        async with asyncio.timeout(5):
            await log.close()
        durable = [update for _, update, _ in writer.durable]
        assert durable == appended[: len(durable)]
    disk.free(os.getpid())
    async with SqliteLog(disk.folder) as log:
        assert (await log.load("room")).entries == durable


async def test_a_small_entry_does_not_overtake_one_that_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = SqliteStore.append

    def refuse_large(store: SqliteStore, batch: list[tuple[str, bytes]]) -> list[Position]:
        if any(len(update) > 1_000 for _, update in batch):
            raise sqlite3.OperationalError("database or disk is full")
        return append(store, batch)

    monkeypatch.setattr(SqliteStore, "append", refuse_large)
    async with SqliteLog(tmp_path, commit_interval=0) as log:
        writer = Writer(log)
        await writer.write("room", b"1")
        writer.append("room", bytes(2_000))
        await until(lambda: log.condition.failing)
        writer.append("room", b"3")
    async with SqliteLog(tmp_path) as log:
        assert (await log.load("room")).entries == [b"1"]


async def test_any_fault_in_the_writers_thread_is_shown_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SqliteLog(tmp_path, commit_interval=0.001) as log:
        writer = Writer(log)
        with monkeypatch.context() as patch:
            patch.setattr(log._store, "append", _no_memory)
            patch.setattr(log._store, "reset", _no_memory)
            with pytest.raises(MemoryError):
                await log.reset("room")
            writer.append("room", b"1")
            await until(lambda: log.condition.failing)
            assert log.condition.reason == "MemoryError"
        await writer.settle()
        assert (await log.load("room")).entries == [b"1"]


def _no_memory(*_: object) -> None:
    raise MemoryError


async def test_what_folding_frees_is_given_back_to_the_disk(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path, commit_interval=0.001) as log:
        end = await Writer(log).write("room", *numbered(1, 30, 100_000))
        for _ in range(4):
            await log.fold("room", end, b"small")
    assert (tmp_path / "log.sqlite").stat().st_size < 100_000


# Who may open it


async def test_a_folder_is_one_processs_at_a_time_and_free_again_after_it(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path):
        with pytest.raises(LogBusy, match=f"another server is using {tmp_path}"):
            await SqliteLog(tmp_path).__aenter__()
    async with SqliteLog(tmp_path):
        pass


async def test_a_second_server_on_a_folder_says_so_and_ends(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path):
        code, lines = await _serve(tmp_path)
    assert code == 1
    assert len(lines) == 1
    assert f"another server is using {tmp_path}" in lines[0]


def _garbage(file: Path) -> None:
    file.write_bytes(os.urandom(8_192))


def _broken_header(file: Path) -> None:
    sqlite3.connect(file).executescript("CREATE TABLE rooms (id); PRAGMA user_version = 1").connection.close()
    content = bytearray(file.read_bytes())
    content[100:200] = bytes(100)
    file.write_bytes(content)


def _newer_release(file: Path) -> None:
    sqlite3.connect(file).execute("PRAGMA user_version = 99").connection.close()


def _folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("spoil", [_garbage, _broken_header, _newer_release, _folder])
async def test_a_file_that_can_not_be_used_is_refused_untouched_with_its_name_and_the_reason(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    file = tmp_path / "log.sqlite"
    spoil(file)
    before = file.read_bytes() if file.is_file() else None
    for _ in range(2):
        with pytest.raises(LogUnusable, match=str(file)):
            await SqliteLog(tmp_path).__aenter__()
    code, lines = await _serve(tmp_path)
    assert code == 1
    assert len(lines) == 1
    assert "can't start" in lines[0]
    assert str(file) in lines[0]
    assert before is None or file.read_bytes() == before


async def test_a_full_disk_at_the_start_is_refused_with_the_files_name(disk: SmallDisk) -> None:
    disk.fill(os.getpid())
    with pytest.raises(LogUnusable, match=str(disk.folder / "log.sqlite")):
        await SqliteLog(disk.folder).__aenter__()
    disk.free(os.getpid())
    async with SqliteLog(disk.folder) as log:
        await Writer(log).write("room", b"1")


async def _serve(folder: Path) -> tuple[int, list[str]]:
    """Run ``roomful serve``, which must end; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "roomful.server", "serve", "--port", "0", "--data", str(folder)), stderr=PIPE
    )
    async with asyncio.timeout(20):
        _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode().splitlines()


# kill -9


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_no_entry_reported_durable_is_lost_when_the_writer_is_killed(
    tmp_path: Path, durability: str
) -> None:
    seed = secrets.randbits(32)
    print("seed", seed)
    rng = random.Random(seed)
    reported: dict[str, int] = dict.fromkeys(log_writer.ROOMS, 0)
    for life in range(8):
        writer = await asyncio.create_subprocess_exec(
            *(sys.executable, log_writer.__file__, str(tmp_path), durability, f"{seed} {life}"), stdout=PIPE
        )
        try:
            await _killed_at_some_moment(writer, rng, reported)
        finally:
            if writer.returncode is None:
                writer.kill()
            await writer.wait()
        async with SqliteLog(tmp_path) as log:
            for room, least in reported.items():
                history = await log.load(room)
                assert history.position.offset >= least, f"{room}: a durable entry is lost"
                numbers = range(history.folded + 1, history.position.offset + 1)
                assert history.entries == [log_writer.entry(room, number) for number in numbers]
                if history.snapshot is not None:
                    assert history.snapshot == log_writer.snapshot(room, history.folded)
    print("entries", sum(reported.values()))
    assert min(reported.values()) > 0


async def _killed_at_some_moment(writer: Process, rng: random.Random, reported: dict[str, int]) -> None:
    assert writer.stdout is not None
    moment = rng.randrange(1, 2_000)
    async with asyncio.timeout(SECONDS):
        for _ in range(moment):
            _note(await writer.stdout.readline(), reported)
        await asyncio.sleep(rng.random() * 0.005)
        writer.kill()
        # What it had still reported before it died counts.
        while line := await writer.stdout.readline():
            _note(line, reported)


def _note(line: bytes, reported: dict[str, int]) -> None:
    room, offset = line.decode().split()
    assert int(offset) > reported[room]
    reported[room] = int(offset)


@pytest.mark.parametrize(("durability", "synchronous"), [("machine", 2), ("process", 1)])
async def test_what_an_acknowledgement_survives_is_sqlites_own_promise(
    tmp_path: Path, durability: str, synchronous: int
) -> None:
    """FULL (2) syncs the write-ahead log before a commit returns, NORMAL (1) only before a checkpoint."""
    async with SqliteLog(tmp_path, durability=durability) as log:
        settings: Any = log._store._db
        assert settings.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert settings.execute("PRAGMA journal_mode").fetchone() == ("wal",)
