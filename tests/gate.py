"""A gate between a client and a service, which a test shuts, or through which no answer comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_READ_BYTES: Final = 1 << 16


class Gate:
    """Passes connections to ``target`` on 127.0.0.1. Enter ``standing`` to have one."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._connections: set[asyncio.Task[None]] = set()
        self._answers = asyncio.Event()
        self._answers.set()
        self._is_open = True

    @classmethod
    @asynccontextmanager
    async def standing(cls, target: int) -> "AsyncIterator[Gate]":
        gate = cls(target)
        server = await asyncio.start_server(gate._accept, "127.0.0.1", 0)
        gate.port = server.sockets[0].getsockname()[1]
        try:
            yield gate
        finally:
            server.close()
            await gate.shut()

    async def shut(self) -> None:
        """Cut all connections, and every new one."""
        self._is_open = False
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def open(self) -> None:
        """Let connections and answers through again."""
        self._is_open = True
        self._answers.set()

    def hold_answers(self) -> None:
        """Let everything to the service, and nothing back, until the gate is opened."""
        self._answers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self._is_open:
                await self._pass(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_read, to_write = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, to_write))
                group.create_task(_copy(to_read, writer, self._answers))
        except* OSError:
            pass
        finally:
            to_write.transport.abort()


async def _copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, may: asyncio.Event | None = None
) -> None:
    while data := await source.read(_READ_BYTES):
        if may is not None:
            await may.wait()
        sink.write(data)
        await sink.drain()
    raise ConnectionResetError
