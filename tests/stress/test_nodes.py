"""Whatever happens to three servers, their Redis and the links between, nothing acknowledged is lost and all
end with the same.

A run is made of rounds of eight seconds of trouble, each with servers of its own and a seed that it prints;
the seed says which variant it is. ``STRESS_SECONDS`` makes more than one of them, ``STRESS_SEED`` is the
first one's: the same seed is the same schedule and the same decisions, if not the same timing.
"""

import asyncio
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.pycrdt_client import PycrdtClient
from tests.server_process import ServerProcess
from tests.speech import PROTOCOLS
from tests.stress.cluster import Cluster
from tests.stress.faults import FORGET, FREEZE, KILL, LINK_FAULTS, NODE_FAULTS, schedule
from tests.stress.invariants import (
    Baseline,
    disagreements,
    disorder,
    leftovers,
    missing,
    refusing,
    unexpected_errors,
)
from tests.stress.streams import Streams
from tests.stress.writer import Writer
from tests.waiting import until_equal

ROUND_SECONDS: Final = 8.0
SECONDS = float(os.environ.get("STRESS_SECONDS", ROUND_SECONDS))
SEED = int(os.environ.get("STRESS_SEED", secrets.randbits(31)))
HEALED_WITHIN: Final = 10.0
ROOMS: Final = ("one", "two", "three")
PAUSE: Final = 0.03
OPTIONS: Final = (
    "--idle-room-seconds=0.2", "--storage-patience-seconds=600", "--shutdown-seconds=3", "--log-level=debug",
)  # fmt: skip

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Variant:
    """Faults by target, and what makes them bearable. ``loyal`` writers hold all that they wrote."""

    name: str
    fsync: str
    folding: Sequence[str]
    kinds: Mapping[str, Sequence[str]]
    loyal: bool = False


FOLDING: Final = ("--fold-entries=30", "--fold-bytes=64KiB", "--inline-check-bytes=2KiB")
NO_FOLDING: Final = ("--fold-entries=100000", "--fold-bytes=1GiB", "--inline-check-bytes=1GiB")
LINKS: Final = {"node-redis": LINK_FAULTS, "clients-node": LINK_FAULTS}
VARIANTS: Final = (
    Variant("every fault", "always", FOLDING, {"node": NODE_FAULTS, "redis": (KILL, FREEZE), **LINKS}),
    Variant("unfolded", "everysec", NO_FOLDING, {"node": NODE_FAULTS, "redis": (FREEZE,), **LINKS}),
    # Who wrote what Redis forgets must be there to say it again.
    Variant("forgetful Redis", "everysec", FOLDING, {"redis": (FORGET, KILL), **LINKS}, loyal=True),
)


async def test_nothing_acknowledged_is_lost_and_all_end_with_the_same(tmp_path: Path) -> None:
    for seed in range(SEED, SEED + max(1, round(SECONDS / ROUND_SECONDS))):
        variant = VARIANTS[seed % len(VARIANTS)]
        print(f"\nSTRESS_SEED={seed} ({variant.name})")
        await one_round(tmp_path / str(seed), seed, variant)


