"""Clients that are at other processes, that are lost, that come back, and that two processes claim."""

import pytest

from roomful.crdt.varint import Malformed
from roomful.presence.awareness import Entry, gone_entry
from roomful.presence.claims import NOBODY, Claim, client_key, read_client, user_key
from roomful.presence.clients import Clients
from tests.presence.entries import entry

ANN, BOB = user_key("ann"), user_key("bob")
ONE, TWO = "a session", "another session"


@pytest.fixture
def clients() -> Clients:
    return Clients(clients_per_session=3, process="here")


def claim(
    clock: int = 1, *, process: str = "there", user: bytes = ANN, since: int = 5, lost: bool = False
) -> Claim:
    return Claim(process, entry(1, clock, {"n": clock}), user, since, lost)


# What is told


def test_a_claim_reads_back() -> None:
    told = claim(7, lost=True)
    assert Claim.decode("there", client_key(1), told.encode()) == told
    assert read_client(client_key(300)) == 300


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (client_key(1), b""),
        (client_key(1), claim().encode()[:-1]),
        (client_key(1), claim().encode() + b"x"),
        (client_key(1), b"\x02" + claim().encode()[1:]),
        (client_key(2), claim().encode()),
        (client_key(1) + b"x", claim().encode()),
        (b"", claim().encode()),
        (client_key(1), claim().encode()[:15] + gone_entry(1, 5).raw),
    ],
)
def test_what_is_no_claim_is_refused(key: bytes, value: bytes) -> None:
    with pytest.raises(Malformed):
        Claim.decode("there", key, value)


def test_users_are_told_apart_and_nobody_from_all() -> None:
    assert len({user_key("ann"), user_key("bob"), user_key(""), user_key("\ud800")}) == 4
    assert user_key("") == NOBODY


def test_what_has_changed_is_told_once(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 1, {}), entry(2, 1, {})], ANN, 5)
    assert clients.take_untold() == {
        1: Claim("here", entry(1, 1, {}), ANN, 5),
        2: Claim("here", entry(2, 1, {}), ANN, 5),
    }
    assert clients.take_untold() == {}
    clients.apply(ONE, [entry(1, 2, None), entry(2, 2, {})], ANN, 9)
    assert clients.take_untold() == {1: None, 2: Claim("here", entry(2, 2, {}), ANN, 5)}
    clients.lose(ONE, 10.0)
    assert clients.take_untold() == {2: Claim("here", entry(2, 2, {}), ANN, 5, lost=True)}


def test_what_others_claim_is_not_told_on(clients: Clients) -> None:
    clients.hear("there", 1, claim())
    clients.orphan("there", 10.0)
    clients.expire(10.0)
    assert clients.take_untold() == {}


# What is heard


def test_a_client_elsewhere_is_here_for_all_to_see_until_it_is_gone(clients: Clients) -> None:
    assert clients.hear("there", 1, claim(3)) == entry(1, 3, {"n": 3})
    assert clients.hear("there", 1, claim(4)) == entry(1, 4, {"n": 4})
    assert clients.entries() == [entry(1, 4, {"n": 4})]
    assert clients.hear("nobody", 1, None) is None
    assert clients.hear("there", 1, None) == gone_entry(1, 4)
    assert (clients.entries(), clients.departed()) == ([], [gone_entry(1, 4)])


def test_nobody_here_speaks_for_a_client_elsewhere(clients: Clients) -> None:
    clients.hear("there", 1, claim(3))
    assert clients.apply(ONE, [entry(1, 3, {}), entry(1, 9, {}), entry(1, 9, None)], ANN) == ([], [])
    assert clients.entries() == [entry(1, 3, {"n": 3})]


def test_what_is_heard_is_checked_like_what_is_said(clients: Clients) -> None:
    with pytest.raises(Malformed):
        clients.hear("there", 1, Claim("there", entry(1, 1, []), ANN, 5))
    assert len(clients) == 0


def test_old_news_are_none_but_are_kept_for_newcomers(clients: Clients) -> None:
    clients.hear("there", 1, claim(5))
    clients.hear("there", 1, None)
    assert clients.hear("there", 1, claim(5)) is None
    assert clients.entries() == [entry(1, 5, {"n": 5})]


# Who is lost


def test_one_who_is_lost_is_seen_until_the_grace_is_over(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN)
    clients.lose(ONE, 10.0)
    assert (clients.entries(), clients.awaits) == ([entry(1, 5, {})], True)
    assert clients.next_end == 10.0
    assert clients.expire(9.9) == []
    assert clients.expire(10.0) == [gone_entry(1, 5)]
    assert (clients.entries(), clients.awaits) == ([], False)
    assert clients.take_untold() == {1: None}


