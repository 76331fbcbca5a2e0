"""A client of the Roomful protocol, for tests and benchmarks: many rooms on one raw socket.

Frames are written and read by a library, so that what the server does by hand is held against it.
"""

from collections.abc import Callable
from typing import Any, Final, Self

import msgpack

from roomful.server.protocols.roomful import SUBPROTOCOL, ClientFrame, ServerFrame
from tests.raw_client import DEADLINE, NO_STATE, RawClient

PATH: Final = "/v1/connect"


def packed(kind: int, *elements: object) -> bytes:
    """A frame."""
    message: bytes = msgpack.packb([int(kind), *elements])
    return message


def unpacked(message: bytes) -> list[Any]:
    """The type and the elements of a frame."""
    frame: list[Any] = msgpack.unpackb(message)
    return frame


class RefusedByServer(Exception):
    """The server answered a request with an error."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class RoomfulRoom:
    """One room on a connection. ``frames`` are those that came for it, without its number."""

    def __init__(self, client: "RoomfulClient", number: int, facts: dict[str, Any]) -> None:
        self.number = number
        self.facts = facts
        self.frames: list[list[Any]] = []
        self.on_frame: Callable[[list[Any]], object] | None = self.frames.append
        self.acknowledged = -1
        self.left: tuple[str | None, str] | None = None
        self._client = client
        self._seq = -1

    def send(self, kind: ClientFrame, *elements: object) -> None:
        self._client.send(kind, self.number, *elements)

    def write(self, update: bytes, kind: ClientFrame = ClientFrame.UPDATE) -> int:
        """Send an update, and return its number."""
        self._seq += 1
        self.send(kind, self._seq, update)
        return self._seq

    def tell(self, name: str, payload: object, *, keep: bool = False) -> None:
        """Send an event."""
        self.send(ClientFrame.EVENT, name, payload, keep)

    async def people(self, after: str = "", limit: int = 100) -> dict[str, Any]:
        """Ask for a page of who is here, and return it. Raises RefusedByServer."""
        return await self._client.page(self.number, after, limit)

    async def durable(self, seq: int | None = None) -> None:
        """Wait until an update, or all that were written, is acknowledged."""
        wanted = self._seq if seq is None else seq
        await self._client.until(lambda: self.acknowledged >= wanted, f"update {wanted} to be durable")

    async def heard(self, kind: ServerFrame, count: int = 1) -> list[list[Any]]:
        """Wait for so many frames of a kind, and return what they hold."""
        await self._client.until(lambda: len(self.of(kind)) >= count, f"{count} frames {kind.name}")
        return self.of(kind)

    def of(self, kind: ServerFrame) -> list[list[Any]]:
        """What the frames of a kind hold that have come."""
        return [rest for each, *rest in self.frames if each == kind]

    def events(self) -> list[tuple[str, Any, bool]]:
        """(name, payload, whether it was kept) of each event that has come."""
        return [(name, payload, kept) for name, payload, _, _, kept in self.of(ServerFrame.EVENT)]


class RoomfulClient:
    """One connection. ``rooms`` are by their numbers; ``notices`` and ``errors`` as they came.

    ``async with await RoomfulClient.connect(port)`` hangs up in the end.
    """

    def __init__(self, socket: RawClient) -> None:
        self.socket = socket
        self.welcome: dict[str, Any] = {}
        self.rooms: dict[int, RoomfulRoom] = {}
        self.errors: list[list[Any]] = []
        self.notices: list[dict[str, Any]] = []
        self._request = 0
        self._answers: dict[int, RoomfulRoom | dict[str, Any] | RefusedByServer] = {}
        socket.on_message = self._take

    @classmethod
    async def connect(
        cls, port: int, *, token: str = "", instance: str = "", receive_buffer: int | None = None,
        query: str = "",
    ) -> Self:  # fmt: skip
        """Connect, and return when the server has said welcome."""
        socket = await open_socket(port, receive_buffer=receive_buffer, query=query)
        client = cls(socket)
        try:
            client.send(ClientFrame.HELLO, {"token": token, "client": "tests", "instance": instance})
            await client.until(lambda: bool(client.welcome), "a welcome")
        except BaseException:
            socket.abort()
            raise
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.socket.__aexit__(*error)

    def send(self, kind: int, *elements: object) -> None:
        self.socket.send(packed(kind, *elements))

    def ask(self, name: str, **options: object) -> int:
        """Send a join, and return the number of the request."""
        self._request += 1
        self.send(ClientFrame.JOIN, self._request, name, options)
        return self._request

    async def answer(self, request: int, within: float = DEADLINE) -> RoomfulRoom:
        """Wait for the answer to a join. Raises RefusedByServer."""
        found = await self._answer(request, within)
        assert isinstance(found, RoomfulRoom)
        return found

    async def page(self, room: int, after: str, limit: int) -> dict[str, Any]:
        """Ask for a page of a room's people. Raises RefusedByServer."""
        self._request += 1
        self.send(ClientFrame.PEOPLE, room, self._request, after, limit)
        found = await self._answer(self._request)
        assert isinstance(found, dict)
        return found

    async def join(
        self, name: str, *, vector: bytes | None = NO_STATE, events: bool = True, awareness: bool = True,
        **options: object,
    ) -> RoomfulRoom:  # fmt: skip
        """Open a room with all that is in it, and return when its document, if wanted, is complete."""
        asked = self.ask(name, vector=vector, events=events, awareness=awareness, **options)
        room = await self.answer(asked)
        if vector is not None:
            await room.heard(ServerFrame.STEP_2)
        return room

    async def until(self, done: Callable[[], bool], what: str, within: float = DEADLINE) -> None:
        """Wait until something is true that what comes in makes true; fails when the connection ends."""
        socket = self.socket
        try:
            await socket.until(lambda: done() or socket.close_code is not None, within=within)
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {within} s") from None
        if not done():
            raise ConnectionError(f"closed with {socket.close_code} {socket.close_reason!r} before {what}")

    async def _answer(self, request: int, within: float = DEADLINE) -> RoomfulRoom | dict[str, Any]:
        await self.until(lambda: request in self._answers, "an answer", within)
        found = self._answers.pop(request)
        if isinstance(found, RefusedByServer):
            raise found
        return found

    def _take(self, message: bytes) -> None:
        kind, *elements = unpacked(message)
        match kind:
            case ServerFrame.WELCOME:
                (self.welcome,) = elements
            case ServerFrame.JOINED:
                request, number, facts = elements
                self.rooms[number] = self._answers[request] = RoomfulRoom(self, number, facts)
            case ServerFrame.NOTICE:
                self.notices += [facts for facts in elements if facts]
            case ServerFrame.ERROR:
                request, _, code, reason, _ = elements
                self.errors.append(elements)
                if request is not None:
                    self._answers[request] = RefusedByServer(code, reason)
            case ServerFrame.PEOPLE:
                _, request, page = elements
                self._answers[request] = page
            case _:
                self._take_of_room(kind, elements)

    def _take_of_room(self, kind: int, elements: list[Any]) -> None:
        number, *rest = elements
        room = self.rooms[number]
        if kind == ServerFrame.ACK:
            room.acknowledged = rest[0]
        elif kind == ServerFrame.LEFT:
            room.left = (rest[0], rest[1])
            del self.rooms[number]
        if room.on_frame is not None:
            room.on_frame([kind, *rest])


async def open_socket(port: int, *, receive_buffer: int | None = None, query: str = "") -> RawClient:
    """A raw socket on which the Roomful protocol was agreed on, and nothing said."""
    path = f"{PATH}?{query}" if query else PATH
    headers = {"Sec_WebSocket_Protocol": SUBPROTOCOL}
    return await RawClient.open(port, path, receive_buffer=receive_buffer, headers=headers)
