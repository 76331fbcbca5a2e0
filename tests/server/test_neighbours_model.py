"""Whoever speaks, vanishes, comes back or dies, and whatever is cut: at last all see those who are there."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful.crdt.sync import read_payload
from roomful.presence.awareness import Entry, decode_entries, encode_entries
from tests.presence.entries import Peer
from tests.server.house import GRACE, House
from tests.server.members import Member
from tests.server.wire import unframe

pytestmark = pytest.mark.virtual_time

PROCESSES = ("one", "two", "three")
PEOPLE = 4
RENEWAL, CHECKED_EVERY = 15.0, 3.0
NOTICED = 3.0
"""After so long a server finds out that a connection is dead."""

people = st.integers(1, PEOPLE)
processes = st.sampled_from(PROCESSES)
events = st.one_of(
    st.tuples(st.just("say"), people),
    st.tuples(st.just("leave"), people),
    st.tuples(st.just("lose"), people),
    st.tuples(st.just("vanish"), people),
    st.tuples(st.just("come"), people, processes),
    st.tuples(st.just("come"), people, processes),
    st.tuples(st.just("cut"), processes),
    st.tuples(st.just("mend"), processes),
    st.tuples(st.just("kill"), processes),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.02, 0.2, 1.0, 4.0, 12.0])),
)


class Line(Member):
    """A session, and the way its frames take to the client."""

    def __init__(self, client: "Client", house: House, process: str, user: str) -> None:
        self.client = client
        super().__init__(house.rooms[process], user=user)

    def awareness(self, frame: bytes) -> None:
        asyncio.get_running_loop().call_later(0.005, self.client.hear, self, frame)

    def say(self, *parts: bytes) -> None:
        for part in parts:
            self.awareness(part)

    def fail(self, error: Exception) -> None:
        raise error


class Client:
    """A stock client with y-protocols' rules: it echoes what it hears, and renews what it has said."""

    def __init__(self, house: House, number: int, user: str) -> None:
        self.peer = Peer(number, {"n": 0})
        self.number = number
        self.line: Line | None = None
        self._house = house
        self._user = user
        self._said = 0
        self._renewed_at = 0.0
        self._loop = asyncio.get_running_loop()

    def come(self, process: str) -> None:
        if self.line is None and process in self._house.rooms:
            for other in self.peer.states.keys() - {self.number}:
                del self.peer.states[other]
            self.line = Line(self, self._house, process, self._user)
            if not self._said:
                self._say_more()
            self._send([self.peer.own()])

    def say(self) -> None:
        if self.line is not None:
            self._say_more()
            self._send([self.peer.own()])

    def _say_more(self) -> None:
        self._said += 1
        self._renewed_at = self._loop.time()
        self.peer.say({"n": self._said})

    def end(self, *, lost: bool, after: float = 0.0) -> None:
        """Be gone; the server finds out later, if it is to."""
        line, self.line = self.line, None
        if line is not None:
            self._loop.call_later(after, lambda: line.leave(lost=lost))

    def hear(self, line: Line, frame: bytes) -> None:
        if line is not self.line:
            return
        entries = decode_entries(read_payload(unframe(frame), 1), most=99, largest=999)
        known, clock = dict(self.peer.clocks), self.peer.clocks[self.number]
        self.peer.hear(entries)
        news = [each for each in entries if self.peer.clocks.get(each.client) != known.get(each.client)]
        echoes = [each for each in news if each.client != self.number]
        if echoes:
            self._send(echoes)
        if self.peer.clocks[self.number] != clock:
            self._send([self.peer.own()])

    def look(self) -> None:
        """Renew the own state, when it is time."""
        if self.line is not None and self._loop.time() - self._renewed_at >= RENEWAL:
            self.say()

    def _send(self, entries: list[Entry]) -> None:
        assert self.line is not None
        self.line.room.awareness.hear(self.line, encode_entries(entries))


async def pass_time(clients: dict[int, Client], seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while (left := end - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(min(left, CHECKED_EVERY))
        for client in clients.values():
            client.look()


@pytest.mark.parametrize("named", [True, False])
@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=25))
async def test_at_last_all_see_those_who_are_there(named: bool, happened: list[tuple[object, ...]]) -> None:
    house = House(*PROCESSES)
    clients = {
        number: Client(house, number, f"user {number}" if named else "") for number in range(1, PEOPLE + 1)
    }
    for event in happened:
        match event:
            case ("say", int(number)):
                clients[number].say()
            case ("leave", int(number)):
                clients[number].end(lost=False)
            case ("lose", int(number)):
                clients[number].end(lost=True)
            case ("vanish", int(number)):
                clients[number].end(lost=True, after=NOTICED)
            case ("come", int(number), str(process)):
                clients[number].come(process)
            case ("cut", str(process)):
                house.cut.add(process)
            case ("mend", str(process)) if process in house.cut:
                house.cut.discard(process)
                if process in house.rooms:
                    house.rooms[process].awareness.relinked()
            case ("kill", str(process)) if process in house.rooms and len(house.rooms) > 1:
                room = house.rooms.pop(process)
                for client in clients.values():
                    if client.line is not None and client.line.room is room:
                        client.line = None
                for other in house.rooms.values():
                    other.awareness.departed({process})
            case ("wait", float(seconds)):
                await pass_time(clients, seconds)
        await asyncio.sleep(0)
    for process in list(house.cut):
        house.cut.discard(process)
        if process in house.rooms:
            house.rooms[process].awareness.relinked()
    await pass_time(clients, GRACE + RENEWAL + 2 * CHECKED_EVERY)
    there = {number for number, client in clients.items() if client.line is not None}
    for number in there:
        assert clients[number].peer.states.keys() == there
    for room in house.rooms.values():
        newcomer = Member(room, user="newcomer")
        seen = {each for frame in newcomer.clients() for each in frame}
        assert seen == there
    house.close()
