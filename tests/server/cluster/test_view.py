"""Processes, the view they make together, and what is made of a lost lease."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from roomful.server.cluster.sharding import SLOTS, Member, ranked
from roomful.server.cluster.view import LEASE_SECONDS, Process, Roster, View

A, B, C = (Process(name, f"http://{name}:8080", 1, 1_000.5) for name in "abc")


def test_what_a_process_tells_of_itself_is_read_as_it_was_told() -> None:
    told = replace(A, url="http://Ünïcödé/x", weight=7, ready=False)
    assert Process.decode(told.encode()) == told


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert Process.decode(json.dumps({**json.loads(A.encode()), "region": "eu"}).encode()) == A


@pytest.mark.parametrize(
    "told",
    [b"", b"\xff", b"[]", b"7", b"null", b'{"name": "a"}']
    + [
        json.dumps({**json.loads(A.encode()), **wrong}).encode()
        for wrong in ({"url": 7}, {"weight": 0}, {"weight": "1"}, {"weight": -1}, {"weight": 1.5})
    ],
)
def test_what_is_no_process_is_refused(told: bytes) -> None:
    with pytest.raises(ValueError, match="no process"):
        Process.decode(told)


def test_processes_under_one_url_are_one_node_with_their_weights_together() -> None:
    worker = replace(A, name="a2", weight=2)
    assert View.of([B, worker, A]).members == (Member(A.url, 3), Member(B.url, 1))


def test_equal_nodes_make_equal_views_whoever_tells_and_whichever_process_it_is() -> None:
    view = View.of([A, B])
    assert View.of([B, replace(A, name="restarted", started_at=2.0, ready=False)]) == view
    others = [[A], [A, B, C], [A, replace(B, weight=2)], [A, replace(B, url="http://b")]]
    assert len({view.hash, *(View.of(each).hash for each in others)}) == 1 + len(others)


def test_a_view_ranks_nodes_as_the_published_rules_do() -> None:
    view = View.of([A, replace(B, weight=3), C])
    for slot in range(0, SLOTS, 7):
        assert view.ranked(slot) == tuple(member.name for member in ranked(slot, view.members))
    shares = Counter(view.ranked(slot)[0] for slot in range(SLOTS))
    assert shares[B.url] == pytest.approx(SLOTS * 3 / 5, rel=0.1)


def test_a_view_of_nobody_ranks_nobody() -> None:
    assert View.of(()).ranked(7) == ()


@pytest.fixture
def roster() -> Roster:
    roster = Roster(A)
    roster.answered([A], held=False, now=100.0)
    roster.answered([A, B, C], held=True, now=100.0 + LEASE_SECONDS)
    return roster


def test_a_process_begins_with_a_view_of_itself() -> None:
    assert Roster(A).view == View.of([A])


def test_who_holds_no_lease_any_more_is_gone_from_the_view(roster: Roster) -> None:
    assert roster.view == View.of([A, B, C])
    roster.answered([A, C], held=True, now=200.0)
    assert roster.view == View.of([A, C])


def test_processes_are_known_by_their_names(roster: Roster) -> None:
    assert roster.processes == {A.name, B.name, C.name}
    roster.answered([A, C], held=True, now=200.0)
    assert roster.processes == {A.name, C.name}
    roster.left([C])
    assert roster.processes == {C.name}


def test_a_view_that_has_not_changed_stays_the_same_object(roster: Roster) -> None:
    view = roster.view
    roster.answered([replace(A, ready=False), B, C], held=True, now=200.0)
    assert roster.view is view
    assert roster.ready == {B.url, C.url}


def test_a_node_is_ready_when_one_of_its_processes_is(roster: Roster) -> None:
    roster.answered([A, replace(B, ready=False), replace(B, name="b2")], held=True, now=200.0)
    assert roster.ready == {A.url, B.url}


def test_when_the_own_lease_lapsed_the_others_have_one_lease_to_come_back(roster: Roster) -> None:
    """Redis was away, and all leases lapsed: the first that renews must not take everybody for gone."""
    roster.answered([A], held=False, now=200.0)
    assert roster.view == View.of([A, B, C])
    roster.answered([A, B], held=True, now=200.0 + LEASE_SECONDS - 0.1)
    assert roster.view == View.of([A, B, C])
    roster.answered([A, B], held=True, now=200.0 + LEASE_SECONDS)
    assert roster.view == View.of([A, B])


def test_who_has_left_is_not_in_its_own_view(roster: Roster) -> None:
    roster.left([B, C])
    assert roster.view == View.of([B, C])
