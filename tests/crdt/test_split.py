import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import get_state, merge_updates

from roomful.crdt.check import SKIP, Struct, check_state_vector, check_update
from roomful.crdt.delete_set import DeleteSet
from roomful.crdt.split import split_update
from roomful.crdt.state_vector import StateVector
from roomful.crdt.surrogates import halved_pairs, mend
from roomful.crdt.varint import Malformed, write_varuint
from tests.attacks import section, update
from tests.crdt import yjs
from tests.crdt.genuine import GROUPS, UPDATES
from tests.crdt.library import ask

WHOLES = [merge_updates(*group.updates) for group in GROUPS] + [
    merge_updates(*group.updates[::3]) for group in GROUPS
]


def structs_and_deletes(pieces: list[bytes]) -> tuple[dict[tuple[int, int], bytes], DeleteSet]:
    """What a number of updates hold: each struct's bytes at its place, and all deletions.

    The bytes are sorted, because the library shuffles the keys of objects each time it writes them.
    """
    held: dict[tuple[int, int], bytes] = {}
    deletes = DeleteSet()
    for piece in pieces:
        structs: list[Struct] = []
        deletes.add(piece, check_update(piece, structs).deletes_at)
        real = {
            (struct.client, struct.clock): bytes(sorted(piece[struct.start : struct.end]))
            for struct in structs
            if piece[struct.start] != SKIP
        }
        assert not held.keys() & real.keys()
        held |= real
    return held, deletes


def assert_equal(pieces: list[bytes], whole: bytes) -> None:
    held, deletes = structs_and_deletes(pieces)
    assert held == structs_and_deletes([whole])[0]
    at = check_update(whole).deletes_at
    assert deletes.covers(whole, at)
    both = DeleteSet()
    both.add(whole, at)
    assert all(both.covers(piece, check_update(piece).deletes_at) for piece in pieces)


@given(st.sampled_from([*WHOLES, *(genuine.update for genuine in UPDATES)]), st.integers(1, 3_000))
def test_the_pieces_hold_the_same_structs_and_deletions(whole: bytes, target: int) -> None:
    pieces = split_update(whole, target)
    assert_equal(pieces, whole)
    # Struct pieces come first, and each piece is one or the other.
    kinds = [len(piece) - check_update(piece).deletes_at > 1 for piece in pieces]
    assert kinds == sorted(kinds) or pieces == [whole]
    assert all(piece[0] == 0 for piece, deletes in zip(pieces, kinds, strict=True) if deletes) or pieces == [
        whole
    ]


@given(st.sampled_from(WHOLES), st.integers(1, 3_000), st.randoms())
def test_the_library_merges_the_pieces_in_any_order_to_the_whole(
    whole: bytes, target: int, shuffled: random.Random
) -> None:
    pieces = split_update(whole, target)
    shuffled.shuffle(pieces)
    merged = merge_updates(*pieces, b"\x00\x00")
    assert_equal([merged], whole)
    assert check_state_vector(get_state(merged)) == check_state_vector(get_state(whole))


@pytest.mark.usefixtures("real_yjs")
@pytest.mark.parametrize("target", [1, 40, 400])
def test_yjs_makes_the_same_document_of_the_pieces_in_any_order(target: int) -> None:
    seed = random.randrange(2**32)
    shuffle = random.Random(seed)
    for whole in WHOLES[:: 2 if target > 1 else 5]:
        pieces = split_update(whole, target)
        straight = list(range(len(pieces)))
        orders = [straight, straight[::-1], shuffle.sample(straight, len(straight))]
        # The whole itself is one more piece, applied alone.
        *documents, expected = yjs.apply([*pieces, whole], [*orders, [len(pieces)]])
        assert documents == [expected] * len(orders), f"seed {seed}"


@pytest.mark.parametrize("target", [1, 60, 600])
def test_the_library_makes_the_same_document_of_the_pieces(target: int) -> None:
    questions = []
    # With holes, how much of the rest a document of the library shows depends on the way it got there.
    for whole in WHOLES[: len(GROUPS)]:
        # Or else it would not even take the whole: surrogates.py.
        mended = mend(whole, halved_pairs([whole]))
        questions.append({"apply": [mended.hex()]})
        questions.append({"apply": [piece.hex() for piece in split_update(mended, target)]})
    answers = ask(questions)
    assert len(answers) == len(questions)
    for from_whole, from_pieces in zip(answers[::2], answers[1::2], strict=True):
        states = [
            StateVector.decode(bytes.fromhex(answer["state"])).encode()
            for answer in (from_whole, from_pieces)
        ]
        assert states[0] == states[1]
        assert_equal([bytes.fromhex(from_pieces["update"])], bytes.fromhex(from_whole["update"]))


@pytest.mark.parametrize("target", [200, 1_000])
def test_pieces_are_about_as_large_as_asked_for(target: int) -> None:
    whole = WHOLES[0]
    structs: list[Struct] = []
    check_update(whole, structs)
    largest = max(struct.end - struct.start for struct in structs)
    headers = 20 * len(GROUPS)
    pieces = split_update(whole, target)
    assert all(len(piece) <= max(target, largest) + headers for piece in pieces)
    assert len(pieces) <= 4 * len(whole) / target


def test_a_small_update_is_returned_as_it_is() -> None:
    for genuine in UPDATES:
        assert split_update(genuine.update, len(genuine.update)) == [genuine.update]


def test_holes_survive_and_skips_stand_only_between_structs() -> None:
    gc, skip = b"\x00\x03", b"\x0a\x80\x01"
    whole = update(skip, gc, skip, gc, gc, skip, gc, skip)
    assert split_update(whole, 13) == [update(gc, skip, gc, gc, clock=128), update(gc, clock=393)]
    assert [check_update(piece).ranges for piece in split_update(whole, 1)] == [
        [(1, 128, 131)],
        [(1, 259, 262)],
        [(1, 262, 265)],
        [(1, 393, 396)],
    ]


def test_a_client_stands_once_in_a_piece_even_where_a_skip_fills_it() -> None:
    gc, skip = b"\x00\x03", b"\x0a\xff\xff\xff\x03"
    for piece in split_update(update(gc, skip, gc, skip, gc), 6):
        check_update(piece)


def test_small_sections_share_a_piece() -> None:
    sections = [section(b"\x00\x01", client=client) for client in range(100)]
    whole = b"\x64" + b"".join(sections) + b"\x00"
    assert len(split_update(whole, 100)) == 2


def test_deletions_are_split_within_and_between_clients() -> None:
    ranges = b"".join(write_varuint(3 * i) + b"\x01" for i in range(200))
    client = write_varuint(200) + ranges
    whole = b"\x00\x03" + b"".join(write_varuint(number) + client for number in (300, 7, 0))
    pieces = split_update(whole, 100)
    assert len(pieces) > 10
    assert_equal(pieces, whole)


def test_an_update_of_nothing_but_skips_becomes_the_empty_update() -> None:
    assert split_update(update(b"\x0a\x05", b"\x0a\x05"), 1) == [b"\x00\x00"]


def test_malformed_bytes_are_not_split() -> None:
    with pytest.raises(Malformed):
        split_update(b"\x01\x01\x01", 1)
