"""Every option of the server, each declared once, and the rules between them.

The field is the declaration. Its name gives the TOML key (in its group's table), the environment variable
and the flag: ``max_rooms`` in ``[limits]``, ``ROOMFUL_MAX_ROOMS`` and ``--max-rooms`` are one option.
A flag wins over the environment, the environment over the file, the file over the default.

``Config()`` without arguments holds the defaults; `effective.load` makes one from what a person said.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from roomful.crdt.store_address import StoreAddress
from roomful.presence.people import PERSON_BYTES
from roomful.presence.roster import HEAD_BYTES

from .options import (
    GIB,
    KIB,
    MIB,
    Option,
    choice,
    declared,
    folder,
    seconds,
    size,
    spoken_size,
    switch,
    text,
    whole,
)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where clients reach the server."""

    host: str = text("127.0.0.1", "Address to listen on")
    port: int = whole(8080, "Port to listen on; 0 takes a free one, which the log names", low=0, high=65535)
    public_url: str = text(
        "",
        "What clients reach this node by, as other nodes tell them; empty: http://host:port",
        pattern=r"|https?://[^\s/?#]+(/[^\s?#]*)?",
        form="http://host[:port][/path] or https://...",
    )
    workers: int = whole(1, "Processes that serve; more than one needs redis", low=1, high=64)
    shard_by: str = choice(
        "user",
        ("user", "room", "owner"),
        "What places a connection: the user, the room, or the room's owner",
    )
    node_weight: int = whole(
        1, "Share of the connections beside other nodes: 2 takes twice as many as 1", low=1, high=1000
    )
    rebalance_percent_per_second: int = whole(
        0,
        "How many of its connections a node closes, so that they go to the node that has them now; 0: none",
        low=0,
        high=100,
    )


@dataclass(frozen=True, slots=True)
class Auth:
    """Who may enter a room."""

    authorize: str = text(
        "",
        "Your function that says who may enter which room, as module:callable; empty: everybody may write",
        pattern=r"|[A-Za-z_][\w.]*:[A-Za-z_][\w.]*",
        form="module:callable",
    )
    allow_anonymous: bool = switch("Listen beyond this machine although authorize is empty")


@dataclass(frozen=True, slots=True)
class Storage:
    """Where documents are kept, and what an acknowledgement promises."""

    data: Path = folder("./roomful-data", "Folder of the documents, without redis; it is created")
    redis: str = text(
        "",
        "Keep documents in this Redis, with other servers beside this one; empty: in the folder",
        pattern=r"|rediss?(\+sentinel|\+cluster)?://\S+|unix://\S+",
        form="redis://[user:password@]host[:port][/db], or redis+sentinel:// or redis+cluster:// with hosts",
    )
    redis_replicas: int = whole(
        0,
        "Replicas of Redis that an acknowledged update has reached; 0 = Redis itself has it",
        low=0,
        high=100,
    )
    redis_prefix: str = text("roomful", "What all keys in Redis begin with", pattern=r"[^\s{}]+")
    snapshot_store: str = text(
        "",
        "Where documents go from Redis when nobody has written to them for long; empty: they stay",
        pattern=r"|(file|s3)://\S+",
        form="file:///folder or s3://bucket[/prefix][?region=...&endpoint=...]",
    )
    archive_after_seconds: float = seconds(
        30 * 86_400,
        "How long nobody has written to a document that goes there",
        low=1,
        high=10 * 365 * 86_400,
    )
    durability: str = choice(
        "machine",
        ("machine", "process"),
        "What an acknowledged update survives: machine = power loss, process = kill -9 of the server",
    )

    @property
    def level(self) -> str:
        """What an acknowledgement promises, in a word (docs/PROTOCOL.md)."""
        if not self.redis:
            return self.durability
        return f"redis+{self.redis_replicas}" if self.redis_replicas else "redis"

    @property
    def place(self) -> str:
        """Where documents are kept, without passwords."""
        if self.redis:
            address = urlsplit(self.redis)
            return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
        return str(self.data)


