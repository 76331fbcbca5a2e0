"""The one port, over a real network: what each path speaks, and who is turned away there."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientSession, WSMsgType, web
from prometheus_client.parser import text_string_to_metric_families

from roomful.crdt.log import Condition
from roomful.crdt.sync import EMPTY_STATE_VECTOR, STEP_1
from roomful.server.cluster.sharding import slot_of
from roomful.server.connection import Connection
from roomful.server.gateway import Gateway
from tests.roomful_client import packed, unpacked
from tests.server.nodes import FakeNode, sync, token
from tests.waiting import until

pytestmark = pytest.mark.both_loops

SECONDS = 10
ASK = sync(STEP_1, EMPTY_STATE_VECTOR)
Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves a node until the test ends, and returns its address. It is run as app.py runs it."""
    runners = []

    async def serve(node: FakeNode) -> str:
        runner = web.AppRunner(
            Gateway(node.node).application(), access_log=None, handle_signals=False, shutdown_timeout=1
        )
        runners.append((runner, node))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield serve
    for runner, node in runners:
        node.heartbeat.stop()
        await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def get(http: ClientSession, url: str) -> tuple[int, str]:
    async with http.get(url) as response:
        return response.status, await response.text()


async def test_a_living_server_says_so(node: FakeNode, serve: Serve, http: ClientSession) -> None:
    assert await get(http, await serve(node) + "/healthz") == (200, "ok\n")


async def test_a_server_is_ready_unless_it_drains_or_storage_refuses(
    node: FakeNode, serve: Serve, http: ClientSession
) -> None:
    url = await serve(node) + "/readyz"
    assert await get(http, url) == (200, "ready\n")
    node.log.condition = Condition("disk full", 1.0)
    assert await get(http, url) == (503, "storage: disk full\n")
    node.node.draining = True
    assert await get(http, url) == (503, "draining\n")


async def test_without_redis_a_server_is_ready_while_it_has_rooms_to_offer(
    serve: Serve, http: ClientSession
) -> None:
    node = FakeNode(redis="redis://somewhere", redis_patience_seconds=60)
    address = await serve(node)
    url = address + "/readyz"
    node.log.condition = Condition("gone", time.monotonic())
    assert await get(http, url) == (503, "storage: gone\n")
    assert await get(http, address + "/healthz") == (200, "ok\nstorage: gone\n")
    node.log.condition = Condition()
    async with node.rooms.open("room"):
        assert await get(http, url + "?strict") == (200, "ready\n")
        node.log.condition = Condition("gone", time.monotonic() - 59)
        assert await get(http, url) == (200, "ready\nstorage: gone\n")
        assert await get(http, url + "?strict") == (503, "storage: gone\n")
        node.log.full = True
        assert await get(http, url) == (503, "storage: gone\n")
        node.log.condition = Condition()
        assert await get(http, url) == (503, "storage: too slow, the backlog is full\n")
        node.log.full = False
        node.log.condition = Condition("gone", time.monotonic() - 61)
        assert await get(http, url) == (503, "storage: gone\n")


