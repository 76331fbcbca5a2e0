"""Roomful clients of a node without a network, and what they say and hear."""

from typing import Any

from roomful.crdt.sync import EMPTY_STATE_VECTOR
from roomful.server.protocols.roomful import ClientFrame, ServerFrame
from roomful.server.roomful_connection import RoomfulConnection
from tests.roomful_client import packed, unpacked
from tests.server.nodes import FakeNode, Visitor, settle

Frame = list[Any]


class Guest(Visitor):
    """A Roomful client's socket."""

    def __init__(self, node: FakeNode, **client: Any) -> None:
        super().__init__(node, lambda socket: RoomfulConnection(socket, node.node, "10.0.0.1"), **client)

    def say(self, kind: int, *elements: object) -> None:
        self.send(packed(kind, *elements))

    def hears(self) -> list[Frame]:
        """Return the frames since the last look."""
        return [unpacked(message) for message in self.received()]

    async def join(self, room: str, **options: object) -> int:
        """Open a room, with its document unless asked otherwise, and return its number."""
        self.say(ClientFrame.JOIN, 1, room, {"vector": EMPTY_STATE_VECTOR, **options})
        await settle()
        (joined,) = (frame for frame in self.hears() if frame[0] == ServerFrame.JOINED)
        return int(joined[2])


def greeted(node: FakeNode, token: str = "ann", **client: Any) -> Guest:
    """Connect and be welcomed."""
    guest = Guest(node, **client)
    guest.say(ClientFrame.HELLO, {"token": token})
    ((kind, _),) = guest.hears()
    assert kind == ServerFrame.WELCOME
    return guest


def kinds(frames: list[Frame]) -> list[str]:
    return [ServerFrame(frame[0]).name for frame in frames]


def errors(frames: list[Frame]) -> list[tuple[int | None, int | None, str, int | None]]:
    """Return (request, room, code, seq) of each frame, all of which must be errors."""
    assert kinds(frames) == ["ERROR"] * len(frames), frames
    return [(request, room, code, seq) for _, request, room, code, _, seq in frames]
