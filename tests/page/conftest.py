"""One browser serves all tests of the page; every test has a room of its own."""

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.page.browser import Browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The browser that all tests share."""
    async with Browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Browser) -> AsyncIterator[Browser]:
    """The shared browser, without tabs of earlier tests; fails if a page had a fault."""
    yield chromium
    await chromium.close_all()
    assert await chromium.faults() == []


@pytest.fixture
def room() -> str:
    return f"room-{secrets.token_hex(6)}"
