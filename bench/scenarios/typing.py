"""People type, others see it: what one delivery costs the server, and how long it takes.

A delivery is one person's update having reached one other person. A server that merges updates sends fewer
messages than that, so messages are not counted: every message is taken apart after the run, by the struct
ranges in it, for every receiver. An update that did not arrive, at anybody's, makes the run invalid.
"""

import asyncio
import gc
import random
from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from bench.documents import typed_updates
from bench.measurement import LOAD, Figure, Outcome, Target, Window, percentile
from bench.participant import Participant, join_all, losses, until_quiet
from bench.websocket_client import clock, frame
from bench.wire import written

QUIET_SECONDS = 1.5
DRAIN_SECONDS = 60.0


class Writer:
    """A participant's keyboard: its frames in order, and when each was sent."""

    def __init__(self, participant: Participant, client: int, updates: list[bytes]) -> None:
        self.participant = participant
        self.client = client
        room, dialect = participant.room, participant.dialect
        self.frames = [frame(dialect.update(room, update)) for update in updates]
        self.sent = array("d")

    def press(self, now: float) -> None:
        self.participant.transport.write(self.frames[len(self.sent)])
        self.sent.append(now)


class Schedule:
    """Presses keys when they are due; how late it was tells whether the generator kept up."""

    def __init__(self, presses: list[tuple[float, Writer]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._presses = sorted(presses, key=_due)
        self._next = 0
        self._started = clock()
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self.late = array("d")
        self._tick()

    def _tick(self) -> None:
        now = clock() - self._started
        while self._next < len(self._presses):
            due, writer = self._presses[self._next]
            if due > now:
                # libuv's timers count milliseconds
                self._loop.call_later(max(0.001, due - now), self._tick)
                return
            writer.press(clock())
            self.late.append(now - due)
            self._next += 1
        self.finished.set_result(None)


def _due(press: tuple[float, Writer]) -> float:
    return press[0]


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

    phases: ClassVar[tuple[str, ...]] = ("type",)

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
        people = await join_all(target, names)
        groups = [people[start : start + self.people] for start in range(0, len(people), self.people)]
        typists = [participant for group in groups for participant in group[: self.writers]]
        writers = [Writer(typist, *text) for typist, text in zip(typists, texts, strict=True)]
        gc.collect()
        gc.freeze()
        gc.disable()

        await self._type(writers, warm_letters, dice)
        await until_quiet(people, QUIET_SECONDS, DRAIN_SECONDS)
        for participant in people:
            participant.recording = True
        window = Window(target)
        schedule = await self._type(writers, letters - warm_letters, dice)
        # The quiet seconds stay in: what a server has put off until then is part of its price.
        last = await until_quiet(people, QUIET_SECONDS, DRAIN_SECONDS)
        figures = window.close(last)
        outcome = Outcome(figures, losses(people))
        self._count(groups, writers, warm_letters, outcome)
        figures["late"] = 1000 * percentile(sorted(schedule.late), 0.99)
        return outcome

    async def _type(self, writers: list[Writer], letters: int, dice: random.Random) -> Schedule:
        presses: list[tuple[float, Writer]] = []
        for writer in writers:
            phase = dice.random()
            presses += [((letter + phase) / self.rate, writer) for letter in range(letters)]
        schedule = Schedule(presses)
        await schedule.finished
        return schedule

    def _count(
        self, groups: list[list[Participant]], writers: list[Writer], first: int, outcome: Outcome
    ) -> None:
        """Everything measured, against everything that must have arrived."""
        latencies = array("d")
        by_room: dict[str, dict[int, Writer]] = {group[0].room: {} for group in groups}
        for writer in writers:
            by_room[writer.participant.room][writer.client] = writer
        expected = 0
        for group in groups:
            read: dict[bytes, list[tuple[int, int, int]]] = {}
            for participant in group:
                others = {
                    client: writer
                    for client, writer in by_room[participant.room].items()
                    if writer.participant is not participant
                }
                expected += sum(len(writer.sent) - first for writer in others.values())
                _receive(participant, others, first, read, latencies)
                participant.forget()
        delivered = len(latencies)
        if delivered != expected:
            outcome.problems.append(f"{delivered} of {expected} updates arrived")
        ordered = sorted(latencies)
        figures = outcome.figures
        figures["delivery"] = 1e6 * figures["server_seconds"] / max(1, delivered)
        figures["p50"] = 1000 * percentile(ordered, 0.5)
        figures["p99"] = 1000 * percentile(ordered, 0.99)
        figures["delivered"] = delivered / figures["seconds"]


def _receive(
    participant: Participant,
    others: dict[int, Writer],
    first: int,
    read: dict[bytes, list[tuple[int, int, int]]],
    latencies: "array[float]",
) -> None:
    """Append one latency for each letter of the others' that reached this participant, once each.

    ``read`` remembers what a message holds, as a room's receivers get the same ones.
    """
    seen = {client: bytearray(len(writer.sent)) for client, writer in others.items()}
    for arrived, update in participant.updates():
        runs = read.get(update)
        if runs is None:
            runs = read[update] = written(update)
        for client, start, length in runs:
            marks = seen.get(client)
            if marks is None:  # the participant's own letters, echoed
                continue
            sent = others[client].sent
            for letter in range(max(first, start), start + length):
                if not marks[letter]:
                    marks[letter] = 1
                    latencies.append(arrived - sent[letter])


LECTURE = Typing("lecture", 1, 1001, 1, 15, 3, 10, 11, cpu_goal=0.7, late_limit=None)
CROWD = Typing("crowd", 1, 100, 100, 20, 3, 10, 12, cpu_goal=0.25, late_limit=25)
CLASSES = Typing("classes", 250, 4, 4, 5, 3, 10, 13, cpu_goal=0.8, late_limit=15)
