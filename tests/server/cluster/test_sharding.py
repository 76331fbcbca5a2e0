"""Slots and placement: the published examples, and how few slots move."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from roomful.server.cluster.sharding import SLOTS, Member, ranked, slot_of

VECTORS: dict[str, Any] = json.loads(
    Path(__file__).parents[3].joinpath("docs", "sharding-vectors.json").read_text("utf-8")
)


@pytest.mark.parametrize("example", VECTORS["slots"], ids=lambda example: ascii(example["key"])[:20])
def test_a_key_has_the_published_slot(example: dict[str, Any]) -> None:
    assert slot_of(example["key"]) == example["slot"]


@pytest.mark.parametrize("example", VECTORS["placements"], ids=["equal", "weighted"])
def test_a_slot_prefers_members_in_the_published_order(example: dict[str, Any]) -> None:
    members = [Member(**member) for member in example["members"]]
    for slot in example["slots"]:
        assert [member.name for member in ranked(slot["slot"], members)] == slot["ranked"]


def owners(members: list[Member]) -> list[str]:
    return [ranked(slot, members)[0].name for slot in range(SLOTS)]


def test_the_order_of_the_members_does_not_matter() -> None:
    members = [Member(name) for name in "abcd"]
    assert owners(members) == owners(members[::-1])


def test_equal_members_have_nearly_as_many_slots_each() -> None:
    shares = Counter(owners([Member(f"node-{number}") for number in range(4)]))
    assert max(shares.values()) < 1.1 * SLOTS / 4


def test_slots_go_by_weight() -> None:
    shares = Counter(owners([Member("small", 0.5), Member("middle", 1.0), Member("large", 2.5)]))
    assert shares["large"] == pytest.approx(SLOTS * 2.5 / 4, rel=0.05)
    assert shares["small"] == pytest.approx(SLOTS * 0.5 / 4, rel=0.1)


def test_only_the_slots_of_a_member_that_leaves_move_and_each_to_its_first_alternative() -> None:
    members = [Member(f"node-{number}", 1.0 + number % 3) for number in range(5)]
    gone, *rest = members
    for slot in range(SLOTS):
        before, after = ranked(slot, members), ranked(slot, rest)
        assert after == [member for member in before if member != gone]


def test_what_is_no_text_in_a_key_has_a_slot_too() -> None:
    assert slot_of("\udc80") == slot_of("?")
