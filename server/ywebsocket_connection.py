"""A y-websocket client: one socket, one room."""

from roomful.crdt.sync import AWARENESS, QUERY_AWARENESS, SYNC
from roomful.crdt.varint import Malformed

from .auth import Denied
from .close_codes import CloseCode, Refused
from .connection import Connection
from .node import Node
from .protocols import ywebsocket
from .protocols.envelope import YjsEnvelope
from .session import Session
from .websocket import WebSocket

_ENVELOPE = YjsEnvelope()


class YWebSocketConnection(Connection):
    """Joins its room as soon as the token is judged; what the client sends meanwhile waits."""

    protocol = "y-websocket"

    def __init__(self, socket: WebSocket, node: Node, address: str, room: str, token: str) -> None:
        super().__init__(socket, node, address)
        self._session: Session | None = None
        self.hold()
        self.spawn(self._open(room, token))

    def handle(self, message: bytes) -> None:
        assert self._session is not None
        kind, at = ywebsocket.read_head(message)
        if kind == SYNC:
            self._session.sync(message, at)
        elif kind == AWARENESS:
            self._session.speak(message, at)
        elif kind == QUERY_AWARENESS:
            self._session.tell_everybody()
        else:
            raise Malformed("type", "auth messages come from servers only")

    def sessions(self) -> tuple[Session, ...]:
        return () if self._session is None else (self._session,)

    def lost(self) -> None:
        super().lost()
        self._session = None

    async def _open(self, name: str, token: str) -> None:
        try:
            access = await self.admit(token, name)
            async with self.node.rooms.open(name) as room:
                self._session = self.join(Session, room, access, _ENVELOPE)
            if access.read_only:
                self._session.write(_ENVELOPE.message(ywebsocket.permission_denied("you may only read")))
        except Denied as error:
            self.close(CloseCode.FORBIDDEN, str(error))
        except Refused as error:
            self.close(error.code, str(error))
        else:
            self.release()
