"""The log of many processes: a stream in Redis for each room, appended to by scripts (lua/).

A Redis that is away or not ready yet is waited for, from the start on; ``condition`` says why.
"Durable" is what Redis has accepted, or as many of its replicas as ``replicas`` says have it too: what that
survives of Redis itself is the policy of its append-only file.
"""

import secrets
from collections.abc import Callable
from typing import Any, Final, Self

from .archive import Archive, SnapshotLost
from .compression import pack, unpack
from .log import (
    Condition,
    Durable,
    FoldTurn,
    Follower,
    Gap,
    History,
    LogError,
    LogUnusable,
    Position,
    Stale,
)
from .old_rooms import OldRooms
from .redis_appender import Appender
from .redis_greeting import may_come, words
from .redis_keys import FORGET_SECONDS, lease_key, partition_of, room_keys
from .redis_lease import Lease
from .redis_news import NOWHERE, News, Subscriber
from .redis_scripts import Scripts
from .redis_servers import FAILURES, servers
from .redis_teller import Teller

_LARGEST_PAYLOAD: Final = 1 << 30
_SCRIPTS: Final = ("append", "load", "claim", "fold", "reset", "storing", "stored", "deleted", "hold")
_TURNS: Final = {b"mine": FoldTurn.MINE, b"others": FoldTurn.OTHERS, b"past": FoldTurn.PAST}

_Room = tuple[str, int, int, bytes | None, list[Any], bytes | None]
"""What load.lua gives."""


