"""A TCP proxy with bad weather: what stands between two processes when a network does not do as it should.

Everything random comes from the generator that is handed in. Directions are independent: each carries what it
has read, in order and whole, until the connection ends.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Self

_READ: Final = 64 << 10
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER for no time: the kernel says RST instead of FIN, and forgets what it has not sent."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What befalls the bytes of all connections, from now on.

    ``delay`` and ``jitter`` are seconds, each way, at least and at most in addition; what comes meanwhile
    travels together. ``bytes_per_second`` is for each direction of each connection. ``splits`` writes pieces
    of 1 to 64 bytes and a rest, each on its own. ``swallows`` is a black hole: bytes are acknowledged by the
    kernel and go nowhere, nobody is told, and no connection that has seen it ever works again.
    """

    delay: float = 0.0
    jitter: float = 0.0
    bytes_per_second: float = float("inf")
    splits: bool = False
    swallows: bool = False


FAIR: Final = Weather()


class _End(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _Link:
    """One connection: its one or two ends, whether a black hole has taken it, whether it has been cut."""

    def __init__(self, near: _End) -> None:
        self.ends = [near]
        self.is_lost = False
        self.is_cut = False

    @property
    def carries(self) -> bool:
        return not (self.is_lost or self.is_cut)

    def reset(self) -> None:
        for end in self.ends:
            _reset(end.writer)


class TcpProxy:
    """Listens on ``port`` of 127.0.0.1, and connects whoever comes to ``target`` there.

    ``async with TcpProxy(target, rng) as proxy`` ends all connections on leaving.
    """

    def __init__(self, target: int, rng: random.Random) -> None:
        self.target = target
        self.port = 0
        self.accepted = 0
        self._weather = FAIR
        self._rng = rng
        self._server: asyncio.Server | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        tasks = tuple(self._links.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        return len(self._links)

    # Trouble

    @property
    def weather(self) -> Weather:
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        if weather.swallows:
            for link in self._links:
                link.is_lost = True

    def cut(self) -> None:
        """End all connections with FIN, both ways; what is on its way is lost."""
        for link in tuple(self._links):
            link.is_cut = True
            for end in link.ends:
                with suppress(OSError):
                    end.writer.write_eof()

    def reset(self) -> None:
        """End all connections with RST, both ways."""
        for link in tuple(self._links):
            link.reset()

    def bury(self) -> None:
        """End those that a black hole has taken and whose caller has hung up, as keepalive would."""
        for link in tuple(self._links):
            if link.is_lost and link.ends[0].writer.is_closing():
                link.reset()

    def refuse(self) -> None:
        """Take no new connections; those that are there go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def accept(self) -> None:
        """Take connections again, on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    # Carrying

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(_End(reader, writer))
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        self._links[link] = task
        try:
            await self._serve(link)
        except asyncio.CancelledError:
            # By __aexit__. The server that made this task would log it as an error.
            link.reset()
        finally:
            del self._links[link]
            for end in link.ends:
                end.writer.close()

    async def _serve(self, link: _Link) -> None:
        near = link.ends[0]
        if self._weather.swallows:
            link.is_lost = True
            await self._carry(link, near, None)
            return
        try:
            far = _End(*await asyncio.open_connection("127.0.0.1", self.target))
        except OSError:
            link.reset()
            return
        link.ends.append(far)
        await asyncio.gather(self._carry(link, near, far.writer), self._carry(link, far, near.writer))

    async def _carry(self, link: _Link, source: _End, sink: asyncio.StreamWriter | None) -> None:
        """Bring bytes one way. Their end is passed on; what breaks, breaks both ends."""
        try:
            while data := await source.reader.read(_READ):
                weather = self._weather
                await asyncio.sleep(weather.delay + self._rng.random() * weather.jitter)
                for piece in pieces(data, self._rng) if weather.splits else (data,):
                    # At least a turn of the loop, which makes it a segment of its own.
                    await asyncio.sleep(len(piece) / weather.bytes_per_second)
                    if sink is None or not link.carries:
                        break
                    sink.write(piece)
                    await sink.drain()
            if sink is None or link.is_lost:
                source.writer.close()
            else:
                sink.write_eof()
        except OSError:
            if not link.is_lost:
                link.reset()


def pieces(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """Break bytes at random places: up to a dozen pieces of 1 to 64 bytes, and the rest."""
    at = 0
    for _ in range(12):
        if at >= len(data):
            return
        size = rng.randint(1, 64)
        yield data[at : at + size]
        at += size
    if at < len(data):
        yield data[at:]


def _reset(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
