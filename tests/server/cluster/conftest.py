"""Servers with several workers, and people who come to them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.redis_process import shared_redis
from tests.server_process import ServerProcess

Serving = Callable[..., ServerProcess]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Hangs up, or stops, whatever is pushed on it."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Makes a server of two workers, with further options; it is not started."""

    def serving(*options: str) -> ServerProcess:
        redis = (f"--redis={shared_redis().url}", f"--redis-prefix={uuid4().hex}")
        return ServerProcess(tmp_path, options=[*redis, "--workers=2", "--shutdown-seconds=2", *options])

    return serving


@pytest.fixture
async def server(serving: Serving, stack: AsyncExitStack) -> ServerProcess:
    return await stack.enter_async_context(serving())