class RedisLog:
    """A Log (see log.py) on Redis. Enter it to connect; raises LogUnusable when waiting can't help.

    ``url`` is an address as redis_servers.py has it; LogUnusable says what is wrong with it. ``prefix``
    begins all keys (redis_keys.py). ``archive`` has the snapshots of rooms that have left Redis
    (old_rooms.py). ``replicas`` and ``observe_commit`` are the Appender's.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "roomful",
        archive: Archive | None = None,
        replicas: int = 0,
        backlog_limit: int = 64 << 20,
        observe_commit: Callable[[float, int], None] | None = None,
    ) -> None:
        self._prefix = prefix
        self._archive = archive
        try:
            self._servers = servers(url)
        except ValueError as error:
            raise LogUnusable(f"Redis: {error}") from error
        self._scripts = Scripts(self._servers, "roomful.crdt", *_SCRIPTS)
        self._writer = secrets.token_hex(8)
        self._subscriber = Subscriber(self._servers, prefix, self._writer, self._news)
        self._appender = Appender(
            self._servers, self._scripts, prefix, self._writer, self._subscriber.position,
            replicas=replicas, backlog_limit=backlog_limit, observe_commit=observe_commit,
        )  # fmt: skip
        self._teller = Teller(self._servers, prefix, self._writer, self._subscriber.relinked)
        self._closing = False

    async def __aenter__(self) -> Self:
        try:
            await self._appender.start()
        except FAILURES as error:
            if not may_come(error):
                await self._appender.close()
                await self._servers.close()
                raise LogUnusable(words(error)) from error
            self._appender.start_later(words(error))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def condition(self) -> Condition:
        return self._appender.condition

    @property
    def backlog_bytes(self) -> int:
        return self._appender.backlog_bytes

    @property
    def backlog_peak_bytes(self) -> int:
        return self._appender.backlog_peak_bytes

    @property
    def backlog_entries(self) -> int:
        return self._appender.backlog_entries

    @property
    def full(self) -> bool:
        return self._appender.full

    def append(self, room: str, update: bytes, durable: Durable) -> None:
        self._appender.append(room, update, durable)

    def tell(self, room: str, message: bytes) -> None:
        self._teller.tell(room, message)

    @property
    def untold(self) -> int:
        return self._teller.untold

    def old_rooms(self, *, unwritten: float, untouched: float) -> OldRooms:
        """Return the way out of Redis for its old rooms."""
        return OldRooms(self._servers, self._scripts, self._prefix, unwritten=unwritten, untouched=untouched)

    def lease(self, name: str) -> Lease:
        """Return an attempt to be the one process that does what has this name."""
        return Lease(self._scripts, lease_key(self._prefix, name))

    async def load(self, room: str) -> History:
        history, _ = await self._load(room)
        return history

    async def open(self, room: str) -> History:
        if self._closing:
            raise LogError("the log is closed")
        if self.condition.failing:
            # Else it would take all its patience to find out.
            raise LogError(self.condition.reason)
        await self._subscriber.open(room)
        history, news = await self._load(room)
        self._subscriber.loaded(room, history.position, news[-1] if news else None)
        return history

    def follow(self, room: str, follower: Follower) -> None:
        self._subscriber.follow(room, follower)

    def release(self, room: str) -> None:
        self._subscriber.release(room)

    async def read(self, room: str, after: Position) -> list[bytes]:
        return _updates(await self._news(room, after, follows=False))

    async def _load(self, room: str) -> tuple[History, list[News]]:
        asked, lost = None, None
        while True:
            epoch, folded, last, packed, entries, key = await self._read(room, "")
            if lost is not None and packed is None and key == asked:
                raise lost
            try:
                snapshot = await self._snapshot(room, folded, packed, key)
            except SnapshotLost as error:
                # Since Redis named the object, the room may have been stored anew, and the object deleted.
                asked, lost = key, error
            else:
                news = _listed(epoch, last, entries)
                return History(epoch, folded, snapshot, _updates(news)), news

    async def _news(
        self, room: str, after: Position, newest: str | None = None, *, follows: bool = True
    ) -> list[News]:
        # A Redis that has come back with less may have been told other entries in the place of those it lost.
        start = after.offset if newest is None else after.offset - 1
        epoch, folded, last, _, entries, _ = await self._read(room, start)
        news = _listed(epoch, last, entries)
        if newest is not None:
            is_known = bool(news) and news[0].mark == newest
        else:
            is_known = folded == start or not follows
        # For a follower of a room that did not exist everything follows; the first entry names the epoch.
        is_same_life = epoch == after.epoch or (follows and after == NOWHERE)
        if not (is_same_life and folded <= start <= last and is_known):
            raise Gap(f"{room!r} can't be read on from {after}")
        return news if newest is None else news[1:]

    async def claim_fold(self, room: str, known: Position, seconds: float) -> FoldTurn:
        await self._appender.caught_up(room)
        turn = await self._run("claim", room, *known, self._writer, int(seconds * 1000))
        return _TURNS[turn]

    async def fold(self, room: str, upto: Position, snapshot: bytes) -> None:
        await self._appender.caught_up(room)
        heard, newest = self._subscriber.position(room), self._subscriber.newest(room)
        if heard != NOWHERE and heard.offset < upto.offset:
            raise Stale(f"{room!r} is not yet known up to {upto}")
        snapshot = pack(snapshot)
        done = await self._run(
            "fold", room, upto.epoch, upto.offset, snapshot, FORGET_SECONDS, heard.offset, newest or ""
        )
        if not done:
            raise Stale(f"{room!r} is not at {upto}, or has moved past it, or is another one than was heard")

    async def reset(self, room: str) -> Position:
        await self._appender.caught_up(room)
        epoch = secrets.token_hex(8)
        objects = await self._run("reset", room, epoch)
        if self._archive is not None:
            await self._archive.forget(key.decode() for key in objects)
        return Position(epoch, 0)

    async def close(self) -> None:
        """Send what is queued, or give it up if Redis still refuses, and hang up."""
        if self._closing:
            return
        self._closing = True
        await self._appender.close()
        await self._teller.close()
        await self._subscriber.close()
        await self._servers.close()

    async def _snapshot(
        self, room: str, folded: int, packed: bytes | None, key: bytes | None
    ) -> bytes | None:
        if packed is not None:
            return unpack(packed, _LARGEST_PAYLOAD)
        if key is not None and self._archive is not None:
            return await self._archive.get(key.decode(), room, folded)
        if folded:
            known = "this server has no snapshot_store" if key else "knows of none in a store"
            raise SnapshotLost(f"Redis has no snapshot of {room!r}, and {known}")
        return None

    async def _read(self, room: str, after: int | str) -> _Room:
        epoch, *rest = await self._run("load", room, after)
        return (epoch.decode(), *rest)

    async def _run(self, script: str, room: str, *args: Any) -> Any:
        if self._closing:
            raise LogError("the log is closed")
        keys = room_keys(self._prefix, room)[:2]
        try:
            return await self._scripts.run(script, partition_of(room), keys, args)
        except LogError:
            # It may be Redis that is lost.
            self._appender.look()
            raise


def _listed(epoch: str, last: int, entries: list[Any]) -> list[News]:
    """Return stream entries, (id, [field, value, ...]), the last of which has this offset."""
    first = last - len(entries) + 1
    return [
        News(epoch, first + at, fields[1].decode(), fields[5], fields[7].decode())
        for at, (_, fields) in enumerate(entries)
    ]


def _updates(news: list[News]) -> list[bytes]:
    return [unpack(each.packed, _LARGEST_PAYLOAD) for each in news]
