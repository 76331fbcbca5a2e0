from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest
from pycrdt import get_state, get_update, merge_updates

from roomful.crdt.check import MAX_DEPTH, Struct, check_delete_set, check_state_vector, check_update
from roomful.crdt.varint import Malformed, write_varstring, write_varuint
from tests.attacks import ATTACKS, Attack, item, section, update
from tests.crdt.genuine import GROUPS, STATE_VECTORS, UNMERGEABLE, UPDATES, Genuine, read_deletes

CHECKED: dict[str, Callable[[bytes], object]] = {"update": check_update, "state vector": check_state_vector}
REJECTED = [attack for attack in ATTACKS if attack.kind in CHECKED and attack.outcome == "rejected"]
ACCEPTED = [attack for attack in ATTACKS if attack.kind in CHECKED and attack.outcome != "rejected"]


def name(case: Attack | Genuine) -> str:
    return f"{case.kind}: {case.name}" if isinstance(case, Attack) else case.name


@pytest.mark.parametrize("genuine", UPDATES, ids=name)
def test_an_update_of_yjs_reads_as_yjs_reads_it(genuine: Genuine) -> None:
    contents = check_update(genuine.update)
    assert contents.ranges == genuine.ranges
    assert read_deletes(genuine.update, contents.deletes_at) == genuine.deletes


def test_all_updates_of_writers_together_and_what_the_library_makes_of_them_are_accepted() -> None:
    for group in GROUPS:
        for one in group.updates:
            check_update(one)
            check_state_vector(get_state(one))
            check_update(get_update(one, get_state(group.updates[0])))
        check_update(merge_updates(*group.updates))
        check_update(merge_updates(*group.updates[::3]))


@pytest.mark.parametrize("attack", REJECTED, ids=name)
def test_an_attack_is_rejected(attack: Attack) -> None:
    with pytest.raises(Malformed):
        CHECKED[attack.kind](attack.payload)


@pytest.mark.parametrize("attack", ACCEPTED, ids=name)
def test_an_attack_that_is_a_good_update_passes(attack: Attack) -> None:
    check_update(attack.payload)
    for before in attack.before:
        check_update(before)


@pytest.mark.parametrize("name", UNMERGEABLE)
def test_what_yjs_writes_and_the_library_misreads_is_told_apart(name: str) -> None:
    with pytest.raises(Malformed) as error:
        check_update(UNMERGEABLE[name])
    assert error.value.reason == "unmergeable"
    merged: bytes | None = None
    with suppress(ValueError):
        merged = merge_updates(UNMERGEABLE[name], b"\x00\x00")
    # Were this to fail, the library has learnt to read it, and the check may let it pass.
    assert merged != UNMERGEABLE[name]


@pytest.mark.parametrize("genuine", UPDATES, ids=name)
def test_a_genuine_update_is_rejected_wherever_it_is_cut_off(genuine: Genuine) -> None:
    places = range(len(genuine.update)) if len(genuine.update) < 500 else range(0, len(genuine.update), 97)
    for length in places:
        with pytest.raises(Malformed) as error:
            check_update(genuine.update[:length])
        # Announcements are held against what is left, and a cut character is no character.
        assert error.value.reason in ("truncated", "count")


@pytest.mark.parametrize("genuine", UPDATES, ids=name)
def test_the_structs_lie_side_by_side_and_are_the_ranges(genuine: Genuine) -> None:
    structs: list[Struct] = []
    contents = check_update(genuine.update, structs)
    assert all(struct.start < struct.end <= contents.deletes_at for struct in structs)
    for before, after in pairwise(structs):
        if before.client == after.client:
            assert (before.end, before.clock) < (after.start + 1, after.clock)
        else:
            assert before.end < after.start
    starts = {(struct.client, struct.clock) for struct in structs}
    assert {(client, start) for client, start, _ in contents.ranges} <= starts


def test_skips_interrupt_a_range_and_are_in_none() -> None:
    gc, skip = b"\x00\x03", b"\x0a\x04"
    assert check_update(update(gc, skip, gc, gc)).ranges == [(1, 0, 3), (1, 7, 13)]
    assert check_update(update(skip, gc, skip)).ranges == [(1, 4, 7)]
    assert check_update(update(gc, skip, skip, gc)).ranges == [(1, 0, 3), (1, 11, 14)]
    assert check_update(update(skip)).ranges == []


