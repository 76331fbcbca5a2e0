import random

import pytest
from pycrdt import get_state, merge_updates

from roomful.crdt import merge as merge_module
from roomful.crdt.accept import accept_update
from roomful.crdt.check import check_update
from roomful.crdt.merge import FAN_IN, merge
from roomful.crdt.sync import EMPTY_UPDATE
from roomful.crdt.varint import Malformed, write_varstring
from tests import attacks
from tests.crdt.test_mutations import MUTANTS, SEED, SOURCES, mutate
from tests.crdt.writers import Writers, document, same


def written(edits: int) -> list[bytes]:
    writers = Writers(seed=edits)
    writers.write(edits)
    return writers.updates


def test_nothing_merged_says_nothing() -> None:
    assert merge([]) == EMPTY_UPDATE


def test_one_update_stays_the_object_that_it_is() -> None:
    (update,) = written(1)
    assert merge([update]) is update


@pytest.mark.parametrize("count", [2, FAN_IN, FAN_IN + 1, FAN_IN + 2, 3 * FAN_IN])
def test_the_merged_update_says_what_all_of_them_say(count: int) -> None:
    updates = written(count)
    merged = merge(updates)
    check_update(merged)
    assert same(document([merged]), document(updates))


def test_at_most_the_fan_in_goes_to_the_library_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def count(*updates: bytes) -> bytes:
        asked.append(len(updates))
        return merge_updates(*updates)

    monkeypatch.setattr(merge_module, "merge_updates", count)
    merge(written(2 * FAN_IN + 1))
    # The last update is alone in its group, and waits for the next round.
    assert asked == [FAN_IN, FAN_IN, 3]


def test_gaps_survive() -> None:
    updates = written(60)
    missing = random.Random(7).sample(range(60), 20)
    known = [update for place, update in enumerate(updates) if place not in missing]
    doc = document([merge(known)])
    for place in missing:
        doc.apply_update(updates[place])
    assert same(doc, document(updates))


def test_the_argument_is_not_changed() -> None:
    updates = written(3)
    before = list(updates)
    merge(updates)
    assert updates == before


def test_merging_twice_what_overlaps_changes_nothing() -> None:
    updates = written(20)
    merged = merge(updates)
    assert get_state(merge([merged, *updates])) == get_state(merged)


def test_overlapping_updates_merge_into_one_that_passes_the_check() -> None:
    print(f"ROOMFUL_SEED={SEED}")
    chance = random.Random(SEED)
    merged = 0
    while merged < MUTANTS // 40:
        updates = [mutate(chance.choice(SOURCES), chance) for _ in range(chance.choice((2, 2, 3)))]
        try:
            for update in updates:
                accept_update(update)
        except Malformed:
            continue
        accept_update(merge(updates))
        merged += 1


@pytest.mark.parametrize(("shorter", "longer"), [("a", "\U0001f600"), ("abc", "ab\U0001f600c")])
def test_a_character_in_which_another_update_ends_becomes_two_marks_as_in_yjs(
    shorter: str, longer: str
) -> None:
    updates = [attacks.update(attacks.item(4, write_varstring(text))) for text in (shorter, longer)]
    merged = merge(updates)
    assert check_update(merged).ranges == [(1, 0, len(longer.encode("utf-16-le")) // 2)]
    assert "\ufffd".encode() in merged
