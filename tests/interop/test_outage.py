"""Redis is lost under the real clients, and comes back."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.interop.client import HOCUSPOCUS, LIBRARIES
from tests.interop.driver import YjsDriver
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOST = '{"type":"roomful:storage","state":"lost"}'
BACK = '{"type":"roomful:storage","state":"back"}'


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    redis = RedisProcess(tmp_path / "redis")
    redis.start()
    yield redis
    redis.kill()


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


@pytest.mark.parametrize("library", HOCUSPOCUS)
async def test_a_document_that_can_t_be_loaded_waits_beside_one_that_lives(
    driver: YjsDriver, redis: RedisProcess, on_redis: ServerProcess, room: str, library: str
) -> None:
    socket = await driver.socket(library, on_redis.ws_url)
    warm = await driver.client(library, on_redis.ws_url, f"{room}/warm", socket=socket)
    await warm.wait_for(synced=True)
    redis.kill()
    await warm.append("a")
    await warm.wait_for(stateless=LOST)
    cold = await driver.client(library, on_redis.ws_url, f"{room}/cold", socket=socket)
    await cold.append("c")
    await warm.append("b")
    witness = await driver.client(library, on_redis.ws_url, f"{room}/warm")
    await witness.wait_for(text="ab")
    assert await socket.opens() == 1
    redis.start()
    await cold.wait_for(synced=True, unsynced=0, denied=False)
    await warm.wait_for(synced=True, unsynced=0, text="ab")
    assert await socket.opens() == 2
    reader = await driver.client(library, on_redis.ws_url, f"{room}/cold")
    await reader.wait_for(text="c")
