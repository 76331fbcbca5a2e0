"""A Hocuspocus provider: one socket, many documents, each with its own login."""

import asyncio
from collections import deque

from roomful.crdt.sync import STEP_1
from roomful.crdt.varint import Malformed

from .auth import Denied
from .close_codes import CloseCode, Refused
from .connection import Connection
from .node import Node
from .protocols import hocuspocus
from .protocols.envelope import YjsEnvelope
from .protocols.hocuspocus import MessageType
from .session import Session
from .websocket import WebSocket

_STEP_1 = bytes((STEP_1,))
_SESSION_KEY_BYTES = 256
"""What a session-aware key adds to the document's name: NUL and a session id of the provider's making."""


class HocuspocusSession(Session):
    """A document of a provider. Its updates are answered when they are durable."""

    envelope: YjsEnvelope

    def acknowledge(self, updates: int) -> None:
        self.say(self.envelope.message(hocuspocus.sync_status(True)) * updates)

    def refuse_update(self) -> None:
        self.say(self.envelope.message(hocuspocus.sync_status(False)))

    def stateless(self, message: bytes) -> None:
        self.say(self.envelope.start(len(message)), message)

    def storage(self, *, lost: bool) -> None:
        self.say(self.envelope.message(hocuspocus.STORAGE_LOST if lost else hocuspocus.STORAGE_BACK))


