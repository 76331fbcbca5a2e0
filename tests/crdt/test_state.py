import random

import pytest
from pycrdt import get_update

from roomful.crdt import state as state_module
from roomful.crdt.check import check_update
from roomful.crdt.folding import fold
from roomful.crdt.merge import merge
from roomful.crdt.snapshot import Snapshot
from roomful.crdt.state import DocumentState, Part
from roomful.crdt.state_vector import StateVector
from roomful.crdt.sync import EMPTY_STATE_VECTOR, EMPTY_UPDATE
from tests.crdt.writers import Writers, document, same


def part(update: bytes) -> Part:
    return update, check_update(update)


def append(state: DocumentState, *updates: bytes) -> None:
    """Take in updates that came within one window."""
    state.append(merge(updates), [part(update) for update in updates])


def adds_nothing(state: DocumentState, update: bytes) -> bool:
    return state.adds_nothing(*part(update))


def written(edits: int, seed: int = 1) -> list[bytes]:
    writers = Writers(seed)
    writers.write(edits)
    return writers.updates


def folded(updates: list[bytes]) -> Snapshot:
    return fold([], updates, merge_only=False)


def one_writer(*texts: str) -> list[bytes]:
    """One client's updates, each of which follows the one before."""
    doc = document()
    updates = []
    for text in texts:
        before = doc.get_state()
        content = doc["text"]
        content.insert(len(content), text)
        updates.append(doc.get_update(before))
    return updates


@pytest.fixture
def diffed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pieces that the library has been asked to diff, in order."""
    asked: list[bytes] = []

    def diff(update: bytes, vector: bytes) -> bytes:
        asked.append(update)
        return get_update(update, vector)

    monkeypatch.setattr(state_module, "get_update", diff)
    return asked


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many updates each merge was asked to merge."""
    asked: list[int] = []

    def count(updates: list[bytes]) -> bytes:
        asked.append(len(updates))
        return merge(updates)

    monkeypatch.setattr(state_module, "merge", count)
    return asked


def test_a_new_document_holds_nothing() -> None:
    state = DocumentState(None)
    assert (state.seq, state.base, state.size, state.pieces) == (0, 0, 0, ())
    assert state.state_vector == state.pieces_vector == EMPTY_STATE_VECTOR
    assert state.since(0) == EMPTY_UPDATE
    assert list(state.lacking(EMPTY_STATE_VECTOR)) == []


def test_a_loaded_document_holds_its_snapshot() -> None:
    updates = written(30)
    snapshot = folded(updates)
    state = DocumentState(snapshot)
    assert state.pieces == tuple(snapshot.pieces)
    assert state.size == sum(map(len, snapshot.pieces))
    assert (state.seq, state.tail_bytes) == (0, 0)
    assert same(document(state.lacking(EMPTY_STATE_VECTOR)), document(updates))
    assert state.pieces_vector == snapshot.state_vector


def test_updates_are_numbered_and_counted() -> None:
    first, second, third = one_writer("a", "b", "c")
    state = DocumentState(None)
    append(state, first)
    append(state, second, third)
    assert state.seq == 2
    assert state.tail == [first, merge([second, third])]
    assert state.size == state.tail_bytes == sum(map(len, state.tail))


def test_the_state_vector_follows_the_updates() -> None:
    updates = written(40)
    state = DocumentState(folded(updates[:10]))
    for update in updates[10:]:
        append(state, update)
    assert state.state_vector == StateVector.decode(document(updates).get_state()).encode()


def test_the_state_vector_stops_before_a_gap() -> None:
    first, missing, third = one_writer("a", "b", "c")
    state = DocumentState(None)
    append(state, first)
    vector = state.state_vector
    append(state, third)
    assert state.state_vector == vector
    append(state, missing)
    assert state.state_vector == document([first, missing, third]).get_state()


def test_what_followed_an_update_is_given_as_one_update() -> None:
    updates = one_writer("a", "b", "c")
    state = DocumentState(None)
    for update in updates:
        append(state, update)
    assert state.since(0) == merge(updates)
    assert state.since(1) == merge(updates[1:])
    assert state.since(2) is state.tail[2]
    assert state.since(3) == EMPTY_UPDATE


