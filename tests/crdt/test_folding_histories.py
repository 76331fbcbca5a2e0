"""Folding loses nothing but garbage, whatever is missing when it happens."""

import random
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from pycrdt import Doc, Text, get_state

from roomful.crdt.check import check_update
from roomful.crdt.delete_set import DeleteSet
from roomful.crdt.folding import fold
from roomful.crdt.merge import FAN_IN, merge
from roomful.crdt.snapshot import Snapshot, decode_snapshot, encode_snapshot
from roomful.crdt.state import DocumentState
from roomful.crdt.state_vector import StateVector
from tests.crdt.histories import random_history
from tests.documents import AnyDoc, content, differences, of_updates

HISTORIES = 60


class Held(NamedTuple):
    """What updates hold, hole or no hole: structs by client, and deletions."""

    vector: bytes
    structs: dict[int, list[int]]
    deletions: DeleteSet


def held(updates: Sequence[bytes]) -> Held:
    vector, deletions = StateVector(), DeleteSet()
    for update in updates:
        contents = check_update(update)
        vector.advance(contents.ranges)
        deletions.add(update, contents.deletes_at)
    structs = {client: [0, clock] for client, clock in vector._clocks.items()}
    for client, edges in vector._beyond.items():
        structs.setdefault(client, []).extend(edges)
    return Held(vector.encode(), structs, deletions)


def assert_nothing_is_lost(pieces: Sequence[bytes], folded: Sequence[bytes]) -> None:
    """Every struct and every deletion of what was folded is in the pieces; there may be more deletions.

    (A document also deletes what lost against a concurrent change.)
    """
    mine, theirs = held(pieces), held(folded)
    assert mine.structs == theirs.structs
    for update in folded:
        assert mine.deletions.covers(update, check_update(update).deletes_at)


@pytest.fixture
def rng() -> random.Random:
    seed = secrets.randbits(32)
    print("seed", seed)
    return random.Random(seed)


