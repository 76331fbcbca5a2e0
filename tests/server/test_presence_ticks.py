"""A room's ticks on the loops that servers run on."""

import asyncio

import pytest

from roomful.server.auth import Access
from roomful.server.metrics import Metrics
from tests.server.members import presence_of

pytestmark = pytest.mark.both_loops


class Somebody:
    access = Access(user="ann")
    name = "s1"
    instance = ""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def presence(self, frame: bytes) -> None:
        self.frames.append(frame)


async def test_a_tick_that_is_due_at_once_is_as_good_as_one_that_is_due_later() -> None:
    room, ann = presence_of(Metrics(), interval=0.000_5), Somebody()
    room.enter(ann, {})
    for number in range(200):
        room.change(ann, {"cursor": number})
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(ann.frames) < 3:  # noqa: ASYNC110 - a tick announces itself to nobody
            await asyncio.sleep(0.001)
    room.leave(ann, lost=False)
    room.stop()
