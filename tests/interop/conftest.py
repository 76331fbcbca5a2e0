"""One server and one Node process serve the whole interop run; every test has a room of its own."""

import secrets
import time
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.interop.client import LIBRARIES, YjsClient
from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

AUTHORIZE = "tests.interop.tokens:authorize"
GRACE_SECONDS = 3


class Idlers(NamedTuple):
    """Each kind of client alone in a room, and since when."""

    clients: dict[str, YjsClient]
    since: float


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the server logged with every failure."""
    outcome = yield
    fixtures: dict[str, Any] = getattr(item, "funcargs", {})
    for fixture in fixtures.values():
        if outcome.failed and isinstance(fixture, ServerProcess):
            outcome.sections.append(("server log", fixture.log_tail()))
    return outcome


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what a test waits for go on while the others of this folder run: its fixture first, itself last."""
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for waiting in [item for item in here if item.get_closest_marker("meanwhile")]:
        (fixture,) = next(waiting.iter_markers("meanwhile")).args
        assert isinstance(here[0], pytest.Function)
        here[0].fixturenames.insert(0, fixture)
        end = items.index(here[-1])
        items.insert(end, items.pop(items.index(waiting)))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """The server that all tests share; it must survive each of them."""
    data: Path = tmp_path_factory.mktemp("interop") / "data"
    options = [f"--grace-seconds={GRACE_SECONDS}"]
    async with ServerProcess(data, authorize=AUTHORIZE, options=options) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def idlers(server: ServerProcess) -> AsyncIterator[Idlers]:
    """In a Node process of their own. Set up before other tests, which run meanwhile."""
    async with YjsDriver() as driver:
        clients: dict[str, YjsClient] = {}
        for library in LIBRARIES:
            for awareness in (True, False):
                for token in ("somebody", "readonly"):
                    name = f"{library}, {'seen' if awareness else 'silent'}, {token}"
                    clients[name] = await driver.client(
                        library, server.ws_url, f"idle-{name}", token=token, awareness=awareness
                    )
        for client in clients.values():
            await client.wait_for(connected=True, synced=True)
        yield Idlers(clients, time.monotonic())


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def clients() -> AsyncIterator[YjsDriver]:
    """The Node process that all tests share."""
    async with YjsDriver() as driver:
        yield driver


@pytest_asyncio.fixture(loop_scope="session")
async def driver(clients: YjsDriver) -> AsyncIterator[YjsDriver]:
    """The shared Node process, without clients of earlier tests."""
    yield clients
    await clients.destroy_all()
    faults, clients.faults = clients.faults, []
    assert not faults, "an exception escaped from a client"


@pytest.fixture
def room() -> str:
    return f"room-{secrets.token_hex(6)}"
