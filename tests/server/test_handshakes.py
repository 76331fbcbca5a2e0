"""What the server has in hand at its door, counted from the first byte to the end of the login."""

import asyncio

import pytest

from roomful.server.handshakes import PATIENCE_SECONDS, Handshakes

pytestmark = pytest.mark.virtual_time


class Told:
    def __init__(self, handshakes: Handshakes) -> None:
        self.times = 0
        handshakes.on_end = self._tell

    def _tell(self) -> None:
        self.times += 1


@pytest.fixture
async def handshakes() -> Handshakes:
    return Handshakes()


async def test_each_counts_from_its_begin_to_its_first_end(handshakes: Handshakes) -> None:
    told = Told(handshakes)
    for who in "abc":
        handshakes.begin(who)
    handshakes.end("b")
    handshakes.end("b")
    handshakes.end("nobody")
    assert (len(handshakes), told.times) == (2, 1)


async def test_a_handshake_goes_on_under_another_key(handshakes: Handshakes) -> None:
    told = Told(handshakes)
    handshakes.begin("request")
    handshakes.go_on("request", "socket")
    handshakes.end("request")
    assert (len(handshakes), told.times) == (1, 0)
    handshakes.end("socket")
    handshakes.go_on("socket", "another")
    assert (len(handshakes), told.times) == (0, 1)


async def test_none_counts_longer_than_patience_lasts(handshakes: Handshakes) -> None:
    told = Told(handshakes)
    handshakes.begin("early")
    handshakes.begin("moving")
    await asyncio.sleep(PATIENCE_SECONDS / 2)
    handshakes.begin("late")
    handshakes.go_on("moving", "moved")
    await asyncio.sleep(PATIENCE_SECONDS / 2 + 0.01)
    assert (len(handshakes), told.times) == (2, 1)
    await asyncio.sleep(PATIENCE_SECONDS / 2)
    assert (len(handshakes), told.times) == (0, 3)
    handshakes.begin("again")
    await asyncio.sleep(PATIENCE_SECONDS + 0.01)
    assert (len(handshakes), told.times) == (0, 4)


async def test_after_the_end_nobody_is_told(handshakes: Handshakes) -> None:
    told = Told(handshakes)
    handshakes.begin("a")
    handshakes.stop()
    handshakes.end("a")
    await asyncio.sleep(2 * PATIENCE_SECONDS)
    assert told.times == 0
