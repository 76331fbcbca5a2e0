"""How a room leaves Redis and what stays of it, script by script."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from roomful.crdt.archive import Archive, SnapshotLost, object_key
from roomful.crdt.log import Position
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.old_rooms import OldRooms
from roomful.crdt.redis_keys import partition_of, room_keys
from roomful.crdt.store_folder import FolderStore
from tests.contract.backends import Writer
from tests.redis_cluster import shared_cluster
from tests.redis_process import shared_redis
from tests.waiting import until_equal

LONG = 3600.0


class Rooms:
    """A log, and its rooms' way out of it, under a prefix that means something in a pattern."""

    def __init__(self, url: str, folder: Path, log: RedisLog, archive: Archive) -> None:
        self.url = url
        self.prefix = prefix_in(folder)
        self.log = log
        self.archive = archive
        self.writer = Writer(log)

    def redis(self, room: str = "room") -> Redis:
        """Return the server that has a room."""
        return self.log._servers.of(partition_of(room))

    def old(self, *, unwritten: float = 0.0, untouched: float = 0.0) -> OldRooms:
        return self.log.old_rooms(unwritten=unwritten, untouched=untouched)

    async def move(self, room: str, snapshot: bytes) -> tuple[str, list[str]]:
        """Move a room, and return the object's key and those that are needed no more."""
        old, key = self.old(), object_key(room)
        at = await old.begin(room, key)
        assert at is not None
        await self.archive.put(key, room, at, snapshot)
        unneeded = await old.end(room, at, key)
        assert unneeded is not None
        return key, unneeded

    async def fields(self, room: str) -> set[str]:
        found = await self.redis(room).hkeys(room_keys(self.prefix, room).room)
        names = {field.decode() for field in found if isinstance(field, bytes)}
        return {name for name in names if not name.startswith("writer:")}


def prefix_in(folder: Path) -> str:
    return f"[a]*?\\{folder}"


@pytest.fixture(params=[shared_redis, shared_cluster], ids=["redis", "cluster"])
async def rooms(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rooms]:
    archive = Archive(FolderStore(tmp_path / "store"))
    url = request.param().url
    async with RedisLog(url, prefix=prefix_in(tmp_path), archive=archive) as log:
        yield Rooms(url, tmp_path, log, archive)


async def test_all_rooms_that_have_something_in_redis_are_found(rooms: Rooms, tmp_path: Path) -> None:
    names = {"plain", "a:b", "log:x", "new\nline", "é {7}:snapshot:*"} | {f"room {n}" for n in range(300)}
    for name in names:
        end = await rooms.writer.write(name, b"1")
        if len(name) % 2:
            await rooms.log.fold(name, end, b"1")
    await rooms.log.lease("room:x").hold(10)
    async with RedisLog(rooms.url, prefix=f"a{tmp_path}") as other:
        await Writer(other).write("of another prefix", b"1")
    found = [name async for page in rooms.old().pages() for name in page]
    assert set(found) == names
    assert [page async for page in rooms.old(untouched=LONG).pages() if page] == []


async def test_a_room_is_old_when_nobody_has_written_to_it_nor_opened_it_for_so_long(rooms: Rooms) -> None:
    await rooms.writer.write("room", b"1")
    assert await rooms.old(unwritten=LONG).begin("room", "key") is None
    assert await rooms.old(untouched=LONG).begin("room", "key") is None
    assert await rooms.old().begin("never written", "key") is None
    assert "storing" not in await rooms.fields("room")
    at = await rooms.old().begin("room", "key")
    assert at == (await rooms.log.load("room")).position


async def test_what_stays_is_the_marker_and_the_room_is_the_same(rooms: Rooms) -> None:
    first = await rooms.writer.write("room", b"1", b"2")
    await rooms.log.fold("room", first, b"1+2")
    last = await rooms.writer.write("room", b"3")
    await rooms.move("room", b"1+2+3")
    keys = room_keys(rooms.prefix, "room")
    assert await rooms.redis().xlen(keys.log) == 0
    assert await rooms.fields("room") == {"epoch", "last", "folded", "stored"}
    history = await rooms.log.load("room")
    assert (history.snapshot, history.entries, history.position) == (b"1+2+3", [], last)
    # Who has heard everything reads on without a gap.
    assert await rooms.log.read("room", last) == []
    assert await rooms.old().begin("room", "key") is None


