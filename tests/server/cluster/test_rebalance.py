"""Which connections are moved, and when."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from roomful.server.cluster.rebalance import Rebalance
from roomful.server.cluster.sharding import SLOTS
from roomful.server.cluster.view import LEASE_SECONDS, Process, View

HERE, THERE = "http://here", "http://there"
ALONE, BOTH = (View.of([Process(url, url, 1, 0.0) for url in urls]) for urls in ((HERE,), (HERE, THERE)))
READY = frozenset((HERE, THERE))
STAYING, LEAVING = (
    [slot for slot in range(SLOTS) if BOTH.ranked(slot)[0] == url][:200] for url in (HERE, THERE)
)
FORMED = 100.0
SETTLED = FORMED + 2 * LEASE_SECONDS


@dataclass(eq=False)
class Connection:
    slot: int | None
    opened_at: float = 50.0


def joined(percent: int = 10) -> Rebalance:
    """A node that has heard of another one."""
    rebalance = Rebalance(HERE, percent)
    rebalance.heard(ALONE, READY, 10.0)
    rebalance.heard(BOTH, READY, FORMED)
    return rebalance


def looks(
    rebalance: Rebalance,
    connections: list[Connection],
    until: float,
    view: View = BOTH,
    ready: frozenset[str] = READY,
) -> Iterator[tuple[float, list[Connection]]]:
    """Look twice a second while the lease is renewed; what is moved leaves ``connections``."""
    for step in range(int((until - FORMED) * 2)):
        now = FORMED + step / 2
        if step % 4 == 0:
            rebalance.heard(view, ready, now)
        moved = rebalance.due(connections, now)
        for connection in moved:
            connections.remove(connection)
        yield now, moved


def moved_until(
    rebalance: Rebalance, connections: list[Connection], until: float, ready: frozenset[str] = READY
) -> int:
    return sum(len(moved) for _, moved in looks(rebalance, connections, until, ready=ready))


def test_exactly_those_whose_slot_another_node_has_are_moved() -> None:
    connections = [Connection(slot) for slot in STAYING + LEAVING]
    assert moved_until(joined(100), connections, SETTLED + 10) == len(LEAVING)
    assert [connection.slot for connection in connections] == STAYING


def test_nobody_is_moved_before_the_view_has_stood_still_for_two_leases() -> None:
    moves = [
        now for now, moved in looks(joined(100), [Connection(slot) for slot in LEAVING], SETTLED + 5) if moved
    ]
    assert moves[0] == SETTLED


def test_another_change_of_the_view_begins_the_wait_anew() -> None:
    rebalance = joined(100)
    connections = [Connection(slot) for slot in LEAVING]
    assert moved_until(rebalance, connections, SETTLED) == 0
    rebalance.heard(ALONE, READY, SETTLED)
    rebalance.heard(BOTH, READY, SETTLED + 0.1)
    for now in (SETTLED + 1, SETTLED + LEASE_SECONDS):
        rebalance.heard(BOTH, READY, now)
        assert not rebalance.due(connections, now)


def test_so_many_percent_are_moved_a_second_and_no_more_after_a_pause() -> None:
    connections = [Connection(slot) for slot in LEAVING]
    rebalance = joined(percent=5)
    for now, moved in looks(rebalance, connections, SETTLED + 4):
        # 5 % of 200, and of fewer then, in half a second.
        assert len(moved) <= (5 if now > SETTLED else 10)
    assert 200 - 45 <= len(connections) <= 200 - 35
    later = SETTLED + 1_000
    rebalance.heard(BOTH, READY, later)
    assert len(rebalance.due(connections, later)) <= 0.05 * 200


def test_a_node_with_few_connections_moves_one_now_and_then() -> None:
    connections = [Connection(slot) for slot in LEAVING[:2]]
    moves = [now for now, moved in looks(joined(percent=10), connections, SETTLED + 30) if moved]
    assert len(moves) == 2
    assert moves[1] - moves[0] >= 5


def test_who_came_after_the_view_was_formed_or_says_no_key_stays() -> None:
    """A balancer that does not place by these slots would bring them back here for ever."""
    connections = [
        Connection(LEAVING[0], opened_at=FORMED),
        Connection(LEAVING[1], FORMED + 1),
        Connection(None),
    ]
    assert moved_until(joined(100), connections, SETTLED + 10) == 0


def test_nobody_is_sent_to_a_node_that_is_not_ready_until_it_is() -> None:
    rebalance, connections = joined(100), [Connection(slot) for slot in LEAVING]
    assert moved_until(rebalance, connections, SETTLED + 5, ready=frozenset((HERE,))) == 0
    rebalance.heard(BOTH, READY, SETTLED + 6)
    assert rebalance.due(connections, SETTLED + 6)


def test_a_node_out_of_touch_moves_nobody() -> None:
    rebalance, connections = joined(100), [Connection(slot) for slot in LEAVING]
    assert moved_until(rebalance, connections, SETTLED) == 0
    assert not rebalance.due(connections, SETTLED + LEASE_SECONDS)


def test_a_node_that_has_left_the_view_moves_nobody() -> None:
    rebalance = Rebalance(HERE, 100)
    only_there = View.of([Process(THERE, THERE, 1, 0.0)])
    rebalance.heard(only_there, READY, FORMED)
    connections = [Connection(slot) for slot in LEAVING]
    assert not [moved for _, moved in looks(rebalance, connections, SETTLED + 5, view=only_there) if moved]


@pytest.mark.parametrize("percent", [0, 1, 100])
def test_nobody_is_moved_when_nobody_is_elsewhere(percent: int) -> None:
    assert moved_until(joined(percent), [Connection(slot) for slot in STAYING], SETTLED + 5) == 0
