"""Clients that are back before their loss was noticed, and say nothing until they renew themselves."""

import pytest

from roomful.presence.awareness import Entry, gone_entry
from roomful.presence.claims import NOBODY, Claim, user_key
from roomful.presence.clients import Clients
from tests.presence.entries import entry

ANN, BOB = user_key("ann"), user_key("bob")
OLD, NEW, LATER = "the old session", "the new session", "a later session"
STATE = entry(1, 5, {})


@pytest.fixture
def clients() -> Clients:
    return Clients(clients_per_session=1, process="here")


def handed_over(clients: Clients, user: bytes = ANN, said: Entry = STATE) -> list[tuple[object, Entry]]:
    """The client says itself anew before its old session is known to be lost, at 0 s."""
    clients.apply(OLD, [STATE], user, 7)
    clients.enter(NEW, user)
    assert clients.apply(NEW, [said], user, 9) == ([], [])
    clients.take_untold()
    clients.lose(OLD, 10.0)
    return clients.take_presumed(0.0)


@pytest.mark.parametrize("user", [ANN, NOBODY])
def test_one_who_said_the_very_entry_is_not_lost_when_its_old_session_is(
    clients: Clients, user: bytes
) -> None:
    assert handed_over(clients, user) == [(NEW, STATE)]
    assert clients.take_sought() == {NEW: [gone_entry(1, 5)]}
    assert clients.take_untold() == {1: Claim("here", STATE, user, 7)}
    assert clients.take_returned()
    assert (clients.next_end, clients.awaits, clients.expire(19.9)) == (20.0, False, [])
    renewed = entry(1, 7, {})
    assert clients.apply(NEW, [renewed], user) == ([renewed], [])
    assert (clients.next_end, clients.expire(99.0)) == (None, [])
    assert clients.leave(NEW) == [gone_entry(1, 7)]


def test_one_who_says_nothing_more_was_an_echo_and_its_client_is_gone_at_last(clients: Clients) -> None:
    handed_over(clients)
    assert clients.expire(20.0) == [gone_entry(1, 5)]
    assert (clients.entries(), clients.leave(NEW)) == ([], [])


def test_an_echo_that_the_client_is_gone_does_not_send_it_away(clients: Clients) -> None:
    handed_over(clients)
    assert clients.apply(NEW, [gone_entry(1, 5)], ANN) == ([], [])
    assert clients.entries() == [STATE]
    goodbye = entry(1, 6, None)
    assert clients.apply(NEW, [goodbye], ANN) == ([goodbye], [])


def test_one_who_had_an_echo_comes_back_all_the_same(clients: Clients) -> None:
    handed_over(clients)
    assert clients.enter(LATER, ANN) == [], "it may be itself"
    assert clients.apply(LATER, [STATE], ANN, 11) == ([STATE], [])
    assert clients.expire(99.0) == []
    assert (clients.leave(NEW), clients.leave(LATER)) == ([], [gone_entry(1, 5)])


def test_of_two_who_said_it_the_later_one_has_it_after_the_trial_of_the_first(clients: Clients) -> None:
    clients.apply(OLD, [STATE], ANN)
    for session in (NEW, LATER):
        clients.apply(session, [STATE], ANN)
    clients.lose(OLD, 10.0)
    assert clients.take_presumed(0.0) == [(LATER, STATE)]
    clients.apply(NEW + ", again", [STATE], ANN)
    assert clients.expire(20.0) == []
    assert clients.take_presumed(20.0) == [(LATER, gone_entry(1, 5)), (NEW + ", again", STATE)]
    assert clients.expire(40.0) == [gone_entry(1, 5)]


@pytest.mark.parametrize("said", [entry(1, 4, {}), entry(1, 5, {"else": 1})])
def test_one_who_said_something_else_is_only_asked(clients: Clients, said: Entry) -> None:
    assert handed_over(clients, said=said) == []
    assert clients.take_sought() == {NEW: [gone_entry(1, 5)]}
    assert clients.expire(10.0) == [gone_entry(1, 5)]


def test_a_client_that_still_speaks_is_nobody_elses_when_it_is_lost(clients: Clients) -> None:
    clients.apply(OLD, [STATE], ANN)
    clients.apply(NEW, [STATE], ANN)
    clients.apply(OLD, [entry(1, 6, {})], ANN)
    clients.lose(OLD, 10.0)
    assert clients.take_presumed(0.0) == []
    assert clients.expire(10.0) == [gone_entry(1, 6)]


@pytest.mark.parametrize("goes_on", [Claim("there", entry(1, 6, {}), ANN, 7), Claim("there", STATE, BOB, 3)])
def test_a_client_elsewhere_that_still_speaks_or_is_another_users_is_nobody_elses(
    clients: Clients, goes_on: Claim
) -> None:
    clients.hear("there", 1, Claim("there", STATE, ANN, 7))
    clients.apply(NEW, [STATE], ANN)
    clients.hear("there", 1, goes_on)
    clients.hear("there", 1, goes_on._replace(lost=True))
    assert clients.take_presumed(0.0) == []


def test_one_who_speaks_for_as_many_as_it_may_is_only_asked(clients: Clients) -> None:
    clients.apply(OLD, [STATE], ANN)
    clients.apply(NEW, [STATE], ANN)
    clients.apply(NEW, [entry(2, 1, {})], ANN)
    clients.lose(OLD, 10.0)
    assert (clients.take_presumed(0.0), list(clients.take_sought())) == ([], [NEW])


def test_one_on_trial_that_is_lost_has_its_grace(clients: Clients) -> None:
    handed_over(clients)
    clients.lose(NEW, 15.0)
    assert (clients.next_end, clients.awaits) == (15.0, True)
    assert clients.expire(15.0) == [gone_entry(1, 5)]


@pytest.mark.parametrize("ends", ["is lost there", "is on a server that is gone"])
def test_one_that_was_elsewhere_is_here_when_it_is_lost_there(clients: Clients, ends: str) -> None:
    clients.hear("there", 1, Claim("there", STATE, ANN, 7))
    clients.apply(NEW, [STATE], ANN, 9)
    if ends == "is lost there":
        assert clients.hear("there", 1, Claim("there", STATE, ANN, 7, lost=True)) is None
    else:
        clients.orphan("there", 10.0)
    assert clients.take_untold() == {1: Claim("here", STATE, ANN, 7)}
    assert clients.hear("there", 1, None) is None
    clients.take_presumed(0.0)
    assert clients.expire(19.0) == []
    assert clients.entries() == [STATE]
