"""Three servers on one Redis, each with a link to it and a link to its clients, and faults of all of them."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.redis_process import RedisProcess
from tests.server_process import ServerProcess, ServerProcessError
from tests.stress.faults import CUT, FORGET, FREEZE, KILL, NODES, REFUSE, RESET, SWALLOW, TERMINATE, Fault
from tests.tcp_proxy import FAIR, TcpProxy

_START_SECONDS = 30.0


class Cluster:
    """Enter it to start everything. ``done`` counts the faults there have been."""

    def __init__(self, folder: Path, rng: random.Random, fsync: str, options: Sequence[str]) -> None:
        self.redis = RedisProcess(folder / "redis", ["--appendfsync", fsync])
        self.redis_links = [TcpProxy(self.redis.port, rng) for _ in range(NODES)]
        self.client_links: list[TcpProxy] = []
        self.nodes: list[ServerProcess] = []
        self.done: Counter[str] = Counter()
        self._folder = folder
        self._rng = rng
        self._options = options
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.redis.start()
            stack.callback(self.redis.kill)
            for link in self.redis_links:
                await stack.enter_async_context(link)
            self.nodes = [
                ServerProcess(
                    self._folder / f"node-{number}",
                    options=(f"--redis=redis://127.0.0.1:{link.port}/0", *self._options),
                )
                for number, link in enumerate(self.redis_links)
            ]
            for node in self.nodes:
                stack.push_async_exit(node)
            await asyncio.gather(*(node.__aenter__() for node in self.nodes))
            for node in self.nodes:
                link = TcpProxy(node.port, self._rng)
                self.client_links.append(await stack.enter_async_context(link))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def suffer(self, start: float, faults: Sequence[Fault]) -> None:
        """Go through one target's faults, each at its time after ``start``, and mend each at its end."""
        for fault in faults:
            await asyncio.sleep(start + fault.at - time.monotonic())
            name, number = fault.target.name, fault.target.number
            if name == "node":
                await self._node(self.nodes[number], fault)
            elif name == "redis":
                await self._redis(fault)
            elif name == "node-redis":
                await self._link(self.redis_links[number], fault)
            else:
                await self._link(self.client_links[number], fault)
                if fault.kind == SWALLOW:
                    # Stock clients give up a silent connection after 30 s; here they do sooner.
                    self.client_links[number].reset()
            self.done[f"{name} {fault.kind}"] += 1

    def bury(self) -> None:
        """Have Redis notice which connections are dead, as it would by itself after five minutes."""
        for link in self.redis_links:
            link.bury()

    async def _node(self, node: ServerProcess, fault: Fault) -> None:
        if fault.kind == FREEZE:
            node.pause()
            await asyncio.sleep(fault.seconds)
            node.resume()
            return
        if fault.kind == KILL:
            await node.kill()
            await asyncio.sleep(fault.seconds)
        else:
            assert fault.kind == TERMINATE
            assert await node.stop() == 0
        await self._start(node)

    async def _start(self, node: ServerProcess) -> None:
        """Start a node as whoever supervises it would: again, when it can't reach Redis."""
        async with asyncio.timeout(_START_SECONDS):
            while True:
                try:
                    await node.restart()
                except ServerProcessError:
                    await asyncio.sleep(0.1)
                else:
                    return

    async def _redis(self, fault: Fault) -> None:
        if fault.kind == FREEZE:
            self.redis.pause()
            await asyncio.sleep(fault.seconds)
            self.redis.resume()
            return
        self.redis.kill()
        if fault.kind == FORGET:
            self.redis.forget(fault.size)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self.redis.start)

    async def _link(self, link: TcpProxy, fault: Fault) -> None:
        if fault.kind == CUT:
            link.cut()
        elif fault.kind == RESET:
            link.reset()
        elif fault.kind == REFUSE:
            link.refuse()
            link.reset()
            await asyncio.sleep(fault.seconds)
            await link.accept()
        else:
            link.weather = fault.weather
            await asyncio.sleep(fault.seconds)
            link.weather = FAIR
