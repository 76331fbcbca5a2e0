"""A server dies with thousands of people on it and is started again: how long until all are back?"""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pycrdt import Text, merge_updates

from bench.documents import typed_updates, whole
from bench.measurement import LOAD, Figure, Launch, Outcome, Target, Window
from bench.participant import Participant, join, losses
from bench.process import dropped_connections, family
from bench.websocket_client import clock
from bench.wire import state_of

FIRST_WAIT, LONGEST_WAIT = 0.2, 2.5
"""y-websocket 3: waits double with each attempt, without jitter, and start anew once the client is synced."""
SILENCE_SECONDS = 30.0
"""After which y-websocket gives a connection up."""
PATIENCE_SECONDS = 120.0
AUTHOR = 4_242_424_242
SECONDS = 6


@dataclass
class Attempt:
    """One try to come back. A refused one met no server; of the others, one that is not ``synced`` failed."""

    begun: float
    refused: bool = False
    synced: float | None = None


@dataclass(frozen=True)
class Storm:
    """``clients`` in rooms of ``per_room`` that hold a text of ``letters``.

    They first come ``at_once`` at a time: what the server takes so is its capacity. After a ``settle`` it is
    killed and started again on its data, and everybody comes back as y-websocket does.
    """

    name: str = "storm"
    clients: int = 5000
    per_room: int = 50
    letters: int = 2000
    at_once: int = 100
    checked: int = 5
    settle: float = 2.0

    @property
    def phases(self) -> Mapping[str, Launch]:
        return {"storm": Launch(again=True)}

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("share", "storm over after, in clients / capacity", "", limit=1.5),
            Figure("over", "from the first that a server took to the last that is synced", "s"),
            Figure("away", "from the kill to the first", "s"),
            Figure("capacity", "capacity: clients connected and synced per second", "", side=True),
            Figure("attempts", "attempts per client", ""),
            Figure("failed", "of those, taken by a server and lost", "", limit=0),
            Figure("dropped", "of those, dropped unseen by a full queue", "", side=True),
            *(
                Figure(f"second_{second}", f"attempts begun in second {second} after the kill", "", side=True)
                for second in range(1, SECONDS)
            ),
            Figure("later", "attempts begun later", "", side=True),
            Figure("server_seconds", "server CPU, its start included", "s"),
            *LOAD,
        )

    def short(self) -> Self:
        return replace(self, clients=200, per_room=10, letters=100, checked=2, settle=0.5)

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:  # noqa: ARG002
        text = merge_updates(*typed_updates(AUTHOR, self.letters, seed=1))
        state = state_of(AUTHOR, self.letters)
        rooms = [f"storm-{client // self.per_room}" for client in range(self.clients)]
        for room in dict.fromkeys(rooms):
            await self._write(target, room, text)
        started = clock()
        people = await self._come(target, rooms)
        capacity = self.clients / (clock() - started)
        await asyncio.sleep(self.settle)
        problems = losses(people)

        window = Window(target)
        dropped = dropped_connections()
        killed = clock()
        # The first is who starts it again.
        os.kill(family(target.pid)[1], signal.SIGKILL)
        returns = [asyncio.create_task(_return(target, person, state)) for person in people]
        _, missing = await asyncio.wait(returns, timeout=PATIENCE_SECONDS)
        if missing:
            problems.append(f"{len(missing)} of {self.clients} did not come back")
            for task in missing:
                task.cancel()
            await asyncio.wait(missing)
        figures = window.close()
        figures["dropped"] = (dropped_connections() - dropped) / self.clients
        if target.data is not None:
            problems += await self._check(target, rooms, text)
        attempts = [attempt for task in returns if not task.cancelled() for attempt in task.result()]
        return Outcome(figures | self.measured(attempts, killed, capacity), problems)

    async def _write(self, target: Target, room: str, text: bytes) -> None:
        author = await join(target, room)
        await author.synced
        author.send(target.dialect.update(room, text))
        await author.resync()
        author.close()

    async def _come(self, target: Target, rooms: list[str]) -> list[Participant]:
        gate = asyncio.Semaphore(self.at_once)

        async def come(room: str) -> Participant:
            async with gate:
                person = await join(target, room)
                await person.synced
                return person

        return await asyncio.gather(*map(come, rooms))

    async def _check(self, target: Target, rooms: list[str], text: bytes) -> list[str]:
        """Whether newcomers to some of the rooms find the text there."""
        wanted = str(whole([text]).get("text", type=Text))
        lacking: list[str] = []
        for room in list(dict.fromkeys(rooms))[: self.checked]:
            reader = await join(target, room, recording=True)
            await reader.synced
            found = whole([update for _, update in reader.updates()])
            if str(found.get("text", type=Text)) != wanted:
                lacking.append(f"{room} came back with another text")
            reader.close()
        return lacking

    def measured(self, attempts: list[Attempt], killed: float, capacity: float) -> dict[str, float]:
        figures = {"capacity": capacity, "attempts": len(attempts) / self.clients}
        taken = [attempt for attempt in attempts if attempt.synced is not None]
        figures["failed"] = (
            sum(not attempt.refused and attempt.synced is None for attempt in attempts) / self.clients
        )
        if taken:
            first = min(attempt.begun for attempt in taken)
            figures["away"] = first - killed
            figures["over"] = max(attempt.synced or 0.0 for attempt in taken) - first
            figures["share"] = figures["over"] * capacity / self.clients
        for second in range(1, SECONDS):
            figures[f"second_{second}"] = sum(
                int(attempt.begun - killed) == second - 1 for attempt in attempts
            )
        figures["later"] = sum(int(attempt.begun - killed) >= SECONDS - 1 for attempt in attempts)
        return figures


async def _return(target: Target, person: Participant, state: bytes) -> list[Attempt]:
    """Wait until the connection is lost, and try until the document is there again."""
    await person.gone
    attempts: list[Attempt] = []
    wait = FIRST_WAIT
    while True:
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
        attempt = Attempt(clock())
        attempts.append(attempt)
        try:
            again = await join(target, person.room, state=state)
        except ConnectionRefusedError:
            attempt.refused = True
            continue
        except OSError:
            continue
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                attempt.synced = await again.synced
        except (OSError, TimeoutError):
            again.transport.abort()
        else:
            return attempts
