"""Who is in a room, and who may speak for whom."""

import pytest

from roomful.crdt.varint import Malformed
from roomful.presence import clients as module
from roomful.presence.awareness import gone_entry
from roomful.presence.clients import Clients
from tests.presence.entries import entry

ANN, BOB = "Ann's session", "Bob's session"


@pytest.fixture
def clients() -> Clients:
    return Clients(clients_per_session=3)


def test_nobody_is_here_at_first(clients: Clients) -> None:
    assert (len(clients), clients.entries()) == (0, [])
    assert clients.leave(ANN) == []


def test_a_first_state_is_news_and_its_client_is_asked_to_say_it_again(clients: Clients) -> None:
    """Peers may know its clock from before; stock clients that hear they are gone raise it."""
    said = entry(1, 3, {"name": "Ann"})
    assert clients.apply(ANN, [said]) == ([said], [gone_entry(1, 3)])
    again = entry(1, 4, {"name": "Ann"})
    assert clients.apply(ANN, [again]) == ([again], [])
    assert clients.entries() == [again]
    assert len(clients) == 1


def test_a_first_state_at_clock_0_is_news_to_nobody(clients: Clients) -> None:
    assert clients.apply(ANN, [entry(1, 0, {})]) == ([], [])
    assert len(clients) == 0


def test_only_a_higher_clock_replaces_a_state(clients: Clients) -> None:
    clients.apply(ANN, [entry(1, 5, {"a": 1})])
    assert clients.apply(ANN, [entry(1, 4, {"a": 2}), entry(1, 5, {"a": 2})]) == ([], [])
    newer = entry(1, 6, {"a": 2})
    assert clients.apply(ANN, [newer]) == ([newer], [])
    assert clients.entries() == [newer]


@pytest.mark.parametrize("clock", [5, 6])
def test_a_client_leaves_at_its_clock_or_a_higher_one(clients: Clients, clock: int) -> None:
    clients.apply(ANN, [entry(1, 5, {})])
    gone = entry(1, clock, None)
    assert clients.apply(ANN, [gone]) == ([gone], [])
    assert len(clients) == 0


def test_a_client_does_not_leave_at_a_lower_clock(clients: Clients) -> None:
    clients.apply(ANN, [entry(1, 5, {})])
    assert clients.apply(ANN, [entry(1, 4, None)]) == ([], [])
    assert len(clients) == 1


def test_that_a_stranger_has_left_is_no_news(clients: Clients) -> None:
    assert clients.apply(ANN, [entry(1, 5, None)]) == ([], [])
    said = entry(1, 1, {})
    assert clients.apply(BOB, [said])[0] == [said], "nor does it keep the stranger out"


def test_nobody_speaks_for_the_client_of_another_session(clients: Clients) -> None:
    clients.apply(ANN, [entry(1, 5, {"name": "Ann"})])
    echoes = [entry(1, 5, {"name": "Ann"}), entry(1, 9, {"name": "Not Ann"}), entry(1, 9, None)]
    assert clients.apply(BOB, echoes) == ([], [])
    assert clients.entries() == [entry(1, 5, {"name": "Ann"})]


def test_a_session_that_ends_takes_its_clients_along_at_their_clocks(clients: Clients) -> None:
    clients.apply(ANN, [entry(1, 5, {}), entry(2, 7, {})])
    clients.apply(BOB, [entry(3, 1, {})])
    assert sorted(clients.leave(ANN)) == [gone_entry(1, 5), gone_entry(2, 7)]
    assert clients.entries() == [entry(3, 1, {})]
    assert clients.leave(ANN) == []


def test_a_client_that_said_goodbye_is_not_announced_again(clients: Clients) -> None:
    clients.apply(ANN, [entry(1, 5, {}), entry(1, 6, None)])
    assert clients.leave(ANN) == []


def test_a_client_that_comes_back_too_early_is_told_that_it_is_gone(clients: Clients) -> None:
    clients.apply(ANN, [entry(1, 5, {})])
    clients.leave(ANN)
    assert clients.apply(BOB, [entry(1, 5, {})]) == ([], [gone_entry(1, 5)])
    assert len(clients) == 0
    back = entry(1, 6, {})
    assert clients.apply(BOB, [back])[0] == [back]


def test_a_client_may_move_to_another_session_once_it_is_gone(clients: Clients) -> None:
    clients.apply(ANN, [entry(1, 5, {}), entry(1, 5, None), entry(2, 1, {})])
    moved = entry(1, 6, {})
    assert clients.apply(BOB, [moved])[0] == [moved]
    assert clients.leave(ANN) == [gone_entry(2, 1)]
    assert clients.leave(BOB) == [gone_entry(1, 6)]


def test_who_has_left_lately_and_is_not_back_is_known(clients: Clients) -> None:
    assert clients.departed() == []
    clients.apply(ANN, [entry(1, 5, {}), entry(2, 7, {}), entry(2, 8, None)])
    clients.leave(ANN)
    assert clients.departed() == [gone_entry(2, 8), gone_entry(1, 5)]
    clients.apply(BOB, [entry(1, 6, {})])
    assert clients.departed() == [gone_entry(2, 8)]


def test_a_session_speaks_for_a_limited_number_of_clients(clients: Clients) -> None:
    with pytest.raises(Malformed) as caught:
        clients.apply(ANN, [entry(client, 1, {}) for client in range(1, 5)])
    assert caught.value.reason == "limit"
    assert len(clients) == 3, "what stood before has been taken"
    clients.apply(ANN, [entry(1, 2, None), entry(4, 1, {})])
    assert {each.client for each in clients.entries()} == {2, 3, 4}


def test_a_session_that_was_refused_its_first_client_leaves_nothing_behind() -> None:
    clients = Clients(clients_per_session=0)
    with pytest.raises(Malformed):
        clients.apply(ANN, [entry(1, 1, {})])
    assert clients.leave(ANN) == []


@pytest.mark.parametrize("known", [False, True])
def test_a_state_is_checked_when_it_is_news(clients: Clients, known: bool) -> None:
    if known:
        clients.apply(ANN, [entry(1, 1, {})])
    with pytest.raises(Malformed):
        clients.apply(ANN, [entry(1, 2, [])])
    clients.apply(BOB, [entry(1, 0, [])])


def test_who_has_left_is_remembered_for_a_while(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED_GONE", 2)
    for client in (1, 2, 1, 3):
        clients.apply(ANN, [entry(client, 9 + client, {}), entry(client, 9 + client, None)])
        if client == 2:
            clients.apply(ANN, [entry(1, 20, {}), entry(1, 20, None)])
    assert clients.apply(ANN, [entry(1, 20, {})]) == ([], [gone_entry(1, 20)])
    assert clients.apply(ANN, [entry(3, 12, {})]) == ([], [gone_entry(3, 12)])
    forgotten = entry(2, 1, {})
    assert clients.apply(ANN, [forgotten])[0] == [forgotten]


def test_a_clock_may_not_leap_so_that_its_client_can_still_be_answered(clients: Clients) -> None:
    highest = 5 + module._LONGEST_LEAP
    clients.apply(ANN, [entry(1, 5, {})])
    with pytest.raises(Malformed) as caught:
        clients.apply(ANN, [entry(1, highest + 1, {})])
    assert caught.value.reason == "clock"
    news, _ = clients.apply(ANN, [entry(1, highest, {})])
    assert [each.clock for each in news] == [highest]
