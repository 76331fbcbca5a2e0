"""Both ends of what ties a worker to its parent, with real descriptors and without processes."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from roomful.server.cluster.parent_channel import ParentChannel
from roomful.server.cluster.worker_channel import CONNECTION, WorkerChannel
from tests.waiting import until

pytestmark = pytest.mark.both_loops


class Pair:
    """A parent's end and a worker's end."""

    def __init__(self) -> None:
        self.freed = 0
        self.gone = asyncio.Event()
        self.taken: list[socket.socket] = []
        self.clients: list[socket.socket] = []
        ours, theirs = socket.socketpair()
        self.parent = ParentChannel(ours, self._free)
        self.worker = WorkerChannel(theirs.detach(), self.taken.append, self.gone.set)

    def _free(self) -> None:
        self.freed += 1

    def pass_one(self) -> None:
        ours, theirs = socket.socketpair()
        self.clients.append(ours)
        self.parent.take(theirs)

    def close(self) -> None:
        self.worker.close()
        self.parent.close()
        for each in (*self.taken, *self.clients):
            each.close()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


async def test_a_connection_is_the_same_on_the_other_side(pair: Pair) -> None:
    pair.worker.start()
    assert await pair.parent.ready(5)
    pair.pass_one()
    pair.clients[0].sendall(b"hello")
    await until(lambda: len(pair.taken) == 1)
    assert pair.taken[0].recv(100) == b"hello"
    assert not pair.taken[0].get_inheritable()
    assert pair.parent.handshakes == 1
    pair.worker.handshake_ended()
    await until(lambda: pair.parent.handshakes == 0)


async def test_what_the_worker_does_not_take_waits_at_the_parent_and_comes_in_order(pair: Pair) -> None:
    """More than a socket's buffer takes, which must not hold the parent up."""
    count = 1_500
    for number in range(count):
        pair.pass_one()
        pair.clients[-1].sendall(number.to_bytes(2, "big"))
    assert pair.parent.handshakes == count
    pair.worker.start()
    await until(lambda: len(pair.taken) == count)
    assert [int.from_bytes(each.recv(2), "big") for each in pair.taken] == list(range(count))
    for _ in range(count):
        pair.worker.handshake_ended()
    await until(lambda: pair.parent.handshakes == 0)


async def test_a_worker_that_drains_is_not_ready_and_takes_what_is_on_its_way(pair: Pair) -> None:
    pair.worker.start()
    assert await pair.parent.ready(5)
    pair.worker.draining()
    pair.pass_one()
    await until(lambda: not pair.parent.is_ready)
    await until(lambda: len(pair.taken) == 1)


async def test_a_connection_whose_descriptor_was_lost_on_the_way_is_done_with(pair: Pair) -> None:
    """As when the worker has too many files open."""
    pair.worker.start()
    assert await pair.parent.ready(5)
    pair.parent.handshakes = 1
    pair.parent._socket.send(CONNECTION)
    await until(lambda: pair.parent.handshakes == 0)
    assert pair.taken == []


async def test_a_worker_hears_that_its_parent_is_gone(pair: Pair) -> None:
    pair.worker.start()
    pair.pass_one()
    await until(lambda: len(pair.taken) == 1)
    pair.parent.close()
    await asyncio.wait_for(pair.gone.wait(), 5)
    assert not pair.worker.is_open
    pair.worker.handshake_ended()


async def test_a_parent_hears_that_its_worker_is_gone_and_hangs_up_on_those_who_wait(pair: Pair) -> None:
    pair.worker.start()
    assert await pair.parent.ready(5)
    for _ in range(1_500):
        pair.pass_one()
    pair.worker.close()
    await until(lambda: not pair.parent.is_ready)
    assert pair.parent.handshakes == 0
    for client in pair.clients:
        client.settimeout(5)
        assert client.recv(1) == b""


async def test_a_worker_that_ends_before_it_is_ready_is_not_waited_for(pair: Pair) -> None:
    pair.worker.close()
    assert not await pair.parent.ready(5)
