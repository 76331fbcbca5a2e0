"""A connection to a Redis server, for one who sends it one batch of commands after another."""

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from .redis_servers import PATIENCE_SECONDS


class Line:
    """One connection, made when it is needed and kept; for one batch at a time.

    The library's pool would hand a connection out for each batch, which costs as much as a small one does.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._connection: Any = None

    async def exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one write, and return their answers; an error is one too. Raises FAILURES.

        The library's pipelines, and its own packing, do the same for several times the CPU.
        """
        answers: list[Any] = []
        # A server that is paused is connected to at once, and then says nothing to the library's greeting.
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection = await self._connected()
            try:
                await connection.send_packed_command([hiredis.pack_command(command) for command in commands])
                for _ in commands:
                    try:
                        answers.append(await connection.read_response())
                    except ResponseError as error:
                        answers.append(error)
            except BaseException:
                # What is still to come on it would be taken for the answer to something else.
                await connection.disconnect(nowait=True)
                raise
        return answers

    async def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._redis.connection_pool.release(connection)

    async def _connected(self) -> Any:
        connection = self._connection
        # One on which there is something to read has been hung up.
        if connection is None or not connection.is_connected or await connection.can_read():
            await self.close()
            pool = self._redis.connection_pool
            self._connection = connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        return connection