def test_what_has_been_folded_away_is_not_given() -> None:
    updates = one_writer("a", "b", "c")
    state = DocumentState(None)
    for update in updates:
        append(state, update)
    state.fold(2, folded(updates[:2]))
    assert (state.base, state.seq, state.tail) == (2, 3, updates[2:])
    assert state.since(1) is None
    assert state.since(2) == updates[2]


def test_all_who_stopped_at_one_point_are_given_the_same_object(merged: list[int]) -> None:
    state = DocumentState(None)
    for update in one_writer("a", "b", "c"):
        append(state, update)
    assert state.since(0) is state.since(0)
    assert merged == [3]


def test_what_was_merged_up_to_an_older_end_is_merged_on(merged: list[int]) -> None:
    updates = one_writer("a", "b", "c", "d", "e")
    state = DocumentState(None)
    for update in updates[:3]:
        append(state, update)
    state.since(0)
    for update in updates[3:]:
        append(state, update)
    assert state.since(0) == merge(updates)
    assert merged == [3, 3], "what was merged before, and the two after it"


def test_a_fold_forgets_what_was_merged_before_it() -> None:
    updates = one_writer("a", "b", "c", "d")
    state = DocumentState(None)
    for update in updates[:3]:
        append(state, update)
    state.since(1)
    state.fold(1, folded(updates[:1]))
    append(state, updates[3])
    assert state.since(1) == merge(updates[1:])


def test_only_a_few_merged_answers_are_kept(merged: list[int]) -> None:
    state = DocumentState(None)
    for update in one_writer(*"abcdefghijkl"):
        append(state, update)
    for seq in range(9):
        state.since(seq)
    merged.clear()
    for seq in range(1, 9):
        state.since(seq)
    assert merged == []
    state.since(0)
    assert merged == [12], "the oldest was forgotten"


def test_extending_an_answer_forgets_no_other(merged: list[int]) -> None:
    updates = one_writer(*"abcdefghijkl")
    state = DocumentState(None)
    for update in updates[:-1]:
        append(state, update)
    for seq in range(8):
        state.since(seq)
    append(state, updates[-1])
    merged.clear()
    for seq in range(8):
        state.since(seq)
    assert merged == [2] * 8


def snapshot_in_pieces() -> Snapshot:
    """Two clients' texts, each a piece of its own, and a piece with the deletions of both."""
    updates = []
    for client in (7, 9):
        doc = document(client=client)
        doc["text"].insert(0, "written by one")
        del doc["text"][3:5]
        updates.append(doc.get_update())
    snapshot = folded(updates)
    structs, deletions = snapshot.pieces
    one, other = (get_update(structs, bytes((1, client, 14))) for client in (9, 7))
    return Snapshot([one, other, deletions], snapshot.state_vector)


def test_a_newcomer_is_given_the_very_pieces(diffed: list[bytes]) -> None:
    state = DocumentState(snapshot_in_pieces())
    given = list(state.lacking(EMPTY_STATE_VECTOR))
    assert all(one is other for one, other in zip(given, state.pieces, strict=True))
    assert diffed == []


def test_a_replica_is_given_only_what_it_lacks() -> None:
    state = DocumentState(snapshot_in_pieces())
    one, other, deletions = state.lacking(b"\x01\x07\x0e")
    assert (one, other, deletions) == (EMPTY_UPDATE, state.pieces[1], state.pieces[2])


def test_a_piece_that_is_lacking_as_a_whole_is_not_held_twice() -> None:
    state = DocumentState(snapshot_in_pieces())
    given = list(state.lacking(b"\x01\x05\x03"))
    assert all(one is other for one, other in zip(given, state.pieces, strict=True))


