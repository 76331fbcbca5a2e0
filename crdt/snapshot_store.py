"""The seam between a log and a place for the snapshots of rooms that have left it.

A store keeps objects: bytes under a key, written once and never changed. Every backend promises, and
``tests/contract/test_snapshot_store.py`` checks on each:

- **Atomicity.** An object is there whole or not at all, whatever ends the process that writes it.
- **Durability.** When ``put`` returns, the object outlives power loss, as far as the store itself does.
- **Bytes in, bytes out.** A store does not look into objects. Who reads one checks that it is what was put.

A store knows no deadline; whoever calls it sets one (archive.py).
"""

import re
from typing import Protocol

LARGEST_OBJECT = 1 << 30
"""Bytes; a store that offers more has been given something that is not ours."""

_KEY = re.compile(r"[0-9A-Za-z_-]{1,100}(/[0-9A-Za-z_-]{1,100}){0,3}", re.ASCII)


class StoreError(Exception):
    """The store is away, refuses, or does not have the object."""


class SnapshotStore(Protocol):
    """See the module. A key is one to four words of ASCII letters, digits, _ and -, and slashes."""

    async def put(self, key: str, content: bytes) -> None:
        """Keep an object, in the place of one that is under this key. Raises StoreError."""

    async def get(self, key: str) -> bytes:
        """Return an object. Raises StoreError, also for one that is not there or over LARGEST_OBJECT."""

    async def delete(self, key: str) -> None:
        """Forget an object, and what was left of an attempt to put it, if there is any. Raises StoreError."""


def checked_key(key: str) -> str:
    """Return a key, which names nothing outside the store. Raises StoreError."""
    if _KEY.fullmatch(key) is None:
        raise StoreError(f"no key of a snapshot: {key[:200]!r}")
    return key
