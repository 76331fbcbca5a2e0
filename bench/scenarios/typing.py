"""People type, others see it: what one delivery costs the server, and how long it takes.

What a delivery is, and how it is counted, is in deliveries.py.
"""

import gc
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from bench.deliveries import read_deliveries
from bench.documents import typed_updates
from bench.keyboard import Writer, type_letters
from bench.measurement import LOAD, Figure, Launch, Outcome, Target, Window, percentile
from bench.participant import join_all, losses, until_quiet

QUIET_SECONDS = 1.5
DRAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Typing:
    """``writers`` of the ``people`` in each of ``rooms`` type ``rate`` letters a second each."""

    name: str
    rooms: int
    people: int
    writers: int
    rate: float
    warm_up: float
    duration: float
    seed: int
    cpu_goal: float
    late_limit: float | None

    @property
    def phases(self) -> Mapping[str, Launch]:
        return {"type": Launch()}

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("delivery", "server CPU per delivery", "µs", goal=self.cpu_goal),
            Figure("p50", "edit to seen, p50", "ms"),
            Figure("p99", "edit to seen, p99", "ms", limit=self.late_limit),
            Figure("delivered", "deliveries per second", "", side=True),
            *LOAD,
            Figure("late", "generator late by, p99", "ms", side=True),
        )

    def short(self) -> Self:
        people = self.people if self.people < 50 else self.people // 10
        return replace(
            self,
            rooms=max(1, self.rooms // 10),
            people=people,
            writers=min(self.writers, people),
            warm_up=0.5,
            duration=2.0,
        )

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:  # noqa: ARG002
        letters = round(self.rate * (self.warm_up + self.duration))
        warm_letters = round(self.rate * self.warm_up)
        dice = random.Random(self.seed)
        names = [f"typing-{number}" for number in range(self.rooms) for _ in range(self.people)]
        texts = [
            (client := dice.getrandbits(32), typed_updates(client, letters, seed=self.seed + index))
            for index in range(self.rooms * self.writers)
        ]
        # Neighbours in a room sit on different nodes, where there are several.
        people = await join_all(target, names, [person % len(target.nodes) for person in range(len(names))])
        groups = [people[start : start + self.people] for start in range(0, len(people), self.people)]
        typists = [participant for group in groups for participant in group[: self.writers]]
        writers = [Writer(typist, *text) for typist, text in zip(typists, texts, strict=True)]
        gc.collect()
        gc.freeze()
        gc.disable()

        await type_letters(writers, warm_letters, self.rate, dice)
        await until_quiet(people, QUIET_SECONDS, DRAIN_SECONDS)
        for participant in people:
            participant.recording = True
        window = Window(target)
        schedule = await type_letters(writers, letters - warm_letters, self.rate, dice)
        # The quiet seconds stay in: what a server has put off until then is part of its price.
        last = await until_quiet(people, QUIET_SECONDS, DRAIN_SECONDS)
        figures = window.close(last)
        deliveries = read_deliveries(groups, writers, warm_letters)
        figures["written"] = float(len(schedule.late))
        figures["delivery"] = 1e6 * figures["server_seconds"] / max(1, deliveries.number)
        figures["delivered"] = deliveries.number / figures["seconds"]
        figures["late"] = 1000 * percentile(sorted(schedule.late), 0.99)
        figures |= deliveries.figures()
        return Outcome(figures, losses(people) + deliveries.missing())


LECTURE = Typing("lecture", 1, 1001, 1, 15, 3, 10, 11, cpu_goal=0.7, late_limit=None)
CROWD = Typing("crowd", 1, 100, 100, 20, 3, 10, 12, cpu_goal=0.25, late_limit=25)
CLASSES = Typing("classes", 250, 4, 4, 5, 3, 10, 13, cpu_goal=0.8, late_limit=15)