@pytest.mark.parametrize("text", ["a", "ß", "漢", "😀", "a😀ß漢", "\ufeff\x00"])
def test_clocks_count_text_in_utf16_units(text: str) -> None:
    units = len(text.encode("utf-16-le")) // 2
    assert check_update(update(item(4, write_varstring(text)))).ranges == [(1, 0, units)]


@pytest.mark.parametrize("info", [0x04, 0x24, 0x84, 0x44, 0xC4, 0xA4, 0x64, 0xE4])
@pytest.mark.parametrize("client", [0, 127, 128, 2**32, 2**49, 2**53 - 1])
@pytest.mark.parametrize("clock", [0, 127, 128, 2**31 - 1])
def test_origins_parents_and_keys_are_read_by_the_flags(info: int, client: int, clock: int) -> None:
    origin = write_varuint(client) + write_varuint(clock)
    origins = (info >> 7) + (info >> 6 & 1)
    body = bytes([info]) + origin * origins
    text = write_varstring("a")
    if origins:
        assert check_update(update(body + text)).ranges == [(1, 0, 1)]
    else:
        key = write_varstring("k" * 200) if info & 32 else b""
        assert check_update(update(body + b"\x00" + origin + key + text)).ranges == [(1, 0, 1)]
        assert check_update(update(body + b"\x01" + write_varstring("r" * 200) + key + text)).ranges == [
            (1, 0, 1)
        ]


@pytest.mark.parametrize(
    "make",
    [
        lambda depth: update(item(8, b"\x01" + b"\x75\x01" * depth + b"\x7e")),
        lambda depth: update(item(8, b"\x01" + b"\x76\x01\x01k" * depth + b"\x7e")),
        lambda depth: update(item(5, write_varstring("[" * depth + "]" * depth))),
        lambda depth: update(item(5, write_varstring('{"[":' * depth + "0" + "}" * depth))),
    ],
)
def test_nesting_passes_up_to_the_limit(make: Callable[[int], bytes]) -> None:
    check_update(make(MAX_DEPTH))
    with pytest.raises(Malformed) as error:
        check_update(make(MAX_DEPTH + 1))
    assert error.value.reason == "depth"


@pytest.mark.parametrize(
    "json",
    [
        '"' + "[" * 100 + '"',
        '["\\"' + "[" * 100 + '"]',
        "[" + "[]," * 100 + "{}]",
        r'"\ud83d\ude00"',
        r'"\\ud83d"',
        " [ 1e308, -0, 123456789012345678901234567890 ] ",
    ],
)
def test_json_is_not_refused_for_what_only_looks_bad(json: str) -> None:
    good = update(item(5, write_varstring(json)))
    check_update(good)
    get_state(good)


def test_clocks_pass_up_to_the_limit() -> None:
    assert check_update(update(b"\x00\x01", clock=2**31 - 2)).ranges == [(1, 2**31 - 2, 2**31 - 1)]
    check_delete_set(bytes.fromhex("01010100") + write_varuint(2**31 - 1), 0)


def test_many_sections_structs_and_deletions_are_counted_in_more_than_a_byte() -> None:
    sections = [section(b"\x00\x01", client=client) for client in range(300)]
    assert len(check_update(write_varuint(300) + b"".join(sections) + b"\x00").ranges) == 300
    assert check_update(update(*[b"\x00\x01"] * 300)).ranges == [(1, 0, 300)]
    ranges = b"".join(write_varuint(2 * i) + b"\x01" for i in range(300))
    assert check_update(b"\x00\x01\x01" + write_varuint(300) + ranges).deletes_at == 1


def test_a_delete_set_may_be_unsorted_overlapping_and_empty_for_a_client() -> None:
    mixed = bytes.fromhex("000205030901030204030700")
    assert check_update(mixed) == ([], 1)
    assert check_delete_set(mixed, 1) == len(mixed)
    get_state(mixed)


@pytest.mark.parametrize("encoded", STATE_VECTORS, ids=bytes.hex)
def test_a_state_vector_of_yjs_is_read(encoded: bytes) -> None:
    assert check_state_vector(encoded) == STATE_VECTORS[encoded]