@pytest.fixture(params=[FAN_IN, 3], ids="{} at a time".format)
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folding applies a long tail in steps; here also a short one."""
    monkeypatch.setattr("roomful.crdt.folding.FAN_IN", request.param)


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("merge_only", [False, True], ids=["collected", "merged"])
def test_a_fold_with_holes_in_it_loses_nothing_and_is_whole_when_the_late_ones_have_come(
    rng: random.Random, merge_only: bool
) -> None:
    for _ in range(HISTORIES):
        authors, edits, lost = rng.randint(1, 4), rng.randint(1, 60), rng.choice((0, 0.05, 0.3))
        history = random_history(rng, authors=authors, edits=edits, lost=lost, swapped=rng.choice((0.1, 1)))
        snapshot = fold([], history.arrived, merge_only=merge_only)
        assert_nothing_is_lost(snapshot.pieces, history.arrived)
        assert snapshot.state_vector == get_state(merge(snapshot.pieces))
        assert held(snapshot.pieces).vector == held(history.arrived).vector
        assert not differences(of_updates(*snapshot.pieces, *history.late), history.document)
        # The pieces are as good after what came late, and in any order.
        shuffled = [*history.late, *snapshot.pieces]
        rng.shuffle(shuffled)
        assert not differences(of_updates(*shuffled), history.document)


@pytest.mark.usefixtures("steps")
def test_folds_of_folds_lose_nothing_that_was_ever_folded(rng: random.Random) -> None:
    for _ in range(HISTORIES // 3):
        history = random_history(rng, authors=4, edits=120, lost=0.15, swapped=0.2)
        pieces: list[bytes] = []
        updates = history.all
        at = 0
        while at < len(updates):
            end = at + rng.randint(1, 50)
            pieces = fold(pieces, updates[at:end], merge_only=rng.random() < 0.3).pieces
            at = end
            assert_nothing_is_lost(pieces, updates[:at])
        assert not differences(of_updates(*pieces), history.document)


@pytest.mark.usefixtures("steps")
def test_a_room_in_memory_answers_with_all_it_ever_got_whatever_was_folded_when(rng: random.Random) -> None:
    """Asked by a newcomer, and by one who comes back with a part of it."""
    for _ in range(HISTORIES // 3):
        history = random_history(rng, authors=3, edits=60, lost=0.15, swapped=0.2)
        state = DocumentState(None)
        for number, update in enumerate(history.all):
            state.append(update, [(update, check_update(update))])
            if rng.random() < 0.1:
                _fold(state, rng)
            if number % 20 == 0:
                assert_nothing_is_lost(_answer(state, b"\x00"), history.all[: number + 1])
        _fold(state, rng)
        returning = rng.sample(history.all, len(history.all) // 2)
        for known in ([], returning):
            answer = _answer(state, held(known).vector)
            assert not differences(of_updates(*known, *answer), history.document)
        for update in history.all:
            assert state.adds_nothing(update, check_update(update))


def _fold(state: DocumentState, rng: random.Random) -> None:
    updates = rng.randint(0, len(state.tail))
    snapshot = fold(state.pieces, state.tail[:updates], merge_only=rng.random() < 0.3)
    state.fold(updates, decode_snapshot(encode_snapshot(snapshot)))


def _answer(state: DocumentState, vector: bytes) -> list[bytes]:
    """All that a session is sent that says what it has."""
    lacking = state.lacking(vector)
    updates = list(lacking)
    rest = state.since(lacking.seq)
    assert rest is not None
    return [*updates, rest]


# The cases in which documents of the library forget


def typed(*words: str) -> list[bytes]:
    """The updates of one author who types word after word."""
    doc: Doc[Text] = Doc({"text": Text()})
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    for word in words:
        doc["text"] += word
    doc.unobserve(subscription)
    return updates


@pytest.mark.parametrize("merge_only", [False, True])
def test_what_waits_for_a_lost_update_is_kept_until_it_comes(merge_only: bool) -> None:
    first, lost, third = typed("one ", "two ", "three ")
    snapshot = fold([], [first, third], merge_only=merge_only)
    assert str(of_updates(*snapshot.pieces)["text"]) == "one "
    assert str(of_updates(*snapshot.pieces, lost)["text"]) == "one two three "
    assert snapshot.state_vector == held([first]).vector
    again = fold(snapshot.pieces, [lost], merge_only=merge_only)
    assert str(of_updates(*again.pieces)["text"]) == "one two three "


@pytest.mark.parametrize("merge_only", [False, True])
def test_a_deletion_that_comes_before_its_word_is_kept_until_the_word_comes(merge_only: bool) -> None:
    (typing,) = typed("secret")
    author = of_updates(typing)
    before = author.get_state()
    del author["text"][:]
    deletion = author.get_update(before)
    snapshot = fold([], [deletion], merge_only=merge_only)
    again = fold(snapshot.pieces, [deletion], merge_only=merge_only)
    for kept in (snapshot, again):
        assert str(of_updates(*kept.pieces, typing)["text"]) == ""
        assert not differences(of_updates(*kept.pieces, typing), author)
    assert str(of_updates(*fold(again.pieces, [typing], merge_only=merge_only).pieces)["text"]) == ""


def test_deleted_words_are_gone_from_the_bytes() -> None:
    updates = typed("keep ", "secret ", "keep ")
    author = of_updates(*updates)
    before = author.get_state()
    del author["text"][len("keep ") : len("keep secret ")]
    updates.append(author.get_update(before))
    collected = fold([], updates, merge_only=False)
    assert b"secret" not in b"".join(collected.pieces)
    assert b"secret" in b"".join(fold([], updates, merge_only=True).pieces)
    assert not differences(of_updates(*collected.pieces), of_updates(*updates))


def test_a_document_that_was_rewritten_many_times_is_folded_to_a_fraction() -> None:
    author = of_updates()
    updates: list[bytes] = []
    subscription = author.observe(lambda event: updates.append(event.update))
    for number in range(200):
        author["text"] += f"draft {number}: {'lorem ipsum ' * 20}"
        del author["text"][:]
    author["text"] += "final"
    author.unobserve(subscription)
    before = len(merge(updates))
    pieces: list[bytes] = []
    for at in range(0, len(updates), 50):
        pieces = fold(pieces, updates[at : at + 50], merge_only=False).pieces
    assert sum(map(len, pieces)) < before / 20
    assert content(of_updates(*pieces))["text"] == [("final", None)]


def test_garbage_that_a_late_update_would_have_needed_costs_nothing_but_the_garbage() -> None:
    """The late update writes into a word that was deleted and collected meanwhile."""
    (word,) = typed("word")
    offline = of_updates(word)
    before = offline.get_state()
    offline["text"].insert(2, "XX")
    late = offline.get_update(before)
    author = of_updates(word)
    before = author.get_state()
    del author["text"][:]
    deletion = author.get_update(before)
    folded = fold([], [word, deletion], merge_only=False)
    assert b"word" not in b"".join(folded.pieces)
    assert not differences(of_updates(*folded.pieces, late), of_updates(word, deletion, late))
    again = fold(folded.pieces, [late], merge_only=False)
    assert str(of_updates(*again.pieces)["text"]) == "XX"


# The form


@pytest.mark.parametrize("merge_only", [False, True])
def test_nothing_folds_to_nothing(merge_only: bool) -> None:
    assert fold([], [], merge_only=merge_only) == Snapshot([], b"\x00")
    assert fold([], [b"\x00\x00"] * 3, merge_only=merge_only) == Snapshot([], b"\x00")


@pytest.mark.parametrize("merge_only", [False, True])
def test_a_large_document_comes_in_pieces_and_deletions_in_pieces_of_their_own(merge_only: bool) -> None:
    author: Doc[Any] = of_updates()
    updates: list[bytes] = []
    subscription = author.observe(lambda event: updates.append(event.update))
    rng = random.Random(1)
    for number in range(600):
        # Inserted in the middle, so that words don't join to one struct.
        author["text"].insert(rng.randrange(0, len(author["text"]) + 1), f"{number} {'x' * 2_000}")
        if number % 10 == 0:
            del author["text"][:1]
    author.unobserve(subscription)
    snapshot = fold([], updates, merge_only=merge_only)
    assert len(snapshot.pieces) > 3
    for piece in snapshot.pieces:
        assert len(piece) < 300 << 10
        contents = check_update(piece)
        assert bool(contents.ranges) != (len(piece) - contents.deletes_at > 1)
    assert not differences(of_updates(*snapshot.pieces), author)


def test_the_longer_form_is_not_taken() -> None:
    """Inserts in the middle split the document's structs; merging may give fewer bytes."""
    doc: AnyDoc = of_updates(*typed("x" * 2_000))
    updates = [doc.get_update()]
    for number in range(300):
        before = doc.get_state()
        doc["text"].insert(number * 6, "y")
        updates.append(doc.get_update(before))
    folded = fold([], updates, merge_only=False)
    assert sum(map(len, folded.pieces)) <= len(merge(updates)) + 2
