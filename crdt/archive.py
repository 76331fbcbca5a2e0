"""The snapshots of rooms that have left the log, as objects in a store.

    key    := hash of the room's name (2 digits "/" 30 digits) "-" 16 random digits
    object := BLAKE2b of the body (16 bytes) . body
    body   := msgpack [version = 1, room, epoch, offset, packed snapshot]

A key is used for one attempt to put one snapshot, so no object is ever another one than was meant, and what
is under it can be deleted without asking who else needs it. An object says itself what it holds: a store
outlives the log that refers to it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b

import msgpack
import structlog

from .compression import Unreadable, pack, unpack
from .log import LogError, Position
from .snapshot_store import LARGEST_OBJECT, SnapshotStore, StoreError

_log = structlog.get_logger()

_VERSION = 1
_DIGEST_BYTES = 16
_GET_SECONDS = 20.0
"""Somebody waits in front of a closed door."""
_PUT_SECONDS = 120.0
_DELETE_SECONDS = 20.0


class SnapshotLost(LogError):
    """A room's snapshot can't be read: the object that holds it is away, not there, or damaged."""


def object_key(room: str) -> str:
    """Return a key that has never been used."""
    name = blake2b(room.encode(), digest_size=16).hexdigest()
    return f"{name[:2]}/{name[2:]}-{secrets.token_hex(8)}"


def encode_object(room: str, position: Position, snapshot: bytes) -> bytes:
    """Return the object that holds a room's snapshot up to a position."""
    body: bytes = msgpack.packb([_VERSION, room, position.epoch, position.offset, pack(snapshot)])
    return _digest(body) + body


def decode_object(content: bytes, room: str, offset: int) -> bytes:
    """Return the snapshot in an object. Raises Unreadable when it is not the one that was meant.

    The epoch is for people: a room that Redis has forgotten a part of goes on in another one (append.lua).
    """
    body = memoryview(content)[_DIGEST_BYTES:]
    if _digest(body) != content[:_DIGEST_BYTES]:
        raise Unreadable("damaged, or cut off")
    try:
        version, *fields = msgpack.unpackb(body)
    except (ValueError, TypeError) as error:
        raise Unreadable("not a snapshot object") from error
    if version != _VERSION:
        raise Unreadable(f"version {version!r}; this release reads {_VERSION}")
    match fields:
        case [str(name), str(), int(reached), bytes(packed)]:
            if (name, reached) != (room, offset):
                raise Unreadable(f"the snapshot of {name!r} up to {reached}")
            return unpack(packed, LARGEST_OBJECT)
    raise Unreadable("not a snapshot object")


class Archive:
    """Puts, gets and deletes snapshots in a store, each within a time.

    ``observe_get`` is told the seconds of each get that gave a snapshot, ``count_error`` the name of each
    operation that failed: "put", "get" or "delete".
    """

    def __init__(
        self,
        store: SnapshotStore,
        *,
        observe_get: Callable[[float], None] | None = None,
        count_error: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._observe_get = observe_get
        self._count_error = count_error

    async def put(self, key: str, room: str, position: Position, snapshot: bytes) -> None:
        """Keep a room's snapshot up to a position. Raises StoreError."""
        content = await asyncio.to_thread(encode_object, room, position, snapshot)
        try:
            async with asyncio.timeout(_PUT_SECONDS):
                await self._store.put(key, content)
        except (StoreError, TimeoutError) as error:
            raise self._failed("put", error) from error

    async def get(self, key: str, room: str, offset: int) -> bytes:
        """Return a room's snapshot up to an offset. Raises SnapshotLost."""
        since = time.monotonic()
        try:
            async with asyncio.timeout(_GET_SECONDS):
                content = await self._store.get(key)
            snapshot = await asyncio.to_thread(decode_object, content, room, offset)
        except (StoreError, TimeoutError, Unreadable) as error:
            reason = self._failed("get", error)
            raise SnapshotLost(f"the snapshot of {room!r}, {key}: {reason}") from error
        if self._observe_get is not None:
            self._observe_get(time.monotonic() - since)
        return snapshot

    async def delete(self, key: str) -> None:
        """Forget an object, there or not. Raises StoreError."""
        try:
            async with asyncio.timeout(_DELETE_SECONDS):
                await self._store.delete(key)
        except (StoreError, TimeoutError) as error:
            raise self._failed("delete", error) from error

    async def forget(self, keys: Iterable[str]) -> list[str]:
        """Delete objects that nothing needs, as far as the store does. Returns the keys of those."""
        deleted = []
        for key in keys:
            try:
                await self.delete(key)
            except StoreError as error:
                _log.warning("snapshot can't be deleted", key=key, error=str(error))
                break
            deleted.append(key)
        return deleted

    def _failed(self, operation: str, error: Exception) -> StoreError:
        if self._count_error is not None:
            self._count_error(operation)
        return StoreError(str(error) or "no answer in time")


def _digest(body: bytes | memoryview) -> bytes:
    return blake2b(body, digest_size=_DIGEST_BYTES).digest()
