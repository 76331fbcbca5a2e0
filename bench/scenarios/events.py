"""One tells a room something again and again, thousands hear it: what does it cost, how long does it take?

Only Roomful has such events; the peer is a bare loop that writes to all who connected, which is what the
kernel asks. Beside the lecture, which is a room's document, the figures say what is left of the cost when
nothing is merged, checked or stored.
"""

import asyncio
import gc
import os
import select
import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgpack

from bench.measurement import LOAD, Figure, Launch, Outcome, Target, Window, percentile
from bench.participant import JOIN_SECONDS
from bench.websocket_client import Connection, clock, frame, upgrade, whole_frames

HELLO, JOIN, EVENT = 0, 1, 8
JOINED, TOLD = 17, 25
_AT_ONCE = 200
_DRAIN_SECONDS = 30.0
_MOST_READ = 64 << 10
_SENT = struct.Struct(">d")


def packed(*elements: object) -> bytes:
    message: bytes = msgpack.packb(elements)
    return message


class Listener(Connection):
    """Hears events. The payload of each is the time at which it was sent.

    Thousands get the same bytes at about the same moment: what is in them is read once.
    """

    known: "dict[bytes, array[float]]" = {}  # noqa: RUF012 - shared on purpose

    def __init__(self) -> None:
        super().__init__()
        self.room: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.delays = array("d")
        self._part = b""

    def chunk(self, data: bytes) -> None:
        if self._part:
            data, self._part = self._part + data, b""
        sent = self.known.get(data)
        if sent is None:
            sent = self._read(data)
        now = self.last_arrival
        for at in sent:
            self.delays.append(now - at)

    def _read(self, data: bytes) -> "array[float]":
        sent = array("d")
        frames = whole_frames(data)
        for start, end in frames:
            kind, *elements = msgpack.unpackb(data[start:end])
            if kind == JOINED:
                self.room.set_result(elements[1])
            elif kind == TOLD:
                sent.append(_SENT.unpack(elements[2])[0])
        end = frames[-1][1] if frames else 0
        if end == len(data):
            self.known[data] = sent
        elif not data.startswith(b"HTTP"):
            self._part = data[end:]
        return sent

    def enter(self, **options: Any) -> None:
        self.send(packed(HELLO, {}))
        self.send(packed(JOIN, 1, "events", options))


class Ears:
    """Hears with thousands of sockets, past the loop, which takes twice as long for each of them.

    It never sleeps: to wake it, for each of them, would be the server's work here and is nobody's elsewhere,
    where clients are on other machines. ``busy_seconds`` is the time in which there was something to hear.
    """

    def __init__(self, listeners: list[Listener]) -> None:
        self.busy_seconds = 0.0
        self._listeners: dict[int, Listener] = {}
        self._epoll = select.epoll(len(listeners))
        for listener in listeners:
            listener.transport.pause_reading()
            descriptor = listener.transport.get_extra_info("socket").fileno()
            self._listeners[descriptor] = listener
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLET)

    async def hear(self) -> None:
        while True:
            started = clock()
            if self._look():
                self.busy_seconds += clock() - started
            await asyncio.sleep(0)

    def _look(self) -> bool:
        listeners = self._listeners
        ready = self._epoll.poll(0, len(listeners))
        for descriptor, _ in ready:
            listener = listeners[descriptor]
            try:
                data = os.read(descriptor, _MOST_READ)
            except BlockingIOError:
                # Two arrived before the first was read.
                continue
            if not data:
                listener.lost = "the server hung up"
            listener.last_arrival = clock()
            listener.chunk(data)
        return bool(ready)


async def listen(target: Target) -> Listener:
    listener = await upgrade(Listener, target.nodes[0].port, "/v1/connect", subprotocol="roomful.v1")
    listener.enter(events=True)
    async with asyncio.timeout(JOIN_SECONDS):
        await listener.room
    return listener


@dataclass(frozen=True)
class Events:
    """``people`` hear what one says ``rate`` times a second."""

    name: str
    people: int
    rate: float
    warm_up: float = 1.0
    duration: float = 10.0
    limit: float | None = 100

    @property
    def phases(self) -> Mapping[str, Launch]:
        return {"tell": Launch(nodes=(("--max-connections-per-room", "20000"),), events=True)}

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("delivery", "server CPU per delivery", "µs"),
            Figure("p50", "event to heard, p50", "ms"),
            Figure("p99", "event to heard, p99", "ms", limit=self.limit),
            Figure("delivered", "deliveries per second", "", side=True),
            *LOAD,
        )

    def short(self) -> Self:
        return replace(self, people=20, duration=2.0)

    async def drive(self, target: Target, phase: str, cache: Path) -> Outcome:  # noqa: ARG002
        speaker = await listen(target)
        people: list[Listener] = []
        while len(people) < self.people:
            group = min(_AT_ONCE, self.people - len(people))
            people += await asyncio.gather(*(listen(target) for _ in range(group)))
        gc.collect()
        gc.freeze()
        gc.disable()
        ears = Ears(people)
        hearing = asyncio.create_task(ears.hear())
        await self._speak(speaker, self.warm_up)
        await self._drained(people, round(self.rate * self.warm_up))
        for listener in people:
            listener.delays = array("d")
        window, busy = Window(target), ears.busy_seconds
        told = await self._speak(speaker, self.duration)
        await self._drained(people, told)
        figures = window.close()
        figures["generator_cpu"] = 100 * (ears.busy_seconds - busy) / figures["seconds"]
        hearing.cancel()
        delays = sorted(delay for listener in people for delay in listener.delays)
        figures["delivery"] = 1e6 * figures["server_seconds"] / max(1, len(delays))
        figures["delivered"] = len(delays) / figures["seconds"]
        figures |= {f"p{share}": 1000 * percentile(delays, share / 100) for share in (50, 99)}
        problems = (
            [] if len(delays) == told * len(people) else [f"{len(delays)} of {told * len(people)} arrived"]
        )
        lost = [listener.lost for listener in people if listener.lost]
        return Outcome(
            figures, problems + ([f"{len(lost)} connections were lost ({lost[0]})"] if lost else [])
        )

    async def _speak(self, speaker: Listener, seconds: float) -> int:
        count = round(self.rate * seconds)
        started = clock()
        for number in range(count):
            await asyncio.sleep(max(0.0, started + number / self.rate - clock()))
            payload = _SENT.pack(clock())
            speaker.transport.write(frame(packed(EVENT, speaker.room.result(), "price", payload, True)))
        return count

    async def _drained(self, people: list[Listener], count: int) -> None:
        """Wait until all have heard everything, for as long as anything may still come."""
        end = clock() + _DRAIN_SECONDS
        while clock() < end and any(len(listener.delays) < count for listener in people):
            await asyncio.sleep(0.05)


EVENTS = Events("events", 10_000, 5)
EVENTS_FAST = Events("events-fast", 1_000, 50)
EVENTS_FLOOD = Events("events-flood", 10_000, 100, duration=3.0, limit=None)
