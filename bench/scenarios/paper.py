"""A real paper, all 260,000 edits of it: written at full speed, read, and read again after a restart."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from pycrdt import Text

from bench.documents import paper_updates, read_updates, whole
from bench.measurement import LOAD, Figure, Launch, Outcome, Target, Window
from bench.participant import join, losses
from bench.process import proportional_memory
from bench.storage import stored
from bench.websocket_client import clock, frame

ROOM = "paper"
GROUP = 64
SOURCE = "https://github.com/automerge/automerge-perf (prepared by Martin Kleppmann)"


@dataclass(frozen=True)
class Paper:
    """``trace`` is where automerge-paper.json.gz lies; ``edits`` cuts it short (0: all of it)."""

    name: str = "paper"
    trace: str = ""
    edits: int = 0
    rest: float = 2.0
    fold_seconds: float = 30.0

    @property
    def phases(self) -> Mapping[str, Launch]:
        return {"write": Launch(), "load": Launch()}

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("write", "written after", "s"),
            Figure("server_seconds", "server CPU for that", "s"),
            Figure("load", "a reader at once has it after", "ms"),
            Figure("bytes", "received by that reader", "KB"),
            Figure("later", "a later reader has it after", "ms"),
            Figure("later_bytes", "received by that reader", "KB"),
            Figure("memory", "server memory afterwards", "MB"),
            Figure("folded", "stored, folded and what follows", "KB", limit=300),
            Figure("files", "its files", "KB", side=True),
            Figure("cold", "a reader has it after a restart", "ms"),
            *LOAD,
        )

    def short(self) -> Self:
        return replace(self, edits=20_000, fold_seconds=5.0)

    def missing(self) -> str | None:
        """Why this cannot run, if it cannot."""
        if self.trace and Path(self.trace).is_file():
            return None
        return (
            "the trace is not part of this repository. Get automerge-paper.json.gz from "
            f"josephg/editing-traces (sequential_traces), made from {SOURCE}, and name it with --trace FILE"
        )

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:
        path, text = paper_updates(cache, Path(self.trace))
        updates = read_updates(path)
        if self.edits:
            updates = updates[: self.edits]
            text = str(whole(updates).get("text", type=Text))
        return await (self._write(target, updates, text) if phase == "write" else self._load(target, text))

    async def _write(self, target: Target, updates: list[bytes], text: str) -> Outcome:
        frames = [frame(target.dialect.update(ROOM, update)) for update in updates]
        state = whole(updates).get_state()
        author = await join(target, ROOM)
        await author.synced
        window = Window(target)
        started = clock()
        for start in range(0, len(frames), GROUP):
            author.transport.write(b"".join(frames[start : start + GROUP]))
            await author.drain()
        written = await author.resync(state) - started
        shares = window.shares()
        at_once = await _read(target, text)
        # What a server puts off until it has time is part of the price of writing.
        await asyncio.sleep(self.rest)
        outcome = Outcome(window.close() | shares | {"write": written})
        if target.data is not None:
            outcome.figures |= await self._stored(target.data)
        # The author stays: most servers forget a document that nobody has open and that they do not store.
        later = await _read(target, text)
        outcome.problems += losses([author])
        author.close()
        outcome.figures |= {
            "load": 1000 * at_once.seconds,
            "bytes": at_once.received / 1000,
            "later": 1000 * later.seconds,
            "later_bytes": later.received / 1000,
            "memory": proportional_memory(target.pid) / 1e6,
        }
        outcome.problems += at_once.problems + later.problems
        return outcome

    async def _stored(self, data: Path) -> dict[str, float]:
        """The smallest that the document got while we waited for the server to fold it."""
        sizes = [stored(data, ROOM)]
        for _ in range(round(self.fold_seconds)):
            await asyncio.sleep(1)
            sizes.append(stored(data, ROOM))
        smallest = min(size.snapshot + size.entries for size in sizes)
        return {"folded": smallest / 1000, "files": sizes[-1].files / 1000}

    async def _load(self, target: Target, text: str) -> Outcome:
        reading = await _read(target, text)
        return Outcome({"cold": 1000 * reading.seconds}, reading.problems)


@dataclass(frozen=True)
class Reading:
    """Seconds from connecting to the last byte, the bytes, and what is wrong with the text."""

    seconds: float
    received: int
    problems: list[str]


async def _read(target: Target, text: str) -> Reading:
    started = clock()
    reader = await join(target, ROOM, recording=True)
    loaded = await reader.synced - started
    document = whole([update for _, update in reader.updates()])
    right = str(document.get("text", type=Text)) == text
    reader.close()
    problems = [] if right else ["the text that was read is not the text that was written"]
    return Reading(loaded, reader.received, problems)
