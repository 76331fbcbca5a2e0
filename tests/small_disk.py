"""A disk that can be filled and freed again, so that writes really fail.

Where tests run as root it is a tmpfs of its own, which says "no space left on device". Elsewhere, and where
mounting is not allowed, a limit on the size of a process's files does instead, which says "file too large".
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

SIZE: Final = 4 << 20
_BLOCK: Final = 64 << 10


class SmallDisk(Protocol):
    """A folder on a disk of its own. ``process`` is the one that writes to it."""

    @property
    def folder(self) -> Path: ...

    def fill(self, process: int) -> None:
        """Leave no room for another byte."""

    def free(self, process: int) -> None:
        """Give the room back."""


class _Tmpfs:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, process: int) -> None:
        with open(self._ballast, "ab", buffering=0) as file:
            try:
                # The last block goes in as far as it goes.
                while file.write(bytes(_BLOCK)):
                    pass
            except OSError:
                return

    def free(self, process: int) -> None:
        self._ballast.unlink(missing_ok=True)


class _SizeLimit:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, process: int) -> None:
        largest = max((file.stat().st_size for file in self.folder.rglob("*")), default=0)
        self._limit(process, largest)

    def free(self, process: int) -> None:
        self._limit(process, resource.RLIM_INFINITY)

    @staticmethod
    def _limit(process: int, size: int) -> None:
        _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)
        resource.prlimit(process, resource.RLIMIT_FSIZE, (size, most))


@contextmanager
def tmpfs(folder: Path, size: int = SIZE) -> Iterator[SmallDisk]:
    """Mount a tmpfs on a new folder. Raises OSError where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise OSError(mounted.stderr.strip())
    try:
        yield _Tmpfs(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def size_limit(folder: Path) -> Iterator[SmallDisk]:
    """Make a folder in which files of a process can be kept from growing."""
    folder.mkdir()
    yield _SizeLimit(folder)


@contextmanager
def small_disk(folder: Path, size: int = SIZE) -> Iterator[SmallDisk]:
    """Give the best disk there can be here, of ``size`` bytes if possible."""
    try:
        mounted = tmpfs(folder / "tmpfs", size)
        disk = mounted.__enter__()
    except OSError:
        with size_limit(folder / "limited") as disk:
            yield disk
        return
    try:
        yield disk
    finally:
        mounted.__exit__(None, None, None)
