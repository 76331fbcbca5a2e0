"""The log while masters are killed and slots are moved under it, on real Sentinels and a real Cluster."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot

from roomful.crdt.log import Log, Position
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.redis_keys import PARTITIONS, partition_of, room_keys, slot_of
from tests.contract.backends import Writer
from tests.crdt.ear import Ear
from tests.redis_cluster import RedisCluster, RedisSentinels
from tests.waiting import until

HEAL_SECONDS = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """One for all tests, whose prefixes differ: to set it up takes six seconds."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.kill()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[RedisSentinels]:
    sentinels = RedisSentinels(tmp_path)
    sentinels.start()
    yield sentinels
    sentinels.kill()


class RoomEar(Ear):
    """Follows a room: what was read at first, and all that is heard after it."""

    def __init__(self, log: Log, room: str) -> None:
        super().__init__()
        self.log = log
        self.room = room
        self.offsets: list[int] = []

    async def open(self) -> None:
        await self.log.open(self.room)
        self.log.follow(self.room, self)

    def heard(self, position: Position, update: bytes | None) -> None:
        super().heard(position, update)
        self.offsets.append(position.offset)

    async def until(self, count: int) -> None:
        heard = f"hearing of {self.room}"
        await until(lambda: len(self.updates) >= count, heard, within=HEAL_SECONDS)


class Traffic:
    """Two processes write to rooms while something happens, and both follow all of them."""

    def __init__(self, url: str, prefix: str, rooms: int, replicas: int) -> None:
        self.seed = random.randrange(1 << 32)
        print(f"seed {self.seed}")
        self.rng = random.Random(self.seed)
        self.logs = [RedisLog(url, prefix=prefix, replicas=replicas) for _ in range(2)]
        self.rooms = [f"room {number}" for number in range(rooms)]
        self.writers = [Writer(log) for log in self.logs]
        self.written: dict[str, list[bytes]] = {room: [] for room in self.rooms}
        self.ears = [RoomEar(log, room) for log in self.logs for room in self.rooms]

    async def __aenter__(self) -> "Traffic":
        for log in self.logs:
            await log.__aenter__()
        for ear in self.ears:
            await ear.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for log in self.logs:
            await log.close()

    def write(self) -> None:
        room = self.rng.choice(self.rooms)
        update = b"%d" % len(self.written[room])
        self.written[room].append(update)
        self.rng.choice(self.writers).append(room, update)

    async def during(self, happening: Callable[[], Awaitable[None]]) -> None:
        """Write before, while and for a moment after it happens."""
        done = asyncio.ensure_future(happening())
        rest = 100
        while rest:
            self.write()
            await asyncio.sleep(0.002)
            rest -= done.done()
        await done

    async def flows(self) -> None:
        """Wait until some of what each has written is durable."""
        await until(lambda: all(len(writer.durable) > 20 for writer in self.writers), "going in")

    async def check(self) -> None:
        """All that was written is in the log once and was heard once, in one order, by both."""
        await until(lambda: all(writer.settled for writer in self.writers), "going in", within=HEAL_SECONDS)
        for room, updates in self.written.items():
            entries = (await self.logs[0].load(room)).entries
            assert sorted(entries) == sorted(updates), room
            positions = {p.offset: update for w in self.writers for r, update, p in w.durable if r == room}
            assert [positions[offset] for offset in range(1, len(entries) + 1)] == entries, room
            for ear in (ear for ear in self.ears if ear.room == room):
                await ear.until(len(entries))
                assert ear.offsets == list(range(1, len(entries) + 1)), room
                assert ear.missed_times == 0
                heard = [a if a is not None else b for a, b in zip(ear.updates, entries, strict=True)]
                assert heard == entries, room


def test_every_partition_has_as_many_slots_of_a_cluster() -> None:
    assert [slot_of(partition) // 128 for partition in range(PARTITIONS)] == list(range(PARTITIONS))


def test_all_keys_of_a_room_are_in_the_slot_of_its_partition() -> None:
    slots = {key_slot(key.encode()) for key in room_keys("prefix", "a room")}
    assert slots == {slot_of(partition_of("a room"))}


@pytest.mark.slow
async def test_a_master_killed_under_sentinel_costs_nothing_that_a_replica_has(
    sentinels: RedisSentinels,
) -> None:
    async with Traffic(sentinels.url, "killed", rooms=5, replicas=1) as traffic:

        async def kill() -> None:
            await traffic.flows()
            sentinels.master.kill()
            await until(lambda: any(log.condition.failing for log in traffic.logs), "noticing")

        await traffic.during(kill)
        await traffic.check()


@pytest.mark.slow
async def test_a_master_of_a_cluster_killed_costs_nothing_that_its_replica_has(cluster: RedisCluster) -> None:
    async with Traffic(cluster.url, "killed", rooms=12, replicas=1) as traffic:
        key = room_keys("killed", traffic.rooms[0]).room
        master = cluster.master_of(key)

        async def kill() -> None:
            await traffic.flows()
            master.kill()
            while await asyncio.to_thread(cluster.master_of, key) is master:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.05)
            # Comes back as a replica, without which nothing is durable.
            await asyncio.to_thread(master.start)

        await traffic.during(kill)
        await traffic.check()


@pytest.mark.slow
async def test_slots_move_from_master_to_master_while_they_are_written_to(cluster: RedisCluster) -> None:
    async with Traffic(cluster.url, "moved", rooms=12, replicas=0) as traffic:
        keys = {partition_of(room): room_keys("moved", room).room for room in traffic.rooms}

        async def move() -> None:
            for key in keys.values():
                await asyncio.to_thread(cluster.move, key)

        await traffic.during(move)
        await traffic.check()


async def test_a_room_that_has_moved_already_while_its_slot_still_moves_is_written_to_and_read(
    cluster: RedisCluster,
) -> None:
    async with RedisLog(cluster.url, prefix="moving") as log:
        writer = Writer(log)
        await writer.write("room", b"1")
        with cluster.moving(room_keys("moving", "room").room):
            await writer.write("room", b"2")
            assert (await log.load("room")).entries == [b"1", b"2"]
        await writer.write("room", b"3")
        assert (await log.load("room")).entries == [b"1", b"2", b"3"]