class _Document:
    """A document on the socket: waiting for its token, being opened, open, denied, or waiting for storage."""

    __slots__ = ("denied", "needs_storage", "opening", "session", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.opening = False
        self.denied = False
        self.needs_storage = False
        self.session: Session | None = None


class HocuspocusConnection(Connection):
    """Keeps a document for each key; a provider sends a document's messages right behind its token."""

    protocol = "hocuspocus"

    def __init__(self, socket: WebSocket, node: Node, address: str) -> None:
        super().__init__(socket, node, address)
        limits = node.config.limits
        self._limits = limits
        self._longest_key = limits.max_room_name_bytes + _SESSION_KEY_BYTES
        self._documents: dict[bytes, _Document] = {}
        self._early_bytes = 0
        self._early_messages = 0
        self._denials = 0
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(limits.pre_auth_seconds, self._too_late)

    def handle(self, message: bytes) -> None:
        if message == hocuspocus.PING:
            self.socket.write(YjsEnvelope().message(hocuspocus.PONG))
            return
        if message == hocuspocus.PONG:
            return
        key, name, kind, at = hocuspocus.read_head(message, self._longest_key)
        document = self._documents.get(key)
        if document is None:
            # Provider 2 still says goodbye in awareness after it has closed a document.
            if kind is not MessageType.AUTH and kind is not MessageType.SYNC:
                return
            document = self._expect(key)
        if kind is MessageType.AUTH:
            self._login(key, name, document, hocuspocus.read_token(message, at))
        elif kind is MessageType.CLOSE:
            self._detach(key, document)
        elif document.session is not None:
            self._handle(document.session, kind, message, at)
        elif not (document.denied or document.needs_storage):
            self._keep(document, message)
            # Only provider 2 without a token asks for the document before it has sent one.
            if not document.opening and kind is MessageType.SYNC and message[at : at + 1] == _STEP_1:
                self._login(key, name, document, token="")

    def sessions(self) -> tuple[Session, ...]:
        return tuple(doc.session for doc in self._documents.values() if doc.session is not None)

    def lost(self) -> None:
        self._deadline.cancel()
        self.node.awaiting_storage.discard(self._storage_is_back)
        super().lost()
        self._documents.clear()

    def _handle(self, session: Session, kind: MessageType, message: bytes, at: int) -> None:
        if kind is MessageType.SYNC:
            session.sync(message, at)
        elif kind is MessageType.AWARENESS:
            session.speak(message, at)
        elif kind is MessageType.QUERY_AWARENESS:
            session.tell_everybody()
        elif kind is MessageType.STATELESS:
            session.room.relay(session, hocuspocus.stateless(hocuspocus.read_stateless(message, at)))
        else:
            raise Malformed("type", f"{kind.name} messages come from servers only")

    def _expect(self, key: bytes) -> _Document:
        if len(self._documents) >= self._limits.max_documents_per_connection:
            raise Refused(CloseCode.TOO_MANY_DOCUMENTS, "too many documents on one connection")
        document = self._documents[key] = _Document()
        return document

    def _keep(self, document: _Document, message: bytes) -> None:
        self._early_bytes += len(message)
        self._early_messages += 1
        if (
            self._early_bytes > self._limits.pre_auth_bytes
            or self._early_messages > self._limits.pre_auth_messages
        ):
            raise Refused(CloseCode.TOO_MANY_DOCUMENTS, "too much was sent before the login")
        document.waiting.append(message)

    def _login(self, key: bytes, name: str, document: _Document, token: str) -> None:
        self._deadline.cancel()
        if not (document.opening or document.needs_storage):
            document.opening = True
            document.denied = False
            self.spawn(self._open(key, name, document, token))

    async def _open(self, key: bytes, name: str, document: _Document, token: str) -> None:
        envelope = YjsEnvelope(key)
        try:
            access = await self.admit(token, name)
            if document.session is None:
                async with self.node.rooms.open(name) as room:
                    if self._is_ours(key, document):
                        self.socket.write(envelope.message(hocuspocus.authenticated(access.read_only)))
                        document.session = self.join(HocuspocusSession, room, access, envelope)
            elif self._is_ours(key, document):
                self.socket.write(envelope.message(hocuspocus.authenticated(access.read_only)))
                document.session.access = access
        except Denied as error:
            self._deny(key, document, str(error))
        except Refused as error:
            if error.code is CloseCode.BAD_ROOM:
                self._deny(key, document, str(error))
            elif error.code is CloseCode.STORAGE and document.session is None:
                self._await_storage(key, document, error)
            else:
                self.close(error.code, str(error))
        finally:
            document.opening = False
        if document.session is not None:
            self._catch_up(document)

    def _await_storage(self, key: bytes, document: _Document, error: Refused) -> None:
        """Hang up, unless other documents live on this socket: these must not suffer."""
        if not self._is_ours(key, document):
            return
        document.needs_storage = True
        self._forget_early(document)
        others = (each for each in self._documents.values() if each is not document)
        if any(each.opening or each.session is not None for each in others):
            self.node.awaiting_storage.add(self._storage_is_back)
        else:
            self.close(error.code, str(error))

    def _storage_is_back(self) -> None:
        # What was sent for the document that waited is gone; all of it comes again over another connection.
        self.close(CloseCode.STORAGE, "storage is back")

    def _is_ours(self, key: bytes, document: _Document) -> bool:
        # The provider may have let it go while its token was judged, and may have come back since.
        return self._documents.get(key) is document

    def _deny(self, key: bytes, document: _Document, reason: str) -> None:
        if not self._is_ours(key, document):
            return
        document.denied = True
        self._forget_early(document)
        session, document.session = document.session, None
        if session is not None:
            self._leave(session)
        self.socket.write(YjsEnvelope(key).message(hocuspocus.permission_denied(reason)))
        self._denials += 1
        if self._denials > self._limits.max_documents_per_connection:
            self.close(CloseCode.FORBIDDEN, "too many logins were refused")

    def _catch_up(self, document: _Document) -> None:
        early = tuple(document.waiting)
        self._forget_early(document)
        self.catch_up(early)

    def _detach(self, key: bytes, document: _Document) -> None:
        self._forget_early(document)
        del self._documents[key]
        if document.session is not None:
            self._leave(document.session)

    def _forget_early(self, document: _Document) -> None:
        self._early_bytes -= sum(map(len, document.waiting))
        self._early_messages -= len(document.waiting)
        document.waiting.clear()

    def _leave(self, session: Session) -> None:
        session.leave()
        self.node.rooms.left(session.room)

    def _too_late(self) -> None:
        self.close(CloseCode.LOGIN_TIMEOUT, "no token came")
