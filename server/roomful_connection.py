"""A Roomful client: one socket, a hello, many rooms."""

import asyncio
import secrets
from functools import partial

import structlog

from roomful.crdt.check import Contents, check_state_vector
from roomful.crdt.sync import STEP_1, STEP_2, UPDATE
from roomful.crdt.varint import Malformed
from roomful.presence.fields import NO_FIELDS, patched

from .auth import Access, Denied
from .close_codes import CloseCode, Refused
from .connection import Connection
from .node import Node
from .protocols import roomful
from .protocols.roomful import ClientFrame, ErrorCode, Hello, Join, RoomfulEnvelope
from .protocols.strict_msgpack import read_uint
from .room import Room
from .roomful_session import RoomfulSession
from .session import Session
from .websocket import WebSocket

_log = structlog.get_logger()

_ROOM_ERRORS = {
    CloseCode.BAD_ROOM: ErrorCode.BAD_ROOM,
    CloseCode.DOCUMENT_FULL: ErrorCode.DOCUMENT_FULL,
    CloseCode.UNAVAILABLE: ErrorCode.UNAVAILABLE,
    CloseCode.FULL: ErrorCode.FULL,
    CloseCode.STORAGE: ErrorCode.STORAGE,
}
"""What concerns one room only, and leaves the others on the socket alone."""


