"""The clock that other tests trust."""

import asyncio

import pytest

from tests.server.clock import Stuck, VirtualTimeLoop

pytestmark = pytest.mark.virtual_time


async def test_hours_pass_at_once_and_in_order() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    happened: list[int] = []
    for hours in (3, 1, 2):
        loop.call_later(3600 * hours, happened.append, hours)
    await asyncio.sleep(2.5 * 3600)
    assert (happened, loop.time() - began) == ([1, 2], 2.5 * 3600)


async def test_time_stands_still_while_something_can_be_done() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(100):
        await asyncio.sleep(0)
    assert loop.time() == began


def test_waiting_for_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.server.clock.STUCK_SECONDS", 0.0)
    loop = VirtualTimeLoop()
    with pytest.raises(Stuck):
        loop.run_until_complete(asyncio.Future(loop=loop))
    loop.close()
