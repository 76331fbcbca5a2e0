"""The composition root and the life of the process: build, serve, drain, stop."""

import asyncio
import contextlib
import gc
import secrets
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

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
from .cluster.acceptor import Acceptor
from .cluster.figures import PARENT, gather, shown
from .cluster.listeners import bind, spoken
from .cluster.worker_channel import WorkerChannel
from .config import Config, Storage
from .drain import drain
from .folder import Folder
from .gateway import Gateway
from .heartbeat import Heartbeat
from .membership import Membership, public_url
from .metrics import Metrics, exposition
from .node import Node
from .parent import supervise
from .reception import Reception
from .rooms import Rooms
from .stopping import Stopping
from .storage_watch import StorageWatch
from .timers import finest

_log = structlog.get_logger()


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT. Returns the process' exit code."""
    return _run(supervise(config) if config.listen.workers > 1 else serve(config))


def run_worker(config: Config, number: int, folder: Path, descriptor: int) -> int:
    """Serve what the parent passes over a channel, until told to stop. Returns the process' exit code."""
    # A terminal sends these to all its processes; what they mean is the parent's to say.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    return _run(_serve_for_parent(config, number, folder, descriptor))


def _run(main: Coroutine[Any, Any, int]) -> int:
    if sys.platform == "win32":
        loop_factory = None
    else:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main)


async def serve(config: Config) -> int:
    """Build a node, listen, and drain when told to. Returns 0, or 1 when the drain was cut short."""
    stopping = Stopping()
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(build(config))
        reception = await stack.enter_async_context(_open(node))
        acceptor = Acceptor(reception, node.metrics.arrivals, config.limits)
        stack.callback(acceptor.close)
        node.handshakes.on_end = acceptor.go_on
        listeners = bind(config.listen.host, config.listen.port)
        url = public_url(config.listen, listeners[0].getsockname()[1])
        membership = await stack.enter_async_context(Membership(node, url))
        acceptor.listen(listeners)
        _log.info("listening", **spoken(listeners), storage=config.storage.place)
        await stopping.stop.wait()
        await membership.leave()
        acceptor.close()
        return await drain(node, stopping.force)


async def _serve_for_parent(config: Config, number: int, folder: Path, descriptor: int) -> int:
    stopping = Stopping([signal.SIGTERM])
    names = (*map(str, range(config.listen.workers)), PARENT)
    async with contextlib.AsyncExitStack() as stack:
        node = await stack.enter_async_context(build(config))
        reception = await stack.enter_async_context(_open(node, lambda: gather(folder, names)))
        await stack.enter_async_context(shown(folder, str(number), exposition(node.metrics)))
        channel = WorkerChannel(descriptor, reception.take, stopping.stop.set)
        stack.callback(channel.close)
        node.handshakes.on_end = channel.handshake_ended
        # The parent has found the port.
        url = public_url(config.listen, config.listen.port)
        membership = await stack.enter_async_context(Membership(node, url))
        channel.start()
        await stopping.stop.wait()
        await membership.leave()
        channel.draining()
        code = await drain(node, stopping.force)
        if not channel.is_open:
            # The parent is gone, and can't put away what it has left.
            shutil.rmtree(folder, ignore_errors=True)
        return code


@contextlib.asynccontextmanager
async def _open(
    node: Node, figures: Callable[[], Awaitable[bytes]] | None = None
) -> AsyncIterator[Reception]:
    """Serve what the reception is given."""
    limits = node.config.limits
    runner = web.AppRunner(
        Gateway(node, figures).application(), access_log=None, handle_signals=False, shutdown_timeout=1,
        # Counts from the connection's start as well: nobody has longer to send a request.
        keepalive_timeout=limits.pre_auth_seconds,
    )  # fmt: skip
    await runner.setup()
    assert runner.server is not None
    watcher = asyncio.create_task(_watch(node))
    _calm_collector()
    try:
        yield Reception(runner.server, node.handshakes, limits.max_handshakes)
    finally:
        watcher.cancel()
        await runner.cleanup()


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
        name = secrets.token_hex(8)
        rooms = Rooms(log, folder, checks, config, metrics, name, finest)
        if archive is not None and isinstance(log, RedisLog):
            archiver = Archiver(log, archive, folds, rooms, config, metrics)
            stack.push_async_callback(_ended, asyncio.create_task(archiver.run()))
        heartbeat = Heartbeat(config.timing.keepalive_seconds, config.limits.stall_seconds)
        stack.callback(heartbeat.stop)
        node = Node(config, metrics, log, rooms, checks, authorize, heartbeat, name)
        stack.callback(node.handshakes.stop)
        _name_gauges(node)
        yield node
        rooms.close()


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


async def _watch(node: Node, interval: float = 0.25) -> None:
    """Measure how late the loop is, and look after storage."""
    storage = StorageWatch(node)
    while True:
        before = time.monotonic()
        await asyncio.sleep(interval)
        node.metrics.loop_lag_seconds.observe(max(0.0, time.monotonic() - before - interval))
        await storage.look(time.monotonic())


def _calm_collector() -> None:
    """Keep the cyclic collector off the hot path, which makes no cycles (it cost 60-80 ms at p99)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _name_gauges(node: Node) -> None:
    gauge = node.metrics.gauge
    gauge("connections", "Open connections", lambda: len(node.heartbeat))
    gauge("nodes", "Nodes that serve beside each other, this one included", lambda: len(node.view.members))
    gauge("handshakes", "Connections accepted and not yet admitted", lambda: len(node.handshakes))
    gauge("tasks", "Tasks of the event loop", lambda: len(asyncio.all_tasks()))
    gauge("rooms", "Rooms in memory", lambda: len(node.rooms))
    gauge("people", "People in the rooms in memory, those on other servers included", node.rooms.people)
    gauge("sessions", "Sessions of these people", node.rooms.sessions)
    gauge("document_bytes", "Bytes of all documents in memory", node.rooms.document_bytes)
    gauge("quarantined_rooms", "Rooms in memory that can't be folded", node.rooms.quarantined)
    log = node.log
    gauge("log_backlog_bytes", "Bytes that wait to be durable", lambda: log.backlog_bytes)
    gauge(
        "log_backlog_peak_bytes", "The most that has waited since the start", lambda: log.backlog_peak_bytes
    )
    gauge("log_backlog_entries", "Updates that wait to be durable", lambda: log.backlog_entries)
    gauge("untold_messages", "Messages to other servers that were dropped", lambda: log.untold)
    gauge("storage_failing", "1 while storage refuses", lambda: float(log.condition.failing))
    gauge("storage_failing_seconds", "For how long storage has refused", lambda: node.failing_seconds)
    gauge("outbox_bytes", "Bytes that wait for slow clients", lambda: _outbox_bytes(node))


def _outbox_bytes(node: Node) -> int:
    return sum(connection.socket.buffered for connection in node.heartbeat.connections)
