"""What a scenario is given, what it hands back, and the clocks it reads."""

import resource
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from .process import cpu_seconds, stolen_seconds
from .websocket_client import clock
from .wire import Dialect


@dataclass(frozen=True)
class Launch:
    """What a scenario wants to run: the further options of each server, of which there is one or several.

    With ``redis`` they share one. ``cores`` are for all of that. With ``again``, a server that ends is
    started again on its data. ``events`` asks for servers that tell events, the others keep documents.
    """

    nodes: tuple[tuple[str, ...], ...] = ((),)
    redis: bool = False
    cores: str = "0"
    again: bool = False
    events: bool = False


@dataclass(frozen=True)
class Node:
    """One server: its port, and its process, whose children count as it does."""

    port: int
    pid: int


@dataclass(frozen=True)
class Target:
    """What runs now. ``data`` is the folder of a server that keeps documents in one, else None."""

    nodes: tuple[Node, ...]
    dialect: Dialect
    data: Path | None = None
    redis: int | None = None
    """The process of the Redis that they share."""

    @property
    def pid(self) -> int:
        """The first node's process: where there is one node, the server's."""
        return self.nodes[0].pid

    def cpu_seconds(self) -> float:
        """Of all nodes and of Redis."""
        return sum(cpu_seconds(node.pid) for node in self.nodes) + self.redis_seconds()

    def redis_seconds(self) -> float:
        return cpu_seconds(self.redis) if self.redis else 0.0


@dataclass
class Outcome:
    """Figures by key. Any problem makes them invalid: they are shown, loudly, and never compared."""

    figures: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """One line of a scenario's table. Smaller is better, always.

    ``goal`` is the ratio to the better Node server that Roomful aims at, ``limit`` a bound of its own, in the
    figure's unit. A ``side`` figure explains the others and is not compared.
    """

    key: str
    title: str
    unit: str
    goal: float | None = None
    limit: float | None = None
    side: bool = False


class Scenario(Protocol):
    """Parameters are the fields of a frozen dataclass, so they travel to the generator as JSON.

    ``phases`` run one after the other, each on what it wants launched. Between two all of that is stopped and
    started again on the same folder; a server that keeps nothing runs the first phase only.
    """

    @property
    def name(self) -> str: ...

    @property
    def phases(self) -> Mapping[str, Launch]: ...

    @property
    def figures(self) -> tuple[Figure, ...]: ...

    def short(self) -> Self:
        """The same at a size that shows whether everything works, and nothing else."""
        ...

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:
        """Runs in the generator's process. ``cache`` is a folder for documents that are costly to make."""
        ...


LOAD = (
    Figure("server_cpu", "server CPU", "%", side=True),
    Figure("generator_cpu", "generator CPU", "%", side=True),
    Figure("stolen", "of a core, taken by the host", "%", side=True),
)


class Window:
    """CPU of the servers, with their Redis, and of the generator between its making and ``close``."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._own = _own_cpu()
        self._server = target.cpu_seconds()
        self._redis = target.redis_seconds()
        self._stolen = stolen_seconds()
        self._started = clock()

    def close(self, ended: float | None = None) -> dict[str, float]:
        """``seconds`` until ``ended`` (default: now), ``server_seconds`` of CPU, both shares of one core.

        ``redis_seconds`` are the part of the CPU that is Redis'.
        """
        wall = (ended or clock()) - self._started
        spent = {
            "server_seconds": self._target.cpu_seconds() - self._server,
            "redis_seconds": self._target.redis_seconds() - self._redis,
        }
        stolen = 100 / wall * (stolen_seconds() - self._stolen)
        return {"seconds": wall} | spent | self.shares(wall) | {"stolen": stolen}

    def shares(self, wall: float | None = None) -> dict[str, float]:
        """Both shares of one core until now, in percent of ``wall`` seconds (default: since the start)."""
        part = 100 / (wall or clock() - self._started)
        server = self._target.cpu_seconds() - self._server
        return {"server_cpu": part * server, "generator_cpu": part * (_own_cpu() - self._own)}


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def percentile(ordered: "list[float] | array[float]", share: float) -> float:
    """The value below which ``share`` of an ascending sequence lies (nearest rank); 0 for an empty one."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
