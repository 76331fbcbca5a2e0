"""One connection that listens to the shard channels of one Redis server.

It connects again when it is lost, and subscribes anew; a server that says nothing for a while is asked
whether it is there. Shard channels and not ordinary ones: in a Cluster those are told by the server that
holds the room and by no other, and a cut connection is all that can make them miss a message.
"""

import asyncio
import contextlib
import math
from typing import Any, Final, Protocol

import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import MovedError

from .redis_servers import FAILURES, PATIENCE_SECONDS, distrust

_log = structlog.get_logger()

_RETRY_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 1.5
"""How often is looked whether there was a message. Where there was none the server is asked, and has two
looks to answer: these four and a repair take less than the ten seconds after which all agree again."""


class Listener(Protocol):
    """Who hears what the channels say."""

    def subscribed(self, channel: str) -> None:
        """From now on all that is said on the channel is heard; before, something may have been missed."""

    def said(self, channel: str, message: bytes) -> None: ...

    def moved(self) -> None:
        """A channel is not, or no longer, with this server, or the server is lost."""


class Channels:
    """The channels of one server; made and closed on a running loop."""

    def __init__(self, redis: Redis, listener: Listener) -> None:
        self._redis = redis
        self._listener = listener
        # Each with whether the server has confirmed it.
        self._wanted: dict[str, bool] = {}
        self._connection: Any = None
        self._is_lost = False
        self._is_silent = True
        self._some = asyncio.Event()
        self._task = asyncio.create_task(self._listen())

    def __len__(self) -> int:
        return len(self._wanted)

    def is_confirmed(self, channel: str) -> bool:
        """Return whether what is said on the channel is heard now."""
        return self._wanted.get(channel, False)

    async def subscribe(self, channel: str) -> None:
        """Listen to a channel; the listener is told when that begins."""
        self._wanted[channel] = False
        self._some.set()
        await self._send("SSUBSCRIBE", channel)

    async def unsubscribe(self, channel: str) -> None:
        """Listen to a channel no more."""
        self._wanted.pop(channel, None)
        await self._send("SUNSUBSCRIBE", channel)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _send(self, *command: str) -> None:
        # Without a connection, or when it is lost now: all that is wanted is asked for when there is one.
        if self._connection is not None:
            with contextlib.suppress(*FAILURES, AttributeError):
                # AttributeError: the reading task has hung up meanwhile, and the client has not noticed.
                await self._connection.send_command(*command)

    async def _listen(self) -> None:
        # Nobody needs a connection before there is a channel.
        await self._some.wait()
        while True:
            try:
                await self._connected()
            except FAILURES as error:
                if not self._is_lost:
                    _log.warning("subscription lost", error=str(error) or type(error).__name__)
                self._is_lost = True
                await distrust(self._redis, error)
                self._listener.moved()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _connected(self) -> None:
        pool = self._redis.connection_pool
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection: Any = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            # What is wanted from here on is asked for apart.
            self._connection = connection
            commands = [("SSUBSCRIBE", channel) for channel in self._wanted]
            if commands:
                await connection.send_packed_command(connection.pack_commands(commands))
            await self._read_and_look(connection)
        finally:
            self._connection = None
            self._wanted = dict.fromkeys(self._wanted, False)
            await connection.disconnect(nowait=True)
            await pool.release(connection)

    async def _read_and_look(self, connection: Any) -> None:
        reading = asyncio.create_task(self._read(connection))
        silent_looks = 0
        try:
            # A timer for each message would cost half of what reading it does.
            while not (await asyncio.wait([reading], timeout=_LOOK_SECONDS))[0]:
                silent_looks = silent_looks + 1 if self._is_silent else 0
                self._is_silent = True
                if silent_looks == 1:
                    await connection.send_command("PING")
                elif silent_looks > 2:
                    raise LostConnection("no answer to a ping")
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, connection: Any) -> None:
        while True:
            try:
                reply = await connection.read_response(timeout=math.inf)
            except MovedError:
                self._listener.moved()
                continue
            self._is_silent = False
            self._take(reply)

    def _take(self, reply: list[Any]) -> None:
        kind, name = reply[0], reply[1]
        self._is_lost = False
        if kind == b"smessage":
            self._listener.said(name.decode(), reply[2])
        elif kind == b"ssubscribe":
            self._confirm(name.decode(), True)
        elif kind == b"sunsubscribe" and name is not None:
            self._confirm(name.decode(), False)

    def _confirm(self, channel: str, is_subscribed: bool) -> None:
        if channel not in self._wanted:
            return
        self._wanted[channel] = is_subscribed
        if is_subscribed:
            self._listener.subscribed(channel)
        else:
            # Not at our request: the slot has gone to another server.
            self._listener.moved()
