"""What each protocol has a client with a document say, and what it makes of what it hears."""

from typing import Final, Literal, NamedTuple, Protocol

from roomful.crdt.sync import SYNC
from roomful.crdt.varint import read_varstring, read_varuint
from roomful.server.protocols.roomful import SUBPROTOCOL, ClientFrame, ServerFrame
from tests.raw_client import HOCUSPOCUS, Y_WEBSOCKET, Dialect
from tests.roomful_client import PATH, packed, unpacked

_STATELESS: Final = 5
_SYNC_STATUS: Final = 8
_PING, _PONG = b"\x09", b"\x0a"
_UNKNOWN: Final = 100
"""A type that Roomful does not know, and answers."""

ROOMFUL: Final = Dialect("roomful", keyed=False)
"""For clients with a document; what is raw speaks it with roomful_client.py."""
PROTOCOLS: Final = (Y_WEBSOCKET, HOCUSPOCUS, ROOMFUL)


class Heard(NamedTuple):
    """One message, in the words that all protocols share. Answers to updates are by their place among
    those that are not answered yet: the first ``answers`` are saved, or the one ``at`` a place is refused.
    """

    what: Literal["sync", "saved", "refused", "stateless", "pong", "out", "other"]
    step: int = 0
    payload: bytes = b""
    answers: int = 0
    at: int = 0
    text: str = ""


class Speech(Protocol):
    """A client's side of one connection in one room."""

    def path(self, token: str) -> str: ...

    def headers(self) -> dict[str, str]:
        """Of the upgrade."""

    def opening(self, token: str, vector: bytes) -> list[bytes]:
        """Log in, and ask for what is lacking."""

    def update(self, update: bytes, *, step_2: bool = False) -> bytes | None:
        """An update; None while the protocol has no way to send one."""

    def ping(self) -> bytes:
        """Something that is answered once all before it has been dealt with."""

    def hear(self, message: bytes) -> Heard: ...


class YjsSpeech:
    """y-websocket or Hocuspocus."""

    def __init__(self, dialect: Dialect, room: str) -> None:
        self._dialect = dialect
        self._room = room
        self._key = dialect.key(room)

    def path(self, token: str) -> str:
        return self._dialect.path(self._room, token)

    def headers(self) -> dict[str, str]:
        return {}

    def opening(self, token: str, vector: bytes) -> list[bytes]:
        return [*self._dialect.login(self._room, token), self._dialect.step_1(self._room, vector)]

    def update(self, update: bytes, *, step_2: bool = False) -> bytes:
        write = self._dialect.step_2 if step_2 else self._dialect.update
        return write(self._room, update)

    def ping(self) -> bytes:
        return _PING

    def hear(self, message: bytes) -> Heard:
        if message == _PONG:
            return Heard("pong")
        assert message.startswith(self._key)
        at = len(self._key)
        kind = message[at]
        if kind == SYNC:
            _, start = read_varuint(message, at + 2)
            return Heard("sync", step=message[at + 1], payload=message[start:])
        if kind == _STATELESS and self._dialect.keyed:
            return Heard("stateless", text=read_varstring(message, at + 1, len(message))[0])
        if kind == _SYNC_STATUS and self._dialect.keyed:
            return Heard("saved", answers=1) if message[at + 1] else Heard("refused")
        return Heard("other")


class RoomfulSpeech:
    """Roomful. What is written before the room has its number goes out in answer to the server's question."""

    def __init__(self, room: str) -> None:
        self._room = room
        self._number: int | None = None
        self._seq = -1
        self._unanswered: list[int] = []

    def path(self, token: str) -> str:
        return PATH

    def headers(self) -> dict[str, str]:
        return {"Sec_WebSocket_Protocol": SUBPROTOCOL}

    def opening(self, token: str, vector: bytes) -> list[bytes]:
        self._number, self._seq = None, -1
        self._unanswered.clear()
        return [
            packed(ClientFrame.HELLO, {"token": token}),
            packed(ClientFrame.JOIN, 1, self._room, {"vector": vector, "awareness": True}),
        ]

    def update(self, update: bytes, *, step_2: bool = False) -> bytes | None:
        if self._number is None:
            return None
        self._seq += 1
        self._unanswered.append(self._seq)
        kind = ClientFrame.STEP_2 if step_2 else ClientFrame.UPDATE
        return packed(kind, self._number, self._seq, update)

    def ping(self) -> bytes:
        return packed(_UNKNOWN)

    def hear(self, message: bytes) -> Heard:
        kind, *elements = unpacked(message)
        match kind:
            case ServerFrame.JOINED:
                self._number = elements[1]
            case ServerFrame.STEP_1 | ServerFrame.STEP_2 | ServerFrame.UPDATE:
                return Heard("sync", step=kind - ServerFrame.STEP_1, payload=elements[1])
            case ServerFrame.ACK:
                count = sum(seq <= elements[1] for seq in self._unanswered)
                del self._unanswered[:count]
                return Heard("saved", answers=count)
            case ServerFrame.LEFT:
                return Heard("out")
            case ServerFrame.ERROR:
                return self._hear_error(*elements)
        return Heard("other")

    def _hear_error(
        self, request: int | None, _room: int | None, code: str, _: str, seq: int | None
    ) -> Heard:
        if request is not None:
            return Heard("out")
        if seq is not None:
            at = self._unanswered.index(seq)
            del self._unanswered[at]
            return Heard("refused", at=at)
        return Heard("pong" if code == "unknown-type" else "other")


def speech_of(dialect: Dialect, room: str) -> Speech:
    """How a protocol is spoken in a room."""
    return RoomfulSpeech(room) if dialect is ROOMFUL else YjsSpeech(dialect, room)