@dataclass(frozen=True, slots=True)
class Logging:
    """What is logged."""

    log_level: str = choice(
        "info", ("debug", "info", "warning", "error"), "Least weighty line that is logged"
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one client, one room and the whole server may hold."""

    max_message_bytes: int = size(8 * MIB, "Largest message from a client", low=KIB, high=GIB)
    max_document_bytes: int = size(64 * MIB, "Largest document: its snapshot and what follows it", low=KIB)
    max_connections: int = whole(20_000, "Connections to this server", low=1)
    max_handshakes: int = whole(
        256, "Connections accepted and not yet admitted; the rest wait in the kernel", low=1, high=65_536
    )
    max_connections_per_room: int = whole(5_000, "Connections to one room", low=1)
    max_rooms: int = whole(10_000, "Rooms in memory", low=1)
    max_documents_per_connection: int = whole(100, "Rooms that one connection opens", low=1)
    pre_auth_bytes: int = size(
        MIB, "What a connection may send before its token is judged", low=KIB, high=GIB
    )
    pre_auth_messages: int = whole(100, "Messages before the token is judged", low=1)
    pre_auth_seconds: float = seconds(10, "Time for a connection to send its token", low=0.1, high=600)
    max_awareness_bytes: int = size(16 * KIB, "One client's awareness state", low=64, high=MIB)
    max_awareness_clients_per_session: int = whole(16, "Awareness clients one session speaks for", low=1)
    max_presence_bytes: int = size(
        4 * KIB, "What one session says of itself in presence", low=256, high=256 * KIB
    )
    presence_frame_bytes: int = size(
        16 * KIB, "What a room tells a member of presence at once; the rest waits", low=4 * KIB, high=16 * MIB
    )
    presence_pages_per_second: int = whole(
        5, "Pages of people that one session may ask for", low=1, high=1_000
    )
    presence_requests_per_second: int = whole(
        10, "Presence requests over HTTP of one user or with one token", low=1, high=10_000
    )
    max_presence_lookups: int = whole(
        32, "Presence requests at once that open a room which is not in memory", low=1, high=10_000
    )
    max_event_bytes: int = size(16 * KIB, "One event for a room", low=256, high=MIB)
    max_kept_events: int = whole(
        64, "Names of which a room keeps the last event for newcomers", low=0, high=10_000
    )
    events_per_second: int = whole(200, "Events that one session may send to a room", low=1, high=100_000)
    awareness_bytes_per_second: int = size(
        64 * KIB, "Awareness to one session; what exceeds it waits, the newest state only", low=KIB, high=GIB
    )
    max_room_name_bytes: int = size(512, "Room name, in UTF-8", low=1, high=4 * KIB)
    outbox_bytes: int = size(
        128 * KIB, "Unsent bytes at which a connection counts as slow", low=KIB, high=GIB
    )
    backlog_bytes: int = size(
        64 * MIB, "Updates that wait to be stored, at which writers are sent away", low=64 * KIB
    )
    stall_seconds: float = seconds(30, "How long a slow connection may stand still", low=1, high=3600)


@dataclass(frozen=True, slots=True)
class Timing:
    """Windows, intervals and patience."""

    flush_window: float = seconds(
        0.010, "Updates and events of a busy room go out together once in this", low=0, high=1
    )
    redis_flush_window: float = seconds(
        0.0055, "The same with redis, where people on other servers wait for it and for Redis", low=0, high=1
    )
    longest_flush_window: float = seconds(
        0.100, "What the window of a large room grows to, with 0.16 ms a member", low=0, high=10
    )
    awareness_interval: float = seconds(
        0.050, "Cursors and the like of a small room go out together once in this", low=0, high=10
    )
    longest_awareness_interval: float = seconds(
        2, "What that grows to in a large room, with 4 ms a client", low=0, high=60
    )
    presence_interval: float = seconds(
        2, "People who come, go and change are told together once in this", low=0.05, high=60
    )
    grace_seconds: float = seconds(
        10, "How long one whose connection is lost is still shown, to come back unnoticed", low=0, high=300
    )
    commit_interval: float = seconds(0.020, "Updates are made durable together once in this", low=0, high=1)
    keepalive_seconds: float = seconds(
        13,
        "Clients are pinged once in this; who is silent until the next is cut off; stock clients leave at 30",
        low=1,
        high=28,
    )
    idle_room_seconds: float = seconds(30, "How long an empty room stays in memory", low=0, high=86_400)
    shutdown_seconds: float = seconds(10, "Time for the drain after SIGTERM", low=0, high=600)
    storage_patience_seconds: float = seconds(
        10, "How long rooms live on while the disk refuses writes", low=0, high=3600
    )
    redis_patience_seconds: float = seconds(
        600, "How long rooms live on while Redis is lost or refuses writes", low=0, high=86_400
    )


@dataclass(frozen=True, slots=True)
class Folding:
    """The worker processes that fold a room's updates into a snapshot."""

    fold_workers: int = whole(1, "Processes that fold", low=1, high=64)
    worker_memory_bytes: int = size(GIB, "Memory of one worker", low=128 * MIB)
    worker_seconds: float = seconds(30, "Time for one piece of work", low=0.1, high=3600)
    fold_entries: int = whole(500, "Fold a room after so many updates", low=1, high=100_000)
    fold_bytes: int = size(MIB, "Fold a room after so many bytes of updates", low=KIB, high=GIB)
    inline_check_bytes: int = size(16 * KIB, "Larger updates are checked in a worker", low=64, high=GIB)


@dataclass(frozen=True, slots=True)
class Config:
    """All options, by group."""

    listen: Listen = field(default_factory=Listen)
    auth: Auth = field(default_factory=Auth)
    storage: Storage = field(default_factory=Storage)
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    folding: Folding = field(default_factory=Folding)
    logging: Logging = field(default_factory=Logging)


GROUPS: Mapping[str, type[Any]] = {
    group.name: type(getattr(Config(), group.name)) for group in fields(Config)
}
OPTIONS: tuple[Option, ...] = tuple(
    option for group, settings in GROUPS.items() for option in declared(group, settings)
)
"""The option table, in the order of the declarations above."""


def contradictions(config: Config, origins: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with values that are right one by one; `origins` goes by `Option.key`."""
    if not (config.auth.authorize or config.auth.allow_anonymous or _is_loopback(config.listen.host)):
        yield (
            f"listen.host from {origins['listen.host']}: {config.listen.host!r} is reachable"
            " from other machines and auth.authorize is empty, so everybody could read and write every room;"
            " set --authorize module:callable, or say --allow-anonymous if that is meant"
        )
    if config.limits.max_message_bytes > config.limits.max_document_bytes:
        yield (
            f"limits.max_document_bytes from {origins['limits.max_document_bytes']}:"
            f" {spoken_size(config.limits.max_document_bytes)} is less than limits.max_message_bytes"
            f" ({spoken_size(config.limits.max_message_bytes)} from {origins['limits.max_message_bytes']})"
        )
    least = config.limits.max_presence_bytes + PERSON_BYTES + HEAD_BYTES
    if config.limits.presence_frame_bytes < least:
        yield (
            f"limits.presence_frame_bytes from {origins['limits.presence_frame_bytes']}:"
            f" {spoken_size(config.limits.presence_frame_bytes)} do not hold one person, whom"
            f" limits.max_presence_bytes ({spoken_size(config.limits.max_presence_bytes)} from"
            f" {origins['limits.max_presence_bytes']}) lets take {least} bytes"
        )
    if config.storage.snapshot_store:
        origin = f"storage.snapshot_store from {origins['storage.snapshot_store']}"
        if not config.storage.redis:
            yield f"{origin}: only documents in Redis go there, and storage.redis is empty"
        try:
            missing = StoreAddress.parse(config.storage.snapshot_store).missing
        except ValueError as error:
            yield f"{origin}: {error}"
        else:
            if missing:
                yield f"{origin}: it needs what is not installed; pip install '{missing}'"

    if config.listen.workers > 1 and not config.storage.redis:
        yield (
            f"listen.workers from {origins['listen.workers']}: {config.listen.workers} processes can't share"
            " the folder of documents, which one process holds at a time; keep documents in --redis, or leave"
            " workers at 1"
        )


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name other than localhost may resolve to anything."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
