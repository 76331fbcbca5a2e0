"""The tracker beside the naive model, and trackers of several processes beside each other."""

from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.presence.people import Person, person_of
from roomful.presence.record import decode_record
from roomful.presence.tracker import Announcement, Patience, Tracker
from tests.presence.room_model import Session, apply, people_of, plain

LARGEST = 256
PATIENCE = Patience(typing=6, grace=10, change=0)
PEOPLE = [("ann", ""), ("ann", "tab 1"), ("ann", "tab 2"), ("", "x"), ("", "")]

patches = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from([None, "available", "busy", "away"]),
        "typing": st.sampled_from([None, "title", "text"]),
        "hand": st.booleans(),
        "cursor": st.none() | st.integers(0, 3),
        "view": st.none() | st.integers(0, 1),
        "device": st.none() | st.sampled_from(["phone", "desk"]),
        "state": st.none() | st.dictionaries(st.sampled_from("ab"), st.integers(0, 1)),
    },
)


class Join(NamedTuple):
    who: tuple[str, str]
    patch: dict[str, Any]


class Change(NamedTuple):
    which: int
    patch: dict[str, Any]


class Leave(NamedTuple):
    which: int


class Lose(NamedTuple):
    which: int


class Wait(NamedTuple):
    seconds: float


class Merge(NamedTuple):
    """A tick."""


whichever = st.integers(0, 5)
waits = st.builds(Wait, st.sampled_from([0.5, 1.0, 2.0, 5.0, 10.0, 1e9]))
joins = st.builds(Join, st.sampled_from(PEOPLE), patches)
changes = st.builds(Change, whichever, patches)
ends = st.builds(Leave, whichever) | st.builds(Lose, whichever)
events = st.one_of(joins, changes, ends, waits, st.builds(Merge))


