"""A crowd is told in turn, a few people at once, and each of them everything."""

from roomful.crdt.varint import read_varuint
from roomful.presence.awareness import Entry, decode_entries
from roomful.server.awareness_groups import Groups
from roomful.server.protocols.envelope import YjsEnvelope
from tests.presence.entries import entry
from tests.server.wire import unframe

MANY = 1 << 20


class Somebody:
    """Keeps the frames it is told, and the clients that they name."""

    def __init__(self) -> None:
        self.envelope = YjsEnvelope()
        self.frames: list[bytes] = []

    def awareness(self, frame: bytes) -> None:
        self.frames.append(frame)

    def heard(self) -> list[Entry]:
        """Return all that was told, and forget it."""
        frames, self.frames = self.frames, []
        return [each for frame in frames for each in _entries(frame)]


def _entries(frame: bytes) -> list[Entry]:
    message = unframe(frame)
    _, at = read_varuint(message, 1)
    return decode_entries(message[at:], most=10_000, largest=MANY)


def crowd(groups: Groups, size: int) -> list[Somebody]:
    people = [Somebody() for _ in range(size)]
    for person in people:
        groups.enter(person)
    return people


def large(clock: int) -> list[Entry]:
    """What makes a burst for fifty people."""
    return [entry(client, clock, {"text": "x" * 200}) for client in range(1, 201)]


def test_what_is_little_comes_to_all_at_once() -> None:
    groups = Groups()
    people = crowd(groups, 500)
    groups.announce([entry(1, 1, {})])
    size, share = groups.tell(MANY)
    assert (size, share) == (len(entry(1, 1, {}).raw), 1.0)
    assert all(person.heard() == [entry(1, 1, {})] for person in people)
    assert not groups.has_news


def test_what_is_much_comes_to_some_at_a_time_and_to_those_as_it_is_by_then() -> None:
    groups = Groups()
    people = crowd(groups, 500)
    groups.announce(large(1))
    _, share = groups.tell(MANY)
    assert 0 < share < 0.5
    told = [person for person in people if person.frames]
    assert len(told) == round(share * 500)
    assert {frame for person in told for frame in person.frames} == {told[0].frames[0]}, "it is framed once"
    groups.announce([entry(1, 2, {"text": "newer"})])
    for _ in range(round(1 / share)):
        groups.tell(MANY)
    for person in people:
        newest = {each.client: each.clock for each in person.heard()}
        assert newest == {client: 2 if client == 1 else 1 for client in range(1, 201)}


def test_more_than_may_go_out_at_once_waits_and_nothing_is_lost() -> None:
    groups = Groups()
    (person,) = crowd(groups, 1)
    groups.announce(large(1))
    heard: list[Entry] = []
    while groups.has_news:
        size, _ = groups.tell(10_000)
        assert size <= 10_000
        heard += person.heard()
    assert heard == large(1)


def test_who_leaves_is_told_nothing_and_empty_groups_go() -> None:
    groups = Groups()
    people = crowd(groups, 120)
    groups.announce([entry(1, 1, {})])
    for person in people[:119]:
        groups.leave(person)
    groups.leave(people[0])
    assert groups.tell(MANY)[1] == 1.0
    assert [len(person.heard()) for person in people] == [0] * 119 + [1]
    for person in people[119:]:
        groups.leave(person)
    groups.announce([entry(1, 2, {})])
    groups.tell(MANY)
    assert not groups.has_news
