"""What a document in bytes gives to those who fell behind or come back, and how often it works for it."""

import pytest
from pycrdt import get_update

from roomful.crdt import state as state_module
from roomful.crdt.folding import fold
from roomful.crdt.merge import merge
from roomful.crdt.snapshot import Snapshot
from roomful.crdt.state import DocumentState
from roomful.crdt.sync import EMPTY_STATE_VECTOR, EMPTY_UPDATE
from tests.crdt.writers import append, document, folded, one_writer


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


def test_a_long_tail_is_given_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = one_writer(*("x" * 50 for _ in range(10)))
    monkeypatch.setattr(state_module, "_MERGED_BYTES", 2 * len(updates[1]) + 5)
    state = DocumentState(None)
    for update in updates:
        append(state, update)
    given, at = [], 0
    while at < state.seq:
        end = state.reach(at)
        part_of_it = state.since(at)
        assert part_of_it == merge(updates[at:end])
        given.append(end - at)
        at = end
    assert given == [2] * 5
    assert state.reach(10) == 10


def test_an_update_that_is_too_much_by_itself_is_given_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_MERGED_BYTES", 1)
    state = DocumentState(None)
    updates = one_writer("a", "b")
    for update in updates:
        append(state, update)
    assert [state.reach(0), state.reach(1)] == [1, 2]
    assert state.since(0) is state.tail[0]


def values() -> bytes:
    """One client's array of values, which is one struct."""
    return bytes((1, 1, 5, 0, 8, 1)) + b"\x01t" + bytes((3, 126, 126, 126)) + b"\x00"


def test_a_large_piece_of_values_is_given_whole(monkeypatch: pytest.MonkeyPatch, diffed: list[bytes]) -> None:
    """To cut it, the library would read value after value, for seconds."""
    piece = values()
    (text,) = one_writer("a")
    state = DocumentState(Snapshot([piece, text], b"\x00"))
    vector = b"\x01\x05\x02"
    assert len(next(state.lacking(vector))) < len(piece)
    state = DocumentState(Snapshot([piece, text], b"\x00"))
    monkeypatch.setattr(state_module, "_LARGEST_DIFF", 1)
    diffed.clear()
    assert next(state.lacking(vector)) is piece
    assert diffed == []
    list(state.lacking(vector))
    assert diffed == [text]


def test_of_a_large_document_fewer_diffs_are_kept(
    monkeypatch: pytest.MonkeyPatch, diffed: list[bytes]
) -> None:
    state = DocumentState(snapshot_in_pieces())
    monkeypatch.setattr(state_module, "_KEPT_BYTES", 2 * state.size)
    for clock in (1, 2, 1, 2):
        list(state.lacking(bytes((1, 7, clock))))
    assert len(diffed) == 2 * len(state.pieces)
    list(state.lacking(b"\x01\x07\x03"))
    list(state.lacking(b"\x01\x07\x01"))
    assert len(diffed) == 4 * len(state.pieces)
