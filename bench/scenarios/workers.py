"""One worker and two on one machine, under the same load in turn: how much more do two take?"""

import gc
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from bench.deliveries import read_deliveries
from bench.documents import typed_updates
from bench.keyboard import Writer, type_letters
from bench.measurement import LOAD, Figure, Launch, Outcome, Target, Window, percentile
from bench.participant import Participant, join_all, losses, until_quiet
from bench.process import TICK, cpu_by_process

from .typing import DRAIN_SECONDS, QUIET_SECONDS

SIDES = ("one", "two")
WORKERS, NODES = "workers", "nodes"
Texts = Sequence[tuple[int, list[bytes]]]


@dataclass(frozen=True)
class Level:
    """What one side did at one rate. CPU is in seconds; ``busiest`` is that of its busiest process."""

    delivered: int
    wall: float
    p99: float
    late: float
    cpu: float
    busiest: float
    redis: float
    problems: list[str]

    @property
    def rate(self) -> float:
        """Deliveries per second."""
        return self.delivered / self.wall

    @property
    def busy(self) -> float:
        """Share of a core that the busiest process takes."""
        return max(self.busiest, TICK) / self.wall


class Side:
    """The people on one server, or on the nodes that stand for its workers."""

    def __init__(self, target: Target, nodes: Sequence[int], people: list[Participant], texts: Texts) -> None:
        self._target = target
        self._pids = [target.nodes[node].pid for node in nodes]
        self._people = people
        self._writers = [Writer(person, *text) for person, text in zip(people, texts, strict=True)]

    async def measure(self, rate: float, seconds: float, dice: random.Random) -> Level:
        rooms: dict[str, list[Participant]] = {}
        for person in self._people:
            person.recording = True
            rooms.setdefault(person.room, []).append(person)
        first = len(self._writers[0].sent)
        window = Window(self._target)
        before = cpu_by_process(self._pids)
        schedule = await type_letters(self._writers, round(rate * seconds), rate, dice)
        last = await until_quiet(self._people, QUIET_SECONDS, DRAIN_SECONDS)
        spent = [cpu - before.get(pid, 0.0) for pid, cpu in cpu_by_process(self._pids).items()]
        figures = window.close(last)
        deliveries = read_deliveries(list(rooms.values()), self._writers, first)
        return Level(
            delivered=deliveries.number,
            wall=figures["seconds"],
            p99=deliveries.figures()["p99"],
            late=1000 * percentile(sorted(schedule.late), 0.99),
            cpu=sum(spent),
            busiest=max(spent),
            redis=figures["redis_seconds"],
            problems=deliveries.missing() + losses(self._people),
        )


