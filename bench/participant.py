"""One person of the generator: a WebSocket with a room, that knows when its document has arrived."""

import asyncio
from collections.abc import Sequence

from .measurement import Target
from .websocket_client import Recorder, clock, upgrade
from .wire import EMPTY_STATE, STEP_2, UPDATE, Dialect

JOIN_SECONDS = 120.0


class Participant(Recorder):
    """``synced`` becomes the time at which the last byte of the awaited step 2 arrived."""

    def __init__(self, dialect: Dialect, room: str, node: int = 0) -> None:
        super().__init__()
        self.dialect = dialect
        self.room = room
        self.node = node
        self.key = dialect.key(room)
        self.synced: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._ends_sync = False

    def begin(self, opcode: int, head: bytes) -> None:  # noqa: ARG002
        self._ends_sync = self.dialect.sync_step(self.key, head) == STEP_2

    def end(self) -> None:
        if self._ends_sync:
            self._ends_sync = False
            self.peek = 0
            if not self.synced.done():
                self.synced.set_result(clock())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.synced.done():
            self.synced.set_exception(ConnectionError(self.lost or ""))
            self.synced.exception()  # somebody may be waiting, or nobody: that is no news for the log

    def enter(self, state: bytes = EMPTY_STATE) -> None:
        """Log in, ask for what the document has beyond ``state``, and answer the server's own step 1 in
        advance, as a client that has nothing which the server lacks.
        """
        self.peek = len(self.key) + 2
        for message in self.dialect.opening(self.room, state):
            self.send(message)
        self.send(self.dialect.step_2(self.room))

    async def resync(self, state: bytes = EMPTY_STATE) -> float:
        """Ask again. Servers answer in order, so the reply says that everything sent before was taken in."""
        self.synced = asyncio.get_running_loop().create_future()
        self.peek = len(self.key) + 2
        self.send(self.dialect.opening(self.room, state)[-1])
        async with asyncio.timeout(JOIN_SECONDS):
            return await self.synced

    def updates(self) -> list[tuple[float, bytes]]:
        """The recorded updates (of whichever sync step) with their times of arrival."""
        return [
            (time, self.dialect.sync_body(self.key, message))
            for time, message in self.messages()
            if self.dialect.sync_step(self.key, message) in (STEP_2, UPDATE)
        ]


class _Maker:
    def __init__(self, dialect: Dialect, room: str, node: int) -> None:
        self._dialect = dialect
        self._room = room
        self._node = node

    def __call__(self) -> Participant:
        return Participant(self._dialect, self._room, self._node)


async def join(
    target: Target, room: str, node: int = 0, *, state: bytes = EMPTY_STATE, recording: bool = False
) -> Participant:
    """Connect to a node and enter; ``synced`` says when the document is there."""
    maker = _Maker(target.dialect, room, node)
    participant = await upgrade(maker, target.nodes[node].port, target.dialect.path(room))
    participant.recording = recording
    participant.enter(state)
    return participant


async def join_all(
    target: Target, rooms: list[str], nodes: Sequence[int] | None = None, at_once: int = 50
) -> list[Participant]:
    """One participant for each name, in that order, each with its document before this returns.

    ``nodes`` says which node each goes to; without, all go to the first.

    The first of each room comes first: pycrdt-websocket 0.16 leaves a new room's first visitors waiting for
    ever, all but one, when they come at the same moment.
    """
    openers = {room: index for index, room in reversed(list(enumerate(rooms)))}
    others = [index for index, room in enumerate(rooms) if openers[room] != index]
    joined: dict[int, Participant] = {}
    for wave in (sorted(openers.values()), others):
        for start in range(0, len(wave), at_once):
            group = wave[start : start + at_once]
            people = await asyncio.gather(
                *(join(target, rooms[index], nodes[index] if nodes else 0) for index in group)
            )
            async with asyncio.timeout(JOIN_SECONDS):
                await asyncio.gather(*(participant.synced for participant in people))
            joined.update(zip(group, people, strict=True))
    return [joined[index] for index in range(len(rooms))]


async def until_quiet(people: list[Participant], seconds: float, deadline: float) -> float:
    """Waits until nobody has received anything for ``seconds``; gives up at ``deadline`` seconds from now.

    Returns the time of the last arrival.
    """
    started = clock()
    while True:
        last = max(participant.last_arrival for participant in people)
        now = clock()
        if now - max(last, started) >= seconds or now - started >= deadline:
            return last
        await asyncio.sleep(0.05)


def losses(people: list[Participant]) -> list[str]:
    """One line when connections ended that should not have."""
    lost = [participant.lost for participant in people if participant.lost]
    return [f"{len(lost)} of {len(people)} connections were lost ({lost[0]})"] if lost else []
