"""Events between processes that have a room open: each is heard once, and all keep the same last values."""

import asyncio
import random
from collections.abc import Callable

import msgpack
import pytest

from roomful.crdt.varint import Malformed
from roomful.server.events import Events
from roomful.server.metrics import Metrics
from roomful.server.protocols.roomful import Event, RoomfulEnvelope, ServerFrame
from roomful.server.protocols.told_events import Last, decode, encode_event, encode_kept
from tests.server.members import Outlet
from tests.server.wire import messages

pytestmark = pytest.mark.virtual_time


class Listener:
    def __init__(self) -> None:
        self.socket = Outlet()

    def heard(self) -> list[tuple[str, object, bool]]:
        """Return (name, payload, kept) of all that came, and forget it."""
        frames, self.socket.frames = self.socket.frames, []
        self.socket.write = self.socket.frames.append
        heard = []
        for message in messages(frames):
            kind, _, name, payload, _, _, kept = msgpack.unpackb(message)
            assert kind == ServerFrame.EVENT
            heard.append((name, payload, kept))
        return heard


class Process:
    """A room's events in one process, and somebody who hears them. ``line`` carries what it tells."""

    def __init__(self, line: Callable[["Process", bytes], None]) -> None:
        self.metrics = Metrics()
        self.events = Events(RoomfulEnvelope(1), lambda _: 0.0, self.metrics)
        self.listener = Listener()
        self.events.audience.enter(self.listener)
        self.is_open = False
        self._line = line

    def open(self, most_kept: int = 10) -> None:
        self.is_open = True
        self.events.start(most_kept, lambda message: self._line(self, message))

    def say(self, name: str, payload: object, *, keep: bool = True) -> bool:
        return self.events.publish(Event(name, msgpack.packb(payload), keep), "s", "ann")

    def keeps(self) -> dict[str, object]:
        found = {}
        for name, frame in self.events.kept.items():
            (message,) = messages([frame])
            found[name] = msgpack.unpackb(message)[3]
        return found


class Line:
    """Between processes. While it is cut everything is lost."""

    def __init__(self, count: int) -> None:
        self.cut = False
        self.processes = [Process(self._carry) for _ in range(count)]

    def _carry(self, sender: Process, message: bytes) -> None:
        for process in self.processes:
            if process is not sender and process.is_open and not self.cut:
                process.events.told(message)

    def heal(self) -> None:
        self.cut = False
        for process in self.processes:
            process.events.relinked()


async def test_an_event_is_heard_at_all_processes_once() -> None:
    here, there = Line(2).processes
    here.open()
    there.open()
    here.say("wave", 1, keep=False)
    here.say("price", 5)
    expected = [("wave", 1, False), ("price", 5, False)]
    assert (here.listener.heard(), there.listener.heard()) == (expected, expected)
    assert there.keeps() == {"price": 5}
    await asyncio.sleep(1)
    assert (here.listener.heard(), there.listener.heard()) == ([], [])


async def test_a_process_that_opens_the_room_learns_what_is_kept() -> None:
    here, there = Line(2).processes
    here.open()
    here.say("price", 5)
    here.say("slide", 2)
    here.say("slide", None)
    assert there.keeps() == {}
    there.open()
    await asyncio.sleep(0.2)
    assert there.keeps() == {"price": 5}
    assert there.listener.heard() == [("price", 5, True), ("slide", None, True)]


async def test_of_two_values_the_later_one_stays_whoever_hears_of_it_first() -> None:
    line = Line(3)
    for process in line.processes:
        process.open()
    rng = random.Random(1)
    for round_ in range(20):
        line.cut = rng.random() < 0.5
        for _ in range(3):
            process = rng.choice(line.processes)
            process.say(rng.choice("abc"), rng.choice((None, rng.random())))
        line.heal()
        await asyncio.sleep(1)
        kept = [process.keeps() for process in line.processes]
        assert kept[0] == kept[1] == kept[2], f"round {round_}"


async def test_what_was_missed_while_the_link_was_cut_is_heard_afterwards_as_kept() -> None:
    line = Line(2)
    here, there = line.processes
    here.open()
    there.open()
    line.cut = True
    here.say("price", 6)
    here.say("wave", 1, keep=False)
    assert there.listener.heard() == []
    line.heal()
    await asyncio.sleep(1)
    assert there.listener.heard() == [("price", 6, True)]


async def test_no_more_names_are_kept_of_others_than_of_ones_own() -> None:
    here, there = Line(2).processes
    here.open()
    there.open(most_kept=1)
    for name in "ab":
        here.say(name, 1)
    assert (set(here.keeps()), set(there.keeps())) == ({"a", "b"}, {"a"})


async def test_what_is_no_message_is_refused_and_counted() -> None:
    (process,) = Line(1).processes
    process.open()
    for message in (b"", b"\xc1", msgpack.packb([9]), msgpack.packb([0, [1]]), msgpack.packb("x")):
        process.events.told(message)
    assert process.metrics.refused["gossip"] == 5
    assert process.listener.heard() == []


@pytest.mark.parametrize(
    "last",
    [
        Last(0, "w", Event("n", b"\x01", True), "s", "u"),
        Last(1 << 60, "w", Event("n", b"\x01", True), "s", "u"),
        Last(1, "w", Event("n" * 200, b"\x01", True), "s", "u"),
        Last(1, "w", Event("n", b"\x01\x01", True), "s", "u"),
        Last(1, "w", Event("n", b"\xc1", True), "s", "u"),
        Last(1, "w", Event("n", b"\x01", True), "s" * 2_000, "u"),
    ],
)
def test_an_event_that_could_do_harm_is_refused(last: Last) -> None:
    for message in (encode_event(last), encode_kept([last])):
        with pytest.raises(Malformed):
            decode(message)


def test_what_is_told_is_read_again() -> None:
    last = Last(5, "w", Event("price", msgpack.packb({"a": 1}), True), "s", "u")
    assert decode(encode_event(last)) == (0, [last])
    assert decode(encode_kept([last, last])) == (1, [last, last])
