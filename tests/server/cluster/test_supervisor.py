"""A worker that is kept running: what is started when, and what is drained."""

import asyncio
import signal
from itertools import pairwise
from typing import cast

import pytest

from roomful.server.cluster.supervisor import Supervisor
from roomful.server.cluster.worker_process import WorkerProcess

pytestmark = pytest.mark.virtual_time


class Process:
    """A process and its channel in one."""

    def __init__(self, gets_ready: bool = True) -> None:
        self.channel = self
        self.pid = 1
        self.is_ready = False
        self.signals: list[signal.Signals] = []
        self.drains = 0
        self._gets_ready = gets_ready
        self._end = asyncio.get_running_loop().create_future()

    async def ready(self, within: float) -> bool:
        await asyncio.sleep(1)
        self.is_ready = self._gets_ready
        return self.is_ready

    async def ended(self) -> int:
        return cast("int", await asyncio.shield(self._end))

    async def drained(self, seconds: float) -> int:
        self.drains += 1
        self.die(0)
        return await self.ended()

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        self.die(-number)

    def die(self, code: int = -11) -> None:
        if not self._end.done():
            self._end.set_result(code)


class Shop:
    """Starts processes, the good and, while it is out of order, the bad."""

    def __init__(self) -> None:
        self.started: list[tuple[float, Process]] = []
        self.is_broken = False
        self.is_shut = False
        self.seen: list[Process] = []
        self.supervisor = Supervisor(3, self._start, drain_seconds=10, changed=self._look)
        self._loop = asyncio.get_running_loop()

    async def _start(self, number: int) -> WorkerProcess:
        assert number == 3
        if self.is_shut:
            raise OSError("no more processes")
        process = Process(gets_ready=not self.is_broken)
        self.started.append((self._loop.time(), process))
        return cast("WorkerProcess", process)

    def _look(self) -> None:
        assert self.current.is_ready
        self.seen.append(self.current)

    @property
    def current(self) -> Process:
        return cast("Process", self.supervisor.process)

    @property
    def pauses(self) -> list[float]:
        times = [time for time, _ in self.started]
        return [round(later - earlier, 1) for earlier, later in pairwise(times)]


@pytest.fixture
async def shop() -> Shop:
    return Shop()


async def test_a_process_that_dies_is_replaced_and_one_that_lives_is_not(shop: Shop) -> None:
    assert await shop.supervisor.start()
    await asyncio.sleep(1_000)
    assert (len(shop.started), shop.supervisor.restarts) == (1, 0)
    first = shop.current
    first.die()
    await asyncio.sleep(2)
    assert shop.current is not first
    assert (len(shop.started), shop.supervisor.restarts, shop.current.drains) == (2, 1, 0)
    # Connections may have waited for it.
    assert shop.seen == [first, shop.current]
    shop.supervisor.let_go()


async def test_the_longer_it_goes_wrong_the_longer_is_the_pause_until_a_process_lives(shop: Shop) -> None:
    assert await shop.supervisor.start()
    shop.is_broken = True
    shop.current.die()
    await asyncio.sleep(60)
    shop.is_broken = False
    await asyncio.sleep(15)
    pauses = shop.pauses
    assert pauses == sorted(pauses)
    # A second to get ready, and up to ten before the next.
    assert pauses[-1] == 11
    assert shop.current is shop.started[-1][1]
    assert all(process.signals == [signal.SIGKILL] for _, process in shop.started[1:-1])
    # Once one has lived for long, all is forgotten.
    await asyncio.sleep(100)
    shop.current.die()
    await asyncio.sleep(1.2)
    assert shop.current is shop.started[-1][1]
    shop.supervisor.let_go()


async def test_a_system_that_starts_no_processes_is_asked_again(shop: Shop) -> None:
    assert await shop.supervisor.start()
    shop.is_shut = True
    shop.current.die()
    await asyncio.sleep(20)
    shop.is_shut = False
    await asyncio.sleep(15)
    assert len(shop.started) == 2
    shop.supervisor.let_go()


async def test_a_renewal_drains_the_old_process_once_the_fresh_one_is_ready(shop: Shop) -> None:
    assert await shop.supervisor.start()
    old = shop.current
    renewal = asyncio.create_task(shop.supervisor.renew())
    await asyncio.sleep(0.5)
    assert (shop.current, old.drains) == (old, 0)
    assert await renewal
    assert (shop.current is old, old.drains, len(shop.started)) == (False, 1, 2)
    assert shop.seen == [old, shop.current]
    await asyncio.sleep(100)
    # The end of the old one is not the death of the worker, that of the fresh one is.
    assert (len(shop.started), shop.supervisor.restarts) == (2, 0)
    shop.current.die()
    await asyncio.sleep(2)
    assert (len(shop.started), shop.supervisor.restarts) == (3, 1)
    shop.supervisor.let_go()


async def test_a_renewal_that_fails_leaves_the_old_process_where_it_is(shop: Shop) -> None:
    assert await shop.supervisor.start()
    old = shop.current
    shop.is_broken = True
    assert not await shop.supervisor.renew()
    assert (shop.current, old.drains, old.signals) == (old, 0, [])
    shop.supervisor.let_go()


async def test_a_process_that_dies_while_it_is_renewed_is_replaced_once(shop: Shop) -> None:
    assert await shop.supervisor.start()
    renewal = asyncio.create_task(shop.supervisor.renew())
    await asyncio.sleep(0.5)
    shop.current.die()
    assert await renewal
    await asyncio.sleep(100)
    assert len(shop.started) == 2
    assert shop.current is shop.started[-1][1]
    shop.supervisor.let_go()


async def test_who_is_let_go_while_a_process_starts_leaves_none_behind(shop: Shop) -> None:
    assert await shop.supervisor.start()
    shop.current.die()
    await asyncio.sleep(0.5)
    assert len(shop.started) == 2
    shop.supervisor.let_go()
    await asyncio.sleep(100)
    assert shop.started[-1][1].signals == [signal.SIGKILL]
    assert len(shop.started) == 2


async def test_a_worker_that_never_gets_ready_has_not_started(shop: Shop) -> None:
    shop.is_broken = True
    assert not await shop.supervisor.start()
    await asyncio.sleep(100)
    assert len(shop.started) == 1