@dataclass(frozen=True)
class Workers:
    """``people`` in each of ``rooms`` type ``step`` letters a second each, then twice as many, and so on,
    ``steps`` times. One and two take turns at each rate.

    ``processes`` says what two are: ``workers`` of one server or two ``nodes``, which have whole rooms each
    or, with ``split`` 1, half of each room's people. ``options`` go to the servers.
    """

    name: str = "workers"
    rooms: int = 200
    people: int = 4
    step: float = 4.0
    steps: int = 3
    warm_up: float = 2.0
    duration: float = 8.0
    seed: int = 16
    late_limit: float = 50.0
    gain: float = 1.7
    processes: str = WORKERS
    split: int = 0
    options: str = "--shard-by room"

    @property
    def phases(self) -> Mapping[str, Launch]:
        one, two = (("--redis-prefix", side, *self.options.split()) for side in SIDES)
        if self.processes == NODES:
            return {"type": Launch(nodes=(one, two, two), redis=True, cores="0,1")}
        workers = ((*one, "--workers", "1"), (*two, "--workers", "2"))
        return {"type": Launch(nodes=workers, redis=True, cores="0,1")}

    @property
    def _rates(self) -> list[float]:
        return [self.step * (number + 1) for number in range(self.steps)]

    @property
    def figures(self) -> tuple[Figure, ...]:
        rows = [
            Figure(
                "share",
                "deliveries at equal load of the busiest process, one to two",
                "",
                limit=1 / self.gain,
            ),
            Figure("gain", "the same, two to one", "", side=True),
            Figure("alone", "one: deliveries per second, as busy as two", "", side=True),
        ]
        for side in SIDES:
            rows += [
                Figure(f"{side}_rate", f"{side}: deliveries per second, as compared", "", side=True),
                Figure(f"{side}_cost", f"{side}: CPU per delivery", "µs", side=True),
                Figure(f"{side}_redis", f"{side}: CPU of Redis per delivery", "µs", side=True),
                Figure(f"{side}_kept", f"{side}: deliveries per second, p99 in bounds", "", side=True),
            ]
        for rate in self._rates:
            offered = f"{rate * self.rooms * self.people * (self.people - 1):,.0f}"
            for side in SIDES:
                key = f"{side}_{rate:g}"
                rows += [
                    Figure(f"{key}_busy", f"{side}: busiest at {offered} per second", "%", side=True),
                    Figure(f"{key}_p99", f"{side}: p99 at {offered} per second", "ms", side=True),
                ]
        return (*rows, *LOAD, Figure("late", "generator late by, p99 at its worst", "ms", side=True))

    def short(self) -> Self:
        return replace(self, rooms=20, step=2.0, steps=2, warm_up=0.5, duration=1.0)

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:  # noqa: ARG002
        dice = random.Random(self.seed)
        letters = round(self.step * self.warm_up) + sum(round(rate * self.duration) for rate in self._rates)
        texts = [
            (client := dice.getrandbits(32), typed_updates(client, letters, seed=self.seed + index))
            for index in range(self.rooms * self.people)
        ]
        sides = {
            "one": await self._side(target, [0], texts),
            "two": await self._side(target, list(range(1, len(target.nodes))), texts),
        }
        gc.collect()
        gc.freeze()
        gc.disable()
        for side in sides.values():
            await side.measure(self.step, self.warm_up, dice)
        window = Window(target)
        levels = {
            rate: {name: await side.measure(rate, self.duration, dice) for name, side in sides.items()}
            for rate in self._rates
        }
        figures = window.close()
        problems = [line for level in levels.values() for side in level.values() for line in side.problems]
        return Outcome(figures | self.compared(levels), problems)

    async def _side(self, target: Target, nodes: Sequence[int], texts: Texts) -> Side:
        names = [f"workers-{number // self.people}" for number in range(len(texts))]
        turns = [number if self.split else number // self.people for number in range(len(texts))]
        people = await join_all(target, names, [nodes[turn % len(nodes)] for turn in turns])
        return Side(target, nodes, people, texts)

    def compared(self, levels: dict[float, dict[str, Level]]) -> dict[str, float]:
        """Two are taken at the highest rate that both kept up with, or at the lowest there is; one where
        its busiest process would be as busy as theirs, between the rates that were measured."""
        kept = {
            side: [level for at in levels.values() if (level := at[side]).p99 <= self.late_limit]
            for side in SIDES
        }
        both = [rate for rate, at in levels.items() if all(at[side] in kept[side] for side in SIDES)]
        chosen = levels[max(both, default=self.step)]
        alone = _delivered_at(chosen["two"].busy, [at["one"] for at in levels.values()])
        figures = {
            "share": alone / max(1.0, chosen["two"].rate),
            "gain": chosen["two"].rate / max(1.0, alone),
            "alone": alone,
            "late": max(level.late for at in levels.values() for level in at.values()),
        }
        for side, level in chosen.items():
            figures |= {
                f"{side}_rate": level.rate,
                f"{side}_cost": 1e6 * level.cpu / max(1, level.delivered),
                f"{side}_redis": 1e6 * level.redis / max(1, level.delivered),
                f"{side}_kept": max((level.rate for level in kept[side]), default=0.0),
            }
        for rate, at in levels.items():
            for side, level in at.items():
                figures[f"{side}_{rate:g}_busy"] = 100 * level.busy
                figures[f"{side}_{rate:g}_p99"] = level.p99
        return figures


def _delivered_at(busy: float, levels: Sequence[Level]) -> float:
    """Return the deliveries per second at a load, between those of two levels or in proportion to one."""
    ordered = sorted(levels, key=lambda level: level.busy)
    below = [level for level in ordered if level.busy <= busy]
    above = [level for level in ordered if level.busy > busy]
    if not below:
        return above[0].rate * busy / above[0].busy
    if not above:
        return below[-1].rate * busy / below[-1].busy
    low, high = below[-1], above[0]
    return low.rate + (high.rate - low.rate) * (busy - low.busy) / (high.busy - low.busy)
