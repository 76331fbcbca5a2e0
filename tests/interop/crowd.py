"""People of every kind in one room on three servers, and what each of them sees of the others.

An editor is a published client in a Node process; a guest speaks the Roomful protocol. Everybody is a user of
their own, whose id is also the name that they show.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from tests.interop.client import YjsClient
from tests.interop.driver import YjsDriver
from tests.presence_client import PresenceClient
from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess
from tests.tcp_proxy import TcpProxy
from tests.waiting import until, until_equal

EDITORS: Final = (
    "y-websocket@1.5.4", "y-websocket@3.1.0", "hocuspocus@2.15.3", "hocuspocus@3.4.4", "hocuspocus@4.8.0",
)  # fmt: skip
SEED: Final = 1
ARRIVAL_SECONDS: Final = 10.0


class Place:
    """Three servers on one Redis, each with a link of its own to it. ``options`` are those of all servers."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.servers: list[ServerProcess] = []
        self.links: list[TcpProxy] = []
        self._folder = folder
        self._options = options
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        redis = RedisProcess(self._folder / "redis")
        self._stack.callback(redis.kill)
        redis.start()
        for number in range(3):
            link = await self._stack.enter_async_context(TcpProxy(redis.port, random.Random(SEED)))
            options = [f"--redis=redis://127.0.0.1:{link.port}", *self._options]
            server = ServerProcess(
                self._folder / str(number), authorize="tests.interop.tokens:authorize", options=options
            )
            self.links.append(link)
            self.servers.append(server)
        await asyncio.gather(*map(self._stack.enter_async_context, self.servers))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def cut(self, server: int) -> None:
        """Cut a server off from Redis, until its link accepts again."""
        self.links[server].refuse()
        self.links[server].reset()

    async def roster(self, server: int, room: str) -> tuple[list[str], list[int], int, int]:
        """Return what a server says of who is in a room: ids, sessions of each, and both counts."""
        address = f"{self.servers[server].http_url}/v1/rooms/{room}/presence"
        async with aiohttp.ClientSession() as http, http.get(address, params={"token": "asker"}) as response:
            answer = await response.json()
        page = answer["page"]
        sessions = [len(person["sessions"]) for person in page]
        return [person["id"] for person in page], sessions, answer["people"], answer["sessions"]


class Person(ABC):
    """Somebody who came through ``door``: that can break, and lead to another server afterwards."""

    def __init__(self, name: str, door: TcpProxy) -> None:
        self.name = name
        self.door = door

    @abstractmethod
    async def point(self, at: int) -> None:
        """Move the cursor."""

    @abstractmethod
    async def sees(self, names: Collection[str], *, within: float) -> None:
        """Wait until it sees exactly these people, each of them once; no matter whether it sees itself."""

    @abstractmethod
    async def sees_pointing(self, name: str, at: int, *, within: float) -> None:
        """Wait until it sees where somebody's cursor is."""

    @abstractmethod
    async def seen_leaving(self) -> list[str]:
        """Return whom it has seen go, each time that it has, since it has this connection."""

    @abstractmethod
    async def is_back(self) -> None:
        """Return when the connection is lost and there is another one."""

    @abstractmethod
    async def leave(self) -> None:
        """Go as one does who closes the page."""


class Editor(Person):
    """It comes back by itself."""

    def __init__(self, client: YjsClient, name: str, door: TcpProxy) -> None:
        super().__init__(name, door)
        self.client = client
        self._opens = 1
        self._seen_before = 0

    async def point(self, at: int) -> None:
        await self.client.set_awareness(cursor={"anchor": at})

    async def sees(self, names: Collection[str], *, within: float) -> None:
        await self.client.wait_for(names=sorted(set(names) - {self.name}), within=within)

    async def sees_pointing(self, name: str, at: int, *, within: float) -> None:
        await self.client.wait_for(peer={"user": {"name": name}, "cursor": {"anchor": at}}, within=within)

    async def seen_leaving(self) -> list[str]:
        return (await self.client.status())["left"][self._seen_before :]

    async def is_back(self) -> None:
        self._opens += 1
        await self.client.wait_for(opens=self._opens, connected=True, synced=True)
        # A client that loses the connection loses sight of everybody.
        self._seen_before = len((await self.client.status())["left"])

    async def leave(self) -> None:
        await self.client.destroy()


