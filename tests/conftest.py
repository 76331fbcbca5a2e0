"""For every test: nothing is left running. And which tests stay together where processes share them out."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.redis_process import RedisProcess

GRACE = 1.0
"""Seconds for tasks that are on their way out when a test ends, such as a closed connection's."""

SHARING: Final = ("tests/contract", "tests/hostile", "tests/interop", "tests/page")
"""Folders whose tests share servers, a browser or a wait: one process runs all of them."""


def unit(nodeid: str) -> str:
    """What runs in one process from end to end: one of these folders, or else a file."""
    file = nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    return folder if folder in SHARING else file


class Units(LoadScopeScheduling):  # type: ignore[misc]
    """Hands each process one unit after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Units:
    return Units(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that in the end no process waits for another."""
    long = {unit(item.nodeid) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: unit(item.nodeid) not in long)


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
