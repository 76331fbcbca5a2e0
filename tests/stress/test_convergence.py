"""Everybody ends with the same document, whatever happens to them and to the server on the way.

``SOAK_SECONDS`` says how long to make trouble (10), ``SOAK_SEED`` repeats a run's decisions (not its timing).
"""

import asyncio
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.documents import differences
from tests.pycrdt_client import PycrdtClient
from tests.server_process import ServerProcess
from tests.small_disk import SmallDisk, small_disk
from tests.speech import PROTOCOLS
from tests.waiting import until_equal

SECONDS = float(os.environ.get("SOAK_SECONDS", "10"))
SEED = int(os.environ.get("SOAK_SEED", secrets.randbits(32)))
ROOMS = ("busy", "quiet")
HEALED_WITHIN = 10.0
PATIENCE = 0.4
DISK_BYTES = 128 << 20
EXPECTED_ERRORS = {"storage refuses", "fold failed"}
"""What a full disk has the server log."""

OPTIONS = (
    "--fold-entries=7", "--fold-bytes=4KiB", "--idle-room-seconds=0.2", "--inline-check-bytes=2KiB",
    "--outbox-bytes=16KiB", f"--storage-patience-seconds={PATIENCE}", "--log-level=debug",
)  # fmt: skip

pytestmark = pytest.mark.slow


class Crowd:
    """Clients of a server, and the trouble that befalls them."""

    def __init__(self, server: ServerProcess, disk: SmallDisk, rng: random.Random) -> None:
        self.server = server
        self.disk = disk
        self.rng = rng
        self.done: Counter[str] = Counter()
        self.clients = [
            PycrdtClient(dialect, room) for room in ROOMS for dialect in PROTOCOLS for _ in range(2)
        ]
        # Updates that the server said it has saved, of clients that are gone for good too.
        self.saved: dict[str, list[bytes]] = {room: [] for room in ROOMS}

    async def trouble(self) -> None:
        """Do one thing, most often an edit."""
        actions = {
            self.edit: 60, self.paste: 2, self.lose: 5, self.come_back: 10, self.delay: 4, self.release: 6,
            self.leave_for_good: 0.5, self.empty_a_room: 0.3, self.crash: 0.4, self.restart: 0.2,
            self.fill_the_disk: 0.3, self.pause: 10,
        }  # fmt: skip
        (action,) = self.rng.choices(list(actions), list(actions.values()))
        self.done[action.__name__] += 1
        await action(self.rng.choice(self.clients))

    async def edit(self, client: PycrdtClient) -> None:
        client.edit(self.rng)

    async def paste(self, client: PycrdtClient) -> None:
        """More than is checked in the server's own process."""
        client.type("paste " * self.rng.randint(500, 2_000))

    async def lose(self, client: PycrdtClient) -> None:
        """Often right after an edit, which is then on its way, or not."""
        if self.rng.random() < 0.7:
            client.edit(self.rng)
        await client.drop()

    async def come_back(self, client: PycrdtClient) -> None:
        if not client.connected:
            await client.drop()
            await client.connect(self.server.port)
            if self.rng.random() < 0.5:
                await client.synchronised()

    async def delay(self, client: PycrdtClient) -> None:
        client.delaying = True

    async def release(self, client: PycrdtClient) -> None:
        client.release(self.rng)

    async def leave_for_good(self, client: PycrdtClient) -> None:
        """A newcomer takes the place. What was saved must be kept; what was not may be."""
        await client.drop()
        self.saved[client.room] += client.acknowledged
        newcomer = PycrdtClient(client.dialect, client.room)
        self.clients[self.clients.index(client)] = newcomer
        await newcomer.connect(self.server.port)

    async def empty_a_room(self, client: PycrdtClient) -> None:
        """Until it has left the server's memory."""
        rooms = len({each.room for each in self.clients if each.connected and each.room != client.room})
        for each in self.of(client.room):
            await each.drop()
        await until_equal(lambda: self.server.metric("roomful_rooms"), rooms)

    async def crash(self, _: PycrdtClient) -> None:
        """Kill the server. Nobody who comes back may be needed for what it said was saved."""
        for _edit in range(self.rng.randint(0, 20)):
            self.rng.choice(self.clients).edit(self.rng)
        await asyncio.sleep(self.rng.random() * 0.02)
        await self.server.kill()
        await self.all_away()
        await self.server.restart()
        await self.assert_saved()

    async def restart(self, _: PycrdtClient) -> None:
        assert await self.server.stop() == 0
        await self.all_away()
        await self.server.restart()
        await self.assert_saved()

    async def fill_the_disk(self, client: PycrdtClient) -> None:
        """For less than the server's patience, or for more."""
        self.disk.fill(self.server.pid)
        ends = time.monotonic() + self.rng.choice((0.1, 0.5, 2 * PATIENCE))
        while time.monotonic() < ends:
            await self.rng.choice((self.edit, self.paste, self.pause))(self.rng.choice(self.clients))
            await self.rng.choice((self.lose, self.pause, self.pause))(client)
        self.disk.free(self.server.pid)
        await until_equal(self._stores, True)

    async def _stores(self) -> bool:
        return await self.server.metric("roomful_storage_failing") == 0

    async def pause(self, _: PycrdtClient) -> None:
        """Let things happen."""
        await asyncio.sleep(self.rng.random() * 0.03)

    async def all_away(self) -> None:
        for client in self.clients:
            await client.drop()

    async def assert_saved(self) -> None:
        """All that was ever acknowledged is there, for somebody who finds nobody but the server."""
        for room in ROOMS:
            witness = PycrdtClient(self.rng.choice(PROTOCOLS), room)
            await witness.connect(self.server.port)
            await witness.synchronised()
            for client in self.of(room):
                self.saved[room] += client.acknowledged
                client.acknowledged.clear()
            lost = [update.hex() for update in self.saved[room] if not witness.replica.covers(update)]
            assert not lost, f"acknowledged, and lost: {lost}"
            await witness.drop()

    def of(self, room: str) -> list[PycrdtClient]:
        return [client for client in self.clients if client.room == room]

    async def heal(self) -> None:
        """Bring everybody back, and nothing holds anybody up any more."""
        for client in self.clients:
            client.release(self.rng)
            await self.come_back(client)