class Guest(Person):
    """It comes back when it is told to, and says again what it has said."""

    def __init__(self, client: PresenceClient, room: str, name: str, door: TcpProxy) -> None:
        super().__init__(name, door)
        self.client = client
        self._room = room
        self._fields: dict[str, Any] = {}

    async def point(self, at: int) -> None:
        self._fields = {"cursor": {"anchor": at}}
        self.client.say(**self._fields)

    async def sees(self, names: Collection[str], *, within: float) -> None:
        await self.client.sees(*(f"u:{name}" for name in names), within=within)

    async def sees_pointing(self, name: str, at: int, *, within: float) -> None:
        await self.client.sees_that(f"u:{name}", within=within, cursor={"anchor": at})

    async def seen_leaving(self) -> list[str]:
        assert self.client.people, "at least itself"
        return [person.removeprefix("u:") for person in self.client.left]

    async def is_back(self) -> None:
        await until(lambda: not self.client.client.socket.is_open, "noticing the loss")
        self.client = await PresenceClient.connect(
            self.door.port, self._room, token=self.name, instance=self.name, **self._fields
        )

    async def leave(self) -> None:
        await self.client.leave()

    def lose(self) -> None:
        """Lose the connection, without a word."""
        self.client.lose()


class Crowd:
    """``people`` are those in the room. ``driver`` has the editors, where nothing else is said."""

    def __init__(self, place: Place, driver: YjsDriver, room: str) -> None:
        self.people: list[Person] = []
        self._place = place
        self._driver = driver
        self._room = room
        self._guests: list[Guest] = []
        self._doors = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for guest in self._guests:
            guest.lose()
        await self._doors.aclose()

    async def come(
        self, server: int, kind: str = "", driver: YjsDriver | None = None
    ) -> tuple[list[Editor], Guest]:
        """Let one of each kind come, all through one door to this server."""
        door = await self._door(server)
        editors = [
            await self._edit(library, f"{kind}{library} at {server}", door, driver) for library in EDITORS
        ]
        name = f"{kind}guest at {server}"
        client = await PresenceClient.connect(door.port, self._room, token=name, instance=name)
        guest = Guest(client, self._room, name, door)
        self._guests.append(guest)
        self.people.append(guest)
        return editors, guest

    async def reload(self, lost: Editor, library: str, server: int) -> Editor:
        """Let somebody whose page is gone open it anew."""
        return await self._edit(library, lost.name, await self._door(server), None)

    async def move(self, people: Sequence[Person], server: int) -> None:
        """Break their doors, and return when all are back, at this server."""
        for door in {person.door for person in people}:
            door.target = self._place.servers[server].port
            door.reset()
        await asyncio.gather(*(person.is_back() for person in people))

    async def leave(self, *people: Person) -> None:
        self.forget(people)
        await asyncio.gather(*(person.leave() for person in people))

    def forget(self, people: Collection[Person]) -> None:
        """These are in the room no more."""
        self.people = [person for person in self.people if person not in people]

    async def see_each_other(self, *, within: float) -> None:
        """Wait until all see everybody."""
        await see(self.people, self.people, within=within)

    async def is_told_by_all_servers(self, *, within: float) -> None:
        """Wait until each server says that exactly these people are there, each with one session."""
        names = sorted(person.name for person in self.people)
        wanted = ([f"u:{name}" for name in names], [1] * len(names), len(names), len(names))
        for server in range(3):
            await until_equal(partial(self._place.roster, server, self._room), wanted, within=within)

    async def _door(self, server: int) -> TcpProxy:
        door = TcpProxy(self._place.servers[server].port, random.Random(SEED))
        return await self._doors.enter_async_context(door)

    async def _edit(self, library: str, name: str, door: TcpProxy, driver: YjsDriver | None) -> Editor:
        url = f"ws://127.0.0.1:{door.port}"
        client = await (driver or self._driver).client(library, url, self._room, token=name)
        await client.set_awareness(user={"name": name})
        editor = Editor(client, name, door)
        self.people.append(editor)
        return editor


async def see(watchers: Collection[Person], people: Collection[Person], *, within: float) -> None:
    """Wait until these see exactly those people, each of them once."""
    names = [person.name for person in people]
    await asyncio.gather(*(watcher.sees(names, within=within) for watcher in watchers))
