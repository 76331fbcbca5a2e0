"""A room of fifty thousand, with the real tracker and encoding: a tick has a ceiling, whatever happens."""

import random

import msgpack
import pytest

from roomful.presence.roster import Roster
from roomful.presence.tiers import MOST_ACTIVE
from roomful.presence.tracker import Tracker
from tests.presence.room_model import Watcher

PEOPLE = 50_000
LARGEST = 1_024
CEILING = 16_384
SEED = 20_261_122


@pytest.fixture(scope="module")
def room() -> tuple[Tracker, Roster, Watcher]:
    """People on three processes: a few thousand here, all others heard of."""
    tracker = Tracker(largest=LARGEST, clock=0)
    elsewhere = Tracker(largest=LARGEST, clock=0)
    for number in range(PEOPLE):
        process = tracker if number % 10 == 0 else elsewhere
        process.join(0, f"s{number}", f"user {number}", "", {"device": "phone"})
    for each in elsewhere.merge(0).own:
        tracker.hear("there", each.session, each.value)
    roster, watcher = Roster(tracker.people, CEILING), Watcher()
    roster.take(0, tracker.merge(0))
    watcher.hear(roster.tick(0, tracker.sessions))
    return tracker, roster, watcher


@pytest.mark.parametrize("changes", [0, 50, 500, 5_000])
def test_bytes_a_tick_stay_under_the_ceiling_at_any_rate_of_change(
    room: tuple[Tracker, Roster, Watcher], changes: int
) -> None:
    tracker, roster, watcher = room
    chance = random.Random(SEED + changes)
    own = [f"s{number}" for number in range(0, PEOPLE, 10)]
    tick_sizes = []
    for tick in range(5):
        now = 1_000.0 * (changes + 1) + 2.0 * tick
        for session in chance.sample(own, changes):
            patch = {
                "hand": chance.random() < 0.5,
                "state": {"text": "x" * chance.randrange(900), "tick": tick},
            }
            tracker.change(now, session, patch)
        roster.take(now, tracker.merge(now))
        body = roster.tick(now, tracker.sessions)
        watcher.hear(body)
        tick_sizes.append(len(body or b""))
        assert (watcher.count, watcher.sessions, watcher.tier) == (PEOPLE, PEOPLE, "counts")
        assert len(watcher.people) <= MOST_ACTIVE
    assert max(tick_sizes) <= CEILING
    assert bool(max(tick_sizes)) == bool(changes), f"seed {SEED}"
    assert len(roster.everything()) <= MOST_ACTIVE * (LARGEST + 200)


def test_counts_follow_at_once_when_half_the_room_leaves(room: tuple[Tracker, Roster, Watcher]) -> None:
    tracker, roster, watcher = room
    now = 1e8
    tracker.lose_process(now, "there")
    roster.take(now, tracker.merge(now))
    watcher.hear(roster.tick(now, tracker.sessions))
    assert watcher.count == PEOPLE
    now += 10
    roster.take(now, tracker.merge(now))
    body = roster.tick(now, tracker.sessions)
    assert body is not None
    assert len(body) <= CEILING
    assert msgpack.unpackb(body)["people"] == PEOPLE // 10
