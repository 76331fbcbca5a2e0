"""People of one room on two servers with one Redis: what an update costs, and how long it takes across."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.measurement import LOAD, Figure, Launch, Outcome, Target

from .typing import Typing


@dataclass(frozen=True)
class Nodes(Typing):
    """Neighbours in each room sit on different nodes. ``cpu_goal`` and ``late_limit`` are those of an update,
    and of its way to the other node.
    """

    @property
    def phases(self) -> Mapping[str, Launch]:
        return {"type": Launch(nodes=((), ()), redis=True)}

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("update", "CPU of nodes and Redis per update", "µs", goal=self.cpu_goal),
            Figure("nodes_update", "of that, both nodes", "µs", side=True),
            Figure("redis_update", "of that, Redis", "µs", side=True),
            Figure("far_p50", "edit to seen on the other node, p50", "ms"),
            Figure("far_p99", "edit to seen on the other node, p99", "ms", limit=self.late_limit),
            Figure("near_p50", "edit to seen on the same node, p50", "ms"),
            Figure("near_p99", "edit to seen on the same node, p99", "ms"),
            Figure("updates", "updates per second", "", side=True),
            Figure("delivered", "deliveries per second", "", side=True),
            *LOAD,
            Figure("late", "generator late by, p99", "ms", side=True),
        )

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:
        outcome = await super().drive(target, phase, cache)
        figures = outcome.figures
        per_update = 1e6 / figures["written"]
        figures["update"] = per_update * figures["server_seconds"]
        figures["redis_update"] = per_update * figures["redis_seconds"]
        figures["nodes_update"] = figures["update"] - figures["redis_update"]
        figures["updates"] = figures["written"] / figures["seconds"]
        return outcome


NODES = Nodes("nodes", 1, 40, 40, 25, 3, 10, 14, cpu_goal=0.5, late_limit=10)
NODES_ROOMS = Nodes("nodes-rooms", 250, 4, 4, 1, 3, 10, 15, cpu_goal=0.5, late_limit=10)