async def test_the_metrics_can_be_parsed(node: FakeNode, serve: Serve, http: ClientSession) -> None:
    node.metrics.updates = 7
    async with http.get(await serve(node) + "/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = text_string_to_metric_families(await response.text())
    assert {family.name: family for family in families}["roomful_updates"].samples[0].value == 7


async def test_the_page_comes_with_its_files_and_a_policy(
    node: FakeNode, serve: Serve, http: ClientSession
) -> None:
    address = await serve(node)
    for path, kind in (("/", "html"), ("/page.js", "javascript"), ("/page.css", "css")):
        async with http.get(address + path) as response:
            assert (response.status, response.content_type.split("/")[1]) == (200, kind)
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/nothing", "/nothing.js", "/..%2fgateway.py", "/Page.js", "/a/b"])
async def test_there_is_nothing_elsewhere(
    node: FakeNode, serve: Serve, http: ClientSession, path: str
) -> None:
    assert (await get(http, await serve(node) + path))[0] == 404


async def test_an_editor_enters_the_room_of_its_path_with_the_token_of_its_query(
    node: FakeNode, serve: Serve, http: ClientSession
) -> None:
    url = await serve(node) + "/sync/a%2Fb/c%20d?token=t%C3%B6k%C3%A9n&token=other"
    async with http.ws_connect(url) as client:
        await client.send_bytes(ASK)
        assert (await client.receive_bytes(timeout=SECONDS))[:2] == b"\x00\x00"
    request = node.door.asked[0]
    assert (request.room, request.token, request.address) == ("a/b/c d", "tökén", "127.0.0.1")
    await until(lambda: not len(node.heartbeat), "the connection's end")


@pytest.mark.parametrize("offered", [["roomful.v1"], ["roomful.v2", "roomful.v1"]])
async def test_a_roomful_client_is_answered_in_the_version_that_is_spoken(
    node: FakeNode, serve: Serve, http: ClientSession, offered: list[str]
) -> None:
    async with http.ws_connect(await serve(node) + "/v1/connect", protocols=offered) as client:
        assert client.protocol == "roomful.v1"
        await client.send_bytes(packed(0, {"token": "ann"}))
        await client.send_bytes(packed(1, 1, "room", {}))
        answers = [unpacked(await client.receive_bytes(timeout=SECONDS)) for _ in range(2)]
    assert [kind for kind, *_ in answers] == [16, 17]
    assert (node.door.asked[0].room, node.door.asked[0].token) == ("room", "ann")


@pytest.mark.parametrize(("offered", "chosen"), [((), None), (("yjs", "roomful.v9"), "yjs")])
async def test_one_who_offers_no_version_that_is_spoken_is_told_in_a_close_code(
    node: FakeNode, serve: Serve, http: ClientSession, offered: tuple[str, ...], chosen: str | None
) -> None:
    async with http.ws_connect(await serve(node) + "/v1/connect", protocols=offered) as client:
        assert client.protocol == chosen, "a browser would hang up without"
        message = await client.receive(timeout=SECONDS)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 4406)
    assert node.metrics.closed[4406] == 1


async def test_a_provider_brings_its_token_and_its_room_itself(
    node: FakeNode, serve: Serve, http: ClientSession
) -> None:
    async with http.ws_connect(await serve(node) + "/hocuspocus") as client:
        await client.send_bytes(b"\x03doc" + token("ann"))
        assert (await client.receive_bytes(timeout=SECONDS))[:6] == b"\x03doc\x02\x02"
    request = node.door.asked[0]
    assert (request.room, request.token, request.address) == ("doc", "ann", "127.0.0.1")
    await until(lambda: not len(node.heartbeat), "the connection's end")


@pytest.mark.parametrize("path", ["/sync/room?token=&user=ann", "/hocuspocus?user=ann&user=bob"])
async def test_a_connection_is_placed_by_the_user_in_its_address(
    node: FakeNode, serve: Serve, http: ClientSession, path: str
) -> None:
    async with http.ws_connect(await serve(node) + path):
        (connection,) = node.heartbeat.connections
        assert isinstance(connection, Connection)
        assert connection.slot == slot_of("ann")
    await until(lambda: not len(node.heartbeat), "the connection's end")


@pytest.mark.parametrize("path", ["/sync/room", "/hocuspocus"])
async def test_a_full_server_says_so_and_lets_go_of_the_request(
    serve: Serve, http: ClientSession, path: str
) -> None:
    node = FakeNode(max_connections=0)
    async with http.ws_connect(await serve(node) + path) as client:
        message = await client.receive(timeout=SECONDS)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4503, "the server is full")
    assert node.metrics.closed == {4503: 1}

    def serving() -> list[str]:
        return [repr(task) for task in asyncio.all_tasks() if "RequestHandler.start" in repr(task)]

    await until(lambda: not serving(), "the request's end")


async def test_a_plain_request_to_a_socket_is_told_to_upgrade(
    node: FakeNode, serve: Serve, http: ClientSession
) -> None:
    status, text = await get(http, await serve(node) + "/sync/room")
    assert (status, text) == (426, "This address speaks WebSocket.\n")
    assert node.door.asked == []
