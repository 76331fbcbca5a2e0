"""The Redis servers behind an address: one, the master that Sentinel names, or the masters of a Cluster.

address  := scheme "://" [auth "@"] host [":" port] ["/" db] ["?" options]
          | scheme "+sentinel://" [auth "@"] hosts "/" service ["/" db] ["?" options]
          | scheme "+cluster://" [auth "@"] hosts ["?" options]
          | "unix://" path ["?" options]
scheme   := "redis" | "rediss"            rediss: over TLS
hosts    := host [":" port] {"," host [":" port]}
options  := the settings of a connection in redis-py, as ssl_ca_certs=/path; for the Sentinels themselves
            with "sentinel_" before the name, as sentinel_password=secret
"""

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from .redis_keys import PARTITIONS, slot_of

FAILURES: Final = (RedisError, OSError, RuntimeError)
"""What the client of a server raises that refuses or is away; TimeoutError is an OSError. RuntimeError is
uvloop's word for a write to a connection that has been lost at this very moment; the client passes it on."""
PATIENCE_SECONDS: Final = 5.0
"""For an answer. What was asked may have been done nevertheless."""
_CONNECT_SECONDS: Final = 2.0
_REFRESH_SECONDS: Final = 0.1
"""The shortest time between two looks at a Cluster's map."""


class Servers(ABC):
    """Base: which server holds a partition. A server's client is the same object all the time."""

    on_change: Callable[[], None]
    """Called after the servers of some partitions have changed."""

    def __init__(self) -> None:
        self.on_change = _nothing

    @abstractmethod
    def of(self, partition: int) -> Redis:
        """Return the client of the server that takes a partition's writes."""

    @abstractmethod
    def at(self, host: str, port: int) -> Redis:
        """Return the client of a server that a redirection names. Raises RedisError where none may be."""

    @abstractmethod
    def all(self) -> list[Redis]:
        """Return the clients of all servers that take writes."""

    @abstractmethod
    async def refresh(self) -> None:
        """Learn anew which they are. Raises FAILURES."""

    async def close(self) -> None:
        for redis in self.all():
            await redis.aclose()


class OneServer(Servers):
    """A single server, or whichever is the master of a service under Sentinel at each new connection."""

    def __init__(self, redis: Redis, sentinel: Sentinel | None = None) -> None:
        super().__init__()
        self._redis = redis
        self._sentinel = sentinel

    def of(self, partition: int) -> Redis:  # noqa: ARG002 - it holds them all
        return self._redis

    def at(self, host: str, port: int) -> Redis:
        raise RedisError(f"redirected to {host}:{port}: it is a Cluster, which redis+cluster:// names")

    def all(self) -> list[Redis]:
        return [self._redis]

    async def refresh(self) -> None:
        """It is the same for ever, or found anew at each connection."""

    async def close(self) -> None:
        await super().close()
        if self._sentinel is not None:
            for redis in self._sentinel.sentinels:
                await redis.aclose()


class ClusterServers(Servers):
    """The masters of a Redis Cluster, by its own map of the slots."""

    def __init__(self, hosts: list[tuple[str, int]], settings: dict[str, Any]) -> None:
        super().__init__()
        self._seeds = hosts
        self._settings = settings
        self._clients: dict[tuple[str, int], Redis] = {}
        self._map: list[Redis] = [self.at(*hosts[0])] * PARTITIONS
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = 0.0

    def of(self, partition: int) -> Redis:
        return self._map[partition]

    def at(self, host: str, port: int) -> Redis:
        client = self._clients.get((host, port))
        if client is None:
            client = self._clients[host, port] = Redis(host=host, port=port, **self._settings)
        return client

    def all(self) -> list[Redis]:
        return list(dict.fromkeys(self._map))

    async def refresh(self) -> None:
        # Whoever asks while a look is under way shares it.
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._look())
            self._refreshing.add_done_callback(self._looked)
        await asyncio.shield(self._refreshing)

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        for client in self._clients.values():
            await client.aclose()

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not look.cancelled():
            look.exception()

    async def _look(self) -> None:
        await asyncio.sleep(max(0.0, self._refreshed_at + _REFRESH_SECONDS - time.monotonic()))
        self._refreshed_at = time.monotonic()
        failure: Exception | None = None
        for host, port in dict.fromkeys([*self._clients, *self._seeds]):
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    slots: Any = await self.at(host, port).execute_command(  # type: ignore[no-untyped-call]
                        "CLUSTER SLOTS"
                    )
                self._take(slots, host)
            except FAILURES as error:
                failure = failure or error
            else:
                return
        raise failure or RedisError("no server of the Cluster answers")

    def _take(self, slots: Any, asked: str) -> None:
        """Take the map that CLUSTER SLOTS gives: [first, last, [master's host, port, ...], replicas...]..."""
        owners = [
            (first, last, self._addressed(master[0], master[1], asked)) for first, last, master, *_ in slots
        ]
        fresh: list[Redis] = []
        for partition in range(PARTITIONS):
            slot = slot_of(partition)
            owner = next((redis for first, last, redis in owners if first <= slot <= last), None)
            if owner is None:
                raise RedisError(f"slot {slot} of the Cluster has no server")
            fresh.append(owner)
        changed = fresh != self._map
        self._map = fresh
        if changed:
            self.on_change()

    def _addressed(self, host: bytes | None, port: int, asked: str) -> Redis:
        # A server that knows no address of its own means the one under which it was asked.
        return self.at(asked if host in (b"", b"?", None) else host.decode(), port)