def test_one_who_comes_back_is_known_and_goes_on(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN, 1)
    clients.lose(ONE, 10.0)
    assert clients.enter(TWO, ANN) == [], "it may be this very client"
    assert clients.enter("a third", BOB) == [entry(1, 5, {})]
    back = [entry(1, 5, {})]
    assert clients.apply(TWO, back, ANN, 2) == (back, []), "who came meanwhile was not told of it"
    assert clients.take_untold() == {1: Claim("here", entry(1, 5, {}), ANN, 2)}
    assert clients.expire(99.0) == []
    assert clients.leave(TWO) == [gone_entry(1, 5)]


@pytest.mark.parametrize("said", [entry(1, 1, {}), entry(1, 5, {"another": "state"})])
def test_one_who_begins_anew_under_its_old_id_is_asked_to_raise_its_clock(
    clients: Clients, said: Entry
) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN, 1)
    clients.lose(ONE, 10.0)
    clients.enter(TWO, ANN)
    assert clients.apply(TWO, [said], ANN, 2) == ([], [gone_entry(1, 5)])
    back = entry(1, 6, {})
    assert clients.apply(TWO, [back], ANN, 2) == ([back], [])


def test_one_who_is_back_before_its_loss_is_known_takes_over_with_what_it_says_next(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN, 1)
    assert clients.enter(TWO, ANN) == [entry(1, 5, {})]
    assert clients.apply(TWO, [entry(1, 5, {})], ANN, 2) == ([], [])
    newer = entry(1, 6, {})
    assert clients.apply("a third", [entry(3, 1, {}), newer], ANN) == ([entry(3, 1, {})], [gone_entry(3, 1)])
    assert clients.apply(TWO, [newer], ANN, 2) == ([newer], [])
    assert clients.leave(ONE) == []
    assert clients.leave(TWO) == [gone_entry(1, 6)]


def test_nobody_without_a_name_takes_a_client_whose_session_lives(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})])
    clients.apply(TWO, [entry(1, 5, {})])
    assert clients.apply(TWO, [entry(1, 6, {})]) == ([], [])
    assert clients.entries() == [entry(1, 5, {})]


def test_one_that_had_to_yield_to_another_process_is_asked_when_it_is_lost_there(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN)
    clients.hear("there", 1, claim(6))
    clients.hear("there", 1, claim(6, lost=True))
    assert clients.take_sought() == {ONE: [gone_entry(1, 6)]}


def test_only_clients_that_answer_at_once_are_asked_to_raise_their_clocks(clients: Clients) -> None:
    """Others do so in silence, and put off what they say by themselves, until their peers give them up."""
    clients.apply(ONE, [entry(1, 5, {})])
    assert clients.ask(ONE) == [], "it has been asked"
    clients.apply(TWO, [entry(2, 5, {})])
    clients.apply(ONE, [entry(1, 6, {})])
    clients.apply(TWO, [entry(2, 7, {})])
    assert (clients.ask(ONE), clients.ask(TWO), clients.ask("a third")) == ([gone_entry(1, 6)], [], [])
    assert clients.ask(ONE) == []
    clients.apply(ONE, [entry(1, 8, {})])
    assert clients.ask(ONE) == []


def test_one_that_came_from_another_process_is_asked_until_it_is_known_not_to_answer(
    clients: Clients,
) -> None:
    clients.hear("there", 1, claim(5, lost=True))
    clients.apply(ONE, [entry(1, 6, {})], ANN)
    assert clients.ask(ONE) == [gone_entry(1, 6)]
    clients.apply(ONE, [entry(1, 8, {})], ANN)
    assert clients.ask(ONE) == []


@pytest.mark.parametrize("said", [entry(1, 5, {}), entry(1, 4, {}), entry(1, 6, None), entry(1, 5, None)])
def test_an_echo_brings_nobody_back_and_sends_nobody_away(clients: Clients, said: object) -> None:
    clients.apply(TWO, [entry(2, 1, {})], ANN)
    clients.apply(ONE, [entry(1, 5, {})], ANN)
    clients.lose(ONE, 10.0)
    assert clients.apply(TWO, [said], ANN) == ([], [])  # type: ignore[list-item]
    assert clients.expire(10.0) == [gone_entry(1, 5)]


def test_another_user_does_not_come_back_for_one_who_is_lost(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN)
    clients.lose(ONE, 10.0)
    assert clients.apply(TWO, [entry(1, 9, {})], BOB) == ([], [])
    assert clients.expire(10.0) == [gone_entry(1, 5)]


def test_one_who_was_back_before_its_loss_was_known_is_asked_then(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN)
    assert clients.apply(TWO, [entry(1, 5, {})], ANN) == ([], []), "as an echo would be"
    clients.lose(ONE, 10.0)
    assert clients.has_untold
    assert clients.take_sought() == {TWO: [gone_entry(1, 5)]}
    assert clients.take_sought() == {}
    back = entry(1, 6, {})
    assert clients.apply(TWO, [back], ANN) == ([back], [])


def test_one_who_was_back_and_left_again_is_not_asked(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN)
    clients.apply(TWO, [entry(1, 5, {})], ANN)
    clients.leave(TWO)
    clients.lose(ONE, 10.0)
    assert clients.take_sought() == {}


