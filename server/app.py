"""The composition root and the life of the process: build, serve, drain, stop."""

import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from roomful.crdt.archive import Archive
from roomful.crdt.log import Log
from roomful.crdt.log_redis import RedisLog
from roomful.crdt.log_sqlite import SqliteLog
from roomful.crdt.store_address import StoreAddress
from roomful.crdt.worker import WorkerPool

from .archiver import Archiver
from .auth import load_authorizer
from .close_codes import CloseCode
from .config import Config, Storage
from .connection import Connection
from .folder import Folder
from .gateway import Gateway
from .heartbeat import Heartbeat
from .membership import Membership, public_url
from .metrics import Metrics
from .node import Node
from .rooms import Rooms
from .storage_watch import StorageWatch

_log = structlog.get_logger()

_BACKLOG = 4_096
_STAGGER_SHARE = 0.3
"""The share of the drain over which closes are spread."""


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT. Returns the process' exit code."""
    if sys.platform == "win32":
        loop_factory = None
    else:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(serve(config))


async def serve(config: Config) -> int:
    """Build a node, serve, and drain when told to. Returns 0, or 1 when the drain was cut short."""
    stop, force = asyncio.Event(), asyncio.Event()
    _listen_to_signals(stop, force)
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(build(config))
        runner = web.AppRunner(
            Gateway(node).application(), access_log=None, handle_signals=False,
            # Counts from the connection's start as well: nobody has longer to send a request.
            keepalive_timeout=config.limits.pre_auth_seconds,
        )  # fmt: skip
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(
            runner, config.listen.host, config.listen.port, backlog=_BACKLOG, shutdown_timeout=1
        )
        await site.start()
        host, port = runner.addresses[0][:2]
        membership = await stack.enter_async_context(Membership(node, public_url(config.listen, port)))
        watcher = asyncio.create_task(_watch(node))
        stack.callback(watcher.cancel)
        _calm_collector()
        _log.info(
            "listening", host=host, port=port, url=f"http://{host}:{port}/", storage=_place(config.storage)
        )
        await stop.wait()
        await membership.leave()
        await site.stop()
        return await _drain(node, force)


@contextlib.asynccontextmanager
async def build(config: Config) -> AsyncIterator[Node]:
    """Give a node that is ready to serve, and let go of all it holds afterwards."""
    metrics = Metrics()
    authorize = load_authorizer(config.auth.authorize)
    folding = config.folding
    async with contextlib.AsyncExitStack() as stack:
        archive = _archive_of(config.storage, metrics)
        log = await stack.enter_async_context(_log_of(config, archive, metrics))
        # A hostile document can hold a folding worker for long; checks and loads must not wait for it.
        pools = [
            WorkerPool(size, memory=folding.worker_memory_bytes, seconds=folding.worker_seconds)
            for size in (1, folding.fold_workers)
        ]
        for pool in pools:
            stack.push_async_callback(pool.close)
            await pool.start()
        checks, folds = pools
        folder = Folder(folds, log, folding, metrics)
        stack.push_async_callback(folder.close)
        rooms = Rooms(log, folder, checks, config, metrics)
        if archive is not None and isinstance(log, RedisLog):
            archiver = Archiver(log, archive, folds, rooms, config, metrics)
            stack.push_async_callback(_ended, asyncio.create_task(archiver.run()))
        heartbeat = Heartbeat(config.timing.keepalive_seconds, config.limits.stall_seconds)
        stack.callback(heartbeat.stop)
        node = Node(config, metrics, log, rooms, checks, authorize, heartbeat)
        _name_gauges(node)
        yield node
        rooms.flush()


def _archive_of(storage: Storage, metrics: Metrics) -> Archive | None:
    if not storage.snapshot_store:
        return None

    def count(operation: str) -> None:
        metrics.store_errors[operation] += 1

    store = StoreAddress.parse(storage.snapshot_store).open()
    return Archive(store, observe_get=metrics.store_get_seconds.observe, count_error=count)


