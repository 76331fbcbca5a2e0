"""Snapshots on their way to a store and back: what is not what was put is told from what is."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from roomful.crdt import archive as module
from roomful.crdt.archive import Archive, SnapshotLost, decode_object, encode_object, object_key
from roomful.crdt.compression import Unreadable
from roomful.crdt.log import Position
from roomful.crdt.snapshot_store import StoreError, checked_key
from roomful.crdt.store_folder import FolderStore

AT = Position("epoch", 7)
ROOMS = ["room", "../../etc/passwd", "é\n\0 {1}*", "𐍈" * 128]


class Silent:
    """A store that never answers."""

    async def put(self, key: str, content: bytes) -> None:
        await asyncio.Event().wait()

    async def get(self, key: str) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def delete(self, key: str) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("room", ROOMS)
def test_an_object_gives_the_snapshot_back(room: str) -> None:
    for snapshot in (b"", b"\x00", bytes(100_000)):
        assert decode_object(encode_object(room, AT, snapshot), room, 7) == snapshot


def test_an_object_that_was_changed_or_cut_anywhere_is_refused() -> None:
    content = encode_object("room", AT, b"a snapshot of some length")
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        for wrong in (bytes(damaged), content[:at]):
            with pytest.raises(Unreadable, match="damaged"):
                decode_object(wrong, "room", 7)


def test_another_snapshot_than_the_one_that_was_meant_is_refused() -> None:
    content = encode_object("room", AT, b"snapshot")
    with pytest.raises(Unreadable, match="'room' up to 7"):
        decode_object(content, "another", 7)
    with pytest.raises(Unreadable, match="'room' up to 7"):
        decode_object(content, "room", 8)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x92\x02\x01", b"\x91\x01", b"\x95\x01\x01\x01\x01\x01"])
def test_what_is_no_snapshot_object_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"not a snapshot object|version"):
        decode_object(module._digest(body) + body, "room", 7)


def test_every_attempt_has_a_key_of_its_own_that_any_store_takes() -> None:
    keys = [object_key(room) for room in ROOMS * 2]
    assert len(set(keys)) == len(keys)
    assert [checked_key(key) for key in keys] == keys
    assert keys[0].partition("-")[0] == keys[len(ROOMS)].partition("-")[0]


async def test_gets_are_timed_and_failures_counted(tmp_path: Path) -> None:
    seconds: list[float] = []
    errors: Counter[str] = Counter()
    archive = Archive(
        FolderStore(tmp_path), observe_get=seconds.append, count_error=lambda name: errors.update([name])
    )
    await archive.put("key", "room", AT, b"snapshot")
    assert await archive.get("key", "room", 7) == b"snapshot"
    assert (len(seconds), errors) == (1, Counter())
    (tmp_path / "key").write_bytes(b"something else")
    with pytest.raises(SnapshotLost, match="the snapshot of 'room', key: damaged, or cut off"):
        await archive.get("key", "room", 7)
    with pytest.raises(SnapshotLost, match="No such file"):
        await archive.get("none", "room", 7)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        await archive.put("file/key", "room", AT, b"snapshot")
    assert (len(seconds), errors) == (1, Counter(get=2, put=1))


async def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PUT_SECONDS", "_GET_SECONDS", "_DELETE_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    errors: list[str] = []
    archive = Archive(Silent(), count_error=errors.append)
    with pytest.raises(StoreError, match="no answer in time"):
        await archive.put("key", "room", AT, b"")
    with pytest.raises(SnapshotLost, match="no answer in time"):
        await archive.get("key", "room", 7)
    assert await archive.forget(["key", "another"]) == []
    assert errors == ["put", "get", "delete"]
