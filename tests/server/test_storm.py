"""Many clients at once, and a server that lets few of them into its hands at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from roomful.server import handshakes
from roomful.server.cluster.acceptor import Acceptor
from roomful.server.cluster.listeners import bind
from roomful.server.drain import reconnect_window
from roomful.server.gateway import Gateway
from roomful.server.reception import Reception
from tests.raw_client import DIALECTS, HOCUSPOCUS, NO_CLOSE_FRAME, Y_WEBSOCKET, RawClient, upgrade
from tests.server.nodes import FakeNode
from tests.server_process import ServerProcess
from tests.waiting import until

MOST = 3


class House:
    """A node behind a door through which few may come at a time."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.fake = FakeNode()
        self.node = self.fake.node
        self._stack = stack
        self.port = 0

    async def open(self) -> None:
        runner = web.AppRunner(Gateway(self.node).application(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        assert runner.server is not None
        reception = Reception(runner.server, self.node.handshakes, MOST)
        acceptor = Acceptor(reception, self.node.metrics.arrivals, self.node.config.limits)
        self.node.handshakes.on_end = acceptor.go_on
        self._stack.callback(acceptor.close)
        self._stack.callback(self.node.handshakes.stop)
        (listener,) = bind("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        acceptor.listen([listener])

    async def client(self, said: bytes) -> RawClient:
        client = await self._stack.enter_async_context(await RawClient.connect(self.port))
        client.write(said)
        return client

    @property
    def served(self) -> int:
        return self.node.metrics.arrivals.accepted


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        house = House(stack)
        await house.open()
        yield house


@pytest.mark.both_loops
async def test_those_beyond_the_bound_wait_in_the_kernel_until_logins_are_judged(house: House) -> None:
    house.fake.door.open.clear()
    clients = [await house.client(upgrade(Y_WEBSOCKET.path("room"))) for _ in range(8)]
    await until(lambda: len(house.fake.door.asked) == MOST)
    await asyncio.sleep(0.05)
    assert len(house.node.handshakes) == MOST
    # One may have been silent when there was still a place.
    assert house.served <= MOST + 1
    assert sum(client.status is not None for client in clients) == MOST
    house.fake.door.open.set()
    await until(lambda: all(client.status == 101 for client in clients))
    await until(lambda: len(house.node.handshakes) == 0)


@pytest.mark.both_loops
@pytest.mark.parametrize(
    "said",
    [
        b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /nowhere/at/all HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /hocuspocus HTTP/1.1\r\nHost: test\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9\r\n\r\n",
        upgrade("/hocuspocus", Sec_WebSocket_Version="8"),
    ],
    ids=["page", "404", "426", "TLS", "400", "version"],
)
async def test_an_answer_of_any_kind_ends_a_handshake(house: House, said: bytes) -> None:
    clients = [await house.client(said) for _ in range(2 * MOST)]
    async with asyncio.timeout(handshakes.PATIENCE_SECONDS / 2):
        await until(lambda: all(client.status is not None for client in clients))
        await until(lambda: len(house.node.handshakes) == 0)


@pytest.mark.parametrize("room", ["", "x" * 600, "denied"], ids=["no name", "long name", "denied"])
async def test_a_login_that_is_refused_ends_its_handshake(house: House, room: str) -> None:
    for dialect in DIALECTS:
        client = await house.client(upgrade(dialect.path(room, token="denied")))
        await client.until(lambda client=client: client.status == 101)  # type: ignore[misc]
        client.send(*dialect.login(room, token="denied"))
    async with asyncio.timeout(handshakes.PATIENCE_SECONDS / 2):
        await until(lambda: len(house.node.handshakes) == 0)


async def test_who_hangs_up_before_the_login_is_judged_makes_room(house: House) -> None:
    house.fake.door.open.clear()
    for asked, login in enumerate(([], HOCUSPOCUS.login("room"))):
        async with await RawClient.open(house.port, HOCUSPOCUS.path("room")) as client:
            client.send(*login)
            await until(lambda asked=asked: len(house.fake.door.asked) == asked)  # type: ignore[misc]
            assert len(house.node.handshakes) == 1
        await until(lambda: len(house.node.handshakes) == 0, within=handshakes.PATIENCE_SECONDS / 2)


async def test_who_upgrades_and_says_no_more_keeps_others_out_no_longer_than_patience_lasts(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "PATIENCE_SECONDS", 0.2)
    silent = [await house.client(upgrade("/hocuspocus")) for _ in range(MOST)]
    await until(lambda: all(client.status == 101 for client in silent))
    client = await house.client(upgrade("/hocuspocus"))
    await until(lambda: client.status == 101)
    client.send(*HOCUSPOCUS.login("room"))
    await until(lambda: len(house.fake.door.asked) == 1)
    assert all(each.close_code is None for each in silent)


async def test_a_real_server_serves_a_storm_whole_a_few_at_a_time(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path, options=["--max-handshakes=5"]) as server, AsyncExitStack() as stack:
        clients = await asyncio.gather(
            *(RawClient.join(server.port, DIALECTS[at % 2], f"room {at % 3}") for at in range(200))
        )
        for client in clients:
            await stack.enter_async_context(client)
        assert not any(client.close_code == NO_CLOSE_FRAME for client in clients)
        assert await server.metric("roomful_accepted_connections_total") >= len(clients)
        assert await server.metric("roomful_dropped_connections_total") == 0


@pytest.mark.parametrize(
    ("connections", "milliseconds"), [(0, 500), (200, 500), (625, 1_500), (20_000, 48_000), (10**6, 60_000)]
)
def test_the_more_clients_must_come_back_the_longer_they_are_given(
    connections: int, milliseconds: int
) -> None:
    assert reconnect_window(connections) == milliseconds
