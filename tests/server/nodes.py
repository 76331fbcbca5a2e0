"""A node without disk, workers and network, and visitors who come to it in either protocol."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from roomful.crdt.accept import accept_update
from roomful.crdt.check import Contents
from roomful.crdt.sync import AWARENESS, SYNC, awareness_head, sync_head
from roomful.crdt.varint import write_varstring
from roomful.crdt.worker import WorkerPool
from roomful.presence.awareness import Entry, encode_entries
from roomful.server.auth import Access, AccessRequest, Denied
from roomful.server.config import Config
from roomful.server.connection import Connection
from roomful.server.folder import Folder
from roomful.server.heartbeat import Heartbeat
from roomful.server.hocuspocus_connection import HocuspocusConnection
from roomful.server.metrics import Metrics
from roomful.server.node import Node
from roomful.server.rooms import Rooms
from roomful.server.ywebsocket_connection import YWebSocketConnection
from tests.server.fakes import FakeClient
from tests.server.memory_log import MemoryLog


class Door:
    """An authorizer. It lets in whoever has a token that does not say otherwise, while it is open."""

    def __init__(self) -> None:
        self.asked: list[AccessRequest] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, request: AccessRequest) -> Access:
        self.asked.append(request)
        await self.open.wait()
        match request.token:
            case "denied":
                raise Denied("not for you")
            case "broken":
                raise RuntimeError("the login service is away")
        return Access(user=request.token, read_only=request.token == "reader")


class Checks:
    """Workers that check large updates when they may."""

    def __init__(self) -> None:
        self.checked: list[bytes] = []
        self.may = asyncio.Event()
        self.may.set()
        self.fault: Exception | None = None

    async def check(self, update: bytes) -> Contents:
        self.checked.append(update)
        await self.may.wait()
        if self.fault is not None:
            raise self.fault
        return accept_update(update)


AT_ONCE = {"flush_window": 0.0, "awareness_interval": 0.0, "grace_seconds": 0.0, "keepalive_seconds": 20.0}


class FakeNode:
    """What a node is made of, within reach. ``changed`` are options by their names."""

    def __init__(self, **changed: Any) -> None:
        self.config = configured(**{**AT_ONCE, **changed})
        self.log = MemoryLog()
        self.door = Door()
        self.checks = Checks()
        self.metrics = Metrics()
        workers = cast("WorkerPool", self.checks)
        self.folder = Folder(workers, self.log, self.config.folding, self.metrics)
        self.rooms = Rooms(self.log, self.folder, workers, self.config, self.metrics)
        timing, limits = self.config.timing, self.config.limits
        self.heartbeat = Heartbeat(timing.keepalive_seconds, limits.stall_seconds)
        self.node = Node(self.config, self.metrics, self.log, self.rooms, workers, self.door, self.heartbeat)

    def editor(self, room: str = "room", token: str = "ann", **client: Any) -> "Visitor":
        """Connect with y-websocket."""
        return Visitor(
            self, lambda socket: YWebSocketConnection(socket, self.node, "10.0.0.1", room, token), **client
        )

    def provider(self, **client: Any) -> "Provider":
        """Connect with Hocuspocus."""
        return Provider(self, lambda socket: HocuspocusConnection(socket, self.node, "10.0.0.1"), **client)

    def commit(self) -> None:
        self.log.commit()


class Visitor(FakeClient):
    """A client with its connection."""

    def __init__(self, node: FakeNode, connect: Callable[[Any], Connection], **client: Any) -> None:
        super().__init__(**client)
        self.connection = connect(self.socket)
        node.heartbeat.add(self.connection)
        self.start(lambda _: self.connection)


class Provider(Visitor):
    """A Hocuspocus provider's socket: what it sends is under the key of a document."""

    def send_to(self, document: str, *messages: bytes) -> None:
        key = write_varstring(document)
        self.send(*(key + message for message in messages))

    def of(self, document: str) -> list[bytes]:
        """Return what was sent under a key since the last look; that nothing else was is made sure of."""
        key = write_varstring(document)
        messages = self.received()
        assert all(message.startswith(key) for message in messages), messages
        return [message[len(key) :] for message in messages]


async def settle() -> None:
    """Let the loop go on until nothing is left to do at once."""
    for _ in range(50):
        await asyncio.sleep(0)


def configured(**changed: Any) -> Config:
    """Return the defaults with some options changed, in whichever group they are."""
    config = Config()
    for group in ("listen", "limits", "timing", "folding", "storage"):
        settings = getattr(config, group)
        mine = {name: changed.pop(name) for name in tuple(changed) if hasattr(settings, name)}
        config = replace(config, **{group: replace(settings, **mine)})
    assert not changed, f"no such options: {changed}"
    return config


def sync(step: int, payload: bytes) -> bytes:
    return sync_head(step, len(payload)) + payload


def awareness(*entries: Entry) -> bytes:
    encoded = encode_entries(entries)
    return awareness_head(len(encoded)) + encoded


def token(text: str) -> bytes:
    """Return a Hocuspocus token message."""
    return b"\x02\x00" + write_varstring(text)


KINDS = {SYNC: "sync", AWARENESS: "awareness", 2: "auth", 3: "query", 5: "stateless", 8: "status"}
STEPS = ("step 1", "step 2", "update")


def spoken(message: bytes) -> str:
    """Return in words what a message under no key is."""
    kind = KINDS[message[0]]
    return STEPS[message[1]] if kind == "sync" else kind
