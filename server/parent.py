"""The parent of several workers: it accepts, chooses, passes on, and keeps the workers running.

It never reads what clients send beyond the head of their first request, and holds no document. When it dies,
its workers see the end of their channels, drain and end.
"""

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from .cluster.acceptor import Acceptor
from .cluster.dispatcher import Dispatcher
from .cluster.figures import PARENT, shown
from .cluster.listeners import bind, spoken
from .cluster.supervisor import Supervisor
from .cluster.worker_process import WorkerProcess
from .config import OPTIONS, Config
from .effective import Effective, render
from .metrics import Arrivals, rendering
from .stopping import Stopping

_log = structlog.get_logger()


async def supervise(config: Config) -> int:
    """Serve with several workers until told to stop. Returns 0, or 1 when they could not start or be drained.

    SIGHUP puts a fresh process in the place of each worker, one after another.
    """
    stopping = Stopping()
    renewal = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, renewal.set)
    with tempfile.TemporaryDirectory(prefix="roomful-") as folder:
        return await _Parent(config, Path(folder)).serve(stopping, renewal)


class _Parent:
    def __init__(self, config: Config, folder: Path) -> None:
        listen, limits = config.listen, config.limits
        self._config = config
        self._folder = folder
        self._drain_seconds = config.timing.shutdown_seconds
        self._port = config.listen.port
        self._processes: list[WorkerProcess] = []
        self._workers = [
            Supervisor(number, self._start, self._drain_seconds, self._go_on)
            for number in range(listen.workers)
        ]
        arrivals = Arrivals()
        self._dispatcher = Dispatcher(self._workers, listen.shard_by, limits.max_handshakes, arrivals)
        self._acceptor = Acceptor(self._dispatcher, arrivals, limits)

    async def serve(self, stopping: Stopping, renewal: asyncio.Event) -> int:
        async with AsyncExitStack() as stack:
            listeners = bind(self._config.listen.host, self._config.listen.port)
            self._port = listeners[0].getsockname()[1]
            stack.callback(self._acceptor.close)
            self._acceptor.listen(listeners)
            await stack.enter_async_context(shown(self._folder, PARENT, rendering(self._dispatcher)))
            if not await self._started(stopping.stop):
                code = await self._drain(stopping.force)
                return code if stopping.stop.is_set() else 1
            _log.info(
                "listening",
                **spoken(listeners), workers=len(self._workers), storage=self._config.storage.place,
            )  # fmt: skip
            renewing = asyncio.create_task(self._renew(renewal))
            await stopping.stop.wait()
            renewing.cancel()
            self._acceptor.close()
            _log.info("draining", workers=len(self._workers), seconds=self._drain_seconds)
            return await self._drain(stopping.force)

    async def _started(self, stop: asyncio.Event) -> bool:
        """Start the workers. False when one did not get ready, or it is time to stop."""
        starting = asyncio.gather(*(worker.start() for worker in self._workers))
        stopped = asyncio.create_task(stop.wait())
        either: tuple[asyncio.Future[Any], ...] = (starting, stopped)
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if starting.done():
            return all(starting.result())
        starting.cancel()
        await asyncio.wait({starting})
        return False

    async def _start(self, number: int) -> WorkerProcess:
        command = [sys.executable, "-P", "-m", f"{__package__}", "worker", str(self._folder), str(number)]
        # Options come from here alone, whatever the file says by now.
        mine = {option.variable for option in OPTIONS} | {"ROOMFUL_CONFIG"}
        environment = {name: value for name, value in os.environ.items() if name not in mine}
        settings = _settings(self._config, self._port)
        process = await WorkerProcess.start(command, settings, environment, self._go_on)
        self._processes = [*self._running(), process]
        return process

    def _go_on(self) -> None:
        self._acceptor.go_on()

    def _running(self) -> list[WorkerProcess]:
        """Return those that serve, start or drain."""
        return [process for process in self._processes if process.is_running]

    async def _renew(self, asked: asyncio.Event) -> None:
        while True:
            await asked.wait()
            asked.clear()
            _log.info("renewing the workers")
            for worker in self._workers:
                if not await worker.renew():
                    _log.error("the workers are not renewed", reason=f"worker {worker.number} did not start")
                    break
            else:
                _log.info("the workers are renewed")

    async def _drain(self, force: asyncio.Event) -> int:
        for worker in self._workers:
            worker.let_go()
        running = self._running()
        hurrying = asyncio.create_task(self._hurry(force))
        codes = await asyncio.gather(*(process.drained(self._drain_seconds) for process in running))
        hurrying.cancel()
        _log.info("stopped", forced=force.is_set())
        # A process that was still starting may die of the signal, which costs nobody anything.
        ended = zip(running, codes, strict=True)
        failed = any(code for process, code in ended if process.channel.was_ready)
        return 1 if force.is_set() or failed else 0

    async def _hurry(self, force: asyncio.Event) -> None:
        await force.wait()
        for process in self._running():
            process.signal(signal.SIGTERM)


def _settings(config: Config, port: int) -> bytes:
    """What a worker needs to know: the options in effect, and the port that was found free."""
    config = replace(config, listen=replace(config.listen, port=port))
    origins = {option.key: "the parent" for option in OPTIONS}
    return "\n".join(render(Effective(config, origins))).encode()
