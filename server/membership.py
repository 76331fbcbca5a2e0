"""This node among the others: its lease, its view of them, and the connections that it moves to them."""

import asyncio
import contextlib
import ipaddress
import socket
import time
from typing import Self

from roomful.crdt.redis_servers import servers

from .close_codes import CloseCode
from .cluster.nodes import Nodes
from .cluster.rebalance import Rebalance
from .cluster.view import Process, View
from .config import Listen
from .connection import Connection
from .node import Node

_LOOK_SECONDS = 0.5
_MOVED = "moved; reconnect=0-1000"
"""Why, and the window in milliseconds over which those who can should spread their return."""


class Membership:
    """Gives the node its name, and keeps ``node.view`` true while it is entered. Without Redis that is this
    node alone, under ``url``."""

    def __init__(self, node: Node, url: str) -> None:
        self._node = node
        config = node.config
        process = Process(node.name, url, config.listen.node_weight, round(time.time(), 3))
        node.view = View.of((process,))
        self._rebalance = Rebalance(url, config.listen.rebalance_percent_per_second)
        self._loop = asyncio.get_running_loop()
        self._stack = contextlib.AsyncExitStack()
        self._nodes: Nodes | None = None
        if config.storage.redis:
            storage = config.storage
            self._nodes = Nodes(
                servers(storage.redis), storage.redis_prefix, process, lambda: not node.unready, self._heard,
                node.metrics,
            )  # fmt: skip

    async def __aenter__(self) -> Self:
        if self._nodes is not None:
            await self._stack.enter_async_context(self._nodes)
            if self._node.config.listen.rebalance_percent_per_second:
                mover = asyncio.create_task(self._move())
                self._stack.callback(mover.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def leave(self) -> None:
        """Give the lease up, so that nobody is sent here any more; takes a second at most."""
        if self._nodes is not None:
            await self._nodes.leave()

    def _heard(self, view: View, ready: frozenset[str], processes: frozenset[str]) -> None:
        self._node.view = view
        self._node.rooms.heard_processes(processes)
        self._rebalance.heard(view, ready, self._loop.time())

    async def _move(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._node.unready or self._node.degraded:
                continue
            connections = (each for each in self._node.heartbeat.connections if isinstance(each, Connection))
            moved = self._rebalance.due(connections, self._loop.time())
            for connection in moved:
                connection.close(CloseCode.RESTART, _MOVED)
            self._node.metrics.moved_connections += len(moved)


def public_url(listen: Listen, port: int) -> str:
    """Return what clients reach a node by that listens on this port."""
    if listen.public_url:
        return listen.public_url.rstrip("/")
    host = listen.host
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        # All addresses are none that a client could use; the machine's name may be one.
        if address.is_unspecified:
            host = socket.gethostname()
        elif address.version == 6:
            host = f"[{host}]"
    return f"http://{host}:{port}"
