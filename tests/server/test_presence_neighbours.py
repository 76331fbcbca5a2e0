"""What other processes tell of their people, and how much of it a room looks into at once."""

import asyncio

import msgpack
import pytest

from roomful.presence.gossip import ASK, BYE, DELTA, STATE, Gossip
from roomful.presence.tracker import Patience, Tracker
from roomful.server.auth import Access
from roomful.server.metrics import Metrics
from roomful.server.presence import RoomPresence
from roomful.server.presence_neighbours import PresenceNeighbours
from roomful.server.protocols.roomful import RoomfulEnvelope

pytestmark = pytest.mark.virtual_time

LARGEST = 1 << 10
TURN = 0.21


class CountingTracker(Tracker):
    """A tracker that counts what it looked into."""

    heard = 0

    def hear(self, process: str, session: str, value: bytes | None) -> bool:
        self.heard += 1
        return super().hear(process, session, value)


class Other:
    """Another process, by what it tells."""

    def __init__(self, name: str, life: int = 1) -> None:
        self.tracker = Tracker(largest=LARGEST, clock=0, patience=Patience(change=0))
        self.gossip = Gossip(name, life)
        self._now = 0.0

    def join(self, *users: str) -> None:
        for user in users:
            self.tracker.join(self._now, f"session of {user}", user, "", {})

    def say(self, user: str, **fields: object) -> None:
        self.tracker.change(self._now, f"session of {user}", fields)

    def tells(self) -> list[bytes]:
        """Return what is new, without questions and digests."""
        self._now += 1
        for each in self.tracker.merge(self._now).own:
            self.gossip.put(each.session.encode(), each.value)
        return self.gossip.due(self._now)


class Listener:
    """A session that is told nothing."""

    instance = ""

    def __init__(self, user: str) -> None:
        self.access, self.name = Access(user=user), user

    def presence(self, frame: bytes) -> None: ...


class Here:
    """A room of this process."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.said: list[bytes] = []
        self.tracker = CountingTracker(largest=LARGEST, clock=0)
        neighbours = PresenceNeighbours(
            "room", self.tracker, Gossip("here", 1), self.said.append, self.metrics
        )
        self.presence = RoomPresence(
            "room", self.tracker, 16_384, LARGEST, 2.0, RoomfulEnvelope(1), self.metrics, neighbours
        )
        # Else it would tick at moments that the wall clock says.
        self.presence._clock_gap = 0.0
        self.presence.start()

    def told(self, messages: list[bytes]) -> None:
        for message in messages:
            self.presence.told(message)

    def kinds(self) -> list[int]:
        """Return of what kinds the messages were that it told since the last look."""
        kinds = [msgpack.unpackb(message)[0] for message in self.said]
        self.said.clear()
        return kinds


@pytest.fixture
async def here() -> Here:
    return Here()


@pytest.fixture
def other() -> Other:
    return Other("other")


async def test_of_many_words_about_a_session_in_a_turn_only_the_last_is_looked_into(
    here: Here, other: Other
) -> None:
    other.join("ann")
    for number in range(100):
        other.say("ann", view=number)
        here.told(other.tells())
    await asyncio.sleep(TURN)
    assert here.tracker.heard == 1
    assert here.tracker.people["u:ann"].values["view"] == bytes((99,))
    here.presence.stop()


async def test_a_crowd_is_heard_of_in_turns_and_one_who_leaves_it_at_once(here: Here, other: Other) -> None:
    other.join("ann")
    here.told(other.tells())
    await asyncio.sleep(TURN)
    other.join(*map(str, range(5_000)))
    here.told(other.tells())
    other.tracker.leave("session of ann")
    other.tracker.leave("session of 4999")
    here.told(other.tells())
    seen = []
    for _ in range(4):
        await asyncio.sleep(TURN)
        assert "u:ann" not in here.tracker.people
        seen.append(len(here.tracker.people))
    # A turn looks at 2,000 people, and ann was one of them.
    assert seen == [1_999, 3_999, 4_999, 4_999]
    here.presence.stop()


async def test_who_changes_all_the_time_keeps_nobody_from_being_heard(
    here: Here, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful.server.presence._MERGED_AT_ONCE", 1)
    other.join("ann", "bob")
    for number in range(4):
        other.say("ann", view=number)
        here.told(other.tells())
        await asyncio.sleep(TURN)
    assert set(here.tracker.people) == {"u:ann", "u:bob"}
    here.presence.stop()


@pytest.mark.parametrize("ends", ["is gone", "lets the room go"])
async def test_what_waits_of_a_process_that_ends_is_not_heard_and_all_of_it_when_it_is_back(
    here: Here, other: Other, ends: str
) -> None:
    other.join("ann")
    here.told(other.tells())
    if ends == "is gone":
        here.presence.departed(["other"])
    else:
        here.told([other.gossip.bye()])
    await asyncio.sleep(TURN)
    assert not here.tracker.people
    if ends == "is gone":
        here.presence.returned(["other"])
        other.gossip.hear(Gossip("here", 1).due(0)[0], 0)
        here.told(other.gossip.due(100))
    else:
        again = Other("other", life=2)
        again.join("ann")
        here.told(again.tells())
    await asyncio.sleep(TURN)
    assert set(here.tracker.people) == {"u:ann"}
    here.presence.stop()


async def test_one_that_has_opened_the_room_again_is_forgotten_once_and_not_with_every_word(
    here: Here, other: Other
) -> None:
    other.join("ann")
    here.told(other.tells())
    here.told([other.gossip.bye()])
    again = Other("other", life=2)
    for user in ("ann", "bob"):
        again.join(user)
        here.told(again.tells())
        await asyncio.sleep(TURN)
    assert set(here.tracker.people) == {"u:ann", "u:bob"}
    here.presence.stop()


async def test_what_another_process_should_not_have_told_is_refused_and_the_rest_is_heard(
    here: Here, other: Other
) -> None:
    other.gossip.put(b"a session", b"no record")
    other.gossip.put(b"\xff", b"no name")
    other.join("ann")
    here.told([b"no message", *other.tells()])
    await asyncio.sleep(TURN)
    assert set(here.tracker.people) == {"u:ann"}
    assert here.metrics.refused["gossip"] == 3
    here.presence.stop()


async def test_no_more_sessions_are_looked_into_in_a_turn_than_people(here: Here, other: Other) -> None:
    other.join(*map(str, range(5_000)))
    here.told(other.tells())
    await asyncio.sleep(TURN)
    assert here.tracker.heard == 2_000
    here.presence.stop()


async def test_others_are_told_in_a_moment_and_not_at_a_tick_and_who_asks_at_once(
    here: Here, other: Other
) -> None:
    assert here.kinds() == [ASK]
    here.presence.enter(Listener("ann"), {})
    await asyncio.sleep(TURN)
    assert here.kinds() == [DELTA]
    here.told(other.gossip.due(1.0))
    assert here.kinds() == [STATE]
    here.presence.relinked()
    assert here.kinds()[0] == ASK
    here.presence.stop()
    assert here.kinds() == [BYE]
