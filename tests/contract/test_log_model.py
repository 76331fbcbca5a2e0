"""A log beside the simplest thing that keeps the same promises, under the same random commands."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from roomful.crdt.log import Gap, History, Log, Position, Stale
from tests.contract.backends import SECONDS, Open, Writer

_Result = TypeVar("_Result")

rooms = st.sampled_from(["a", "b", "ab"])
payloads = st.one_of(st.binary(max_size=40), st.binary(min_size=256, max_size=300), st.just(bytes(1_000)))


class Room:
    """What a room must be: the model."""

    def __init__(self) -> None:
        self.epoch = ""
        self.entries: list[bytes] = []
        self.folded = 0
        self.snapshot: bytes | None = None

    @property
    def history(self) -> History:
        return History(self.epoch, self.folded, self.snapshot, self.entries[self.folded :])


class LogMachine(RuleBasedStateMachine):
    """Commands to a log; each is done on the model too, and every answer compared."""

    opener: ClassVar[list[Open]]

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._folder = tempfile.TemporaryDirectory()
        self._rooms: dict[str, Room] = {name: Room() for name in ("a", "b", "ab")}
        self._old_epochs = [""]
        self._open()

    def teardown(self) -> None:
        self._run(self._log.close())
        self._loop.close()
        self._folder.cleanup()

    @rule(room=rooms, updates=st.lists(payloads, min_size=1, max_size=5))
    def append(self, room: str, updates: list[bytes]) -> None:
        self._writer.append(room, *updates)
        self._rooms[room].entries += updates

    @rule()
    def settle(self) -> None:
        self._settle()

    @rule()
    def reopen(self) -> None:
        self._settle()
        self._run(self._log.close())
        self._open()

    @rule(room=rooms)
    def reset(self, room: str) -> None:
        self._settle()
        model = self._rooms[room] = Room()
        position = self._run(self._log.reset(room))
        assert position.epoch not in self._old_epochs
        assert position.offset == 0
        model.epoch = position.epoch
        self._old_epochs.append(position.epoch)

    @rule(room=rooms, share=st.floats(0, 1.2), snapshot=payloads, old=st.booleans())
    def fold(self, room: str, share: float, snapshot: bytes, old: bool) -> None:
        self._settle()
        model = self._rooms[room]
        upto = round(share * len(model.entries))
        epoch = self._old_epochs[0] if old else model.epoch
        stale = not model.epoch or epoch != model.epoch or not model.folded <= upto <= len(model.entries)
        try:
            self._run(self._log.fold(room, Position(epoch, upto), snapshot))
        except Stale:
            assert stale
        else:
            assert not stale
            model.folded, model.snapshot = upto, snapshot

    @rule(room=rooms, share=st.floats(0, 1.2), old=st.booleans())
    def read(self, room: str, share: float, old: bool) -> None:
        self._settle()
        model = self._rooms[room]
        after = round(share * len(model.entries))
        epoch = self._old_epochs[-1] if old else model.epoch
        gap = epoch != model.epoch or not model.folded <= after <= len(model.entries)
        try:
            entries = self._run(self._log.read(room, Position(epoch, after)))
        except Gap:
            assert gap
        else:
            assert not gap
            assert entries == model.entries[after:]

    @rule(room=rooms)
    def load(self, room: str) -> None:
        """Without settling: what is there is a beginning of what was appended."""
        history = self._run(self._log.load(room))
        model = self._rooms[room]
        assert (history.folded, history.snapshot) == (model.folded, model.snapshot)
        durable = history.folded + len(history.entries)
        assert history.entries == model.entries[model.folded : durable]

    @invariant()
    @precondition(lambda self: self._writer.settled)
    def what_is_durable_is_what_was_appended(self) -> None:
        # The last command may have let an append become durable that the model has not heard of yet.
        self._settle()
        for name, model in self._rooms.items():
            assert self._run(self._log.load(name)) == model.history

    def _settle(self) -> None:
        self._run(self._writer.settle())
        for room, _, position in self._writer.durable:
            model = self._rooms[room]
            # A room's epoch is the log's to choose, at its first entry.
            model.epoch = model.epoch or position.epoch
            assert position.epoch == model.epoch
        del self._writer.durable[:]

    def _open(self) -> None:
        self._log = self._run(self._entered())
        self._writer = Writer(self._log)

    async def _entered(self) -> Log:
        return await self.opener[0](Path(self._folder.name)).__aenter__()

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return self._loop.run_until_complete(asyncio.wait_for(work, SECONDS))


def test_a_log_does_what_the_model_does_whatever_it_is_told(open_log: Open) -> None:
    """A failure prints the commands, and the line that repeats them."""

    class Machine(LogMachine):
        # In a list, because a function as a class attribute would be a method.
        opener: ClassVar[list[Open]] = [open_log]

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
