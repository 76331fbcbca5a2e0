"""A socket and its sessions: what all protocols share between the frame and the session.

Messages are handled in order, each to its end, in the callback that read it. Where one has to wait
(a login, a large update in a worker), reading pauses and what has arrived already is kept, within bounds.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog

from roomful.crdt.check import Contents
from roomful.crdt.varint import Malformed
from roomful.crdt.worker import WorkerFailed

from .auth import Access, AccessRequest, Denied
from .close_codes import CloseCode, Refused
from .cluster.sharding import slot_of
from .node import Node
from .protocols.envelope import Envelope
from .room import Room
from .session import Session
from .websocket import WebSocket

_log = structlog.get_logger()

Joined = TypeVar("Joined", bound=Session)

_TURN_SECONDS = 0.002
"""How long one connection's messages are handled before others have their turn."""


_SAID_ELSEWHERE = (CloseCode.NORMAL, CloseCode.RESTART, CloseCode.STORAGE)
"""One line says it for all connections."""


class Connection(ABC):
    """Base of the protocols' connections. ``handle`` takes one message, ``sessions`` are its rooms."""

    protocol = ""

    def __init__(self, socket: WebSocket, node: Node, address: str) -> None:
        self.socket = socket
        self.node = node
        self.address = address
        self.slot: int | None = None
        self._waiting: deque[bytes] = deque()
        self._holds = 0
        self._turn_ends = 0.0
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self.opened_at = self._loop.time()

    # What a protocol adds

    @abstractmethod
    def handle(self, message: bytes) -> None:
        """Take one message. Raises Malformed or Refused."""

    @abstractmethod
    def sessions(self) -> tuple[Session, ...]:
        """Return the rooms this socket has joined."""

    # What the socket tells

    def received(self, message: bytes) -> None:
        if self._holds:
            self._waiting.append(message)
            return
        try:
            self.handle(message)
        except Exception as error:  # noqa: BLE001 - the root of a message's handling
            self.fail(error)
        if self._turn_ends and self._loop.time() > self._turn_ends:
            self._turn_ends = 0.0
            self.hold()
            self._loop.call_soon(self._next_turn)

    def turn(self) -> None:
        self._turn_ends = self._loop.time() + _TURN_SECONDS

    def turn_over(self) -> None:
        self._turn_ends = 0.0

    def congested(self) -> None:
        for session in self.sessions():
            session.congested()

    def drained(self) -> None:
        for session in self.sessions():
            session.drained()

    def lost(self) -> None:
        self.node.heartbeat.remove(self)
        self.node.handshakes.end(self)
        for session in self.sessions():
            session.leave(lost=not self.socket.has_left)
            self.node.rooms.left(session.room)
        for task in self._tasks:
            task.cancel()
        self._waiting.clear()

    # What protocols need

    def close(self, code: CloseCode, reason: str) -> None:
        """Hang up, and say why to the client and, when it is the client's doing, to the operator."""
        if not self.socket.is_open:
            return
        self.node.metrics.closed[code] += 1
        if code not in _SAID_ELSEWHERE:
            rooms = [session.room.name for session in self.sessions()[:3]]
            _log.warning(
                "connection closed",
                protocol=self.protocol, address=self.address, code=int(code), reason=reason, rooms=rooms,
            )  # fmt: skip
        self.socket.close(code, reason)

    def spawn(self, work: Awaitable[None]) -> None:
        """Run something beside the messages; it is cancelled when the socket is lost."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Hang up for what is wrong with a message, or went wrong with it."""
        if isinstance(error, Malformed):
            self.node.metrics.refused[error.reason] += 1
            self.close(CloseCode.MALFORMED, str(error))
        elif isinstance(error, Refused):
            self.close(error.code, str(error))
        else:
            # A fault of ours: it costs this connection, and the log says where it is.
            _log.error("message failed", protocol=self.protocol, address=self.address, exc_info=error)
            self.close(CloseCode.INTERNAL, "internal error")

    def hold(self) -> None:
        """Take no more messages until ``release``."""
        self._holds += 1
        self.socket.pause_reading()

    def release(self) -> None:
        self._holds -= 1
        self._go_on()
        if not self._holds:
            self.socket.resume_reading()

    def catch_up(self, early: Iterable[bytes]) -> None:
        """Take messages that were kept elsewhere and came before all that waits here."""
        self._waiting.extendleft(reversed(tuple(early)))
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and not self._holds and self.socket.is_open:
            self.received(self._waiting.popleft())

    def _next_turn(self) -> None:
        self.turn()
        self.release()
        self.turn_over()

    def check(self, session: Session, step: int, update: bytes) -> None:
        """Have a large update walked in a worker; what follows it waits."""
        self.hold()
        self.spawn(self._check(session, step, update))

    async def _check(self, session: Session, step: int, update: bytes) -> None:
        try:
            contents: Contents = await self.node.checks.check(update)
        except Malformed as error:
            self.fail(error)
            return
        except WorkerFailed as error:
            self.node.metrics.worker_failures[error.reason] += 1
            self.node.metrics.refused["worker"] += 1
            _log.warning("check failed", reason=error.reason, error=str(error), room=session.room.name)
            self.close(CloseCode.MALFORMED, "the update could not be checked")
            return
        self.received_checked(session, step, update, contents)
        self.release()

    def received_checked(self, session: Session, step: int, update: bytes, contents: Contents) -> None:
        """Take an update that a worker has walked."""
        try:
            session.update(step, update, contents)
        except Refused as error:
            self.fail(error)

    def keep_alive(self) -> None:
        for session in self.sessions()[:1]:
            session.keep_alive()

    def cut_off(self, code: CloseCode, reason: str) -> None:
        """Hang up without waiting for the client; also ends a close that the client does not answer."""
        if self.socket.is_open:
            self.node.metrics.closed[code] += 1
            _log.warning(
                "connection cut off",
                protocol=self.protocol, address=self.address, code=int(code), reason=reason,
            )  # fmt: skip
        self.socket.abort()

    async def admit(self, token: str, name: str) -> Access:
        """Ask the authorizer. Raises Denied, or Refused where asking makes no sense or fails."""
        try:
            return await self._judge(token, name)
        finally:
            self.node.handshakes.end(self)

    async def _judge(self, token: str, name: str) -> Access:
        limits = self.node.config.limits
        if not 0 < _size(name) <= limits.max_room_name_bytes:
            raise Refused(CloseCode.BAD_ROOM, f"a room name has 1 to {limits.max_room_name_bytes} bytes")
        if self.node.draining:
            raise Refused(CloseCode.RESTART, "the server is going down")
        if self.node.storage_lost:
            raise Refused(CloseCode.STORAGE, "storage is not available")
        try:
            async with asyncio.timeout(limits.pre_auth_seconds):
                access = await self.node.authorize(AccessRequest(token, name, self.address))
        except Denied as error:
            self.node.metrics.refused["denied"] += 1
            _log.info(
                "access denied", protocol=self.protocol, address=self.address, room=name, reason=str(error)
            )
            raise
        except Exception as error:
            _log.exception("authorizer failed", room=name, address=self.address)
            raise Refused(CloseCode.UNAVAILABLE, "the login can't be checked now") from error
        if self.node.log.full and not access.read_only:
            # It would be sent away with its first update, to come back at once.
            raise Refused(CloseCode.STORAGE, "storage is not available")
        shard_by = self.node.config.listen.shard_by
        if shard_by == "user":
            # Who it is counts more than who the address said it is.
            self.place(access.user)
        elif shard_by == "room" and self.slot is None:
            self.place(name)
        return access

    def place(self, key: str) -> None:
        """Say what this connection is placed by (``shard_by``); the empty key says nothing."""
        if key:
            self.slot = slot_of(key)

    def join(self, kind: Callable[..., Joined], room: Room, access: Access, envelope: Envelope) -> Joined:
        """Make this connection a member of a room."""
        inline = self.node.config.folding.inline_check_bytes
        session = kind(room, access, self.socket, envelope, self, inline, self.node.metrics)
        # What it was told as it entered may have been too much for its client, and only those that are among
        # the sessions already have heard so.
        if not self.socket.is_open:
            session.leave()
        elif self.socket.is_congested:
            session.congested()
        return session


def _size(name: str) -> int:
    """Return the bytes of a room's name in UTF-8; 0 when it is no text."""
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        # What is not UTF-8 in an address arrives as lone surrogates.
        return 0
