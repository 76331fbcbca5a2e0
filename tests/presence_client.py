"""A Roomful client that says what it does and watches who else is there."""

from typing import Any, Self

from roomful.server.protocols.roomful import ClientFrame, ServerFrame
from tests.presence.room_model import Seen, Watcher
from tests.roomful_client import RoomfulClient, RoomfulRoom
from tests.waiting import until


class PresenceClient:
    """``people`` are those that it has been told of, by id; ``left`` who has left, in that order."""

    def __init__(self, client: RoomfulClient, room: RoomfulRoom) -> None:
        self.client = client
        self.room = room
        self.left: list[str] = []
        self._watcher = Watcher()
        self._read = 0

    @classmethod
    async def connect(
        cls, port: int, room: str, *, token: str = "", instance: str = "", **fields: Any
    ) -> Self:
        """Come, or come back."""
        client = await RoomfulClient.connect(port, token=token, instance=instance)
        return cls(client, await client.join(room, vector=None, awareness=False, presence=fields))

    def say(self, **fields: Any) -> None:
        """Change what the others see; None takes a field away."""
        self.room.send(ClientFrame.PRESENCE, fields)

    @property
    def people(self) -> Seen:
        frames = self.room.of(ServerFrame.PRESENCE)
        for (body,) in frames[self._read :]:
            self._watcher.take(body)
            self.left += body.get("left", ())
        self._read = len(frames)
        return self._watcher.people

    async def sees(self, *people: str, within: float = 10.0) -> None:
        """Wait until exactly these people are in the room."""
        await until(lambda: set(self.people) == set(people), f"seeing {people}", within=within)

    async def sees_that(self, person: str, within: float = 10.0, **fields: Any) -> None:
        """Wait until somebody's fields are these; None: is not there."""
        await until(
            lambda: {name: self.people.get(person, {}).get(name) for name in fields} == fields,
            f"{person} having {fields}",
            within=within,
        )

    async def leave(self) -> None:
        """Leave the room, and hang up."""
        self.room.send(ClientFrame.LEAVE)
        await self.client.until(lambda: self.room.left is not None, "having left")
        self.lose()

    def lose(self) -> None:
        """Lose the connection, without a word."""
        self.client.socket.abort()
