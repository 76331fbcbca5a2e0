"""A log on Redis whose connections are lost at the worst moment."""

import asyncio
import contextlib
import gc
import random
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from roomful.crdt import redis_scripts, redis_servers
from roomful.crdt.log import History, LogError, Position
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.redis_news import News
from tests.crdt.ear import Ear
from tests.redis_process import RedisProcess
from tests.tcp_proxy import FAIR, TcpProxy, Weather
from tests.waiting import until

TURNS = 24
"""More than there are between an append and its answer, or a question and its answer."""


def on_uvloop(redis: RedisProcess, test: Callable[[RedisLog], Awaitable[None]]) -> None:
    """Run a test on the loop that servers run on."""

    async def run() -> None:
        async with asyncio.timeout(30), RedisLog(redis.url) as log:
            await test(log)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def lose_connections(turns: int) -> None:
    """Abort every connection to Redis, so many turns from now."""
    for _ in range(turns):
        await asyncio.sleep(0)
    for each in gc.get_objects():
        if isinstance(each, Connection) and each._writer is not None:
            each._writer.transport.abort()


def test_no_append_is_lost_with_its_connection(redis: RedisProcess) -> None:
    async def append(log: RedisLog) -> None:
        durable: list[Position] = []
        for turns in range(TURNS):
            log.append("room", b"%d" % turns, durable.append)
            await lose_connections(turns)
        await until(lambda: len(durable) == TURNS)
        async with RedisLog(redis.url) as other:
            assert (await other.load("room")).entries == [b"%d" % turns for turns in range(TURNS)]

    on_uvloop(redis, append)


def test_a_room_is_loaded_or_says_that_it_cannot_be(redis: RedisProcess) -> None:
    async def load(log: RedisLog) -> None:
        for turns in range(TURNS):
            loading = asyncio.create_task(log.open("room"))
            await lose_connections(turns)
            with contextlib.suppress(LogError):
                await loading

    on_uvloop(redis, load)


async def test_one_connection_that_answers_nothing_is_enough_to_distrust_those_that_wait(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that has forgotten its connections tells nobody."""
    monkeypatch.setattr(redis_scripts, "PATIENCE_SECONDS", 0.3)
    async with (
        TcpProxy(redis.port, random.Random(1)) as proxy,
        RedisLog(f"redis://127.0.0.1:{proxy.port}/0") as log,
    ):
        rooms = [f"room {number}" for number in range(5)]
        await asyncio.gather(*map(log.load, rooms))
        proxy.weather = Weather(swallows=True)
        proxy.weather = FAIR
        with pytest.raises(LogError):
            await log.load("room")
        await asyncio.gather(*map(log.load, rooms))


class KeptEar(Ear):
    def missed(self) -> None:
        raise AssertionError("nothing has been folded away")


async def say(log: RedisLog, update: bytes) -> None:
    durable: list[Position] = []
    log.append("room", update, durable.append)
    await until(lambda: bool(durable))


async def say_while_deaf(log: RedisLog, other: RedisLog) -> None:
    """Append an entry elsewhere while the log's subscription is lost, and wait until it has it again."""
    (channels,) = log._subscriber._channels.values()
    channel = next(iter(channels._wanted))
    channels._connection._writer.transport.abort()
    await until(lambda: not channels.is_confirmed(channel))
    await say(other, b"unheard")
    await until(lambda: channels.is_confirmed(channel))


async def test_an_entry_of_another_is_heard_though_the_subscription_is_lost_while_the_room_is_loaded(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RedisLog(redis.url) as log, RedisLog(redis.url) as other:
        await say(other, b"loaded")
        load = log._load

        async def load_slowly(room: str) -> tuple[History, list[News]]:
            loaded = await load(room)
            await say_while_deaf(log, other)
            return loaded

        monkeypatch.setattr(log, "_load", load_slowly)
        ear = KeptEar()
        await log.open("room")
        log.follow("room", ear)
        await until(lambda: ear.updates == [b"unheard"])


async def test_the_first_entry_of_a_room_is_heard_though_the_subscription_was_lost_before_it(
    redis: RedisProcess,
) -> None:
    async with RedisLog(redis.url) as log, RedisLog(redis.url) as other:
        ear = KeptEar()
        await log.open("room")
        log.follow("room", ear)
        await say_while_deaf(log, other)
        await until(lambda: ear.updates == [b"unheard"])


async def test_a_redis_that_takes_a_connection_and_never_greets_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_servers, "PATIENCE_SECONDS", 0.2)
    accepted: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    both = redis_servers.servers(f"redis://127.0.0.1:{port}/0")
    async with asyncio.timeout(5):
        with pytest.raises((TimeoutError, RedisError)):
            await redis_servers.exchange(both.of(0), [("PING",)])
    await both.close()
    for writer in accepted:
        writer.close()
        await writer.wait_closed()
    silent.close()
