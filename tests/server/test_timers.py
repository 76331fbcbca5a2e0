"""Timers of the loop and of the kernel: both call back once after each start."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from roomful.server.timers import FineTimer, LoopTimer, MakeTimer, Timer
from tests.waiting import until

pytestmark = pytest.mark.both_loops

SOON = 0.02


class Called:
    """When a timer called back."""

    def __init__(self, make: MakeTimer) -> None:
        self.at: list[float] = []
        self.timer: Timer = make(lambda: self.at.append(time.monotonic()))


@pytest.fixture(params=[LoopTimer, FineTimer])
async def called(request: pytest.FixtureRequest) -> AsyncIterator[Called]:
    called = Called(request.param)
    yield called
    called.timer.close()
    called.timer.close()


async def test_it_calls_back_once_when_its_time_is_over(called: Called) -> None:
    started = time.monotonic()
    called.timer.start(SOON)
    await until(lambda: bool(called.at))
    # uvloop's may be early by what it rounds away.
    assert called.at[0] - started > SOON - 0.0015
    await asyncio.sleep(2 * SOON)
    assert len(called.at) == 1
    called.timer.start(0.0)
    await until(lambda: len(called.at) == 2)


async def test_when_it_is_started_again_its_time_counts_from_then(called: Called) -> None:
    called.timer.start(SOON)
    called.timer.start(5 * SOON)
    restarted = time.monotonic()
    await until(lambda: bool(called.at))
    assert called.at[0] - restarted > 4 * SOON


async def test_what_has_expired_unnoticed_is_started_anew(called: Called) -> None:
    called.timer.start(0.001)
    time.sleep(0.01)  # noqa: ASYNC251 - the loop is kept from noticing
    called.timer.start(SOON)
    restarted = time.monotonic()
    await until(lambda: bool(called.at))
    assert called.at[0] - restarted > SOON - 0.0015
    assert len(called.at) == 1


async def test_once_closed_it_calls_back_no_more(called: Called) -> None:
    called.timer.start(0.001)
    called.timer.close()
    await asyncio.sleep(SOON)
    assert called.at == []
