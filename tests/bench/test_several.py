"""The benchmarks of several processes: what they conclude from what they saw, and that they run."""

import asyncio
import os
import random
import signal
import sys
from array import array
from pathlib import Path

import pytest
from pycrdt import Doc, Text

from bench.__main__ import main
from bench.deliveries import Deliveries
from bench.measurement import Launch
from bench.process import family
from bench.scenarios.storm import Attempt, Storm
from bench.scenarios.workers import Level, Workers
from bench.servers import SERVERS
from bench.wire import state_of
from tests.waiting import until


def test_a_writer_s_state_is_what_the_library_makes_of_it() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    client = random.Random(seed).getrandbits(53)
    doc: Doc[Text] = Doc(client_id=client)
    doc.get("text", type=Text).insert(0, "x" * 300)
    assert state_of(client, 300) == doc.get_state()


def test_latencies_are_told_apart_by_node_only_where_there_are_several() -> None:
    both = Deliveries(expected=3, near=array("d", [0.001, 0.002]), far=array("d", [0.009]))
    assert both.missing() == []
    assert (both.figures()["near_p99"], both.figures()["far_p99"], both.figures()["p99"]) == (2, 9, 9)
    one = Deliveries(expected=2, near=array("d", [0.001]))
    assert one.missing() == ["1 of 2 updates arrived"]
    assert set(one.figures()) == {"p50", "p99"}


def test_a_storm_begins_with_the_first_that_was_taken_and_ends_with_the_last_that_is_synced() -> None:
    attempts = [
        Attempt(100.2, refused=True),
        Attempt(100.6, synced=100.7),
        Attempt(100.6),
        Attempt(103.0, synced=103.6),
        Attempt(107.0, refused=True),
    ]
    figures = Storm(clients=2).measured(attempts, killed=100.0, capacity=4.0)
    assert {key: round(value, 6) for key, value in figures.items()} == {
        "capacity": 4, "attempts": 2.5, "failed": 0.5, "away": 0.6, "over": 3, "share": 6,
        "second_1": 3, "second_2": 0, "second_3": 0, "second_4": 1, "second_5": 0, "later": 1,
    }  # fmt: skip


def _level(delivered: int, busiest: float, p99: float = 10.0) -> Level:
    return Level(delivered, wall=2.0, p99=p99, late=1.0, cpu=1.0, busiest=busiest, redis=0.1, problems=[])


def test_two_are_compared_with_one_that_is_as_busy() -> None:
    levels = {
        4.0: {"one": _level(1_000, 0.5), "two": _level(1_000, 0.4)},
        8.0: {"one": _level(2_000, 1.5), "two": _level(2_000, 1.0)},
        12.0: {"one": _level(3_000, 2.0, p99=51.0), "two": _level(3_000, 1.5)},
    }
    figures = Workers(steps=3).compared(levels)
    assert (figures["alone"], figures["two_rate"], figures["share"]) == (750, 1_000, 0.75)
    assert (figures["one_8_busy"], figures["one_12_p99"], figures["two_kept"]) == (75, 51, 1_500)


@pytest.mark.parametrize(("busy", "alone"), [(0.2, 200), (0.75, 750), (1.5, 1_500)])
def test_beyond_what_was_measured_of_one_it_goes_on_in_proportion(busy: float, alone: float) -> None:
    levels = {8.0: {"one": _level(2_000, 2.0), "two": _level(1_000, 2 * busy)}}
    assert Workers(steps=1, step=8.0).compared(levels)["alone"] == pytest.approx(alone)


def test_what_a_server_can_be_asked_for() -> None:
    launches = (
        Launch(again=True),
        Launch(nodes=((), ()), redis=True),
        Launch(nodes=(("--workers", "2"),), redis=True),
        Launch(nodes=(("--max-connections-per-room", "20"),), events=True),
    )
    assert {name: [server.can(launch) for launch in launches] for name, server in SERVERS.items()} == {
        "roomful": [True, True, True, True],
        "y-websocket-server": [True, False, False, False],
        "hocuspocus": [True, True, False, False],
        "pycrdt-websocket": [True, False, False, False],
        "bare-events": [False, False, False, True],
    }


async def test_a_server_that_is_killed_is_started_again_and_ends_when_told() -> None:
    command = (sys.executable, "-m", "bench.supervisor", "sleep", "60")
    supervisor = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    try:
        await until(lambda: len(family(supervisor.pid)) == 2)
        first = family(supervisor.pid)[1]
        os.kill(first, signal.SIGKILL)
        await until(lambda: family(supervisor.pid)[1:] not in ([], [first]))
        second = family(supervisor.pid)[1]
        supervisor.terminate()
        assert await supervisor.wait() == 0
        assert not Path(f"/proc/{second}").exists()
    finally:
        if supervisor.returncode is None:
            supervisor.kill()
            await supervisor.wait()


def test_two_servers_on_one_redis_are_measured() -> None:
    assert main(["nodes", "--short", "--servers", "roomful", "--set", "duration=1"]) == 0


def test_a_storm_is_measured() -> None:
    assert main(["storm", "--short", "--servers", "roomful"]) == 0