class Model:
    """One process, whose sessions are changed as they are told and expired by looking at all of them."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.time = 0
        self.typing_until: dict[str, float] = {}
        self.lost_until: dict[str, float] = {}
        self.seen: set[str] = set()

    def join(self, now: float, name: str, user: str, instance: str, patch: dict[str, Any]) -> None:
        self.time += 1
        session = Session(name, user, instance, self.time, self.time)
        self.sessions = [each for each in self.sessions if not (each.lost and each.person == session.person)]
        self.sessions.append(session)
        self._patch(now, session, patch)

    def change(self, now: float, name: str, patch: dict[str, Any]) -> None:
        session = self.named(name)
        before = dict(session.fields)
        self._patch(now, session, patch)
        if session.fields != before:
            self.time += 1
            session.said = self.time

    def leave(self, name: str) -> None:
        self.sessions.remove(self.named(name))

    def lose(self, now: float, name: str) -> None:
        session = self.named(name)
        if name not in self.seen or not (session.user or session.instance):
            self.leave(name)
        elif not session.lost:
            session.lost = True
            session.fields.pop("typing", None)
            self.lost_until[name] = now + 10

    def merge(self, now: float) -> None:
        self.sessions = [
            each for each in self.sessions if not (each.lost and self.lost_until[each.name] <= now)
        ]
        for session in self.sessions:
            self.seen.add(session.name)
            if "typing" in session.fields and self.typing_until[session.name] <= now:
                del session.fields["typing"]

    def named(self, name: str) -> Session:
        return next(session for session in self.sessions if session.name == name)

    def _patch(self, now: float, session: Session, patch: dict[str, Any]) -> None:
        if patch.get("typing") is not None:
            self.typing_until[session.name] = now + 6
        session.fields |= patch
        session.fields = {
            name: value for name, value in session.fields.items() if value is not None and value is not False
        }


@settings(max_examples=400, deadline=None)
@given(st.lists(events, max_size=40))
def test_a_tracker_shows_what_the_naive_model_shows(happened: list[Any]) -> None:
    tracker, model, now = Tracker(largest=LARGEST, clock=0, patience=PATIENCE), Model(), 0.0
    seen: dict[str, Person] = {}
    names = 0
    for event in [*happened, Merge()]:
        open_sessions = [each.name for each in model.sessions if not each.lost]
        match event:
            case Join((user, instance), patch):
                names += 1
                tracker.join(now, f"s{names}", user, instance, patch)
                model.join(now, f"s{names}", user, instance, patch)
            case Change(which, patch) if open_sessions:
                name = open_sessions[which % len(open_sessions)]
                tracker.change(now, name, patch)
                model.change(now, name, patch)
            case Leave(which) if open_sessions:
                name = open_sessions[which % len(open_sessions)]
                tracker.leave(name)
                model.leave(name)
            case Lose(which) if open_sessions:
                name = open_sessions[which % len(open_sessions)]
                tracker.lose(now, name)
                model.lose(now, name)
            case Wait(seconds):
                now += seconds
            case Merge():
                apply(seen, tracker.merge(now))
                model.merge(now)
                assert plain(tracker.people) == plain(seen) == people_of(model.sessions)
                assert tracker.sessions == len(model.sessions)


class Process:
    """A process with its tracker, and all that it ever announced, the newest of each session apart."""

    def __init__(self, name: str, clock: int) -> None:
        self.name = name
        self.tracker = Tracker(largest=LARGEST, clock=clock, patience=PATIENCE)
        self.announced: list[Announcement] = []
        self.newest: dict[str, Announcement] = {}
        self.sessions: list[str] = []
        self.seen: dict[str, Person] = {}

    def merge(self, now: float) -> None:
        changes = self.tracker.merge(now)
        apply(self.seen, changes)
        assert self.seen == self.tracker.people
        for each in changes.own:
            self.announced.append(each)
            self.newest[each.session] = each

    def hear(self, other: "Process", announcement: Announcement) -> None:
        self.tracker.hear(other.name, announcement.session, announcement.value)


class On(NamedTuple):
    process: int
    event: Any


class Heard(NamedTuple):
    """One process hears an announcement of another: any one it ever made, once, again, or late."""

    process: int
    other: int
    which: int


class Dies(NamedTuple):
    process: int


processes = st.integers(0, 2)
in_cluster = st.one_of(
    st.builds(On, processes, joins),
    st.builds(On, processes, changes),
    st.builds(On, processes, ends),
    st.builds(On, processes, st.builds(Merge)),
    st.builds(Heard, processes, processes, st.integers(0, 9)),
    st.builds(Heard, processes, processes, st.integers(0, 9)),
    waits,
)


def _happens(now: float, process: Process, event: Any, names: int) -> None:
    match event:
        case Join((user, instance), patch):
            name = f"s{names}"
            process.tracker.join(now, name, user, instance, patch)
            process.sessions.append(name)
        case Merge():
            process.merge(now)
        case Change(which, patch) if process.sessions:
            process.tracker.change(now, process.sessions[which % len(process.sessions)], patch)
        case Leave(which) if process.sessions:
            process.tracker.leave(process.sessions.pop(which % len(process.sessions)))
        case Lose(which) if process.sessions:
            process.tracker.lose(now, process.sessions.pop(which % len(process.sessions)))


def _play(cluster: list[Process], happened: list[Any]) -> float:
    """Let it happen, and everybody hear the newest of everybody at the end, as after a full state."""
    now = 0.0
    for number, event in enumerate(happened):
        match event:
            case On(which, what):
                _happens(now, cluster[which], what, number)
            case Heard(which, other, nth) if which != other and cluster[other].announced:
                announced = cluster[other].announced
                cluster[which].hear(cluster[other], announced[-1 - nth % len(announced)])
            case Wait(seconds):
                now += seconds
    _heal(cluster, now)
    return now


def _heal(cluster: list[Process], now: float) -> None:
    for process in cluster:
        process.merge(now)
    for process in cluster:
        for other in cluster:
            for announcement in other.newest.values() if other is not process else ():
                process.hear(other, announcement)
        process.merge(now)


@settings(max_examples=300, deadline=None)
@given(st.lists(in_cluster, max_size=50), st.lists(st.integers(0, 1 << 40), min_size=3, max_size=3))
def test_processes_see_the_same_people_whatever_was_lost_repeated_or_late_on_the_way(
    happened: list[Any], clocks: list[int]
) -> None:
    cluster = [Process(f"p{number}", clock) for number, clock in enumerate(clocks)]
    now = _play(cluster, happened)
    records = {
        name: decode_record(each.value, LARGEST)[1]
        for process in cluster
        for name, each in process.newest.items()
        if each.value is not None
    }
    expected = {}
    for person in {record.person(name) for name, record in records.items()}:
        of_person = {name: record for name, record in records.items() if record.person(name) == person}
        expected[person] = person_of(person, of_person)
    for process in cluster:
        assert process.tracker.people == expected
        assert process.tracker.sessions == len(records)

    for process in cluster:
        for name in process.sessions:
            process.tracker.leave(name)
    _heal(cluster, now + 20)
    assert [process.tracker.people for process in cluster] == [{}, {}, {}]
    assert [process.tracker.sessions for process in cluster] == [0, 0, 0]


@settings(max_examples=200, deadline=None)
@given(st.lists(in_cluster, max_size=40), st.lists(st.integers(0, 9), max_size=5))
def test_a_process_that_dies_takes_its_people_after_the_grace_and_late_words_bring_none_back(
    happened: list[Any], late: list[int]
) -> None:
    cluster = [Process(f"p{number}", 0) for number in range(3)]
    now = _play(cluster, happened)
    dead, living = cluster[0], cluster[1:]
    before = [dict(process.tracker.people) for process in living]
    for process in living:
        process.tracker.lose_process(now, dead.name)
        process.tracker.lose_process(now + 5, dead.name)
        process.merge(now)
        assert set(process.tracker.people) == set(before[0]), "nobody has left, before the grace is over"
        process.merge(now + 10)
        for nth in late if dead.announced else ():
            process.hear(dead, dead.announced[-1 - nth % len(dead.announced)])
        process.merge(now + 11)
    _heal(living, now + 11)
    theirs = {record for process in living for record in process.tracker._records}
    assert all(process != dead.name for process, _ in theirs)
    assert living[0].tracker.people == living[1].tracker.people
    assert living[0].tracker.sessions == sum(
        each.value is not None for process in living for each in process.newest.values()
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(in_cluster, max_size=40))
def test_a_process_that_is_found_within_the_grace_was_never_missed(happened: list[Any]) -> None:
    cluster = [Process(f"p{number}", 0) for number in range(3)]
    now = _play(cluster, happened)
    watching = cluster[1]
    before = dict(watching.tracker.people)
    watching.tracker.lose_process(now, "p0")
    watching.tracker.find_process("p0")
    watching.merge(now)
    assert watching.tracker.people == before