async def assert_converged(people: Sequence[PycrdtClient]) -> None:
    """Wait until all hold the same, and compare in every way there is."""

    async def equal() -> bool:
        documents = [client.replica.document() for client in people]
        return not any(differences(documents[0], other) for other in documents[1:])

    await until_equal(equal, True, within=HEALED_WITHIN)
    assert all(client.connected for client in people)
    assert len({client.text for client in people}) == 1


async def test_everybody_ends_with_the_same_document_and_nothing_saved_is_lost(tmp_path: Path) -> None:
    print("seed", SEED, "seconds", SECONDS)
    rng = random.Random(SEED)
    with small_disk(tmp_path, DISK_BYTES) as disk:
        await make_trouble(disk, rng)


async def make_trouble(disk: SmallDisk, rng: random.Random) -> None:
    async with ServerProcess(disk.folder / "data", options=OPTIONS) as server:
        crowd = Crowd(server, disk, rng)
        ends = time.monotonic() + SECONDS
        try:
            while time.monotonic() < ends:
                await crowd.trouble()
            # Once at least, however short the run.
            await crowd.crash(crowd.clients[0])
            await crowd.heal()
            for room in ROOMS:
                for dialect in PROTOCOLS:
                    late = PycrdtClient(dialect, room)
                    crowd.clients.append(late)
                    await late.connect(server.port)
                await assert_converged(crowd.of(room))
            print(
                "done", dict(crowd.done), "saved", {room: len(saved) for room, saved in crowd.saved.items()}
            )
            print("texts", [len(crowd.of(room)[0].text) for room in ROOMS])
            events = Counter(entry["event"] for entry in server.logs)
            print("logged", dict(events))
            assert events["folded"] > 0
            assert events["room quarantined"] == 0
        finally:
            await crowd.all_away()
        # Nor was anything kept by the server's memory alone.
        assert await server.stop() == 0
        await server.restart()
        await crowd.assert_saved()
        for room in ROOMS:
            last = PycrdtClient(rng.choice(PROTOCOLS), room)
            await last.connect(server.port)
            await last.synchronised()
            assert not differences(last.replica.document(), crowd.of(room)[0].replica.document())
            await last.drop()
        errors = {entry["event"] for entry in server.logs if entry["level"] in ("error", "critical")}
        assert errors <= EXPECTED_ERRORS
