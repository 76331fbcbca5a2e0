"""One room, open in several processes that hear of each other as long as nothing is in the way."""

import asyncio
from collections import deque
from functools import partial

from roomful.crdt.log import Position
from roomful.crdt.state import DocumentState
from roomful.presence.clients import Clients
from roomful.presence.gossip import Gossip
from roomful.server.awareness import Pace, RoomAwareness
from roomful.server.flusher import Flusher
from roomful.server.metrics import Metrics
from roomful.server.neighbours import Neighbours
from roomful.server.room import AWARENESS, Room
from tests.server.members import presence_of
from tests.server.memory_log import MemoryLog

INTERVAL, GRACE = 0.05, 10.0


class Wire(MemoryLog):
    """A log that carries what is told to the rooms of the other processes, a moment later."""

    def __init__(self, house: "House", name: str) -> None:
        super().__init__()
        self._house = house
        self._name = name

    def tell(self, room: str, message: bytes) -> None:
        super().tell(room, message)
        self._house.carry(self._name, message)


class House:
    """``rooms`` by process. Who is in ``cut`` hears nothing and is not heard."""

    def __init__(self, *names: str) -> None:
        self.cut: set[str] = set()
        self.rooms: dict[str, Room] = {}
        self.logs: dict[str, Wire] = {}
        self.metrics = Metrics()
        self._under_way: deque[tuple[Room, bytes]] = deque()
        self._lives = 0
        self._loop = asyncio.get_running_loop()
        for name in names:
            self.open(name)

    def open(self, name: str) -> Room:
        self._lives += 1
        log = self.logs[name] = Wire(self, name)
        clients = Clients(clients_per_session=2, process=name)
        tell = partial(self._tell, log)
        neighbours = Neighbours("room", clients, Gossip(name, self._lives), tell, self.metrics)
        pace = Pace(INTERVAL, INTERVAL, 1 << 20)
        awareness = RoomAwareness(clients, pace, GRACE, 1_000, self.metrics, neighbours)
        room = self.rooms[name] = Room(
            "room", DocumentState(None), Position("", 0), awareness, presence_of(self.metrics), log,
            Flusher(0.01), self.metrics, 10_000,
        )  # fmt: skip
        awareness.start()
        return room

    def carry(self, sender: str, message: bytes) -> None:
        if sender not in self.cut:
            for name, room in self.rooms.items():
                if name != sender and name not in self.cut:
                    self._under_way.append((room, message))
                    self._loop.call_later(0.001, self._arrive)

    def _arrive(self) -> None:
        # In their order, which timers that are due at one moment do not keep.
        room, message = self._under_way.popleft()
        room.told(message)

    def close(self) -> None:
        for room in self.rooms.values():
            room.awareness.stop()

    @staticmethod
    def _tell(log: Wire, message: bytes) -> None:
        log.tell("room", AWARENESS + message)
