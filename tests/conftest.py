"""For every test: nothing is left running."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.redis_process import RedisProcess

GRACE = 1.0
"""Seconds for tasks that are on their way out when a test ends, such as a closed connection's."""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """One that a test may kill."""
    redis = RedisProcess(tmp_path / "redis")
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves an asyncio task running on its loop."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=GRACE)
    for task in left:
        task.cancel()
    assert not left, f"still running after the test: {sorted(map(repr, left))}"
