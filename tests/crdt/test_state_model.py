"""A document in bytes beside real documents: whoever asks, from wherever they stopped, gets all they lack.

A replica here is the bytes that it has received; `document` makes of them what a client would see.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roomful.crdt.check import check_state_vector, check_update
from roomful.crdt.folding import fold
from roomful.crdt.merge import merge
from roomful.crdt.snapshot import Snapshot
from roomful.crdt.state import DocumentState
from roomful.crdt.state_vector import StateVector
from roomful.crdt.sync import EMPTY_STATE_VECTOR
from roomful.crdt.varint import read_varuint
from tests.crdt.writers import OTHERS, Writers, document, same

seeds = st.integers(0, 2**32 - 1)
deep = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


class Life:
    """A document as a room leads it: updates in windows, folds, and now and then a server that starts anew.

    ``order`` is what arrived, in order; ``reached`` how much of it when update number n was appended.
    """

    def __init__(self, seed: int, edits: int = 80) -> None:
        self.random = random.Random(seed)
        writers = Writers(seed)
        writers.write(edits)
        self.order = writers.updates
        if self.random.random() < 0.5:
            self.delay_some()
        self.state = DocumentState(None)
        self.reached = [0]

    def delay_some(self) -> None:
        """Let some updates arrive long after those that build on them."""
        for _ in range(4):
            place = self.random.randrange(len(self.order))
            self.order.insert(self.random.randrange(len(self.order)), self.order.pop(place))

    def live(self) -> None:
        """Take in everything, a window at a time."""
        at = 0
        while at < len(self.order):
            window = self.order[at : at + self.random.choice((1, 1, 1, 2, 5))]
            at += len(window)
            self.state.append(merge(window), [(update, check_update(update)) for update in window])
            self.reached.append(at)
            if self.random.random() < 0.1:
                self.fold()

    def fold(self) -> None:
        """Fold some of the tail, as a worker that is not quite up to date does."""
        updates = self.random.randint(0, len(self.state.tail))
        self.state.fold(updates, self.snapshot(updates))

    def snapshot(self, updates: int) -> Snapshot:
        merge_only = self.random.random() < 0.3
        return fold(self.state.pieces, self.state.tail[:updates], merge_only=merge_only)


def answer(state: DocumentState, vector: bytes) -> list[bytes]:
    """What a session that asks with this vector is sent."""
    lacking = state.lacking(vector)
    rest = list(lacking)
    since = state.since(lacking.seq)
    assert since is not None
    return [*rest, since]


@deep
@given(seeds, st.data())
def test_a_replica_that_stopped_anywhere_is_made_equal(seed: int, data: st.DataObject) -> None:
    life = Life(seed)
    life.live()
    replica = life.order[: data.draw(st.integers(0, len(life.order)))]
    replica += answer(life.state, document(replica).get_state())
    assert same(document(replica), document(life.order))


@deep
@given(seeds, st.data())
def test_a_replica_that_forgot_what_waits_for_its_ground_is_made_equal(
    seed: int, data: st.DataObject
) -> None:
    """As a browser does that keeps its document, but not what it could not integrate."""
    life = Life(seed)
    life.live()
    doc = document(life.order[: data.draw(st.integers(0, len(life.order)))])
    replica = [doc.get_update(), *answer(life.state, doc.get_state())]
    assert same(document(replica), document(life.order))


@deep
@given(seeds, st.data())
def test_a_session_that_fell_behind_anywhere_is_made_equal(seed: int, data: st.DataObject) -> None:
    life = Life(seed)
    life.live()
    seq = data.draw(st.integers(0, life.state.seq))
    replica = life.order[: life.reached[seq]]
    missed = life.state.since(seq)
    if missed is None:
        assert seq < life.state.base
        replica += answer(life.state, document(replica).get_state())
    else:
        replica.append(missed)
    assert same(document(replica), document(life.order))


@deep
@given(seeds)
def test_an_answer_that_a_fold_overtakes_is_read_on_from_what_it_reached(seed: int) -> None:
    life = Life(seed)
    life.live()
    state = life.state
    replica = life.order[: life.random.randint(0, len(life.order))]
    lacking = state.lacking(document(replica).get_state())
    replica += lacking
    more = Writers(seed + 1, OTHERS)
    more.write(5)
    for update in more.updates:
        state.append(update, [(update, check_update(update))])
    folded = len(state.tail)
    state.fold(folded, life.snapshot(folded))
    assert state.since(lacking.seq) is None
    replica += answer(state, lacking.reached)
    assert same(document(replica), document([*life.order, *more.updates]))


@deep
@given(seeds)
def test_nothing_that_the_state_vector_names_is_missing_and_nothing_that_is_there_is_missing_in_it(
    seed: int,
) -> None:
    life = Life(seed)
    life.live()
    expected = StateVector()
    for update in life.order:
        expected.advance(check_update(update).ranges)
    assert life.state.state_vector == expected.encode()
    assert not expected.has_gaps
    assert StateVector.decode(document(life.order).get_state()).encode() == expected.encode()


@deep
@given(seeds)
def test_a_room_that_is_loaded_anew_holds_the_same(seed: int) -> None:
    life = Life(seed)
    life.live()
    folded = life.random.randint(0, len(life.state.tail))
    state = DocumentState(life.snapshot(folded))
    for update in life.state.tail[folded:]:
        state.append(update, [(update, check_update(update))])
    assert same(document(answer(state, EMPTY_STATE_VECTOR)), document(life.order))
    # What the snapshot holds beyond a gap is not known to be held before a fold looks at it again.
    assert life.state._vector.covers(
        (client, 0, clock) for client, clock in check_state_vector(state.state_vector).items()
    )


def clocks(update: bytes) -> set[tuple[str, int, int]]:
    """Every struct and every deletion of an update, clock by clock."""
    ranges, at = check_update(update)
    said = {("struct", client, clock) for client, start, end in ranges for clock in range(start, end)}
    clients, at = read_varuint(update, at)
    for _ in range(clients):
        client, at = read_varuint(update, at)
        deletions, at = read_varuint(update, at)
        for _ in range(deletions):
            start, at = read_varuint(update, at)
            length, at = read_varuint(update, at)
            said |= {("deletion", client, clock) for clock in range(start, start + length)}
    return said


@deep
@given(seeds, st.data())
def test_an_update_adds_nothing_exactly_when_each_clock_of_it_is_known(
    seed: int, data: st.DataObject
) -> None:
    life = Life(seed, edits=40)
    later = life.order[data.draw(st.integers(0, len(life.order))) :]
    del life.order[len(life.order) - len(later) :]
    life.live()
    known = set().union(*map(clocks, life.order))
    for update in [*life.order, *later, merge(life.order), merge(later), merge([*life.order, *later])]:
        assert life.state.adds_nothing(update, check_update(update)) == (clocks(update) <= known)


@pytest.mark.parametrize("seed", range(5))
def test_a_lost_deletion_makes_a_difference_that_the_comparison_sees(seed: int) -> None:
    """All the tests above rest on it, and no state vector shows it."""
    writers = Writers(seed, clients=[1])
    writers.write(20)
    doc, other = document(writers.updates), document(writers.updates)
    assert same(doc, other)
    del other["text"][0:1]
    assert doc.get_state() == other.get_state()
    assert not same(doc, other)
