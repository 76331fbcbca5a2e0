"""Awareness in bytes beside y-protocols' own rules: only who may speak for whom is different."""

import json
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.crdt.varint import read_varstring
from roomful.presence.awareness import Entry
from roomful.presence.clients import Clients
from tests.presence.entries import Peer, entry

SESSIONS = ("one", "two", "three")
clients = st.integers(1, 4)
clocks = st.integers(0, 5)
states = st.none() | st.integers(0, 3).map(lambda number: {"cursor": number})
entries = st.lists(st.builds(entry, clients, clocks, states), max_size=4)


class Said(NamedTuple):
    session: str
    entries: list[Entry]


class Left(NamedTuple):
    session: str


class Joined(NamedTuple):
    """Somebody comes and is told who is here."""


class Flushed(NamedTuple):
    """Those who listen are sent what has changed, the last word of each client only."""


sessions = st.sampled_from(SESSIONS)
events = st.one_of(
    st.builds(Said, sessions, entries),
    st.builds(Said, sessions, entries),
    st.builds(Left, sessions),
    st.builds(Joined),
    st.builds(Flushed),
)


class Owned:
    """A y-protocols peer that believes each client id to one session only, the first to use it."""

    def __init__(self) -> None:
        self.peer = Peer()
        self.owners: dict[int, str] = {}

    def hear(self, session: str, said: list[Entry]) -> None:
        for each in said:
            owner = self.owners.get(each.client)
            if owner == session or (owner is None and not each.gone):
                self.peer.hear([each])
                self._note(each.client, session)

    def leave(self, session: str) -> None:
        for client in [client for client, owner in self.owners.items() if owner == session]:
            self.peer.hear([entry(client, self.peer.clocks[client], None)])
            self._note(client, session)

    def _note(self, client: int, session: str) -> None:
        if client in self.peer.states:
            self.owners[client] = session
        else:
            self.owners.pop(client, None)


def shown(awareness: Clients) -> dict[int, str]:
    return {each.client: read_varstring(each.state, 0, 999)[0] for each in awareness.entries()}


def clock_of(awareness: Clients) -> dict[int, int]:
    return {each.client: each.clock for each in awareness.entries()}


@settings(max_examples=400)
@given(st.lists(events, max_size=25))
def test_everybody_sees_what_y_protocols_would_show_however_few_frames_they_are_sent(
    happened: list[Said | Left | Joined | Flushed],
) -> None:
    awareness, model = Clients(clients_per_session=4), Owned()
    told_all, told_last = [Peer()], [Peer()]
    changed: dict[int, Entry] = {}
    for event in [*happened, Flushed()]:
        news: list[Entry] = []
        match event:
            case Said(session, said):
                news, corrections = awareness.apply(session, said)
                model.hear(session, said)
                assert all(correction.gone for correction in corrections)
            case Left(session):
                news = awareness.leave(session)
                model.leave(session)
            case Joined():
                for peers in (told_all, told_last):
                    peers.append(Peer())
                    peers[-1].hear(awareness.entries())
            case Flushed():
                for peer in told_last:
                    peer.hear(changed.values())
                changed = {}
        for each in news:
            changed[each.client] = each
            for peer in told_all:
                peer.hear([each])
        assert shown(awareness) == model.peer.states
        assert clock_of(awareness).items() <= model.peer.clocks.items()
        assert all(peer.states == model.peer.states for peer in told_all)
    assert all(peer.states == model.peer.states for peer in told_last)


@given(st.lists(st.sampled_from(["say", "leave", "drop", "back", "gone"]), max_size=20))
def test_a_client_that_lost_its_connection_is_seen_again_after_at_most_one_correction(
    happened: list[str],
) -> None:
    """Stock clients announce the clock they have, and raise it when told that they are gone."""
    awareness = Clients(clients_per_session=1)
    client, session = Peer(7, {"n": 0}), 0
    client.say({"n": 1})
    for number, event in enumerate(happened):
        match event:
            case "say":
                awareness.apply(session, [client.say({"n": number})])
            case "leave":
                awareness.leave(session)
            case "drop":
                awareness.leave(session)
                session += 1
            case "gone":
                awareness.apply(session, [client.say(None)])
            case "back":
                client.say({"n": number})
    _, corrections = awareness.apply(session, [client.own()])
    client.hear(corrections)
    awareness.apply(session, [client.own()])
    expected = {7: client.states[7]} if 7 in client.states else {}
    assert shown(awareness) == expected
    assert clock_of(awareness).get(7, client.clocks[7]) == client.clocks[7]


@given(st.lists(st.sampled_from(["say", "drop", "restart"]), max_size=10))
def test_a_client_that_is_back_is_seen_even_by_peers_that_remember_its_clock(happened: list[str]) -> None:
    """A peer keeps the clocks of those whom it marked as gone, and the server may have been restarted."""
    awareness, client, peer = Clients(clients_per_session=1), Peer(7, {"n": 0}), Peer()
    client.say({"n": 1})
    for session, event in enumerate([*happened, "drop"]):
        for _ in range(2):
            news, corrections = awareness.apply(session, [client.own()])
            peer.hear(news)
            client.hear(corrections)
        assert peer.states == {7: client.states[7]}
        match event:
            case "say":
                client.say({"n": session})
                awareness.apply(session, [client.own()])
                peer.hear([client.own(), *awareness.leave(session)])
            case "drop":
                peer.hear(awareness.leave(session))
            case "restart":
                awareness = Clients(clients_per_session=1)
                # Stock clients mark everybody as gone when they lose the server, at the clocks they know.
                peer.states.clear()
        assert peer.states == {}


@given(entries, entries)
def test_what_is_applied_twice_is_news_once(first: list[Entry], second: list[Entry]) -> None:
    awareness = Clients(clients_per_session=4)
    awareness.apply("one", first)
    awareness.apply("one", second)
    before = shown(awareness)
    assert awareness.apply("one", awareness.entries()) == ([], [])
    assert shown(awareness) == before
    assert all(json.loads(text) is not None for text in before.values())