def _log_of(
    config: Config, archive: Archive | None, metrics: Metrics
) -> contextlib.AbstractAsyncContextManager[Log]:
    storage, observe, limit = config.storage, metrics.append_seconds.observe, config.limits.backlog_bytes
    if storage.redis:
        return RedisLog(
            storage.redis,
            prefix=storage.redis_prefix,
            archive=archive,
            replicas=storage.redis_replicas,
            backlog_limit=limit,
            observe_commit=observe,
        )
    return SqliteLog(
        storage.data,
        durability=storage.durability,
        commit_interval=config.timing.commit_interval,
        backlog_limit=limit,
        observe_commit=observe,
    )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _place(storage: Storage) -> str:
    """Where documents are kept, without passwords."""
    if storage.redis:
        address = urlsplit(storage.redis)
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    return str(storage.data)


async def _drain(node: Node, force: asyncio.Event) -> int:
    """Close all connections, spread over part of the drain; abort those that are left at its end."""
    seconds = node.config.timing.shutdown_seconds
    deadline = asyncio.get_running_loop().time() + seconds
    node.draining = True
    connections = [each for each in node.heartbeat.connections if isinstance(each, Connection)]
    _log.info("draining", connections=len(connections), seconds=seconds)
    node.rooms.flush()
    pause = seconds * _STAGGER_SHARE / max(len(connections), 1)
    for connection in connections:
        connection.close(CloseCode.RESTART, "the server is restarting")
        if await _forced_within(force, min(pause, 0.05)):
            break
    closing = {connection.socket.closed for connection in connections}
    forced = asyncio.ensure_future(force.wait())
    while closing and not forced.done() and (left := deadline - asyncio.get_running_loop().time()) > 0:
        _, pending = await asyncio.wait({*closing, forced}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        closing = pending - {forced}
    forced.cancel()
    for connection in connections:
        connection.cut_off(CloseCode.RESTART, "the drain is over")
    _log.info("stopped", forced=force.is_set())
    return 1 if force.is_set() else 0


async def _forced_within(force: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await force.wait()
    return force.is_set()


async def _watch(node: Node, interval: float = 0.25) -> None:
    """Measure how late the loop is, and look after storage."""
    storage = StorageWatch(node)
    while True:
        before = time.monotonic()
        await asyncio.sleep(interval)
        node.metrics.loop_lag_seconds.observe(max(0.0, time.monotonic() - before - interval))
        await storage.look(time.monotonic())


def _listen_to_signals(stop: asyncio.Event, force: asyncio.Event) -> None:
    def heard() -> None:
        (force if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, heard)


def _calm_collector() -> None:
    """Keep the cyclic collector off the hot path, which makes no cycles (it cost 60-80 ms at p99)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _name_gauges(node: Node) -> None:
    gauge = node.metrics.gauge
    gauge("connections", "Open connections", lambda: len(node.heartbeat))
    gauge("nodes", "Nodes that serve beside each other, this one included", lambda: len(node.view.members))
    gauge("rooms", "Rooms in memory", lambda: len(node.rooms))
    gauge("document_bytes", "Bytes of all documents in memory", node.rooms.document_bytes)
    gauge("quarantined_rooms", "Rooms in memory that can't be folded", node.rooms.quarantined)
    log = node.log
    gauge("log_backlog_bytes", "Bytes that wait to be durable", lambda: log.backlog_bytes)
    gauge(
        "log_backlog_peak_bytes", "The most that has waited since the start", lambda: log.backlog_peak_bytes
    )
    gauge("log_backlog_entries", "Updates that wait to be durable", lambda: log.backlog_entries)
    gauge("storage_failing", "1 while storage refuses", lambda: float(log.condition.failing))
    gauge("storage_failing_seconds", "For how long storage has refused", lambda: node.failing_seconds)
    gauge("outbox_bytes", "Bytes that wait for slow clients", lambda: _outbox_bytes(node))


def _outbox_bytes(node: Node) -> int:
    return sum(connection.socket.buffered for connection in node.heartbeat.connections)
