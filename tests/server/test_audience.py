"""Frames to many at once, on real sockets whose clients read, don't read, or are gone."""

import asyncio
import random

import pytest

from roomful.server.audience import Audience, Receivers, Write
from roomful.server.protocols.envelope import YjsEnvelope
from tests.server.lines import Opening

pytestmark = pytest.mark.both_loops

FRAME = b"\x82\x03abc"


class Wrapped:
    """An outlet that can't be passed by, such as one under TLS."""

    descriptor = None

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.write: Write = self.frames.append


async def test_a_frame_reaches_all_but_one(line: Opening) -> None:
    lines = [await line() for _ in range(3)]
    wrapped = Wrapped()
    receivers = Receivers([*lines, wrapped])
    assert receivers.send(FRAME, lines[1])
    assert await lines[0].read(5) == await lines[2].read(5) == FRAME
    lines[1].client.setblocking(False)
    with pytest.raises(BlockingIOError):
        lines[1].client.recv(1)
    assert wrapped.frames == [FRAME]
    assert receivers.send(FRAME, wrapped)
    assert wrapped.frames == [FRAME]


async def test_who_is_among_the_receivers_is_counted(line: Opening) -> None:
    here, elsewhere = await line(), await line()
    wrapped = Wrapped()
    receivers = Receivers([here, wrapped])
    assert len(receivers) == 2
    assert here in receivers
    assert wrapped in receivers
    assert elsewhere not in receivers
    assert Wrapped() not in receivers


async def test_what_the_kernel_does_not_take_waits_in_the_transport(line: Opening) -> None:
    slow, quick = await line(), await line()
    before = slow.leave_room_for(1)
    receivers = Receivers([slow, quick])
    assert not receivers.send(FRAME, None)
    assert slow.congested
    assert not quick.congested
    # From here on only the transport keeps the order.
    receivers.queue(b"\x82\x01z", None)
    assert await quick.read(8) == FRAME + b"\x82\x01z"
    assert await slow.read(len(before) + 8) == before + FRAME + b"\x82\x01z"
    async with asyncio.timeout(5):
        await slow.drained.wait()


async def test_a_frame_of_which_the_kernel_takes_a_part_arrives_whole(line: Opening) -> None:
    slow = await line()
    frame = random.Random(7).randbytes(2_000_000)
    assert not Receivers([slow]).send(frame, None)
    assert 0 < slow.transport.get_write_buffer_size() < len(frame)
    assert await slow.read(len(frame)) == frame


async def test_a_client_that_is_gone_costs_the_others_nothing(line: Opening) -> None:
    gone, here = await line(), await line()
    gone.client.close()
    receivers = Receivers([gone, here])
    receivers.send(FRAME, None)
    assert await here.read(5) == FRAME
    async with asyncio.timeout(5):
        await gone.lost.wait()


@pytest.mark.parametrize("end", ["the client hangs up", "close", "abort"])
async def test_a_descriptor_is_ours_until_the_loss_has_been_told(line: Opening, end: str) -> None:
    """The protocol's last call looks at it (lines.py); afterwards it is closed."""
    ours = await line()
    if end == "close":
        ours.transport.close()
    elif end == "abort":
        ours.transport.abort()
    else:
        ours.client.close()
    async with asyncio.timeout(5):
        await ours.lost.wait()


async def test_who_leaves_an_audience_during_a_loop_over_it_is_still_served(line: Opening) -> None:
    audience = Audience(YjsEnvelope())
    lines = [await line() for _ in range(2)]
    for each in lines:
        audience.enter(each)
    receivers = audience.receivers
    assert audience.receivers is receivers
    audience.leave(lines[0])
    assert len(audience.receivers) == 1
    receivers.send(FRAME, None)
    assert await lines[0].read(5) == FRAME
