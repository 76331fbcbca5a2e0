import random

import pytest

from roomful.crdt import state as state_module
from roomful.crdt.check import check_update
from roomful.crdt.merge import merge
from roomful.crdt.state import DocumentState
from roomful.crdt.state_vector import StateVector
from roomful.crdt.sync import EMPTY_STATE_VECTOR, EMPTY_UPDATE
from tests.crdt.writers import append, document, folded, one_writer, part, same, written


def adds_nothing(state: DocumentState, update: bytes) -> bool:
    return state.adds_nothing(*part(update))


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


def test_where_there_are_too_many_deletions_to_look_at_they_count_as_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doc = document(one_writer("abcdefgh"))
    deleted = []
    for at in range(4):
        before = doc.get_update()
        del doc["text"][at : at + 1]
        deleted.append(doc.get_update())
        assert deleted[-1] != before
    size = len(deleted[-1]) - check_update(deleted[-1]).deletes_at
    monkeypatch.setattr(state_module, "_MOST_DELETES", size + 1)
    state = DocumentState(None)
    append(state, deleted[-1])
    assert adds_nothing(state, deleted[-1])
    append(state, deleted[0])
    assert not adds_nothing(state, deleted[-1])
    state.fold(2, folded(deleted))
    assert adds_nothing(state, deleted[-1]), "folded, they are few again"


def test_the_runs_of_structs_are_counted() -> None:
    first, missing, third = one_writer("a", "b", "c")
    state = DocumentState(None)
    append(state, first)
    append(state, third)
    runs = [state.runs]
    append(state, missing)
    assert [*runs, state.runs] == [2, 1]
