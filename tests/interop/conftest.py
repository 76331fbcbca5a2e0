"""One server and one Node process serve the whole interop run; every test has a room of its own."""

import secrets
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.interop.driver import YjsDriver
from tests.server_process import ServerProcess

AUTHORIZE = "tests.interop.tokens:authorize"
GRACE_SECONDS = 3


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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """The server that all tests share; it must survive each of them."""
    data: Path = tmp_path_factory.mktemp("interop") / "data"
    options = [f"--grace-seconds={GRACE_SECONDS}"]
    async with ServerProcess(data, authorize=AUTHORIZE, options=options) as server:
        yield server


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
