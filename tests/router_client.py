"""Clients that ask ``/v1/route`` where to connect, each time they do."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from tests.pycrdt_client import PycrdtClient
from tests.raw_client import Dialect
from tests.server_process import ServerProcess

RETURN_SECONDS = 10.0


async def route(node: ServerProcess, user: str) -> dict[str, Any]:
    """What a node says of where a user belongs."""
    answer: dict[str, Any] = json.loads(await node.get(f"/v1/route?user={quote(user)}"))
    return answer


class RoutedClient(PycrdtClient):
    """A user who is brought to a node by the answer of any that lives, and back there when closed.

    ``port`` is that of the node; ``opened`` counts the connections.
    """

    def __init__(self, dialect: Dialect, room: str, user: str, nodes: Sequence[ServerProcess]) -> None:
        super().__init__(dialect, room)
        self.user = user
        self.port = 0
        self.opened = 0
        self._nodes = nodes

    async def stay(self) -> None:
        """Be connected until cancelled."""
        while True:
            async with asyncio.timeout(RETURN_SECONDS):
                await self._return()
            self.opened += 1
            await self.socket.until(lambda: not self.connected, within=3_600)

    async def _return(self) -> None:
        while True:
            for port in await self._ports():
                try:
                    await self.connect(port, query=f"user={quote(self.user)}")
                    await self.synchronised()
                except (OSError, AssertionError):
                    continue
                self.port = port
                return
            await asyncio.sleep(0.05)

    async def _ports(self) -> list[int]:
        for node in self._nodes:
            try:
                answer = await route(node, self.user)
            except aiohttp.ClientError:
                continue
            return [urlsplit(url).port or 0 for url in (answer["node"], *answer["alternatives"])]
        return []
