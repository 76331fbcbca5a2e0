"""Snapshots as files in a folder, which all servers of one Redis must see.

Not the library's store for folders (store_s3.py has the same library): that one does not ask the disk to keep
what it has written.
"""

import asyncio
import os
from pathlib import Path

from .snapshot_store import LARGEST_OBJECT, StoreError, checked_key


class FolderStore:
    """A SnapshotStore (see snapshot_store.py). A file is named after its key; ``.part`` is unfinished."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, content: bytes) -> None:
        await asyncio.to_thread(self._put, checked_key(key), content)

    async def get(self, key: str) -> bytes:
        return await asyncio.to_thread(self._get, checked_key(key))

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._delete, checked_key(key))

    def _put(self, key: str, content: bytes) -> None:
        path = self._folder / key
        part = _part_of(path)
        try:
            self._make(path.parent)
            with open(part, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error

    def _get(self, key: str) -> bytes:
        path = self._folder / key
        try:
            with open(path, "rb") as file:
                if os.fstat(file.fileno()).st_size > LARGEST_OBJECT:
                    raise StoreError(f"{path}: larger than a snapshot is")
                return file.read(LARGEST_OBJECT)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error

    def _delete(self, key: str) -> None:
        path = self._folder / key
        try:
            _part_of(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error

    def _make(self, folder: Path) -> None:
        """Make a folder that outlives power loss, and those above it."""
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync(folder.parent)


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _sync(folder: Path) -> None:
    """Have the disk keep the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
