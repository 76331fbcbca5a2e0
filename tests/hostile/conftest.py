"""One besieged server with default options, for all attacks that need no others."""

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.hostile.siege import Siege, lay_siege

AUTHORIZE = "tests.hostile.guard:authorize"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fortress(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Siege]:
    """The server that these tests share; it must survive each of them."""
    async with lay_siege(tmp_path_factory.mktemp("fortress") / "data", authorize=AUTHORIZE) as siege:
        yield siege


@pytest_asyncio.fixture(loop_scope="session")
async def siege(fortress: Siege) -> AsyncIterator[Siege]:
    """The shared server; nobody else may feel what a test does to it."""
    async with fortress.undisturbed():
        yield fortress


@pytest.fixture
def room() -> str:
    return f"room-{secrets.token_hex(6)}"
