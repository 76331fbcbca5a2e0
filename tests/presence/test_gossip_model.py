"""Whatever is lost, repeated or delayed, and whoever dies or starts again, all copies end as the maps are."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.presence.gossip import LATE_SECONDS, LONGEST_REPEAT_SECONDS, REPEAT_SECONDS, Gossip

NAMES = ("a", "b", "c")
names = st.sampled_from(NAMES)
keys = st.sampled_from([b"1", b"2", b"3"])
values = st.none() | st.sampled_from([b"x", b"y", b"z"])

events = st.one_of(
    st.tuples(st.just("put"), names, keys, values),
    st.tuples(st.just("tell"), names),
    st.tuples(st.just("lose"), st.integers(0, 9)),
    st.tuples(st.just("repeat"), st.integers(0, 9)),
    st.tuples(st.just("delay"), st.integers(0, 9)),
    st.tuples(st.just("deliver"), st.integers(1, 5)),
    st.tuples(st.just("reopen"), names),
    st.tuples(st.just("die"), names),
    st.tuples(st.just("lapse"), names),
    st.tuples(st.just("return"), names),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 3.0, 31.0])),
)


@dataclass
class Process:
    """A process with what it believes of the others, from the changes alone."""

    gossip: Gossip
    own: dict[bytes, bytes] = field(default_factory=dict)
    seen: dict[str, dict[bytes, bytes]] = field(default_factory=dict)


class World:
    """Processes, and a network that keeps each message for each of them apart."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.life = 0
        self.processes: dict[str, Process] = {}
        self.travelling: list[tuple[str, bytes]] = []
        self.lapsed: set[str] = set()
        for name in NAMES:
            self.start(name)

    def start(self, name: str) -> None:
        self.life += 1
        self.processes[name] = Process(Gossip(name, self.life))

    def tell(self, name: str) -> None:
        process = self.processes.get(name)
        if process is not None:
            for message in process.gossip.due(self.now):
                self.travelling += [(other, message) for other in self.processes if other != name]

    def deliver(self, count: int) -> None:
        arrived, self.travelling = self.travelling[:count], self.travelling[count:]
        for name, message in arrived:
            if (process := self.processes.get(name)) is not None:
                for change in process.gossip.hear(message, self.now):
                    held = process.seen.setdefault(change.process, {})
                    if change.value is None:
                        del held[change.key]
                    else:
                        assert held.get(change.key) != change.value, "a change changes something"
                        held[change.key] = change.value
                self.forget(process)
        for process in self.processes.values():
            self.forget(process)

    def forget(self, process: Process) -> None:
        for gone in process.gossip.take_gone(self.now):
            process.seen.pop(gone, None)

    def lapse(self, name: str) -> None:
        """Its lease ends, and the others are told."""
        self.lapsed.add(name)
        for other in self.processes.values():
            other.gossip.depart(name)
            other.seen.pop(name, None)

    def give_back(self, name: str) -> None:
        """It has its lease again: it was not gone after all."""
        if name in self.lapsed and name in self.processes:
            self.lapsed.discard(name)
            for other in self.processes.values():
                other.gossip.come_back(name)

    def die(self, name: str) -> None:
        if self.processes.pop(name, None) is not None:
            self.lapse(name)

    def reopen(self, name: str) -> None:
        """It lets the room go and opens it again; whether the others hear of the first is luck."""
        if (process := self.processes.pop(name, None)) is not None:
            self.travelling += [(other, process.gossip.bye()) for other in self.processes]
            self.start(name)
            for gone in self.lapsed:
                self.processes[name].gossip.depart(gone)

    def happen(self, event: tuple[object, ...]) -> None:
        match event:
            case ("put", str(name), bytes(key), value):
                if (process := self.processes.get(name)) is not None:
                    assert value is None or isinstance(value, bytes)
                    process.gossip.put(key, value)
                    if value is None:
                        process.own.pop(key, None)
                    else:
                        process.own[key] = value
            case ("tell", str(name)):
                self.tell(name)
            case ("lose", int(at)) if at < len(self.travelling):
                del self.travelling[at]
            case ("repeat", int(at)) if at < len(self.travelling):
                self.travelling.append(self.travelling[at])
            case ("delay", int(at)) if at < len(self.travelling):
                self.travelling.append(self.travelling.pop(at))
            case ("deliver", int(count)):
                self.deliver(count)
            case ("reopen", str(name)):
                self.reopen(name)
            case ("die", str(name)):
                self.die(name)
            case ("lapse", str(name)):
                self.lapse(name)
            case ("return", str(name)):
                self.give_back(name)
            case ("wait", float(seconds)):
                self.now += seconds

    def settle(self) -> None:
        """Nothing is lost any more; each tells when it is due."""
        for name in NAMES:
            self.give_back(name)
        end = self.now + LONGEST_REPEAT_SECONDS + 2 * LATE_SECONDS
        while self.now < end:
            for name in NAMES:
                self.tell(name)
            self.deliver(len(self.travelling))
            self.now += 2.0


@settings(max_examples=400, deadline=None)
@given(st.lists(events, max_size=60))
def test_all_copies_end_as_the_maps_are(happened: list[tuple[object, ...]]) -> None:
    world = World()
    for event in happened:
        world.happen(event)
    world.settle()
    for name, process in world.processes.items():
        others = {other: each.own for other, each in world.processes.items() if other != name and each.own}
        assert {other: held for other, held in process.seen.items() if held} == others


@settings(max_examples=100, deadline=None)
@given(st.lists(events, max_size=40))
def test_once_all_agree_they_only_repeat_their_digests(happened: list[tuple[object, ...]]) -> None:
    world = World()
    for event in happened:
        world.happen(event)
    world.settle()
    told = 0
    for _ in range(int(10 * REPEAT_SECONDS)):
        for name, process in world.processes.items():
            messages = process.gossip.due(world.now)
            told += len(messages)
            world.travelling += [
                (other, each) for each in messages for other in world.processes if other != name
            ]
        world.deliver(len(world.travelling))
        world.now += 1.0
    assert told <= 10 * len(world.processes)