def test_replicas_with_one_vector_share_the_work_even_while_it_is_under_way(diffed: list[bytes]) -> None:
    state = DocumentState(snapshot_in_pieces())
    vector = b"\x01\x07\x05"
    first, second = state.lacking(vector), state.lacking(vector)
    assert (first.at_hand, second.at_hand) == (False, False)
    leader = [next(first)]
    assert (first.at_hand, second.at_hand) == (False, True)
    follower = [next(second), next(second)]
    assert first.at_hand
    leader += first
    follower += second
    assert leader == follower
    assert diffed == list(state.pieces)
    assert list(state.lacking(vector)) == leader
    assert diffed == list(state.pieces), "kept for those who come later"


def test_the_end_costs_no_work() -> None:
    state = DocumentState(snapshot_in_pieces())
    lacking = state.lacking(b"\x01\x07\x05")
    assert len(list(lacking)) == 3
    assert lacking.at_hand
    assert next(lacking, None) is None


def test_diffs_for_only_a_few_vectors_are_kept(diffed: list[bytes]) -> None:
    state = DocumentState(snapshot_in_pieces())
    vectors = [bytes((1, 7, clock)) for clock in range(1, 10)]
    for vector in vectors:
        list(state.lacking(vector))
    diffed.clear()
    for vector in vectors[1:]:
        list(state.lacking(vector))
    assert diffed == []
    list(state.lacking(vectors[0]))
    assert diffed == list(state.pieces), "the oldest were forgotten"


def test_what_a_replica_lacks_is_of_the_snapshot_that_was_there_when_it_asked() -> None:
    before = snapshot_in_pieces()
    state = DocumentState(before)
    vector = b"\x01\x07\x05"
    lacking = state.lacking(vector)
    next(lacking)
    (update,) = one_writer("later")
    append(state, update)
    state.fold(1, fold(before.pieces, [update], merge_only=False))
    assert (lacking.seq, lacking.reached) == (0, before.state_vector)
    assert [len(list(lacking)), len(list(state.lacking(vector)))] == [2, len(state.pieces)]
    assert (state.lacking(vector).seq, state.lacking(vector).reached) == (1, state.pieces_vector)


def test_a_document_without_deletions_needs_no_set_of_them() -> None:
    first, second = one_writer("a", "b")
    state = DocumentState(folded([first]))
    append(state, second)
    assert adds_nothing(state, first)
    assert adds_nothing(state, merge([first, second]))
    assert state._deletes is None


def test_an_update_with_a_struct_that_is_not_held_adds_something() -> None:
    first, second = one_writer("a", "b")
    state = DocumentState(None)
    append(state, first)
    assert not adds_nothing(state, second)


def test_a_deletion_that_is_not_held_adds_something() -> None:
    doc = document(one_writer("abc"))
    before = doc.get_update()
    del doc["text"][1:2]
    state = DocumentState(None)
    append(state, before)
    assert adds_nothing(state, before)
    assert not adds_nothing(state, doc.get_update())


@pytest.mark.parametrize("known_from", ["the snapshot", "the tail", "an update since it was asked first"])
def test_a_deletion_is_known_wherever_it_came_from(known_from: str) -> None:
    doc = document(one_writer("abc"))
    before = doc.get_update()
    del doc["text"][1:2]
    after = doc.get_update()
    if known_from == "the snapshot":
        state = DocumentState(folded([after]))
    else:
        state = DocumentState(folded([before]))
        if known_from != "the tail":
            assert not adds_nothing(state, after)
        append(state, after)
    assert adds_nothing(state, after)


def test_deletions_folded_into_the_snapshot_stay_known() -> None:
    updates = written(60, seed=5)
    state = DocumentState(None)
    for update in updates:
        append(state, update)
    state.fold(40, folded(updates[:40]))
    assert state.tail_bytes == sum(map(len, state.tail))
    assert all(adds_nothing(state, update) for update in updates)


def test_each_part_of_a_merged_update_counts() -> None:
    updates = written(30, seed=3)
    random.Random(3).shuffle(updates)
    state = DocumentState(None)
    append(state, *updates[:15])
    assert all(adds_nothing(state, update) for update in updates[:15])
    append(state, *updates[15:])
    assert all(adds_nothing(state, update) for update in updates)
