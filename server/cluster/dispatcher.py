"""Chooses the worker for each connection: the one that its key prefers among those that can take it."""

import socket
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..metrics import Arrivals
from .request_key import request_key
from .sharding import ranked, slot_of
from .supervisor import Supervisor


class Dispatcher(Collector):
    """Passes connections to workers. ``most`` handshakes are in hand at a time, over all of them.

    A worker that does not get on with its handshakes must not keep them all: beyond its share, connections go
    to the next in their order of preference, as they do while a worker is dead or drains.
    """

    def __init__(self, workers: Sequence[Supervisor], shard_by: str, most: int, arrivals: Arrivals) -> None:
        self._workers = workers
        self._shard_by = shard_by
        self._most = most
        # Even loads stay well below it: twice an equal part, or nearly.
        self._share = max(1, 2 * most // (len(workers) + 1))
        self._arrivals = arrivals
        self._passed: Counter[str] = Counter()

    def has_place(self) -> bool:
        processes = (worker.process for worker in self._workers)
        in_hand = sum(process.channel.handshakes for process in processes if process is not None)
        return in_hand < self._most and any(map(self._is_open, self._workers))

    def take(self, connection: socket.socket, head: bytes) -> None:
        try:
            address = str(connection.getpeername())
        except OSError:
            address = ""
        slot = slot_of(request_key(head, self._shard_by, address))
        able = {worker.member: worker for worker in self._workers if self._is_open(worker)}
        chosen = able[ranked(slot, able)[0]]
        self._passed[chosen.member.name] += 1
        assert chosen.process is not None
        chosen.process.channel.take(connection)

    def _is_open(self, worker: Supervisor) -> bool:
        process = worker.process
        return process is not None and process.is_open and process.channel.handshakes < self._share

    def collect(self) -> Iterator[Metric]:
        """Return the samples of the parent process."""
        yield from self._arrivals.collect()
        passed = CounterMetricFamily(
            "roomful_passed_connections", "Connections passed to workers", labels=["worker"]
        )
        restarts = CounterMetricFamily(
            "roomful_worker_restarts", "Worker processes started because one had died", labels=["worker"]
        )
        ready = GaugeMetricFamily("roomful_worker_ready", "1 while it takes connections", labels=["worker"])
        for worker in self._workers:
            label = [worker.member.name]
            passed.add_metric(label, self._passed[worker.member.name])
            restarts.add_metric(label, worker.restarts)
            ready.add_metric(label, float(worker.process is not None and worker.process.is_open))
        yield from (passed, restarts, ready)
