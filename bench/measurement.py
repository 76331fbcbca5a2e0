"""What a scenario is given, what it hands back, and the clocks it reads."""

import resource
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, Self

from .process import cpu_seconds
from .websocket_client import clock
from .wire import Dialect


@dataclass(frozen=True)
class Target:
    """A server that runs now. ``data`` is its folder when it keeps documents, else None."""

    port: int
    pid: int
    dialect: Dialect
    data: Path | None


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

    ``phases`` run one after the other on one server. Between two the server is stopped and started again on
    the same folder; a server without one runs the first phase only.
    """

    phases: ClassVar[tuple[str, ...]]

    @property
    def name(self) -> str: ...

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
)


class Window:
    """CPU of the server and of the generator between its making and ``close``."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._own = _own_cpu()
        self._server = cpu_seconds(target.pid)
        self._started = clock()

    def close(self, ended: float | None = None) -> dict[str, float]:
        """``seconds`` until ``ended`` (default: now), ``server_seconds`` of CPU, both shares of one core."""
        wall = (ended or clock()) - self._started
        server = cpu_seconds(self._target.pid) - self._server
        return {"seconds": wall, "server_seconds": server} | self.shares(wall)

    def shares(self, wall: float | None = None) -> dict[str, float]:
        """Both shares of one core until now, in percent of ``wall`` seconds (default: since the start)."""
        part = 100 / (wall or clock() - self._started)
        server = cpu_seconds(self._target.pid) - self._server
        return {"server_cpu": part * server, "generator_cpu": part * (_own_cpu() - self._own)}


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def percentile(ordered: "list[float] | array[float]", share: float) -> float:
    """The value below which ``share`` of an ascending sequence lies (nearest rank); 0 for an empty one."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
