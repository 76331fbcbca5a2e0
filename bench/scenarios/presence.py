"""A room where all move their cursors while one types: does the text get through, and what does it cost?

A server may put several states into one message, and may pass over a state that a newer one has replaced; so
what is counted is how old a state is when somebody sees it, and that each person's last one is seen by all.
"""

import asyncio
import gc
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from bench.deliveries import read_deliveries
from bench.documents import typed_updates
from bench.keyboard import Writer, type_letters
from bench.measurement import Figure, Launch, Outcome, Target, Window, percentile
from bench.participant import Participant, join_all, losses, until_quiet
from bench.websocket_client import clock, frame
from bench.wire import AWARENESS, read_varuint, sized, varuint

QUIET_SECONDS = 3.0
"""Longer than any server waits before it tells of a change."""
DRAIN_SECONDS = 60.0
WITNESSES = 10
"""So many are asked what they have seen of the others; to ask all would take longer than the run."""


class Mover:
    """A participant's cursor: it says where it is once a second, each time under the next clock."""

    def __init__(self, participant: Participant, client: int) -> None:
        self.client = client
        self.sent: list[float] = []
        self._participant = participant
        self._user = {"name": f"Somebody {client % 1000}", "color": "#30bced"}

    def move(self, dice: random.Random) -> None:
        place = {"type": None, "tname": "t", "item": {"client": self.client, "clock": dice.randrange(9999)}}
        state = {"user": self._user, "cursor": {"anchor": place, "head": place}}
        self.sent.append(clock())
        entry = varuint(self.client) + varuint(len(self.sent)) + sized(json.dumps(state).encode())
        key = self._participant.key
        self._participant.transport.write(frame(key + bytes((AWARENESS,)) + sized(b"\x01" + entry)))


def seen(witness: Participant) -> dict[int, list[tuple[float, int]]]:
    """When which clock of each client reached one who recorded all."""
    states: dict[int, list[tuple[float, int]]] = {}
    start = len(witness.key)
    for arrived, message in witness.messages():
        if message[start] != AWARENESS:
            continue
        _, at = read_varuint(message, start + 1)
        entries, at = read_varuint(message, at)
        for _ in range(entries):
            client, at = read_varuint(message, at)
            number, at = read_varuint(message, at)
            size, at = read_varuint(message, at)
            at += size
            states.setdefault(client, []).append((arrived, number))
    return states


@dataclass(frozen=True)
class Presence:
    """One of ``people`` types ``rate`` letters a second; all move ``moves`` times a second."""

    name: str = "presence"
    people: int = 500
    moves: float = 1.0
    rate: float = 10.0
    warm_up: float = 3.0
    duration: float = 10.0
    seed: int = 16

    @property
    def phases(self) -> Mapping[str, Launch]:
        return {"move": Launch()}

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("server_cpu", "server CPU", "%", goal=0.1),
            Figure("p50", "edit to seen, p50", "ms"),
            Figure("p99", "edit to seen, p99", "ms", limit=20),
            Figure("lost", "edits that did not arrive", "%"),
            Figure("age_p50", "age of a state when it is seen, p50", "ms", side=True),
            Figure("age_p99", "age of a state when it is seen, p99", "ms", side=True),
            Figure("unseen", "last states that did not arrive", "%"),
            Figure("received", "received by each person", "kB/s", side=True),
            Figure("generator_cpu", "generator CPU", "%", side=True),
            Figure("late", "generator late by, p99", "ms", side=True),
        )

    def short(self) -> Self:
        return replace(self, people=30, warm_up=0.5, duration=3.0)

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:  # noqa: ARG002
        dice = random.Random(self.seed)
        warm, letters = round(self.rate * self.warm_up), round(self.rate * (self.warm_up + self.duration))
        author = dice.getrandbits(32)
        people = await join_all(target, ["presence"] * self.people)
        writer = Writer(people[0], author, typed_updates(author, letters, seed=self.seed))
        movers = [Mover(person, dice.getrandbits(32)) for person in people]
        gc.collect()
        gc.freeze()
        gc.disable()
        moving = [asyncio.create_task(self._move(mover, dice)) for mover in movers]
        await type_letters([writer], warm, self.rate, dice)
        for person in people:
            person.recording = True
        # Else the first letter might follow the last of the warm-up at once, which nobody types.
        await asyncio.sleep(1 / self.rate)
        before = sum(person.received for person in people)
        window = Window(target)
        started = clock()
        schedule = await type_letters([writer], letters - warm, self.rate, dice)
        figures = window.close()
        seconds = clock() - started
        figures["received"] = (
            (sum(person.received for person in people) - before) / seconds / 1000 / len(people)
        )
        for task in moving:
            task.cancel()
        await until_quiet(people, QUIET_SECONDS, DRAIN_SECONDS)
        figures |= witnessed(movers, people[:WITNESSES], started)
        deliveries = read_deliveries([people], [writer], warm)
        figures |= deliveries.figures()
        figures["lost"] = 100 * (1 - deliveries.number / deliveries.expected)
        figures["late"] = 1000 * percentile(sorted(schedule.late), 0.99)
        return Outcome(figures, losses(people))

    async def _move(self, mover: Mover, dice: random.Random) -> None:
        await asyncio.sleep(dice.random() / self.moves)
        while True:
            mover.move(dice)
            await asyncio.sleep(1 / self.moves)


def witnessed(movers: Sequence[Mover], witnesses: Sequence[Participant], since: float) -> dict[str, float]:
    """What some saw of everybody: the ages of states sent after ``since``, and whose last state they lack."""
    ages: list[float] = []
    unseen = 0
    for witness in witnesses:
        states = seen(witness)
        for mover in movers:
            arrivals = states.get(mover.client, [])
            ages += [
                arrived - mover.sent[number - 1]
                for arrived, number in arrivals
                if number <= len(mover.sent) and mover.sent[number - 1] >= since
            ]
            unseen += max((number for _, number in arrivals), default=0) < len(mover.sent)
    ages.sort()
    return {
        "age_p50": 1000 * percentile(ages, 0.5),
        "age_p99": 1000 * percentile(ages, 0.99),
        "unseen": 100 * unseen / (len(witnesses) * len(movers)),
    }
