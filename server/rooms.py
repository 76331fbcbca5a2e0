"""The rooms in memory: each loaded once, and let go when nobody has been in it for a while."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from functools import partial

import structlog

from roomful.crdt.archive import SnapshotLost
from roomful.crdt.check import check_update
from roomful.crdt.log import Log, LogError, Position
from roomful.crdt.snapshot import decode_snapshot
from roomful.crdt.state import DocumentState
from roomful.crdt.worker import WorkerPool
from roomful.presence.clients import Clients
from roomful.presence.gossip import Gossip
from roomful.presence.tracker import PATIENCE, Tracker

from .awareness import Pace, RoomAwareness
from .close_codes import CloseCode, Refused
from .config import Config
from .flusher import Flusher
from .folder import Folder
from .following import Following
from .metrics import Metrics
from .neighbours import Neighbours
from .presence import RoomPresence
from .presence_neighbours import PresenceNeighbours
from .protocols.roomful import RoomfulEnvelope
from .room import AWARENESS, EVENTS, PRESENCE, Room
from .timers import LoopTimer, MakeTimer

_log = structlog.get_logger()

_KEEP_SECONDS = 1.0
"""How long an empty room stays at least while storage is lost, before it is looked at again."""


class Rooms:
    """Rooms by name. A room is here while it has members, unsaved updates, or was left lately.

    ``process`` is this one's name among those that share the log.
    """

    def __init__(
        self, log: Log, folder: Folder, checks: WorkerPool, config: Config, metrics: Metrics,
        process: str = "", timer: MakeTimer = LoopTimer,
    ) -> None:  # fmt: skip
        self._log = log
        self._folder = folder
        self._checks = checks
        self._config = config
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        timing = config.timing
        window = timing.redis_flush_window if config.storage.redis else timing.flush_window
        self._flusher = Flusher(window, timing.longest_flush_window, timer)
        self._rooms: dict[str, Room] = {}
        self._numbers = itertools.count(1)
        self._loading: dict[str, asyncio.Future[Room]] = {}
        # Names of rooms that somebody is about to enter, loaded or not.
        self._expected: dict[str, int] = {}
        # Empty rooms, those left longest ago first; whoever opens one takes it out.
        self._empty: dict[Room, asyncio.TimerHandle] = {}
        self._following: dict[Room, Following] = {}
        self._unloadable = False
        limits = config.limits
        self._process = process
        self._processes: frozenset[str] = frozenset()
        self._lives = itertools.count(1)
        self._pace = Pace(
            timing.awareness_interval, timing.longest_awareness_interval, limits.awareness_bytes_per_second
        )

    def __len__(self) -> int:
        return len(self._rooms)

    def __contains__(self, name: object) -> bool:
        return name in self._rooms or name in self._loading

    def loaded(self, name: str) -> Room | None:
        """Return a room if it is in memory."""
        return self._rooms.get(name)

    def document_bytes(self) -> int:
        """Return the size of all documents in memory."""
        return sum(room.state.size for room in self._rooms.values())

    def people(self) -> int:
        """Return how many people are in the rooms in memory, counted in each."""
        return sum(len(room.presence.tracker.people) for room in self._rooms.values())

    def sessions(self) -> int:
        """Return how many sessions these people have."""
        return sum(room.presence.tracker.sessions for room in self._rooms.values())

    def quarantined(self) -> int:
        """Return how many rooms in memory can't be folded."""
        return sum(room.quarantined for room in self._rooms.values())

    @contextlib.asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[Room]:
        """Give a room, loaded if need be, that stays while the block runs. Raises Refused."""
        self._expected[name] = self._expected.get(name, 0) + 1
        try:
            room = self._rooms.get(name) or await self._load_once(name)
            if handle := self._empty.pop(room, None):
                handle.cancel()
            if len(room.members) >= self._config.limits.max_connections_per_room:
                raise Refused(CloseCode.FULL, "the room is full")
            yield room
        finally:
            self._expected[name] -= 1
            if not self._expected[name]:
                del self._expected[name]
            if here := self._rooms.get(name):
                self.left(here)

    def left(self, room: Room) -> None:
        """Somebody left, or an update was saved: let the room go in a while, if it is empty."""
        if (
            room.idle
            and room.name not in self._expected
            and room not in self._empty
            and room.name in self._rooms
        ):
            self._await_end(room, self._config.timing.idle_room_seconds)

    async def tell_storage(self, *, lost: bool) -> None:
        """Tell everybody in every room that updates can't be stored now, or can again."""
        for room in tuple(self._rooms.values()):
            room.tell_storage(lost=lost)
            # Many rooms are told in turn, that nobody has to wait for all of them.
            await asyncio.sleep(0)

    def heard_processes(self, processes: frozenset[str]) -> None:
        """Take the names of those that share the log now; clients of one that is gone may come back here."""
        # Before it stops a process gives its lease up; here it is nevertheless.
        processes |= {self._process}
        gone, back = self._processes - processes, processes - self._processes
        self._processes = processes
        if gone or back:
            for room in self._rooms.values():
                room.awareness.departed(gone)
                room.awareness.returned(back)
                room.presence.departed(gone)
                room.presence.returned(back)

    def flush(self) -> None:
        """Send what is pending in every room, to clients and to the log."""
        for room in self._rooms.values():
            room.flush()

    def close(self) -> None:
        """Send what is pending, and tell the other processes that all rooms are let go."""
        self.flush()
        for room in self._rooms.values():
            room.stop()
        self._flusher.close()

    async def _load_once(self, name: str) -> Room:
        # Whoever comes while a room is being loaded waits for the same load.
        loading = self._loading.get(name)
        if loading is None:
            loading = self._loading[name] = asyncio.ensure_future(self._load(name))
            loading.add_done_callback(lambda done: self._loaded(name, done))
        return await asyncio.shield(loading)

    def _loaded(self, name: str, loading: asyncio.Future[Room]) -> None:
        del self._loading[name]
        if not loading.cancelled():
            # Whoever waited for it may be gone; why it failed has been logged.
            loading.exception()

    async def _load(self, name: str) -> Room:
        if self._log.condition.failing:
            raise self._cold()
        self._make_place()
        try:
            history = await self._log.open(name)
            state = DocumentState(decode_snapshot(history.snapshot) if history.snapshot is not None else None)
            entries = history.entries
            if sum(map(len, entries)) > self._config.folding.inline_check_bytes:
                # Walking a long tail here would stall everybody else. No document is built of it, nor does it
                # wait for documents that others build: one that hangs must not keep anybody out of a room.
                merged, contents = await self._checks.merge(entries)
                state.append(merged, [(merged, contents)])
            else:
                for entry in entries:
                    state.append(entry, [(entry, check_update(entry))])
        except SnapshotLost as error:
            self._log.release(name)
            _log.error("room can't be loaded", room=name, error=str(error))
            raise Refused(CloseCode.STORAGE, "the document can't be loaded now") from error
        except LogError as error:
            self._log.release(name)
            # Once is enough: everybody who comes while storage is lost asks for a room.
            say = _log.debug if self._unloadable else _log.warning
            say("room can't be loaded", room=name, error=str(error))
            self._unloadable = True
            raise self._cold() from error
        except Exception as error:
            self._log.release(name)
            _log.exception("room can't be loaded", room=name)
            raise Refused(CloseCode.UNAVAILABLE, "the document can't be loaded") from error
        self._unloadable = False
        number = next(self._numbers)
        room = Room(
            name, state, history.position, self._awareness_of(name), self._presence_of(name, number),
            self._log, self._flusher, self._metrics, self._config.limits.max_document_bytes, number,
        )  # fmt: skip
        room.folded = Position(history.epoch, history.folded)
        room.quarantined = self._folder.distrusts(name)
        room.storage_lost = self._log.condition.failing
        room.on_saved = self._saved
        self._rooms[name] = room
        inline = self._config.folding.inline_check_bytes
        following = self._following[room] = Following(room, self._log, self._checks, inline, self._metrics)
        following.start()
        tell = partial(self._tell, name, EVENTS) if self._config.storage.redis else None
        room.events.start(self._config.limits.max_kept_events, tell)
        # Whoever it was loaded for may be gone.
        self.left(room)
        _log.debug("room loaded", room=name, bytes=state.size)
        return room

    def _awareness_of(self, name: str) -> RoomAwareness:
        config = self._config
        clients = Clients(
            clients_per_session=config.limits.max_awareness_clients_per_session, process=self._process
        )
        grace = config.timing.grace_seconds
        neighbours = None
        if config.storage.redis:
            gossip = Gossip(self._process, next(self._lives))
            tell = partial(self._tell, name, AWARENESS)
            neighbours = Neighbours(name, clients, gossip, tell, self._metrics)
        largest = config.limits.max_awareness_bytes
        return RoomAwareness(clients, self._pace, grace, largest, self._metrics, neighbours)

    def _presence_of(self, name: str, number: int) -> RoomPresence:
        limits, timing = self._config.limits, self._config.timing
        largest = limits.max_presence_bytes
        patience = PATIENCE._replace(grace=timing.grace_seconds)
        tracker = Tracker(largest=largest, clock=int(time.time() * 1000), patience=patience)
        neighbours = None
        if self._config.storage.redis:
            gossip = Gossip(self._process, next(self._lives))
            tell = partial(self._tell, name, PRESENCE)
            neighbours = PresenceNeighbours(name, tracker, gossip, tell, self._metrics)
        return RoomPresence(
            name, tracker, limits.presence_frame_bytes, largest, timing.presence_interval,
            RoomfulEnvelope(number), self._metrics, neighbours,
        )  # fmt: skip

    def _tell(self, name: str, topic: bytes, message: bytes) -> None:
        self._log.tell(name, topic + message)

    def _cold(self) -> Refused:
        self._metrics.cold_rooms_refused += 1
        return Refused(CloseCode.STORAGE, "storage is not available")

    def _make_place(self) -> None:
        if len(self._rooms) + len(self._loading) <= self._config.limits.max_rooms:
            return
        # Those left longest ago come first; one with a long tail is folded before it goes, and no help now.
        for room in [room for room in self._empty if not self._folder.busy(room)]:
            self._let_go(room)
            if room.name not in self._rooms:
                return
        raise Refused(CloseCode.FULL, "too many rooms are open")

    def _saved(self, room: Room) -> None:
        self._folder.consider(room)
        if not room.members:
            self.left(room)

    def _await_end(self, room: Room, seconds: float) -> None:
        self._empty[room] = self._loop.call_later(seconds, self._let_go, room)

    def _let_go(self, room: Room) -> None:
        self._empty.pop(room).cancel()
        if self._log.condition.failing:
            # It could not be loaded again.
            self._await_end(room, max(self._config.timing.idle_room_seconds, _KEEP_SECONDS))
            return
        self._folder.consider_empty(room)
        if self._folder.busy(room):
            self.left(room)
        else:
            del self._rooms[room.name]
            self._following.pop(room).stop()
            self._folder.forget(room)
            _log.debug("room let go", room=room.name)
