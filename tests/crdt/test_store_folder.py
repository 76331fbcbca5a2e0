"""Snapshots as files: what the disk is asked, and what a writer leaves that was killed."""

import os
from pathlib import Path
from typing import Any

import pytest

from roomful.crdt.snapshot_store import StoreError
from roomful.crdt.store_folder import FolderStore


async def test_an_object_is_on_the_disk_before_its_name_and_its_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path)
        steps.append(f"sync {name}")
        sync(descriptor)

    def replaced(self: Path, target: Path) -> Any:
        steps.append(f"rename {self.relative_to(tmp_path)} {target.relative_to(tmp_path)}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    store = FolderStore(tmp_path / "store")
    await store.put("ab/key", b"1")
    written = ["sync store/ab/key.part", "rename store/ab/key.part store/ab/key", "sync store/ab"]
    assert steps == ["sync .", "sync store", *written]


async def test_what_a_killed_writer_left_is_no_object_and_goes_with_the_key(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "key.part").write_bytes(b"half of")
    with pytest.raises(StoreError):
        await store.get("key")
    await store.delete("key")
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_refuses_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "file")
    (tmp_path / "file").touch()
    for refused in (store.put("key", b""), store.get("key"), store.delete("key")):
        with pytest.raises(StoreError, match=r"file.*: "):
            await refused
