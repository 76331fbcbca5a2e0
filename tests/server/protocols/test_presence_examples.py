"""The published examples of presence are what a room says, and what it takes."""

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from roomful.presence.fields import NO_FIELDS, patched
from roomful.presence.pages import Pages
from roomful.presence.roster import Roster
from roomful.presence.tiers import ACTIVE_UP_TO
from roomful.presence.tracker import Patience, Tracker
from roomful.server.protocols.roomful import ClientFrame, RoomfulEnvelope, ServerFrame
from tests.server.wire import unframe

VECTORS = Path(__file__).parents[3] / "docs" / "protocol-vectors.json"
FRAMES: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["frames"]
LARGEST, CEILING = 4 << 10, 16 << 10
ROOM = 7


class Play:
    """A room, whose people do what the examples tell of."""

    def __init__(self) -> None:
        self.tracker = Tracker(largest=LARGEST, clock=0, patience=Patience(change=0))
        self.pages = Pages(self.tracker.people)
        self._roster = Roster(self.tracker.people, CEILING)
        self._envelope = RoomfulEnvelope(ROOM)
        self._now = 0.0

    def join(self, session: str, user: str, instance: str = "", **fields: object) -> None:
        self.tracker.join(self._now, session, user, instance, fields)

    def change(self, session: str, **fields: object) -> None:
        self.tracker.change(self._now, session, fields)

    def tick(self) -> bytes:
        self._now += 2
        self._roster.take(self._now, self.tracker.merge(self._now))
        body = self._roster.tick(self._now, self.tracker.sessions)
        assert body is not None
        return unframe(self._envelope.presence(body))

    def everything(self) -> bytes:
        return unframe(self._envelope.presence(self._roster.everything()))

    def page(self, request: int, after: str) -> bytes:
        page = self.pages.after(after, 1, CEILING, self.tracker.sessions)
        return unframe(self._envelope.people(request, page.encode()))


def told() -> list[tuple[str, bytes]]:
    """Return (name of the example, message) of what the room tells."""
    play = Play()
    play.join("s1", "ann", device="phone", status="available", state={"color": "#08f"})
    play.tick()
    examples = [("presence that a newcomer is told", play.everything())]
    play.join("s2", "", "tab-2", hand=True)
    play.change("s1", typing="title", cursor=[3, 7])
    examples += [
        ("presence when somebody comes and another one types", play.tick()),
        ("page that another one follows", play.page(1, "")),
        ("last page", play.page(200, next(iter(set(play.tracker.people) - {"u:ann"})))),
    ]
    play.tracker.leave("s2")
    play.change("s1", typing=None, hand=True)
    examples.append(("presence when somebody leaves and another one types no more", play.tick()))
    for number in range(ACTIVE_UP_TO):
        play.join(f"s{3 + number}", "", f"tab-{3 + number}")
    examples.append(("presence when the room has become a large one", play.tick()))
    play.change("s1", hand=None)
    examples.append(("presence when somebody is no longer active in a large room", play.tick()))
    return examples


def test_what_a_room_tells_is_as_published_byte_for_byte() -> None:
    kinds = (ServerFrame.PRESENCE, ServerFrame.PEOPLE)
    published = [
        (each["name"], bytes.fromhex(each["bytes"]))
        for each in FRAMES
        if each["from"] == "server" and each["frame"][0] in kinds
    ]
    assert sorted(published) == sorted(told())


def said() -> list[dict[str, Any]]:
    """Return the fields that clients of the examples say of themselves."""
    clients = [each["frame"] for each in FRAMES if each["from"] == "client"]
    return [frame[2] for frame in clients if frame[0] == ClientFrame.PRESENCE] + [
        frame[3]["presence"] for frame in clients if frame[0] == ClientFrame.JOIN and "presence" in frame[3]
    ]


@pytest.mark.parametrize("fields", said(), ids=lambda fields: " ".join(fields))
def test_what_clients_say_of_themselves_is_taken_whole(fields: dict[str, Any]) -> None:
    taken = patched(NO_FIELDS, fields, LARGEST)
    assert {name: msgpack.unpackb(value) for name, value in taken.items()} == {
        name: value for name, value in fields.items() if value is not None
    }
