"""Redis is lost under the real clients, and comes back."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.interop.client import HOCUSPOCUS, LIBRARIES, YjsClient
from tests.interop.driver import YjsDriver
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOST = '{"type":"roomful:storage","state":"lost"}'
BACK = '{"type":"roomful:storage","state":"back"}'


@pytest_asyncio.fixture(loop_scope="session")
async def on_redis(redis: RedisProcess, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with ServerProcess(tmp_path / "data", options=[f"--redis={redis.url}"]) as server:
        yield server


async def test_everybody_works_on_through_an_outage_and_providers_hear_of_it(
    driver: YjsDriver, redis: RedisProcess, on_redis: ServerProcess, room: str
) -> None:
    people = [await driver.client(library, on_redis.ws_url, room) for library in LIBRARIES]
    for person in people:
        await person.wait_for(synced=True)
    redis.kill()
    for person in people:
        await person.append(f"{person.library} ")
    providers = [person for person in people if person.library in HOCUSPOCUS]
    for provider in providers:
        await provider.wait_for(stateless=LOST)
        await provider.wait_for(unsynced=1)
    late = await driver.client(HOCUSPOCUS[-1], on_redis.ws_url, room)
    await late.wait_for(synced=True, stateless=LOST)
    await driver.converge(*people, late)
    redis.start()
    for provider in providers:
        await provider.wait_for(stateless=BACK, unsynced=0)
        assert await provider.stateless() == [LOST, BACK]
    await late.append("end")
    await late.wait_for(unsynced=0)
    await driver.converge(*people, late)
    # Nobody was disturbed: one socket each; and y-websocket complains about what it does not know.
    assert {(await person.status())["opens"] for person in people} == {1}
    assert not [line for line in driver.printed if "Unable to compute message" in line]


async def test_a_document_that_can_t_be_loaded_waits_beside_one_that_lives(
    driver: YjsDriver, redis: RedisProcess, on_redis: ServerProcess, room: str
) -> None:
    sockets = [await driver.socket(library, on_redis.ws_url) for library in HOCUSPOCUS]

    async def document(number: int, name: str) -> YjsClient:
        library = HOCUSPOCUS[number]
        return await driver.client(
            library, on_redis.ws_url, f"{room}/{library}/{name}", socket=sockets[number]
        )

    numbers = range(len(HOCUSPOCUS))
    warm = [await document(number, "warm") for number in numbers]
    for client in warm:
        await client.wait_for(synced=True)
    redis.kill()
    for client in warm:
        await client.append("a")
        await client.wait_for(stateless=LOST)
    cold = [await document(number, "cold") for number in numbers]
    for number in numbers:
        await cold[number].append("c")
        await warm[number].append("b")
        witness = await driver.client(
            HOCUSPOCUS[number], on_redis.ws_url, f"{room}/{HOCUSPOCUS[number]}/warm"
        )
        await witness.wait_for(text="ab")
        assert await sockets[number].opens() == 1
    redis.start()
    for number in numbers:
        await cold[number].wait_for(synced=True, unsynced=0, denied=False)
        await warm[number].wait_for(synced=True, unsynced=0, text="ab")
        assert await sockets[number].opens() == 2
        reader = await driver.client(HOCUSPOCUS[number], on_redis.ws_url, f"{room}/{HOCUSPOCUS[number]}/cold")
        await reader.wait_for(text="c")
