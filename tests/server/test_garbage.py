"""What has ended leaves memory without the collector, which hardly ever looks at what is old (app.py)."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from roomful.crdt.varint import write_varstring
from roomful.server.app import build
from roomful.server.auth import Access, AccessRequest, Denied
from roomful.server.config import Config
from roomful.server.gateway import Gateway
from roomful.server.node import Node
from roomful.server.protocols.roomful import ClientFrame, ServerFrame
from tests.attacks import item, update
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, Dialect, RawClient, frame
from tests.roomful_client import RefusedByServer, RoomfulClient, open_socket
from tests.server.members import written
from tests.waiting import until

pytestmark = pytest.mark.both_loops


class Served:
    """A node in this process, and the port it is served on."""

    def __init__(self, node: Node, port: int) -> None:
        self.node = node
        self.port = port


async def authorize(request: AccessRequest) -> Access:
    if request.token == "bad":
        raise Denied("not you")
    return Access(user="", read_only=request.token == "reader")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    config = Config()
    config = replace(
        config,
        storage=replace(config.storage, data=tmp_path),
        timing=replace(
            config.timing,
            idle_room_seconds=0.0,
            commit_interval=0.001,
            grace_seconds=0.1,
            presence_interval=0.05,
        ),
        folding=replace(config.folding, inline_check_bytes=1_000, fold_entries=5),
    )
    async with build(config) as node:
        node.authorize = authorize
        runner = web.AppRunner(Gateway(node).application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Served(node, runner.addresses[0][1])
        await runner.cleanup()


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> Counter[str]:
    """Objects of the server's, by class; aiohttp's that belong to a connection too."""
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in map(type, gc.get_objects())
        if str(kind.__module__).startswith(("roomful.", "aiohttp.web", "aiohttp._websocket"))
    )


async def visit(served: Served, dialect: Dialect, room: str) -> None:
    """Everything a client does that is allowed."""
    client = PycrdtClient(dialect, room)
    await client.connect(served.port)
    await client.synchronised()
    for word in range(12):
        client.type(f"{word} ")
    client.type("checked in a worker " * 100)
    if dialect.keyed:
        await client.answered()
    client.socket.send(dialect.awareness(room, b"\x01\x01\x01\x02{}"))
    await client.drop()
    client.forget()


async def be_turned_away(served: Served, dialect: Dialect, room: str) -> None:
    """Everything that is not."""
    path = dialect.path(room, "bad")
    async with await RawClient.open(served.port, path) as denied:
        denied.send(*dialect.login(room, "bad"), dialect.step_1(room))
        await (denied.wait_for(lambda _: True) if dialect.keyed else denied.closed())
    async with await RawClient.join(served.port, dialect, room, token="reader") as reader:
        reader.send(dialect.update(room, update(item(4, b"\x01x"))))
        reader.send(dialect.update(room, b"\xff"))
        await reader.closed()
    async with await RawClient.join(served.port, dialect, room) as rude:
        rude.write(b"\xff" * 20)
        await rude.closed()
    async with await RawClient.join(served.port, dialect, room) as leaving:
        leaving.write(frame(b"\x03\xe8", 8))
        await leaving.closed()
    socket = await RawClient.open(served.port, dialect.path(room))
    socket.send(*dialect.login(room), dialect.step_1(room))
    socket.abort()


async def speak_roomful(served: Served, _: Dialect, room: str) -> None:
    """Everything that is allowed in the Roomful protocol, and much that is not."""
    async with await RoomfulClient.connect(served.port) as guest:
        mine = await guest.join(room, presence={"hand": True})
        other = await guest.join(f"{room}, other", token="reader")
        for each in written(3):
            mine.write(each)
            other.write(each)
        mine.write(update(item(4, write_varstring("checked in a worker " * 100)), client=9))
        mine.send(ClientFrame.AWARENESS, b"\x01\x01\x01\x02{}")
        mine.send(ClientFrame.PRESENCE, {"typing": "title"})
        mine.tell("slide", 1, keep=True)
        await mine.durable()
        await mine.heard(ServerFrame.EVENT)
        await mine.heard(ServerFrame.PRESENCE, 2)
        with pytest.raises(RefusedByServer):
            await guest.join("denied", token="bad")
        other.send(ClientFrame.LEAVE)
        await guest.until(lambda: other.left is not None, "LEFT")
        mine.write(b"\xff")
        await guest.socket.closed()
    leaving = await RoomfulClient.connect(served.port)
    leaving.ask(room, vector=b"\x00", events=True)
    leaving.socket.abort()
    silent = await open_socket(served.port)
    silent.abort()


@pytest.mark.parametrize("behave", [visit, be_turned_away, speak_roomful])
@pytest.mark.usefixtures("collector_off")
async def test_connections_and_rooms_are_gone_when_they_have_ended(
    served: Served, behave: type[object]
) -> None:
    async def everybody(times: int) -> None:
        for number in range(times):
            for dialect in DIALECTS:
                await behave(served, dialect, f"room {number % 3}")  # type: ignore[misc,call-arg]

    def settled() -> bool:
        return not len(served.node.rooms) and not len(served.node.heartbeat)

    await everybody(2)
    await until(settled)
    await asyncio.sleep(0)
    before = alive()
    await everybody(5)
    await until(settled)
    try:
        await until(lambda: not alive() - before, within=5)
    except AssertionError:
        pytest.fail(f"still alive: {dict(alive() - before)}")