async def test_appends_and_folds_go_on_with_a_room_that_is_away(rooms: Rooms) -> None:
    first = await rooms.writer.write("room", b"1")
    await rooms.move("room", b"1")
    second = await rooms.writer.write("room", b"2")
    assert second == Position(first.epoch, 2)
    history = await rooms.log.load("room")
    assert (history.snapshot, history.entries, history.position) == (b"1", [b"2"], second)
    assert await rooms.log.read("room", first) == [b"2"]
    await rooms.log.fold("room", second, b"1+2")
    history = await rooms.log.load("room")
    assert (history.snapshot, history.entries) == (b"1+2", [])


async def test_a_room_that_has_changed_meanwhile_stays(rooms: Rooms) -> None:
    await rooms.writer.write("room", b"1")
    old = rooms.old()
    at = await old.begin("room", "one")
    assert at is not None
    await rooms.writer.write("room", b"2")
    assert await old.end("room", at, "one") is None
    again = await old.begin("room", "two")
    assert again is not None
    # Whoever began before, and comes late, does nothing.
    assert await old.end("room", again, "one") is None
    await rooms.log.reset("room")
    assert await old.end("room", again, "two") is None
    assert (await rooms.log.load("room")).entries == []
    assert "stored" not in await rooms.fields("room")


async def test_the_object_before_is_kept_and_all_others_are_needed_no_more(rooms: Rooms) -> None:
    keys, gone = [], []
    for number in range(4):
        await rooms.writer.write("room", b"%d" % number)
        if number == 2:
            # An attempt that came to no end.
            await rooms.old().begin("room", "left")
        key, unneeded = await rooms.move("room", b"%d" % number)
        keys.append(key)
        gone.append(set(unneeded))
    assert gone == [set(), set(), {keys[0], "left"}, {keys[0], "left", keys[1]}]
    await rooms.old().deleted("room", [keys[0], "left"])
    assert await rooms.fields("room") == {
        "epoch",
        "last",
        "folded",
        "stored",
        "before",
        f"unneeded:{keys[1]}",
    }


async def test_a_room_that_is_reset_is_gone_from_the_store_too(rooms: Rooms, tmp_path: Path) -> None:
    for number in range(3):
        await rooms.writer.write("room", b"%d" % number)
        await rooms.move("room", b"%d" % number)
    assert len([path for path in (tmp_path / "store").rglob("*") if path.is_file()]) == 3
    position = await rooms.log.reset("room")
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    history = await rooms.log.load("room")
    assert (history.snapshot, history.entries, history.position) == (None, [], position)


async def test_a_room_whose_snapshot_is_nowhere_is_not_an_empty_one(rooms: Rooms) -> None:
    end = await rooms.writer.write("room", b"1")
    await rooms.log.fold("room", end, b"1")
    await rooms.redis().hdel(room_keys(rooms.prefix, "room").room, "snapshot")
    with pytest.raises(SnapshotLost, match="knows of none"):
        await rooms.log.load("room")
    await rooms.writer.write("other", b"1")
    key, _ = await rooms.move("other", b"1")
    async with RedisLog(rooms.url, prefix=rooms.prefix) as without:
        with pytest.raises(SnapshotLost, match="this server has no snapshot_store"):
            await without.load("other")
    await rooms.archive.delete(key)
    with pytest.raises(SnapshotLost, match="the snapshot of 'other'"):
        await rooms.log.open("other")


async def test_a_room_that_is_stored_anew_while_it_is_loaded_is_loaded(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rooms.writer.write("room", b"1")
    await rooms.move("room", b"1")
    get = rooms.archive.get
    asked = []

    async def slow_get(key: str, room: str, offset: int) -> bytes:
        asked.append(key)
        if len(asked) == 1:
            await rooms.writer.write("room", b"2")
            await rooms.move("room", b"1+2")
            await rooms.archive.delete(key)
        return await get(key, room, offset)

    monkeypatch.setattr(rooms.archive, "get", slow_get)
    assert (await rooms.log.load("room")).snapshot == b"1+2"
    assert len(asked) == 2


async def test_a_room_that_went_on_in_another_epoch_finds_its_snapshot(rooms: Rooms) -> None:
    """Redis has come back older than what a server had heard (append.lua)."""
    await rooms.writer.write("room", b"1")
    await rooms.move("room", b"1")
    await rooms.redis().hset(room_keys(rooms.prefix, "room").room, "epoch", "another")
    history = await rooms.log.load("room")
    assert (history.epoch, history.snapshot) == ("another", b"1")


async def test_a_lease_has_one_holder_until_it_ends(rooms: Rooms) -> None:
    one, other = (rooms.log.lease("name") for _ in range(2))
    assert await one.hold(60)
    assert not await other.hold(60)
    assert await one.hold(0.001)
    await until_equal(lambda: other.hold(60), True)
    assert not await one.hold(60)