async def distrust(redis: Redis, error: Exception) -> None:
    """Close the connections that wait for use when one has failed: what has ended it may have ended them all.

    Else each of them would keep somebody waiting for ``PATIENCE_SECONDS``, be it long after.
    """
    if not isinstance(error, ResponseError):
        with contextlib.suppress(*FAILURES):
            await redis.connection_pool.disconnect(inuse_connections=False)


async def exchange(redis: Redis, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands in one write, and return their answers; an error is one too. Raises FAILURES.

    The library's pipelines, and its own packing, do the same for several times the CPU.
    """
    pool = redis.connection_pool
    answers: list[Any] = []
    # A server that is paused is connected to at once, and then says nothing to the library's greeting.
    async with asyncio.timeout(PATIENCE_SECONDS):
        # Not one that is kept for this: when one connection has failed, all that are idle are distrusted.
        connection: Any = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_packed_command([hiredis.pack_command(command) for command in commands])
            for _ in commands:
                try:
                    answers.append(await connection.read_response())
                except ResponseError as error:
                    answers.append(error)
        except BaseException:
            # What is still to come on it would be taken for the answer to something else.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)
    return answers


def servers(url: str) -> Servers:
    """Return the servers of an address. Nothing is connected yet. Raises ValueError."""
    address = urlsplit(url)
    scheme, _, kind = address.scheme.partition("+")
    if not kind:
        return OneServer(Redis.from_url(url, **_settings()))
    auth, _, listed = address.netloc.rpartition("@")
    hosts = [_host(each, 26379 if kind == "sentinel" else 6379) for each in listed.split(",")]
    options = dict(parse_qsl(address.query))
    own = {name: options.pop(name) for name in list(options) if name.startswith("sentinel_")}
    service, _, db = address.path.strip("/").partition("/")
    start = f"{scheme}://{auth}@" if auth else f"{scheme}://"
    settings = _settings() | parse_url(f"{start}any/{db}?{urlencode(options)}")
    settings.pop("host")
    if kind == "cluster":
        settings.pop("db", None)
        if settings.pop("connection_class", None) is not None:
            settings["ssl"] = True
        return ClusterServers(hosts, settings)
    if not service:
        raise ValueError("the address of a Sentinel ends with the name of its service")
    is_encrypted = settings.pop("connection_class", None) is not None
    named = "&".join(f"{name.removeprefix('sentinel_')}={value}" for name, value in own.items())
    sentinel_settings = _settings() | parse_url(f"{scheme}://any?{named}")
    sentinel_settings.pop("host")
    if sentinel_settings.pop("connection_class", None) is not None:
        sentinel_settings["ssl"] = True
    sentinel: Any = Sentinel(hosts, sentinel_kwargs=sentinel_settings)  # type: ignore[no-untyped-call]
    return OneServer(sentinel.master_for(service, ssl=is_encrypted, **settings), sentinel)


def _host(text: str, port: int) -> tuple[str, int]:
    address = urlsplit("//" + text)
    if not address.hostname:
        raise ValueError(f"{text!r} is no host")
    return address.hostname, address.port or port


def _settings() -> dict[str, Any]:
    # Protocol 2: its client reads a sixth more replies a second. No retries but ours: they keep order. And no
    # timeouts but ours: with one the library writes under asyncio.wait_for, which can lose a cancellation.
    return {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": _CONNECT_SECONDS,
    }


def _nothing() -> None:
    """Nobody wants to know."""
