"""A Redis Cluster, and a master and its replicas under Sentinels, of real processes."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.ports import free_port
from tests.redis_process import RedisProcess

SETTLE_SECONDS: Final = 30.0
NODE_TIMEOUT_MS: Final = 1_000

_AT_ONCE: Final = ("--repl-diskless-sync-delay", "0")
"""By default a master waits five seconds for further replicas before it gives the first one its data."""


class RedisCluster:
    """Masters, each with a replica, which takes over in two or three seconds when its master is killed."""

    def __init__(self, folder: Path, masters: int = 3) -> None:
        options = [*_AT_ONCE, "--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
        options += ["--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"]
        # By default a bus is ten thousand above its server, where there may be no port.
        self._buses = [free_port() for _ in range(masters * 2)]
        self.processes = [
            RedisProcess(folder / f"node{number}", [*options, "--cluster-port", str(bus)])
            for number, bus in enumerate(self._buses)
        ]
        self._masters = masters

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{process.port}" for process in self.processes)

    def start(self) -> None:
        """Return when all slots are served and all replicas follow."""
        for process in self.processes:
            process.start()
        first, *others = self.processes
        for number, process in enumerate(self.processes[: self._masters]):
            slots = [16384 * at // self._masters for at in (number, number + 1)]
            _ask(process, "CLUSTER ADDSLOTSRANGE", slots[0], slots[1] - 1)
            _ask(process, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        for process in others:
            _ask(process, "CLUSTER MEET", "127.0.0.1", first.port, self._buses[0])
        for process in self.processes:
            _until(lambda process=process: len(_nodes(process)) == len(self.processes))
        replicas = self.processes[self._masters :]
        for master, replica in zip(self.processes, replicas, strict=False):
            _ask(replica, "CLUSTER REPLICATE", _ask(master, "CLUSTER MYID").decode())
        for process in self.processes:
            _until(lambda process=process: _ask(process, "CLUSTER INFO")["cluster_state"] == "ok")
        for replica in replicas:
            _until(lambda replica=replica: _is_following(replica))

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def master_of(self, key: str) -> RedisProcess:
        """Return the process that takes a key's writes now."""
        slot = key_slot(key.encode())
        asked = next(process for process in self.processes if process.is_running)
        for first, last, (_, port, *_), *_ in _ask(asked, "CLUSTER SLOTS"):
            if first <= slot <= last:
                return next(process for process in self.processes if process.port == port)
        raise AssertionError(f"slot {slot} has no master")

    def move(self, key: str) -> None:
        """Move a key's slot, and all keys in it, to another master, as an operator does."""
        with self.moving(key):
            pass

    @contextmanager
    def moving(self, key: str) -> Iterator[None]:
        """Be where all keys of a slot have been moved, and the slot has not."""
        slot, source = key_slot(key.encode()), self.master_of(key)
        target = next(each for each in self.processes if each is not source and _is_master(each))
        _ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", _ask(source, "CLUSTER MYID").decode())
        _ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", _ask(target, "CLUSTER MYID").decode())
        while keys := _ask(source, "CLUSTER GETKEYSINSLOT", slot, 1):
            _ask(source, "MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5_000)
        yield
        for process in (target, source):
            _ask(process, "CLUSTER SETSLOT", slot, "NODE", _ask(target, "CLUSTER MYID").decode())


class RedisSentinels:
    """A master, two replicas, and three Sentinels, who make a replica master when the master is gone."""

    SERVICE: Final = "rooms"

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.master = RedisProcess(folder / "master", [*_AT_ONCE, *options])
        following = [*_AT_ONCE, "--replicaof", "127.0.0.1", str(self.master.port), *options]
        self.replicas = [RedisProcess(folder / f"replica{number}", following) for number in range(2)]
        self.sentinels = [RedisProcess(folder / f"sentinel{number}", sentinel=True) for number in range(3)]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.SERVICE}/0"

    def start(self) -> None:
        """Return when the Sentinels know the replicas and each other."""
        for process in (self.master, *self.replicas, *self.sentinels):
            process.start()
        for sentinel in self.sentinels:
            _ask(sentinel, "SENTINEL MONITOR", self.SERVICE, "127.0.0.1", self.master.port, 2)
            for name, value in (("down-after-milliseconds", 1_000), ("failover-timeout", 5_000)):
                _ask(sentinel, "SENTINEL SET", self.SERVICE, name, value)
        for replica in self.replicas:
            _until(lambda replica=replica: _is_following(replica))
        for sentinel in self.sentinels:
            _until(lambda sentinel=sentinel: self._knows_all(sentinel))

    def kill(self) -> None:
        for process in (self.master, *self.replicas, *self.sentinels):
            process.kill()

    def _knows_all(self, sentinel: RedisProcess) -> bool:
        replicas = _ask(sentinel, "SENTINEL REPLICAS", self.SERVICE)
        return len(replicas) == 2 and len(_ask(sentinel, "SENTINEL SENTINELS", self.SERVICE)) == 2


@functools.cache
def shared_cluster() -> RedisCluster:
    """One for all tests that take a prefix of their own in it; it ends with them."""
    cluster: RedisCluster = _shared(RedisCluster)
    return cluster


@functools.cache
def shared_sentinels() -> RedisSentinels:
    """One for all tests that take a prefix of their own in it; it ends with them."""
    sentinels: RedisSentinels = _shared(RedisSentinels)
    return sentinels


def _shared(kind: Any) -> Any:
    folder = Path(tempfile.mkdtemp(prefix="redis"))
    servers = kind(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(servers.kill)
    servers.start()
    return servers


def _ask(process: RedisProcess, command: str, *args: Any) -> Any:
    with Redis(port=process.port, socket_timeout=5, protocol=2) as client:
        return client.execute_command(command, *args)


def _nodes(process: RedisProcess) -> Any:
    return _ask(process, "CLUSTER NODES")


def _is_following(replica: RedisProcess) -> bool:
    return bool(_ask(replica, "INFO").get("master_link_status") == "up")


def _is_master(process: RedisProcess) -> bool:
    return bool(_ask(process, "INFO")["role"] == "master")


def _until(true: Any) -> None:
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            if true():
                return
        except RedisError:
            pass
        assert time.monotonic() < end, "the servers do not agree"
        time.sleep(0.02)
