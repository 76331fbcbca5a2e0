"""Events of a room whose people are connected to different servers on one Redis."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.redis_process import shared_redis
from tests.roomful_client import RoomfulClient, RoomfulRoom
from tests.server_process import ServerProcess
from tests.tcp_proxy import TcpProxy
from tests.waiting import until


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def listener(stack: AsyncExitStack, server: ServerProcess) -> RoomfulRoom:
    client = await stack.enter_async_context(await RoomfulClient.connect(server.port))
    return await client.join("room", vector=None)


async def test_all_servers_hear_what_is_said_and_whoever_comes_later_what_is_kept(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    prefix = f"--redis-prefix={uuid4().hex}"
    link = await stack.enter_async_context(TcpProxy(shared_redis().port, random.Random(1)))
    urls = (shared_redis().url, f"redis://127.0.0.1:{link.port}/0", shared_redis().url)
    one, two, three = [
        await stack.enter_async_context(
            ServerProcess(tmp_path / str(number), options=(f"--redis={url}", prefix))
        )
        for number, url in enumerate(urls)
    ]
    ann, bob = await listener(stack, one), await listener(stack, two)
    ann.tell("wave", 1)
    ann.tell("price", 5, keep=True)
    heard = [("wave", 1, False), ("price", 5, False)]
    await until(lambda: ann.events() == bob.events() == heard)
    eve = await listener(stack, three)
    await until(lambda: eve.events() == [("price", 5, True)])
    # While a link is cut what goes over it is lost; what is kept is made good.
    link.refuse()
    link.reset()
    bob.tell("price", 6, keep=True)
    ann.tell("slide", 2, keep=True)
    await until(lambda: ("slide", 2, False) in eve.events())
    await link.accept()
    await until(lambda: ("price", 6, True) in eve.events() and ("slide", 2, True) in bob.events())
    last = {name: payload for name, payload, _ in ann.events() if name != "wave"}
    assert last == {"price": 6, "slide": 2}
