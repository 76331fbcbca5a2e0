"""A class opens a large document at the same moment: how long until all have it, and what that takes."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from bench.documents import large_document, read_updates, whole
from bench.measurement import LOAD, Figure, Launch, Outcome, Target, Window, percentile
from bench.participant import Participant, join, losses
from bench.process import PeakMemory
from bench.websocket_client import clock
from bench.wire import STEP_2, UPDATE

ROOM = "join"
MEBIBYTE = 1 << 20
SAMPLE_SECONDS = 0.004
JOIN_SECONDS = 300.0


@dataclass(frozen=True)
class Join:
    """``people`` open, at once, a document of ``size`` bytes that has been there for ``settle`` seconds."""

    name: str = "join"
    size: int = 2_750_000
    people: int = 150
    checked: int = 5
    settle: float = 5.0

    @property
    def phases(self) -> Mapping[str, Launch]:
        return {"join": Launch()}

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("all", "until all have it", "s", goal=0.15),
            Figure("half", "until half of them have it", "s"),
            Figure("growth", "server memory growth, peak", "MiB", limit=32 * 1e6 / MEBIBYTE),
            Figure("server_seconds", "server CPU", "s"),
            Figure("bytes", "received by each", "MB", side=True),
            *LOAD,
        )

    def short(self) -> Self:
        return replace(self, size=300_000, people=30, settle=1.0)

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:  # noqa: ARG002
        history = read_updates(large_document(cache, self.size))
        author = await join(target, ROOM)
        await author.synced
        for update in history:
            author.send(target.dialect.update(ROOM, update))
            await author.drain()
        await author.resync()
        # One join before the rush, for what a server makes once; then rest, for what it does afterwards.
        early = await join(target, ROOM)
        await early.synced
        early.close()
        await asyncio.sleep(self.settle)

        peak = PeakMemory(target.pid)
        sampling = asyncio.create_task(_sample(peak))
        window = Window(target)
        started = clock()
        people = await asyncio.gather(
            *(join(target, ROOM, recording=number < self.checked) for number in range(self.people))
        )
        outcome = Outcome()
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                arrivals = sorted(await asyncio.gather(*(participant.synced for participant in people)))
        except (TimeoutError, ConnectionError) as error:
            arrivals = [clock()]
            outcome.problems.append(f"not everybody received the document ({error!r})")
        outcome.figures = window.close(arrivals[-1])
        await asyncio.sleep(0.2)
        sampling.cancel()
        outcome.figures |= {
            "all": arrivals[-1] - started,
            "half": percentile(arrivals, 0.5) - started,
            "growth": peak.growth() / MEBIBYTE,
            "bytes": sum(participant.received for participant in people) / len(people) / 1e6,
        }
        outcome.problems += losses([author, *people]) + self._check(people, history)
        return outcome

    def _check(self, people: list[Participant], history: list[bytes]) -> list[str]:
        """A few decode what they got; the others must have received as many bytes."""
        original = whole(history)
        for participant in people[: self.checked]:
            steps = [
                participant.dialect.sync_step(participant.key, message)
                for _, message in participant.messages()
            ]
            if UPDATE in steps[steps.index(STEP_2) :]:
                return ["a part of the document came after step 2, which is what was timed"]
            copy = whole([update for _, update in participant.updates()])
            if copy.get_state() != original.get_state() or copy.get_update() != original.get_update():
                return ["a document that arrived is not the one that was written"]
        amounts = [participant.received for participant in people]
        if max(amounts) - min(amounts) > 0.01 * max(amounts):
            return [f"some received {min(amounts)} bytes, some {max(amounts)}"]
        return []


async def _sample(peak: PeakMemory) -> None:
    while True:
        peak.sample()
        await asyncio.sleep(SAMPLE_SECONDS)
