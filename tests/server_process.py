"""The real server in a process of its own, as tests start, crash, stop and question it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

ROOT: Final = Path(__file__).parent.parent
START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 30.0
ORPHAN_SECONDS: Final = 10.0
LONGEST_LINE: Final = 16 * 1024 * 1024


class ServerProcessError(AssertionError):
    """The server did not do what a test needs of it; the message ends with its last log lines."""


class ServerProcess:
    """``python -m roomful.server serve`` on a free port of 127.0.0.1.

    ``async with ServerProcess(tmp_path) as server`` returns when it listens. Leaving kills it and whatever
    it started; if the block failed, the end of its log is printed.

    :param data: the data directory; kept over ``restart``
    :param authorize: ``module:callable``, importable from the root of the repository
    :param options: further command line options
    """

    def __init__(
        self,
        data: Path,
        *,
        authorize: str | None = None,
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.data = data
        self.host = "127.0.0.1"
        self.port = 0
        # Every line of standard error that was a JSON object, and everything it wrote there.
        self.logs: list[dict[str, Any]] = []
        self.output: list[str] = []
        self._authorize = authorize
        self._options = tuple(options)
        self._environment = environment or {}
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()
        self._group = 0

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()
        if kind is not None:
            print(self.log_tail(), file=sys.stderr)

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    async def kill(self) -> None:
        """SIGKILL to the server alone: a crash. What it started must notice by itself."""
        process = self._running()
        process.kill()
        await self._ended(process)

    async def stop(self) -> int:
        """SIGTERM, wait for the drain, and return the exit code."""
        process = self._running()
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await self._ended(process)
        except TimeoutError:
            raise self._error(f"still running {STOP_SECONDS} s after SIGTERM") from None

    def pause(self) -> None:
        """SIGSTOP to the server alone: it does nothing until ``resume``, and its sockets stay open."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    async def restart(self) -> None:
        """Start again with the same port and data, after ``kill`` or ``stop`` (or stop it first)."""
        if self._process is not None:
            await self.stop()
        await self._start()

    async def metric(self, name: str, **labels: str) -> float:
        """The value of a metric, summed over all samples that have these labels; 0 when there is none."""
        text = (await self.get("/metrics")).decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def get(self, path: str) -> bytes:
        """The body of a GET that must succeed."""
        async with aiohttp.ClientSession() as http, http.get(self.http_url + path) as response:
            response.raise_for_status()
            return await response.read()

    async def wait_for_log(
        self, event: str, *, within: float = 10.0, since: int = 0, **fields: Any
    ) -> dict[str, Any]:
        """The first log entry of this event with these fields, from ``logs[since:]`` or still to come."""

        def found() -> dict[str, Any] | None:
            wanted = {"event": event, **fields}
            return next((entry for entry in self.logs[since:] if wanted.items() <= entry.items()), None)

        async with self._news:
            try:
                async with asyncio.timeout(within):
                    await self._news.wait_for(lambda: found() is not None or self._process is None)
            except TimeoutError:
                raise self._error(f"no log entry {event} {fields} in {within} s") from None
        entry = found()
        if entry is None:
            raise self._error(f"ended without a log entry {event} {fields}")
        return entry

    def log_tail(self, lines: int = 40) -> str:
        """The last lines, tracebacks as people read them."""
        tail = [line.replace("\\n", "\n    ") for line in self.output[-lines:]]
        return "\n  ".join([f"the server's last {len(tail)} lines:", *tail])

    async def _start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        since = len(self.logs)
        command = [sys.executable, "-m", "roomful.server", "serve"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--data", str(self.data)]
        if self._authorize is not None:
            command += ["--authorize", self._authorize]
        self._process = await asyncio.create_subprocess_exec(
            *command,
            *self._options,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            cwd=ROOT,
            env={**_unconfigured(), **self._environment},
            limit=LONGEST_LINE,
            # A group of its own, so that `_end` reaches what the server has started as well.
            start_new_session=True,
        )
        self._group = self._process.pid
        self._reader = asyncio.create_task(self._read(self._process))
        self.port = (await self.wait_for_log("listening", within=START_SECONDS, since=since))["port"]

    async def _read(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            self.output.append(text)
            with suppress(ValueError):
                entry = json.loads(text)
                if isinstance(entry, dict):
                    self.logs.append(entry)
            async with self._news:
                self._news.notify_all()
        await process.wait()
        self._process = None
        async with self._news:
            self._news.notify_all()

    async def _ended(self, process: Process) -> int:
        assert self._reader is not None
        code = await process.wait()
        try:
            # Whatever it started holds the pipe open until it has noticed and ended too.
            async with asyncio.timeout(ORPHAN_SECONDS):
                await asyncio.shield(self._reader)
        except TimeoutError:
            raise self._error(f"what it started still runs {ORPHAN_SECONDS} s after it") from None
        return code

    async def _end(self) -> None:
        if self._reader is None:
            return
        # The group outlives its leader while any member runs; it is empty when all went well.
        with suppress(ProcessLookupError):
            os.killpg(self._group, signal.SIGKILL)
        await self._reader

    def _running(self) -> Process:
        if self._process is None:
            raise self._error("not running")
        return self._process

    def _error(self, what: str) -> ServerProcessError:
        return ServerProcessError(f"{what}\n{self.log_tail()}")


def _unconfigured() -> dict[str, str]:
    """This process's environment without what would configure the server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ROOMFUL_")}


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, be it that nobody has asked for its exit code yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
