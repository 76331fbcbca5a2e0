"""Connections that are open and do nothing: the memory each takes."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from bench.measurement import LOAD, Figure, Launch, Outcome, Target, Window
from bench.participant import Participant, join_all, losses
from bench.process import proportional_memory


@dataclass(frozen=True)
class Idle:
    """First ``some``, then ``many`` connections, in rooms of ``per_room`` that nobody has written in."""

    name: str = "idle"
    some: int = 2000
    many: int = 5000
    per_room: int = 10
    settle: float = 3.0
    watched: float = 5.0

    @property
    def phases(self) -> Mapping[str, Launch]:
        return {"idle": Launch()}

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("some", f"memory per connection, {self.some:,}", "KB", limit=25),
            Figure("many", f"memory per connection, {self.many:,}", "KB", limit=25),
            Figure("before", "memory before", "MB", side=True),
            Figure("rest", "CPU per idle connection", "µs/s"),
            *LOAD,
        )

    def short(self) -> Self:
        return replace(self, some=100, many=200, settle=0.5, watched=1.0)

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:  # noqa: ARG002
        for participant in await join_all(target, ["first"] * 100):
            participant.close()
        await asyncio.sleep(self.settle)
        before = proportional_memory(target.pid)
        figures = {"before": before / 1e6}
        people: list[Participant] = []
        for key, number in (("some", self.some), ("many", self.many)):
            names = [f"idle-{index // self.per_room}" for index in range(len(people), number)]
            people += await join_all(target, names)
            await asyncio.sleep(self.settle)
            figures[key] = (proportional_memory(target.pid) - before) / number / 1000
        window = Window(target)
        await asyncio.sleep(self.watched)
        figures |= window.close()
        figures["rest"] = 1e6 * figures["server_seconds"] / figures["seconds"] / len(people)
        return Outcome(figures, losses(people))
