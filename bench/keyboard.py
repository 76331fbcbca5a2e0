"""People who press keys: each letter has its frame ready and its time."""

import asyncio
import random
from array import array
from collections.abc import Sequence

from .participant import Participant
from .websocket_client import clock, frame


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


async def type_letters(writers: Sequence[Writer], letters: int, rate: float, dice: random.Random) -> Schedule:
    """Each presses so many keys, ``rate`` a second, in a rhythm of its own; returns when all are pressed."""
    presses: list[tuple[float, Writer]] = []
    for writer in writers:
        phase = dice.random()
        presses += [((letter + phase) / rate, writer) for letter in range(letters)]
    schedule = Schedule(presses)
    await schedule.finished
    return schedule
