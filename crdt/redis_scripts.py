"""The scripts (lua/), and how one is run on the server that holds a room."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, Final, NamedTuple, Self

from redis.asyncio import Redis
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    NoScriptError,
    RedisError,
    TryAgainError,
)

from .log import LogError
from .redis_greeting import words
from .redis_servers import FAILURES, PATIENCE_SECONDS, Servers, distrust

_RETRY_SECONDS: Final = 0.05


class Script(NamedTuple):
    """A script, and the hash by which a server that has been given it knows it."""

    text: str
    sha: str

    @classmethod
    def read(cls, package: str, name: str) -> Self:
        """Read lua/NAME.lua of a package."""
        text = resources.files(package).joinpath("lua", name + ".lua").read_text("utf-8")
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Scripts:
    """Scripts by their names, on all servers."""

    def __init__(self, servers: Servers, package: str, *names: str) -> None:
        self._servers = servers
        self._scripts = {name: Script.read(package, name) for name in names}

    def sha(self, name: str) -> str:
        """Return what EVALSHA calls a script."""
        return self._scripts[name].sha

    async def load(self, redis: Redis) -> None:
        """Give the scripts to a server. Raises FAILURES."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            for script in self._scripts.values():
                await redis.script_load(script.text)

    async def run(self, name: str, partition: int, keys: Sequence[str], args: Iterable[Any]) -> Any:
        """Return a script's answer from the server that has the partition by then. Raises LogError."""
        command = ("EVALSHA", self.sha(name), len(keys), *keys, *args)
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            redis = self._servers.of(partition)
            try:
                return await self._once(redis, command)
            except (NoScriptError, MovedError, ClusterDownError, TryAgainError) as error:
                if time.monotonic() > end:
                    raise LogError(words(error)) from error
                await self._settle(redis, error)
            except FAILURES as error:
                await distrust(redis, error)
                # Another server may have its place by the next time.
                with contextlib.suppress(*FAILURES):
                    await self._servers.refresh()
                raise LogError(words(error)) from error

    async def _once(self, redis: Redis, command: tuple[Any, ...]) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await redis.execute_command(*command)  # type: ignore[no-untyped-call]
        except AskError as error:
            # The slot is on its way to another server; this room is there already.
            return await self._asking(self._servers.at(error.host, error.port), command)

    async def _asking(self, redis: Redis, command: tuple[Any, ...]) -> Any:
        pipeline = redis.pipeline(transaction=False)
        pipeline.execute_command("ASKING")
        pipeline.execute_command(*command)
        async with asyncio.timeout(PATIENCE_SECONDS):
            _, answer = await pipeline.execute(raise_on_error=False)
        if isinstance(answer, NoScriptError):
            await self.load(redis)
            raise TryAgainError("the script was not there")
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _settle(self, redis: Redis, error: RedisError) -> None:
        """Do what the next try needs."""
        with contextlib.suppress(*FAILURES):
            if isinstance(error, NoScriptError):
                await self.load(redis)
                return
            if not isinstance(error, TryAgainError):
                await self._servers.refresh()
        await asyncio.sleep(_RETRY_SECONDS)