class RoomfulConnection(Connection):
    """Opens rooms under the numbers they have in this process."""

    protocol = "roomful"

    def __init__(self, socket: WebSocket, node: Node, address: str) -> None:
        super().__init__(socket, node, address)
        self.name = secrets.token_urlsafe(9)
        self._hello: Hello | None = None
        self._sessions: dict[int, RoomfulSession] = {}
        self._opening = 0
        self._opening_bytes = 0
        self._denials = 0
        self._storage_lost = False
        self._deadline = asyncio.get_running_loop().call_later(
            node.config.limits.pre_auth_seconds, self.close, CloseCode.LOGIN_TIMEOUT, "no hello came"
        )

    def handle(self, message: bytes) -> None:
        kind, unknown, at = roomful.read_head(message)
        if self._hello is None:
            if kind != ClientFrame.HELLO:
                raise Malformed("type", "the first frame is no hello")
            self._greet(roomful.read_hello(message, at, unknown))
        elif ClientFrame.LEAVE <= kind <= ClientFrame.PEOPLE:
            self._handle(kind, message, at, unknown)
        elif kind == ClientFrame.JOIN:
            self._join(message, at, unknown, self._hello.token)
        elif kind == ClientFrame.HELLO:
            raise Malformed("type", "a second hello")
        else:
            self._refuse(ErrorCode.UNKNOWN_TYPE, f"frames of type {kind} are not known here")

    def sessions(self) -> tuple[Session, ...]:
        return tuple(self._sessions.values())

    def lost(self) -> None:
        self._deadline.cancel()
        self.node.awaiting_storage.discard(self._storage_is_back)
        super().lost()
        self._sessions.clear()

    def keep_alive(self) -> None:
        self.socket.write(roomful.NOTHING_NEW)

    def received_checked(self, session: Session, step: int, update: bytes, contents: Contents) -> None:
        try:
            session.update(step, update, contents)
        except Refused as error:
            self._let_go(session, error)

    def tell_storage(self, *, lost: bool) -> None:
        if lost == self._storage_lost:
            return
        self._storage_lost = lost
        if lost:
            self.node.awaiting_storage.add(self._storage_is_back)
        self._say(roomful.notice(storage="lost" if lost else "back"))

    def _greet(self, hello: Hello) -> None:
        self._hello = hello
        self._deadline.cancel()
        # Not its instance: whoever knows that can take its place.
        _log.debug("hello", client=hello.client, address=self.address)
        limits = self.node.config.limits
        self._say(
            roomful.welcome(
                {
                    "version": roomful.VERSION,
                    "node": self.node.name,
                    "connection": self.name,
                    "heartbeat": self.node.config.timing.keepalive_seconds,
                    "limits": {
                        "message_bytes": limits.max_message_bytes,
                        "rooms": limits.max_documents_per_connection,
                        "awareness_bytes": limits.max_awareness_bytes,
                        "presence_bytes": limits.max_presence_bytes,
                        "event_bytes": limits.max_event_bytes,
                        "events_per_second": limits.events_per_second,
                        "presence_pages_per_second": limits.presence_pages_per_second,
                    },
                }
            )
        )

    def _handle(self, kind: int, message: bytes, at: int, unknown: int) -> None:
        number, at = read_uint(message, at)
        session = self._sessions.get(number)
        if session is None:
            # It may have been let go while this was on its way.
            request = (
                roomful.read_people(message, at, unknown).request if kind == ClientFrame.PEOPLE else None
            )
            reason = "that room is not open on this connection"
            self._refuse(ErrorCode.NOT_JOINED, reason, request=request, room=number)
            return
        try:
            if kind == ClientFrame.UPDATE:
                session.write_update(UPDATE, *roomful.read_update(message, at, unknown))
            elif kind == ClientFrame.AWARENESS:
                session.room.awareness.hear(session, roomful.read_payload(message, at, unknown))
            elif kind == ClientFrame.EVENT:
                session.send_event(message, at, unknown)
            elif kind == ClientFrame.PRESENCE:
                session.patch_presence(message, at, unknown)
            elif kind == ClientFrame.PEOPLE:
                session.ask_people(roomful.read_people(message, at, unknown))
            elif kind == ClientFrame.STEP_1:
                session.take(STEP_1, roomful.read_payload(message, at, unknown))
            elif kind == ClientFrame.STEP_2:
                session.write_update(STEP_2, *roomful.read_update(message, at, unknown))
            else:
                roomful.end(message, at, unknown)
                self._leave(session, None, "")
        except Refused as error:
            self._let_go(session, error)

    def _join(self, message: bytes, at: int, unknown: int, token: str) -> None:
        limits, size = self.node.config.limits, len(message)
        if self._opening_bytes + size > limits.pre_auth_bytes:
            raise Refused(CloseCode.TOO_MANY_DOCUMENTS, "too much was sent before the login")
        asked = roomful.read_join(message, at, unknown)
        if asked.vector is not None:
            check_state_vector(asked.vector)
        if asked.presence is not None:
            patched(NO_FIELDS, asked.presence, limits.max_presence_bytes)
        if self._opening + len(self._sessions) >= limits.max_documents_per_connection:
            self._refuse(ErrorCode.TOO_MANY_ROOMS, "too many rooms on one connection", request=asked.request)
            return
        self._opening += 1
        self._opening_bytes += size
        self.spawn(self._open(asked, asked.token or token, size))

    async def _open(self, asked: Join, token: str, size: int) -> None:
        try:
            access = await self.admit(token, asked.room)
            async with self.node.rooms.open(asked.room) as room:
                self._enter(asked, room, access)
        except Denied as error:
            self._say(roomful.error(ErrorCode.DENIED, str(error), request=asked.request))
            self._denials += 1
            if self._denials > self.node.config.limits.max_documents_per_connection:
                self.close(CloseCode.FORBIDDEN, "too many logins were refused")
        except Refused as error:
            code = _ROOM_ERRORS.get(error.code)
            if code is None:
                self.close(error.code, str(error))
            else:
                self._tell_if_storage(error)
                self._refuse(code, str(error), request=asked.request)
        finally:
            self._opening -= 1
            self._opening_bytes -= size

    def _enter(self, asked: Join, room: Room, access: Access) -> None:
        if room.number in self._sessions:
            self._refuse(ErrorCode.ALREADY_JOINED, "that room is open here already", request=asked.request)
            return
        name, level = secrets.token_urlsafe(9), self.node.config.storage.level
        self._say(
            roomful.joined(
                asked.request,
                room.number,
                {
                    "session": name,
                    "user": access.user,
                    "read_only": access.read_only,
                    "sends_events": access.may_send_events,
                    "durability": level,
                },
            )
        )
        assert self._hello is not None
        limits = self.node.config.limits
        make = partial(RoomfulSession, asked, name, self._hello.instance, level, limits)
        self._sessions[room.number] = self.join(make, room, access, RoomfulEnvelope(room.number))

    def _let_go(self, session: Session, error: Refused) -> None:
        """Put a session out of its room: what it goes on to write would stand on what was refused."""
        code = _ROOM_ERRORS.get(error.code)
        if code is None or session.room.number not in self._sessions:
            self.close(error.code, str(error))
        else:
            self._leave(session, code, str(error))
            self._tell_if_storage(error)

    def _tell_if_storage(self, error: Refused) -> None:
        """Tell of storage one whom its loss has cost a room, and later that it is back."""
        if error.code is CloseCode.STORAGE and self.node.degraded:
            self.tell_storage(lost=True)

    def _leave(self, session: Session, code: ErrorCode | None, reason: str) -> None:
        del self._sessions[session.room.number]
        session.leave()
        self.node.rooms.left(session.room)
        self._say(roomful.left(session.room.number, code, reason))

    def _storage_is_back(self) -> None:
        self.tell_storage(lost=False)

    def _refuse(
        self, code: ErrorCode, reason: str, *, request: int | None = None, room: int | None = None
    ) -> None:
        self.node.metrics.refused[code] += 1
        self._say(roomful.error(code, reason, request=request, room=room))

    def _say(self, frame: bytes) -> None:
        if self.socket.is_flooded:
            self.cut_off(CloseCode.SLOW, "takes no answers")
        elif self.socket.is_open:
            self.socket.write(frame)
