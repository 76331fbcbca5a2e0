"""The lease of this process in Redis, and what it hears there of the others.

    P:{t}:nodes:leases     sorted set: until when each process holds its lease
    P:{t}:nodes:processes  hash: what each tells of itself, as JSON

One script (lua/lease.lua) does a renewal in one round trip. Redis' clock alone decides about leases; no two
hosts' clocks are compared. While Redis does not answer, the last view stays in force.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

import structlog

from roomful.crdt.log import LogError
from roomful.crdt.redis_greeting import words
from roomful.crdt.redis_keys import node_keys
from roomful.crdt.redis_scripts import Scripts
from roomful.crdt.redis_servers import Servers

from ..metrics import Metrics
from .view import LEASE_SECONDS, Process, Roster, View

_log = structlog.get_logger()

_RENEW_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_LEAVE_SECONDS = 1.0
"""How long a drain waits until the others are told, and its end until the lease is given up; otherwise it
lapses by itself."""

Heard = Callable[[View, frozenset[str], frozenset[str]], None]
"""Told after each renewal: the view in force, the URLs that take new clients, and the processes' names."""


class Nodes:
    """Holds a lease while it is entered. Closes ``servers`` in the end.

    ``redis`` must not retry, and have no timeout of its own for answers. ``process`` is what is told of this
    one; ``is_ready`` is asked at each renewal.
    """

    def __init__(
        self, servers: Servers, prefix: str, process: Process, is_ready: Callable[[], bool], heard: Heard,
        metrics: Metrics,
    ) -> None:  # fmt: skip
        self._servers = servers
        self._keys = node_keys(prefix)
        self._process = process
        self._is_ready = is_ready
        self._heard = heard
        self._metrics = metrics
        self._scripts = Scripts(servers, "roomful.server.cluster", "lease")
        self._loop = asyncio.get_running_loop()
        self._roster = Roster(process)
        self._strange: set[bytes | None] = set()
        self._renewed_at: float | None = None
        self._lapsed = False
        self._woken = asyncio.Event()
        self._left = asyncio.Event()
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._renew()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        self._woken.set()
        if self._task is not None:
            # The task gives the lease up, behind a renewal that is under way; one behind it would undo that.
            await asyncio.wait({self._task}, timeout=_LEAVE_SECONDS)
            self._task.cancel()
        await self._servers.close()

    async def leave(self) -> None:
        """Tell the others that this is no node any more, so that nobody is sent here; the lease stays."""
        self._process = replace(self._process, leaving=True)
        self._woken.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._left.wait()

    async def _run(self) -> None:
        pause = _RENEW_SECONDS
        while True:
            await self._woken_within(pause)
            if self._ending:
                break
            leaving = self._process.leaving
            answered = await self._renew()
            if answered and leaving:
                self._left.set()
            pause = _RENEW_SECONDS if answered else _RETRY_SECONDS
        with contextlib.suppress(LogError):
            _, holders = await self._ask(b"")
            before = self._roster.view
            self._roster.left(self._decoded(holders))
            self._tell(before)

    async def _woken_within(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    async def _renew(self) -> bool:
        """Ask once. Returns whether there was an answer."""
        asked_at = self._loop.time()
        try:
            async with asyncio.timeout(_RENEW_SECONDS):
                held, holders = await self._ask(replace(self._process, ready=self._is_ready()).encode())
        except (LogError, TimeoutError) as error:
            if self._renewed_at is None or self._loop.time() > self._renewed_at + LEASE_SECONDS:
                self._lapse(str(error) or words(error))
            return False
        now = self._loop.time()
        if self._renewed_at is not None:
            due = self._renewed_at + _RENEW_SECONDS
            self._metrics.lease_lateness_seconds.observe(max(0.0, now - due))
            if not held:
                self._lapse("it was not renewed in time, or Redis has forgotten it")
        if self._lapsed:
            _log.info("lease renewed", url=self._process.url)
        # By Redis' clock it runs from some moment between the question and the answer.
        self._renewed_at = asked_at
        self._lapsed = False
        before = self._roster.view
        self._roster.answered(self._decoded(holders), held=bool(held), now=now)
        self._tell(before)
        return True

    async def _ask(self, told: bytes) -> tuple[int, list[bytes | None]]:
        length = int(LEASE_SECONDS * 1000)
        args = [self._process.name, told, length]
        held, holders = await self._scripts.run("lease", 0, self._keys, args)
        return held, holders

    def _decoded(self, holders: Sequence[bytes | None]) -> list[Process]:
        processes: list[Process] = []
        strange: set[bytes | None] = set()
        for told in holders:
            try:
                processes.append(Process.decode(told or b""))
            except ValueError as error:
                strange.add(told)
                if told not in self._strange:
                    _log.warning("a lease can't be read", reason=str(error))
        self._strange = strange
        return processes

    def _lapse(self, reason: str) -> None:
        if not self._lapsed:
            self._lapsed = True
            _log.warning("lease lapsed", url=self._process.url, reason=reason)

    def _tell(self, before: View) -> None:
        view = self._roster.view
        if view is not before:
            self._metrics.view_changes += 1
            was, now = ({member.name: member.weight for member in each.members} for each in (before, view))
            for url in now.keys() - was.keys():
                _log.info("node joined", url=url, weight=now[url], nodes=len(now), view=view.hash)
            for url in was.keys() - now.keys():
                _log.info("node left", url=url, nodes=len(now), view=view.hash)
            for url in now.keys() & was.keys():
                if was[url] != now[url]:
                    _log.info("node changed", url=url, weight=now[url], nodes=len(now), view=view.hash)
        self._heard(view, self._roster.ready, self._roster.processes)
