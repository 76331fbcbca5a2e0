import pytest
from pycrdt import merge_updates

from roomful.crdt.check import check_update
from roomful.crdt.surrogates import halved_pairs, mend
from roomful.crdt.varint import write_varstring, write_varuint
from tests.attacks import update
from tests.crdt import yjs
from tests.crdt.genuine import GROUPS, Group
from tests.crdt.library import ask

CLIENT = 300
ID = write_varuint(CLIENT)
TEXT = write_varstring("a😀b")
HALVED = write_varstring("a\ufffd\ufffdb")
CUT = {(CLIENT, 2)}

AT_ROOT = b"\x04\x01" + write_varstring("r" * 200)
IN_MAP = b"\x24\x01\x01t" + write_varstring("k" * 200)
IN_TYPE = b"\x04\x00\x07\x80\x01"
BESIDE_BOTH = b"\xc4\x07\x80\x01" + ID + b"\x80\x01"


def inserted(head: bytes = AT_ROOT, text: bytes = TEXT) -> bytes:
    return update(head + text, client=CLIENT)


def deleted(clock: int, length: int) -> bytes:
    return b"\x00\x01" + ID + b"\x01" + bytes([clock, length])


@pytest.mark.parametrize(
    "cutting",
    [
        deleted(0, 2),
        deleted(2, 1),
        update(b"\x84" + ID + b"\x01\x01x", client=CLIENT, clock=4),
        update(b"\x44" + ID + b"\x02\x01x", client=7),
        update(b"\xc4" + ID + b"\x01" + ID + b"\x02\x01x", client=7),
        update(b"\x84" + ID + b"\x01" + write_varstring("\ufffdb"), client=CLIENT, clock=2),
    ],
)
def test_what_cuts_a_character_is_found_in_one_update_and_over_several(cutting: bytes) -> None:
    assert halved_pairs([inserted(), cutting]) == CUT
    assert halved_pairs([cutting, inserted()]) == CUT
    assert halved_pairs([inserted()]) == halved_pairs([cutting]) == set()


@pytest.mark.parametrize(
    "beside",
    [
        deleted(1, 2),
        deleted(0, 4),
        update(b"\x84" + ID + b"\x00\x01x", client=7),
        update(b"\xc4" + ID + b"\x02" + ID + b"\x03\x01x", client=7),
        update(b"\x84" + ID + b"\x01\x01x", client=7, deletes=b"\x01\x07\x01\x02\x01").replace(ID, b"\x08"),
    ],
)
def test_what_stands_beside_a_character_or_in_another_client_cuts_nothing(beside: bytes) -> None:
    assert halved_pairs([inserted(), beside]) == set()


@pytest.mark.parametrize("head", [AT_ROOT, IN_MAP, IN_TYPE, BESIDE_BOTH])
def test_a_halved_character_is_written_out_and_nothing_else_changes(head: bytes) -> None:
    assert mend(inserted(head), CUT) == inserted(head, HALVED)
    assert mend(inserted(head), {(CLIENT, 1), (CLIENT, 3), (7, 2)}) == inserted(head)


def test_only_the_halved_of_several_characters_is_written_out() -> None:
    text, mended = write_varstring("😀😁ß😂" * 10), write_varstring("😀\ufffd\ufffdß😂" + "😀😁ß😂" * 9)
    before, after = (
        update(AT_ROOT + t, b"\x84\x05\x00\x01x", AT_ROOT + TEXT, client=CLIENT) for t in (text, mended)
    )
    assert mend(before, {(CLIENT, 3)}) == after
    assert check_update(before).ranges == check_update(after).ranges


def test_bytes_that_only_look_like_a_character_are_left_alone() -> None:
    binary = update(b"\x03\x01\x01t" + write_varstring("😀"), client=CLIENT)
    in_key = update(b"\x24\x01\x01t" + write_varstring("😀") + write_varstring("ab"), client=CLIENT)
    for one in (binary, in_key):
        assert halved_pairs([one, deleted(0, 1)]) == set()
        assert mend(one, {(CLIENT, 1)}) == one


def test_without_cuts_or_characters_the_very_same_bytes_come_back() -> None:
    plain = inserted(text=write_varstring("ascii"))
    assert mend(plain, CUT) is plain
    emoji = inserted()
    assert mend(emoji, set()) is emoji


@pytest.mark.usefixtures("real_yjs")
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.text[:8])
@pytest.mark.parametrize("chunk", [1, 10, 1_000])
def test_a_document_of_mended_updates_is_the_one_that_yjs_has(group: Group, chunk: int) -> None:
    parts = [merge_updates(*group.updates[at : at + chunk]) for at in range(0, len(group.updates), chunk)]
    halved = halved_pairs(parts)
    (answer,) = ask([{"apply": [mend(part, halved).hex() for part in parts]}])
    document = bytes.fromhex(answer["update"])
    check_update(document)
    assert yjs.apply([document], [[0]])[0]["text"] == group.text
