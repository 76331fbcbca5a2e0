"""Whose job is done next."""

import asyncio

import pytest

from roomful.crdt.turns import Turns

MIB = 1 << 20


async def order(turns: Turns, sizes: list[int]) -> list[int]:
    """The sizes of jobs that came in this order, in the order in which they were done."""
    done: list[int] = []

    async def job(size: int) -> None:
        async with turns.place(size):
            done.append(size)
            await asyncio.sleep(0)

    async with turns.place(0):
        jobs = [asyncio.create_task(job(size)) for size in sizes]
        await asyncio.sleep(0)
    await asyncio.gather(*jobs)
    return done


async def test_the_small_go_before_the_large() -> None:
    assert await order(Turns(1), [3 * MIB, 2 * MIB, 100, MIB]) == [100, MIB, 2 * MIB, 3 * MIB]


async def test_of_one_size_who_came_first_goes_first() -> None:
    done: list[int] = []
    turns = Turns(1)

    async def job(number: int) -> None:
        async with turns.place(MIB):
            done.append(number)

    async with turns.place(0):
        jobs = [asyncio.create_task(job(number)) for number in range(9)]
        await asyncio.sleep(0)
    await asyncio.gather(*jobs)
    assert done == list(range(9))


async def test_a_large_one_that_has_waited_long_enough_goes_before_the_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    turns = Turns(1)
    done: list[int] = []

    async def job(size: int) -> None:
        async with turns.place(size):
            done.append(size)

    async with turns.place(0):
        large = asyncio.create_task(job(MIB))
        await asyncio.sleep(0)
        monkeypatch.setattr(loop, "time", lambda: now + 11)
        small = asyncio.create_task(job(1))
        await asyncio.sleep(0)
    await asyncio.gather(large, small)
    assert done == [MIB, 1]


async def test_as_many_are_at_work_as_there_are_places() -> None:
    turns = Turns(3)
    at_work = most = 0

    async def job() -> None:
        nonlocal at_work, most
        async with turns.place(1):
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0)
            at_work -= 1

    await asyncio.gather(*(job() for _ in range(20)))
    assert (most, at_work) == (3, 0)


async def test_who_gives_up_loses_no_place() -> None:
    turns = Turns(1)

    async def job() -> None:
        async with turns.place(1):
            pass

    async with turns.place(0):
        waiting = [asyncio.create_task(job()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    # The place has been passed on to the second, which is told to go before it can take it.
    waiting[1].cancel()
    await asyncio.wait(waiting)
    assert [each.cancelled() for each in waiting] == [True, True, False]
    async with asyncio.timeout(1), turns.place(1):
        pass
