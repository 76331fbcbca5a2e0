"""What must be true when the faults are over, exactly."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import psutil

from tests.documents import differences
from tests.pycrdt_client import PycrdtClient
from tests.server_process import ServerProcess
from tests.stress.streams import Streams
from tests.stress.writer import MARK, Writer

MOST_IDLE_CONNECTIONS: Final = 20
"""To Redis, which a server keeps that has read many rooms at once."""
EXPECTED_ERRORS = {
    "storage refuses",
    "room can't be loaded",
    "fold failed",
    "can't start",
    "unacknowledged updates given up",
}
"""What a server logs as errors when it can't reach Redis."""


def disagreements(clients: Sequence[PycrdtClient]) -> list[str]:
    """Return what the clients of a room do not all hold, in words."""
    first, *others = (client.replica.document() for client in clients)
    return [each for other in others for each in differences(first, other)]


def missing(client: PycrdtClient, writers: Sequence[Writer]) -> list[str]:
    """Return what must be in a room's document and is not, or is there twice, in words."""
    found = Counter(MARK.findall(client.text.encode()))
    saved = [update for writer in writers for update in writer.saved()]
    owed = {mark for writer in writers for mark in writer.written}
    promised = {mark for update in saved for mark in MARK.findall(update)}
    known = {mark for writer in writers for mark in writer.everything}
    wrong = [f"{mark.decode()} is there {times} times" for mark, times in found.items() if times > 1]
    wrong += [f"{mark.decode()} was acknowledged, and lost" for mark in promised - found.keys()]
    wrong += [f"{mark.decode()} was written, and lost" for mark in owed - promised - found.keys()]
    wrong += [f"{mark.decode()} was never written" for mark in found.keys() - known]
    if MARK.sub(b"", client.text.encode()):
        wrong.append("there is more than marks")
    wrong += [f"acknowledged, and lost: {each.hex()}" for each in saved if not client.replica.covers(each)]
    return wrong


async def refusing(nodes: Sequence[ServerProcess]) -> list[str]:
    """Return which nodes do not take whoever comes, in words."""
    return [
        f"node {number} can't store"
        for number, node in enumerate(nodes)
        if await node.metric("roomful_storage_failing")
    ]


async def disorder(streams: Streams, room: str) -> list[str]:
    """Return which writers' entries in a stream are not in the order in which they counted them."""
    numbers: dict[bytes, list[int]] = {}
    for writer, number in await streams.look(room):
        numbers.setdefault(writer, []).append(number)
    return [f"{room}: {writer!r} has {each}" for writer, each in numbers.items() if each != sorted(each)]


class Baseline(NamedTuple):
    """What a server holds that has served somebody, and whom nobody is with."""

    tasks: int
    descriptors: int

    @classmethod
    async def of(cls, node: ServerProcess) -> Self:
        return cls(int(await node.metric("roomful_tasks")), psutil.Process(node.pid).num_fds())


async def leftovers(nodes: Sequence[ServerProcess], streams: Streams, baseline: Baseline) -> list[str]:
    """Return what is still held although nobody is there, in words."""
    held = [
        f"node {number}: {name} {value:.0f}"
        for number, node in enumerate(nodes)
        for name in ("connections", "rooms", "document_bytes", "log_backlog_bytes", "storage_failing")
        if (value := await node.metric(f"roomful_{name}"))
    ]
    for number, node in enumerate(nodes):
        tasks, descriptors = await Baseline.of(node)
        if tasks != baseline.tasks:
            held.append(f"node {number}: {tasks} tasks instead of {baseline.tasks}")
        if descriptors > baseline.descriptors + MOST_IDLE_CONNECTIONS:
            held.append(f"node {number}: {descriptors} descriptors, {baseline.descriptors} before")
    if (leases := await streams.leases()) != len(nodes):
        held.append(f"{leases} leases")
    return held + [f"channel {channel.decode()}" for channel in await streams.channels()]


def unexpected_errors(nodes: Sequence[ServerProcess]) -> list[str]:
    """Return the error lines of the logs that the faults do not explain."""
    return [
        str(entry)
        for node in nodes
        for entry in node.logs
        if entry["level"] in ("error", "critical") and entry["event"] not in EXPECTED_ERRORS
    ]
