"""Every test here runs on every store of snapshots, and checks what crdt/snapshot_store.py promises."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from roomful.crdt import store_folder, store_s3
from roomful.crdt.archive import object_key
from roomful.crdt.snapshot_store import SnapshotStore, StoreError
from roomful.crdt.store_folder import FolderStore
from roomful.crdt.store_s3 import S3Store
from tests.s3_process import CREDENTIALS, shared_s3

KEY = object_key("room")


def open_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> SnapshotStore:
    return FolderStore(folder / "not" / "yet" / "there")


def open_s3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> SnapshotStore:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return S3Store("bucket", f"{folder}/", endpoint=shared_s3().endpoint)


STORES: Final[dict[str, Callable[[Path, pytest.MonkeyPatch], SnapshotStore]]] = {
    "folder": open_folder,
    "s3": open_s3,
}


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SnapshotStore:
    return STORES[request.param](tmp_path, monkeypatch)


@pytest.mark.parametrize("content", [b"", b"\x00", bytes(range(256)) * 40_000], ids=len)
async def test_an_object_comes_back_as_it_was_put(store: SnapshotStore, content: bytes) -> None:
    await store.put(KEY, content)
    assert await store.get(KEY) == content


async def test_objects_are_apart(store: SnapshotStore) -> None:
    keys = [object_key(room) for room in ("room", "room", "other")]
    await asyncio.gather(*(store.put(key, key.encode()) for key in keys))
    assert await asyncio.gather(*(store.get(key) for key in keys)) == [key.encode() for key in keys]


async def test_an_object_that_is_put_again_is_the_newer_one(store: SnapshotStore) -> None:
    await store.put(KEY, b"older")
    await store.put(KEY, b"newer")
    assert await store.get(KEY) == b"newer"


async def test_an_object_that_is_not_there_is_an_error(store: SnapshotStore) -> None:
    with pytest.raises(StoreError):
        await store.get(KEY)


async def test_a_deleted_object_is_gone_and_may_be_deleted_again(store: SnapshotStore) -> None:
    other = object_key("room")
    await store.put(KEY, b"1")
    await store.put(other, b"2")
    await store.delete(KEY)
    await store.delete(KEY)
    with pytest.raises(StoreError):
        await store.get(KEY)
    assert await store.get(other) == b"2"


async def test_an_object_beyond_the_bound_is_not_read(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (store_folder, store_s3):
        monkeypatch.setattr(module, "LARGEST_OBJECT", 10)
    await store.put(KEY, bytes(10))
    assert await store.get(KEY) == bytes(10)
    await store.put(KEY, bytes(11))
    with pytest.raises(StoreError, match="larger"):
        await store.get(KEY)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a\0", "a b", "é", "a" * 101])
async def test_a_key_that_could_lead_out_of_the_store_is_refused(store: SnapshotStore, key: str) -> None:
    for refused in (store.get(key), store.put(key, b""), store.delete(key)):
        with pytest.raises(StoreError, match="no key"):
            await refused