async def one_round(folder: Path, seed: int, variant: Variant) -> None:
    faults = schedule(seed, ROUND_SECONDS, variant.kinds)
    for fault in sorted((each for those in faults.values() for each in those), key=lambda each: each.at):
        print(" ", fault)
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    rng = random.Random(f"{seed} weather")
    async with (
        Cluster(folder, rng, variant.fsync, (*OPTIONS, *variant.folding)) as cluster,
        Streams(cluster.redis.url, ROOMS) as streams,
        asyncio.TaskGroup() as tasks,
    ):
        baseline = await visited(cluster)
        watching = tasks.create_task(streams.watch())
        writers = [each for room in ROOMS for each in crowd(room, cluster, seed)]
        writing = [tasks.create_task(writer.run(PAUSE, variant.loyal)) for writer in writers]
        start = time.monotonic()
        async with asyncio.TaskGroup() as suffering:
            for those in faults.values():
                suffering.create_task(cluster.suffer(start, those))
        await asyncio.sleep(start + ROUND_SECONDS - time.monotonic())
        healed = time.monotonic()
        for writer in writers:
            writer.finish()
        for room in ROOMS:
            await assert_whole(of(room, writers), HEALED_WITHIN - (time.monotonic() - healed))
        # Nobody may have written to a node since its link was mended, and it learns of that by trying again.
        ready_within = HEALED_WITHIN - (time.monotonic() - healed)
        await until_equal(partial(refusing, cluster.nodes), [], within=ready_within)
        print(f"  healed in {time.monotonic() - healed:.1f} s")
        watching.cancel()
        # A node may have loaded what little Redis came back with, before another one gave back the rest.
        await assert_kept(cluster, writers, within=HEALED_WITHIN - (time.monotonic() - healed))
        assert [each for room in ROOMS for each in await disorder(streams, room)] == []
        for writer in writers:
            writer.leave()
        await asyncio.wait(writing)
        cluster.bury()
        await until_equal(partial(leftovers, cluster.nodes, streams, baseline), [])
        report(cluster, writers, streams)
        for node in cluster.nodes:
            await node.kill()
        await cluster.nodes[0].restart()
        await assert_kept(cluster, writers, nodes=1, within=HEALED_WITHIN)
        assert unexpected_errors(cluster.nodes) == []
        assert unheard == []


async def visited(cluster: Cluster) -> Baseline:
    """Return what a server holds when somebody has been there."""
    node, visitor = cluster.nodes[0], PycrdtClient(PROTOCOLS[0], "visited")
    await visitor.connect(node.port)
    await visitor.synchronised()
    await visitor.drop()
    await node.wait_for_log("room let go", room="visited")
    await until_equal(partial(node.metric, "roomful_connections"), 0)
    # The least of some looks: other servers may just be told that the room is let go.
    return min([await Baseline.of(node) for _ in range(5)])


def crowd(room: str, cluster: Cluster, seed: int) -> list[Writer]:
    """Return the writers of a room, of all protocols."""
    ports = [link.port for link in cluster.client_links]
    return [
        Writer(name, PROTOCOLS[number % 3], room, ports, random.Random(f"{seed} {name}"))
        for number, name in enumerate(f"{room}{number}" for number in range(4))
    ]


def of(room: str, writers: Sequence[Writer]) -> list[Writer]:
    return [writer for writer in writers if writer.room == room]


async def assert_whole(writers: Sequence[Writer], within: float) -> None:
    """Wait until all writers of a room hold all there is to hold."""

    async def wrong() -> list[str]:
        clients = [writer.client for writer in writers]
        return disagreements(clients) + missing(clients[0], writers)

    await until_equal(wrong, [], within=within)


async def assert_kept(cluster: Cluster, writers: Sequence[Writer], nodes: int = 3, *, within: float) -> None:
    """Newcomers find at every node what the writers hold, within seconds."""
    end = time.monotonic() + within
    for room in ROOMS:
        of_room = of(room, writers)
        for node in cluster.nodes[:nodes]:
            for dialect in PROTOCOLS:
                newcomer = PycrdtClient(dialect, room)
                await until_equal(
                    partial(came, newcomer, node), True, within=max(0.1, end - time.monotonic())
                )
                await until_equal(
                    partial(lacking, newcomer, of_room), [], within=max(0.1, end - time.monotonic())
                )
                await newcomer.drop()


async def came(newcomer: PycrdtClient, node: ServerProcess) -> bool:
    """Return whether somebody could open the room; a link that swallows is found out after some seconds."""
    await newcomer.drop()
    await newcomer.connect(node.port)
    await newcomer.socket.until(lambda: newcomer.synced or not newcomer.connected)
    return newcomer.synced


async def lacking(newcomer: PycrdtClient, writers: Sequence[Writer]) -> list[str]:
    return missing(newcomer, writers) + disagreements([newcomer, writers[0].client])


def report(cluster: Cluster, writers: Sequence[Writer], streams: Streams) -> None:
    written = sum(len(writer.everything) for writer in writers)
    saved = sum(len(writer.saved()) for writer in writers)
    events = Counter(entry["event"] for node in cluster.nodes for entry in node.logs)
    print(f"  written {written}, acknowledgements {saved}, looks into streams {streams.looks}")
    print(f"  faults {dict(cluster.done)}\n  logged {dict(events)}")
    assert saved > 0
    assert streams.looks > 0
