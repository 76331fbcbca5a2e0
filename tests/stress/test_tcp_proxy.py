"""The proxy does to connections what it says, and nothing else."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.tcp_proxy import FAIR, TcpProxy, Weather, pieces
from tests.waiting import until


class Echo:
    """A server that says what it hears, and remembers in which pieces it came."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.broken = 0
        self.ended = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 20):
                self.heard.append(data)
                writer.write(data)
            self.ended += 1
        except ConnectionResetError:
            self.broken += 1
        finally:
            writer.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[TcpProxy]:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with TcpProxy(server.sockets[0].getsockname()[1], random.Random(1)) as proxy:
        yield proxy
    server.close()


class Caller:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, data: bytes) -> bytes:
        """Return the echo, as long as what was said."""
        self.writer.write(data)
        async with asyncio.timeout(5):
            return await self.reader.readexactly(len(data))

    async def end(self) -> bytes:
        """Return what still comes before the end."""
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def hears_nothing(self) -> bool:
        """Whether neither bytes nor an end come for a while."""
        try:
            async with asyncio.timeout(0.1):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False


Call = Callable[[], Awaitable[Caller]]


@pytest.fixture
async def call(proxy: TcpProxy) -> AsyncIterator[Call]:
    callers: list[Caller] = []

    async def connect() -> Caller:
        callers.append(Caller(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return callers[-1]

    yield connect
    for caller in callers:
        caller.writer.transport.abort()


async def test_in_fair_weather_bytes_come_as_they_were_sent_and_an_end_is_an_end(call: Call) -> None:
    caller = await call()
    assert await caller.says(b"hello") == b"hello"
    large = random.Random(2).randbytes(1 << 20)
    assert await caller.says(large) == large
    caller.writer.write(b"last")
    caller.writer.write_eof()
    assert await caller.end() == b"last"


async def test_a_cut_is_an_end_for_both(call: Call, proxy: TcpProxy, echo: Echo) -> None:
    caller = await call()
    await caller.says(b"hello")
    proxy.cut()
    assert await caller.end() == b""
    await until(lambda: echo.ended == 1)
    assert echo.broken == 0
    assert await (await call()).says(b"again") == b"again"


async def test_a_reset_is_an_error_for_both(call: Call, proxy: TcpProxy, echo: Echo) -> None:
    caller = await call()
    await caller.says(b"hello")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await caller.end()
    await until(lambda: echo.broken == 1)
    assert echo.ended == 0


async def test_who_is_refused_may_come_back_later_and_who_is_there_stays(call: Call, proxy: TcpProxy) -> None:
    caller = await call()
    await caller.says(b"hello")
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await call()
    assert await caller.says(b"still") == b"still"
    await proxy.accept()
    assert await (await call()).says(b"again") == b"again"


async def test_whoever_is_not_there_resets_its_callers() -> None:
    async with TcpProxy(1, random.Random(1)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_delay_is_for_each_way(call: Call, proxy: TcpProxy) -> None:
    caller = await call()
    proxy.weather = Weather(delay=0.1, jitter=0.01)
    began = time.monotonic()
    await caller.says(b"hello")
    assert time.monotonic() - began >= 0.2


async def test_a_throttle_lets_so_many_bytes_pass_a_second(call: Call, proxy: TcpProxy) -> None:
    caller = await call()
    proxy.weather = Weather(bytes_per_second=100_000)
    began = time.monotonic()
    await caller.says(bytes(20_000))
    assert time.monotonic() - began >= 0.2


async def test_writes_are_split_and_nothing_is_lost(call: Call, proxy: TcpProxy, echo: Echo) -> None:
    caller = await call()
    proxy.weather = Weather(splits=True)
    data = random.Random(3).randbytes(2_000)
    assert await caller.says(data) == data
    assert len(echo.heard) > 3
    assert min(map(len, echo.heard)) <= 64


def test_the_same_seed_splits_at_the_same_places() -> None:
    data = bytes(1_000)
    first, again, other = (list(pieces(data, random.Random(seed))) for seed in (4, 4, 5))
    assert first == again != other
    assert b"".join(first) == b"".join(other) == data
    assert b"" not in list(pieces(bytes(100), random.Random(4)))


async def test_a_connection_that_has_seen_a_black_hole_stays_dead(
    call: Call, proxy: TcpProxy, echo: Echo
) -> None:
    silent, speaking = await call(), await call()
    for caller in (silent, speaking):
        await caller.says(b"hello")
    heard = len(echo.heard)
    proxy.weather = Weather(swallows=True)
    born_in_it = await call()
    for caller in (speaking, born_in_it):
        caller.writer.write(b"swallowed")
        assert await caller.hears_nothing()
    proxy.weather = FAIR
    for dead in (silent, speaking, born_in_it):
        dead.writer.write(b"swallowed too")
        assert await dead.hears_nothing()
        dead.writer.close()
    await until(lambda: proxy.connections == 2)
    assert (len(echo.heard), echo.ended) == (heard, 0)
    proxy.bury()
    await until(lambda: echo.broken == 2)
    assert await (await call()).says(b"again") == b"again"


async def test_leaving_ends_everything(echo: Echo) -> None:
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with TcpProxy(server.sockets[0].getsockname()[1], random.Random(1)) as proxy:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", proxy.port))
        await caller.says(b"hello")
    with pytest.raises(ConnectionResetError):
        await caller.end()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    caller.writer.close()
    server.close()
