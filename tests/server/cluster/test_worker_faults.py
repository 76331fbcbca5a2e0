"""Workers and parents that die, stand still, are renewed and are stopped; and what their clients keep."""

import asyncio
import itertools
import os
import random
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from roomful.server.close_codes import CloseCode
from roomful.server.cluster.sharding import Member, ranked, slot_of
from tests.documents import differences
from tests.pycrdt_client import PycrdtClient
from tests.raw_client import DIALECTS, Y_WEBSOCKET, RawClient
from tests.redis_process import shared_redis
from tests.server.cluster.conftest import Serving
from tests.server_process import ServerProcess, is_gone
from tests.waiting import until, until_equal


def workers(server: ServerProcess) -> list[psutil.Process]:
    """Return them by their numbers; of an old and a new one with the same number the new one."""
    found = {
        each.cmdline()[-3]: each
        for each in sorted(psutil.Process(server.pid).children(), key=lambda each: each.pid)
    }
    return [found[number] for number in sorted(found)]


def user_of(worker: int) -> str:
    """Return somebody whom two workers' parent passes to this one."""
    members = [Member("0"), Member("1")]
    names = (f"ann{number}" for number in itertools.count())
    return next(name for name in names if ranked(slot_of(name), members)[0] is members[worker])


class Writer(PycrdtClient):
    """Writes on and on; comes back when its connection is lost."""

    def __init__(self, server: ServerProcess, number: int) -> None:
        super().__init__(DIALECTS[number % 2], f"room {number // 2 % 3}")
        self.returns = 0
        self.restarts_heard = 0
        self._server = server
        self._token = user_of(number // 2 % 2)
        self._stopping = False

    async def write(self, rng: random.Random) -> None:
        """Until `stop`; the last thing is to be there."""
        while not (self._stopping and self.connected and self.synced):
            if not (self.connected and self.synced):
                await self._come()
            self.edit(rng)
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        self._stopping = True

    async def _come(self) -> None:
        if self._socket is not None:
            self.returns += 1
            self.restarts_heard += self._socket.close_code == CloseCode.RESTART
        await self.drop()
        try:
            await self.connect(self._server.port, token=self._token)
            await self.synchronised()
        except (OSError, AssertionError):
            # Not there, or gone again: it goes on writing, and comes back.
            await asyncio.sleep(0.05)


class Writers:
    """Some who write, in several rooms and both workers, until told to stop.

    Those of Hocuspocus show no token before they have connected: they may be at either worker.
    """

    def __init__(self, server: ServerProcess, stack: AsyncExitStack, count: int) -> None:
        seed = random.randrange(1 << 32)
        print("seed", seed)
        rng = random.Random(seed)
        self._server = server
        self.all = [Writer(server, number) for number in range(count)]
        for each in self.all:
            stack.push_async_callback(each.drop)
        self._tasks = [asyncio.create_task(each.write(rng)) for each in self.all]

    async def are_writing(self) -> None:
        """Wait until each has written something more that was acknowledged, where there is a word for it."""
        before = {each: len(each.acknowledged) for each in self.all if each.dialect.keyed}
        await until(lambda: all(len(each.acknowledged) > before[each] + 3 for each in before), within=15)

    async def stop_and_agree(self) -> None:
        """Everybody holds the same, and so does whoever comes now; nothing acknowledged is missing."""
        for each in self.all:
            each.stop()
        await asyncio.gather(*self._tasks)
        for room in {each.room for each in self.all}:
            mine = [each for each in self.all if each.room == room]
            witness = PycrdtClient(Y_WEBSOCKET, room)
            await witness.connect(self._server.port, token="witness")
            await witness.synchronised()

            async def unequal(mine: list[Writer] = mine, witness: PycrdtClient = witness) -> list[str]:
                document = witness.replica.document()
                return [each for other in mine for each in differences(document, other.replica.document())]

            await until_equal(unequal, [], within=15)
            lost = [
                update for each in mine for update in each.acknowledged if not witness.replica.covers(update)
            ]
            assert not lost
            assert any(each.acknowledged for each in mine)
            await witness.drop()


async def test_a_worker_that_dies_is_started_again_and_its_clients_lose_nothing_saved(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    writers = Writers(server, stack, 6)
    await writers.are_writing()
    before = workers(server)
    before[0].kill()
    await server.wait_for_log("worker died", worker=0, code=-9)
    await until_equal(lambda: server.metric("roomful_worker_ready"), 2, within=20)
    await writers.are_writing()
    await writers.stop_and_agree()
    after = workers(server)
    assert (after[0] != before[0], after[1] == before[1]) == (True, True)
    assert await server.metric("roomful_worker_restarts_total", worker="0") == 1
    assert 0 < sum(each.returns for each in writers.all) < len(writers.all) * 3


async def test_a_parent_that_is_killed_takes_its_workers_along_and_nothing_saved_is_lost(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    writers = Writers(server, stack, 4)
    await writers.are_writing()
    processes = workers(server)
    folder = Path(processes[0].cmdline()[-4])
    assert folder.is_dir()
    # Which fails when what it has started outlives it for long.
    await server.kill()
    await until(lambda: all(map(is_gone, processes)))
    assert not folder.exists()
    await server.restart()
    await writers.are_writing()
    await writers.stop_and_agree()


async def test_sigterm_drains_all_workers_and_the_exit_code_is_zero(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    people = []
    for number in range(12):
        person = PycrdtClient(DIALECTS[number % 2], "room")
        stack.push_async_callback(person.drop)
        await person.connect(server.port, token=f"ann{number}")
        await person.synchronised()
        person.type(f"<{number}>")
        people.append(person)
    await until(lambda: all(each.text.count("<") == len(people) for each in people))
    os.kill(server.pid, signal.SIGTERM)
    for person in people:
        assert await person.socket.closed() == CloseCode.RESTART
        assert person.socket.close_reason.startswith("the server is restarting; reconnect=0-")
    assert await server._ended(server._running()) == 0
    assert {entry.get("worker") for entry in server.logs if entry["event"] == "draining"} == {0, 1, None}
    loud = {entry["event"] for entry in server.logs if entry["level"] in ("warning", "error")}
    assert loud == {"Redis has no append-only file: documents are lost when it ends"}
    await server.restart()
    await people[0].connect(server.port)
    await people[0].synchronised()
    assert people[0].text.count("<") == len(people)


async def test_a_second_signal_ends_the_drain_of_all_at_once(serving: Serving, stack: AsyncExitStack) -> None:
    async with serving("--shutdown-seconds=20") as server:
        for user in ("ann0", "ann1", "ann2"):
            stuck = await RawClient.join(server.port, Y_WEBSOCKET, "room", token=user)
            (await stack.enter_async_context(stuck)).pause()
        started = time.monotonic()
        os.kill(server.pid, signal.SIGINT)
        for worker in range(2):
            await server.wait_for_log("draining", worker=worker)
        os.kill(server.pid, signal.SIGINT)
        assert await server._ended(server._running()) == 1
        assert time.monotonic() - started < 5


async def test_sighup_changes_every_process_under_load_and_nothing_is_lost_or_doubled(
    server: ServerProcess, stack: AsyncExitStack
) -> None:
    writers = Writers(server, stack, 8)
    await writers.are_writing()
    before = workers(server)
    os.kill(server.pid, signal.SIGHUP)
    await server.wait_for_log("the workers are renewed", within=30)
    await writers.are_writing()
    await writers.stop_and_agree()
    assert all(map(is_gone, before))
    assert not set(before) & set(workers(server))
    assert not {"worker died", "worker killed", "worker not started"} & {
        entry["event"] for entry in server.logs
    }
    # Each came back after its worker had been changed, and few more than once a change.
    assert all(each.restarts_heard for each in writers.all)
    assert sum(each.returns for each in writers.all) <= 3 * len(writers.all)
    assert await server.metric("roomful_worker_restarts_total") == 0


async def test_a_worker_that_stands_still_does_not_keep_others_out(
    serving: Serving, stack: AsyncExitStack
) -> None:
    async with serving("--max-handshakes=6") as server:
        still, _ = workers(server)
        still.suspend()
        try:
            # Its share, after which its users are served elsewhere.
            waiting = [await RawClient.connect(server.port) for _ in range(20)]
            for number, each in enumerate(waiting):
                await stack.enter_async_context(each)
                each.write(b"GET /healthz?user=ann%d HTTP/1.1\r\nHost: test\r\n\r\n" % number)
            await until(lambda: sum(each.status == 200 for each in waiting) >= 16)
            assert sum(each.status == 200 for each in waiting) == 16
        finally:
            still.resume()
        await until(lambda: all(each.status == 200 for each in waiting))


async def test_a_parent_that_is_stopped_while_its_workers_start_does_not_wait_for_them(
    tmp_path: Path,
) -> None:
    slow = "import sys, time\nif 'worker' in sys.argv:\n    time.sleep(60)\nasync def authorize(_): ...\n"
    (tmp_path / "slow_login.py").write_text(slow)
    server = ServerProcess(
        tmp_path / "data",
        authorize="slow_login:authorize",
        options=[f"--redis={shared_redis().url}", "--workers=2"],
        environment={"PYTHONPATH": str(tmp_path)},
    )
    starting = asyncio.create_task(server._start())
    await until(lambda: server._process is not None and len(psutil.Process(server.pid).children()) == 2)
    started = time.monotonic()
    assert await server.stop() == 0
    assert time.monotonic() - started < 5
    with pytest.raises(AssertionError, match="ended without a log entry listening"):
        await starting


async def test_workers_that_can_t_start_are_the_end_of_the_parent(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, options=[f"--redis={shared_redis().url}99", "--workers=2"])
    with pytest.raises(AssertionError, match="ended without a log entry listening"):
        await server._start()
    assert {"can't start", "worker not started"} <= {entry["event"] for entry in server.logs}
