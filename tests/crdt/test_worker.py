"""A worker may crash, hang or eat memory; that costs the worker and the job, and nobody else."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import psutil
import pytest

from roomful.crdt.check import check_update
from roomful.crdt.folding import fold
from roomful.crdt.sync import EMPTY_UPDATE
from roomful.crdt.varint import Malformed, write_varstring
from roomful.crdt.worker import WorkerFailed, WorkerPool
from tests.attacks import NESTED_TYPES, PENDING, RELEASING, item, update
from tests.crdt import orphan
from tests.crdt.orphan import tar_pit
from tests.server_process import is_gone
from tests.waiting import until

MEMORY = 512 << 20
GOOD = update(item(4, write_varstring("good")))
LARGE = [update(item(4, write_varstring("x" * (20 << 20))), client=client) for client in range(1, 13)]


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    """Two workers of half a gigabyte, 20 s for a job; when the test ends, so do they."""
    pool = WorkerPool(2, memory=MEMORY, seconds=20)
    yield pool
    await pool.close()
    await until(lambda: not workers(), "the end of all workers")


def workers() -> set[int]:
    """The worker processes that this one has started; servers for other tests may be beside them."""
    return {child.pid for child in psutil.Process().children() if _is_worker(child)}


def _is_worker(process: psutil.Process) -> bool:
    try:
        # One that has ended and was not waited for has no command line.
        return process.status() == psutil.STATUS_ZOMBIE or "worker_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


async def failure(job: Awaitable[Any]) -> str:
    """Why a job that must fail has failed."""
    with pytest.raises(WorkerFailed) as caught:
        await job
    return caught.value.reason


async def assert_goes_on(pool: WorkerPool) -> None:
    async with asyncio.timeout(10):
        assert await pool.check(GOOD) == check_update(GOOD)
        assert await pool.fold([], [GOOD], merge_only=False) == fold([], [GOOD], merge_only=False)


async def test_a_worker_says_what_the_server_would_find_itself(pool: WorkerPool) -> None:
    large = update(*[item(4, write_varstring("ä😀"))] * 10_000, deletes=b"\x01\x01\x02\x00\x01\x05\x03")
    assert await pool.check(large) == check_update(large)
    for merge_only in (False, True):
        assert await pool.fold([GOOD], [large], merge_only=merge_only) == fold(
            [GOOD], [large], merge_only=merge_only
        )


async def test_malformed_updates_are_told_apart_from_failures_and_cost_no_worker(pool: WorkerPool) -> None:
    await pool.start()
    before = workers()
    for bad, reason in ((b"\xff" * 100_000, "varint"), (GOOD + b"\x00", "trailing"), (b"", "truncated")):
        with pytest.raises(Malformed) as caught:
            await pool.check(bad)
        assert caught.value.reason == reason
    assert workers() == before
    assert pool.crashes == 0


async def test_an_update_that_crashes_the_library_costs_one_worker(pool: WorkerPool) -> None:
    await pool.start()
    before = workers()
    assert await failure(pool.fold([], [NESTED_TYPES], merge_only=False)) == "crash"
    assert pool.crashes == 1
    assert not workers() & before
    await assert_goes_on(pool)
    # As bytes it is an update like any other.
    assert len((await pool.fold([], [NESTED_TYPES], merge_only=True)).pieces) == 3


async def test_updates_that_lead_the_library_astray_cost_one_worker_at_most(pool: WorkerPool) -> None:
    """What happens then differs from run to run."""
    try:
        await pool.fold([PENDING], [RELEASING], merge_only=False)
    except WorkerFailed as error:
        assert error.reason == "crash"  # noqa: PT017 - it need not fail
    await assert_goes_on(pool)


async def test_a_job_that_takes_too_long_is_ended_with_its_worker() -> None:
    pool = WorkerPool(1, memory=MEMORY, seconds=2)
    await assert_goes_on(pool)
    before = workers()
    async with asyncio.timeout(10):
        assert await failure(pool.fold([], tar_pit(20_000), merge_only=False)) == "timeout"
    assert not workers() & before
    await assert_goes_on(pool)
    await pool.close()


async def test_a_worker_that_is_stuck_is_ended_too() -> None:
    pool = WorkerPool(1, memory=MEMORY, seconds=2)
    await pool.start()
    (worker,) = workers()
    os.kill(worker, signal.SIGSTOP)
    async with asyncio.timeout(10):
        assert await failure(pool.check(GOOD)) == "timeout"
    assert worker not in workers()
    await assert_goes_on(pool)
    await pool.close()


@pytest.mark.parametrize("merge_only", [False, True])
async def test_a_job_gets_no_more_memory_than_its_worker_may_have(pool: WorkerPool, merge_only: bool) -> None:
    # Where memory ends inside the library, the process ends with it; where it ends in Python, it can say so.
    assert await failure(pool.fold([], LARGE, merge_only=merge_only)) in ("memory", "crash")
    await assert_goes_on(pool)


async def test_jobs_run_side_by_side_and_wait_their_turn(pool: WorkerPool) -> None:
    slow = asyncio.create_task(pool.fold([], tar_pit(3_000), merge_only=False))
    await until(lambda: bool(workers()))
    quick = [
        asyncio.create_task(pool.check(update(item(4, write_varstring("x" * size))))) for size in range(1, 51)
    ]
    assert [(await each).ranges for each in quick] == [[(1, 0, size)] for size in range(1, 51)]
    assert not slow.done()
    assert len(workers()) == 2
    assert len((await slow).pieces) == 1


async def test_a_crash_beside_other_jobs_is_nobody_elses(pool: WorkerPool) -> None:
    jobs = [
        asyncio.create_task(pool.fold([], [NESTED_TYPES] if number % 4 == 0 else [GOOD], merge_only=False))
        for number in range(12)
    ]
    outcomes = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(each, WorkerFailed) for each in outcomes] == [number % 4 == 0 for number in range(12)]
    assert pool.crashes == 3


async def test_a_worker_that_was_killed_while_idle_costs_no_job(pool: WorkerPool) -> None:
    await pool.start()
    process: Process = pool._idle[0]
    process.kill()
    await process.wait()
    await assert_goes_on(pool)
    assert pool.crashes == 0


async def test_a_cancelled_job_ends_its_worker_and_frees_its_place() -> None:
    pool = WorkerPool(1, memory=MEMORY, seconds=20)
    job = asyncio.create_task(pool.fold([], tar_pit(20_000), merge_only=False))
    await until(lambda: bool(workers()))
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not workers()
    await assert_goes_on(pool)
    await pool.close()


async def test_closing_ends_jobs_under_way_and_refuses_those_that_wait() -> None:
    pool = WorkerPool(1, memory=MEMORY, seconds=20)
    under_way = asyncio.create_task(pool.fold([], tar_pit(20_000), merge_only=False))
    waiting = asyncio.create_task(pool.check(GOOD))
    await until(lambda: bool(pool._busy))
    async with asyncio.timeout(5):
        await pool.close()
        assert await failure(under_way) == "crash"
        assert await failure(waiting) == "failed"
        assert await failure(pool.check(GOOD)) == "failed"
    assert not workers()


async def test_that_no_worker_can_be_started_is_a_failure_of_the_job(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        assert await failure(pool.check(GOOD)) == "failed"
    await assert_goes_on(pool)


@pytest.mark.parametrize("authors", [0, 20_000], ids=["idle", "at a job that outlives its time"])
async def test_a_server_that_is_killed_leaves_no_worker_behind(authors: int) -> None:
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, orphan.__file__, "3", str(authors)), stdout=PIPE
    )
    assert server.stdout is not None
    worker = psutil.Process(int(await server.stdout.readline()))
    if authors:
        # Its job has reached the library.
        await until(lambda: worker.cpu_times().user > 0.3)
    server.kill()
    await server.wait()
    await until(lambda: is_gone(worker), "the end of the worker")


async def test_empty_updates_are_checked_and_folded(pool: WorkerPool) -> None:
    assert (await pool.check(EMPTY_UPDATE)).ranges == []
    assert (await pool.fold([], [EMPTY_UPDATE], merge_only=False)).pieces == []