def test_those_who_only_repeat_others_are_not_asked(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {})], ANN)
    clients.apply(TWO, [entry(2, 1, {})], ANN)
    clients.apply(TWO, [entry(1, 5, {})], ANN)
    clients.apply("a third", [entry(1, 5, {}), entry(2, 1, {})], ANN)
    clients.apply("a fourth", [entry(1, 5, {})], BOB)
    clients.lose(ONE, 10.0)
    assert clients.take_sought() == {}


# Who is lost elsewhere, or has come from there


def test_one_who_is_lost_elsewhere_comes_back_here(clients: Clients) -> None:
    clients.hear("there", 1, claim(5))
    assert clients.apply(ONE, [entry(1, 5, {"n": 5})], ANN) == ([], [])
    assert clients.hear("there", 1, claim(5, lost=True)) is None
    assert clients.take_sought() == {ONE: [gone_entry(1, 5)]}
    assert not clients.awaits, "the other process does"
    back = entry(1, 6, {})
    assert clients.apply(ONE, [back], ANN, 9) == ([back], [])
    assert clients.take_untold() == {1: Claim("here", back, ANN, 5)}
    assert clients.hear("there", 1, None) is None, "it has let go of what is ours"
    assert clients.entries() == [back]


def test_one_who_has_moved_is_let_go_without_a_word(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 5, {}), entry(2, 1, {})], ANN, 1)
    clients.take_untold()
    assert clients.hear("there", 1, claim(6, since=2)) == entry(1, 6, {"n": 6})
    assert clients.take_untold() == {1: None}
    assert clients.apply(ONE, [entry(1, 6, {})], ANN) == ([], [])
    assert clients.leave(ONE) == [gone_entry(2, 1)]
    assert clients.entries() == [entry(1, 6, {"n": 6})]


def test_the_clients_of_a_process_that_is_gone_may_come_back_here(clients: Clients) -> None:
    clients.hear("there", 1, claim(5))
    clients.hear("elsewhere", 2, Claim("elsewhere", entry(2, 1, {}), NOBODY, 5))
    clients.orphan("there", 10.0)
    assert (len(clients), clients.next_end, clients.awaits) == (2, 10.0, False)
    back = entry(1, 6, {})
    assert clients.apply(ONE, [back], ANN) == ([back], [])
    clients.orphan("elsewhere", 12.0)
    assert clients.expire(12.0) == [gone_entry(2, 1)]
    assert clients.entries() == [back]


def test_a_process_that_is_back_has_its_clients_again(clients: Clients) -> None:
    clients.hear("there", 1, claim(5))
    clients.orphan("there", 10.0)
    assert clients.hear("there", 1, claim(5)) == entry(1, 5, {"n": 5}), (
        "who came meanwhile was not told of it"
    )
    assert clients.hear("there", 1, claim(5)) is None
    assert clients.expire(99.0) == []


# Two claims for one client


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(claim(6), claim(5), id="the newer word"),
        pytest.param(claim(5, process="b"), claim(5, process="a"), id="any, but the same everywhere"),
        pytest.param(claim(1), claim(9, lost=True), id="who is there"),
        pytest.param(claim(1, user=BOB, since=4), claim(9, since=5), id="of two users who was there first"),
        pytest.param(claim(1, process="a", user=BOB), claim(9, process="b"), id="of two users at once any"),
    ],
)
def test_all_agree_whose_a_client_is(better: Claim, worse: Claim) -> None:
    assert better.outranks(worse)
    assert not worse.outranks(better)
    assert not better.outranks(better)
    one, other = Clients(clients_per_session=1), Clients(clients_per_session=1)
    for told in ((better, worse), (worse, better)):
        for each in told:
            (one if told[0] is better else other).hear(each.process if each is better else "z", 1, each)
    assert one.claim(1) == other.claim(1) == better


def test_one_who_speaks_for_another_user_elsewhere_does_not_take_its_client(clients: Clients) -> None:
    """It is quick enough only where a process has just opened the room, and knows nobody yet."""
    mine = entry(1, 5, {})
    clients.apply(ONE, [mine], ANN, 1)
    assert clients.hear("there", 1, claim(1_000, user=BOB, since=2)) is None
    assert clients.entries() == [mine]
    newer = entry(1, 6, {})
    assert clients.apply(ONE, [newer], ANN) == ([newer], [])


def test_one_who_has_moved_on_is_gone_for_those_who_know_its_later_clock(clients: Clients) -> None:
    clients.apply(ONE, [entry(1, 7, {})], ANN, 5)
    clients.lose(ONE, 30.0)
    # The process that it left has not told yet that it did, and says then that it is gone.
    assert clients.hear("there", 1, claim(6)) == entry(1, 6, {"n": 6})
    assert clients.hear("there", 1, None) == gone_entry(1, 7)
