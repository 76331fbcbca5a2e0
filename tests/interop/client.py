"""One client of the Node driver, and what a test may wait for it to see."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypedDict, Unpack

Y_WEBSOCKET: Final = ("y-websocket@1.5.4", "y-websocket@2.1.0", "y-websocket@3.0.0", "y-websocket@3.1.0")
HOCUSPOCUS: Final = ("hocuspocus@2.15.3", "hocuspocus@3.4.4", "hocuspocus@4.8.0")
LIBRARIES: Final = (*Y_WEBSOCKET, *HOCUSPOCUS)


def endpoint(library: str, server: str) -> str:
    """The URL that clients of ``library`` are given for the server at ``server`` (a WebSocket URL)."""
    return server + ("/sync" if library in Y_WEBSOCKET else "/hocuspocus")


class Call(Protocol):
    async def __call__(self, op: str, *, wait: float = 0.0, **arguments: Any) -> Any: ...


class Closed(TypedDict):
    code: int
    reason: str


class Status(TypedDict):
    connected: bool
    synced: bool
    # Updates the server has not acknowledged; Hocuspocus only.
    unsynced: int | None
    # "read-write" or "readonly", as the server told; Hocuspocus only.
    scope: str | None
    # Reasons of permission denials; Hocuspocus only.
    denials: list[str]
    # The close after which the client stopped reconnecting; y-websocket 3.1 only.
    gaveUp: Closed | None
    # Client ids of peers that this client has seen go, each time that it has.
    vanished: list[int]
    # Their names, ``user.name`` of what they said last.
    left: list[str]
    # Sockets opened so far, and how each ended.
    opens: int
    closes: list[Closed]
    # Received.
    frames: int
    bytes: int


class Condition(TypedDict, total=False):
    """Parts that must all hold at once. "Peers" are all others whose awareness state the client knows."""

    text: str
    contains: str | list[str]
    length: int
    # These keys with these values, among others.
    map: dict[str, Any]
    # Some peer's state has these fields, nested ones too; or none has.
    peer: dict[str, Any]
    no_peer: dict[str, Any]
    # So many peers.
    peers: int
    # Peers with exactly these names (``user.name``), sorted.
    names: list[str]
    # This stateless message has come.
    stateless: str
    denied: bool
    scope: str
    # At least so many sockets were opened.
    opens: int
    # Some socket was closed with this code.
    closed: int
    gave_up: bool
    synced: bool
    connected: bool
    unsynced: int


class YjsClient:
    """A replica with a text and a map, awareness and one provider. Positions and lengths are UTF-16 units."""

    def __init__(self, call: Call, name: str, library: str, client_id: int) -> None:
        self._call = call
        self.name = name
        self.library = library
        self.client_id = client_id

    async def wait_for(self, *, within: float = 10.0, **condition: Unpack[Condition]) -> None:
        """Return when the condition holds, or fail after so many seconds with what the client has seen."""
        await self._call("wait", id=self.name, condition=condition, wait=within)

    async def edit(self, *edits: Sequence[Any], transaction: bool = False) -> None:
        """Make many edits with one command; each is an update of its own, or all are one transaction.

        ``("insert", position, text)``, ``("delete", position, length)``, ``("append", text)``,
        ``("map_set", key, value)``, ``("map_delete", key)``.
        """
        await self._call("edit", id=self.name, edits=edits, transaction=transaction)

    async def insert(self, position: int, text: str) -> None:
        await self.edit(("insert", position, text))

    async def append(self, text: str) -> None:
        await self.edit(("append", text))

    async def delete(self, position: int, length: int) -> None:
        await self.edit(("delete", position, length))

    async def set(self, key: str, value: Any) -> None:
        await self.edit(("map_set", key, value))

    async def apply_update(self, update: bytes) -> None:
        """Apply a Yjs update as if it had been made here; the provider sends it."""
        await self._call("apply_update", id=self.name, update=b64encode(update).decode())

    async def text(self) -> str:
        text: str = await self._call("text", id=self.name)
        return text

    async def map(self) -> dict[str, Any]:
        content: dict[str, Any] = await self._call("map", id=self.name)
        return content

    async def state(self) -> bytes:
        """The whole document as one Yjs update."""
        return b64decode(await self._call("state", id=self.name))

    async def state_vector(self) -> bytes:
        return b64decode(await self._call("state_vector", id=self.name))

    async def peers(self) -> dict[int, dict[str, Any]]:
        """Everybody else's awareness state, by client id."""
        states = (await self._call("awareness", id=self.name))["peers"]
        return {int(client_id): state for client_id, state in states.items()}

    async def set_awareness(self, **fields: Any) -> None:
        for field, value in fields.items():
            await self._call("set_awareness_field", id=self.name, field=field, value=value)

    async def set_awareness_state(self, state: dict[str, Any]) -> None:
        await self._call("set_awareness_state", id=self.name, state=state)

    async def clear_awareness(self) -> None:
        """Tell the others that nobody is here any more, and stay connected."""
        await self._call("set_awareness_state", id=self.name, state=None)

    async def connect(self) -> None:
        await self._call("connect", id=self.name)

    async def disconnect(self, *, within: float = 10.0) -> None:
        """Leave, and return once offline; edits go on and are sent on ``connect``."""
        await self._call("disconnect", id=self.name, wait=within)

    async def drop(self) -> None:
        """Break the socket without a close frame; the provider notices and reconnects."""
        await self._call("drop", id=self.name)

    async def die(self) -> None:
        """Break the socket without a close frame and without any goodbye, and never come back."""
        await self._call("die", id=self.name)

    async def detach(self) -> None:
        """Hocuspocus: leave the room, keep the socket."""
        await self._call("detach", id=self.name)

    async def attach(self) -> None:
        """Hocuspocus: join the room again, after ``detach``."""
        await self._call("attach", id=self.name)

    async def destroy(self) -> None:
        """Leave as an application does that closes the document."""
        await self._call("destroy", id=self.name)

    async def status(self) -> Status:
        status: Status = await self._call("status", id=self.name)
        return status

    async def send_stateless(self, payload: str) -> None:
        await self._call("send_stateless", id=self.name, payload=payload)

    async def stateless(self) -> list[str]:
        """Stateless messages received so far."""
        messages: list[str] = await self._call("stateless", id=self.name)
        return messages

    async def force_sync(self) -> int:
        """Hocuspocus: ask for all again; returns the changes that are unsynced thereby."""
        unsynced: int = await self._call("force_sync", id=self.name)
        return unsynced


class HocuspocusSocket:
    """One WebSocket for many Hocuspocus documents."""

    def __init__(self, call: Call, name: str) -> None:
        self._call = call
        self.name = name

    async def opens(self) -> int:
        """How many sockets were opened so far, reconnects included."""
        status = await self._call("socket_status", id=self.name)
        opens: int = status["opens"]
        return opens

    async def destroy(self) -> None:
        await self._call("destroy_socket", id=self.name)
