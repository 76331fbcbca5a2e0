"""``virtual_time`` is a loop with a clock of its own, ``both_loops`` asyncio and then uvloop."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.server.clock import VirtualTimeLoop
from tests.server.lines import Line, Opening


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    if item.get_closest_marker("both_loops"):
        return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
def line() -> Iterator[Opening]:
    """Opens real sockets, and closes them after the test."""
    lines: list[Line] = []

    async def opened() -> Line:
        lines.append(await Line().open())
        return lines[-1]

    yield opened
    for each in lines:
        each.transport.abort()
        each.client.close()
