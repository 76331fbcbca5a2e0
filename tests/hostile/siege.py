"""A server under attack: what innocents feel of it, what it costs in memory, and what the operator sees."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil

from roomful.server.close_codes import CloseCode
from tests.hostile.innocents import Innocents
from tests.raw_client import RawClient
from tests.server_process import ServerProcess
from tests.waiting import until

ATTACKED = "attacked"
ELSEWHERE = "elsewhere"
MIB = 1 << 20

SECONDS_PER_EDIT = 3.0
"""The longest that an innocent's edit may take. Generous: the machine runs other tests as well."""

GROWTH = 48 * MIB
"""How much the server's resident memory may grow at most, at any moment of an attack."""

_SAMPLE_SECONDS = 0.02


class Siege:
    """A server with innocents typing in two rooms; attacks go to ``ATTACKED`` or to rooms of their own."""

    def __init__(self, server: ServerProcess, innocents: Innocents) -> None:
        self.server = server
        self.port = server.port
        self.innocents = innocents
        self._process = psutil.Process(server.pid)
        self._peak = 0

    async def refused(self) -> float:
        """How many messages were refused so far, for whatever reason."""
        return await self.server.metric("roomful_refused_messages_total")

    async def closes_with(self, client: RawClient, code: CloseCode, within: float = 10.0) -> None:
        """Fail unless the server closes this client with this code."""
        given = await client.closed(within)
        assert given == code, f"closed with {given} {client.close_reason!r} instead of {code!r}"

    async def more_edits(self) -> None:
        """Let the innocents make a few more edits, which takes about a tenth of a second."""
        await self.innocents.seconds(within=10.0)

    async def logs(self, code: CloseCode, times: int) -> None:
        """Fail unless so many log lines, no more and no fewer, tell of connections closed with this code."""
        await until(
            lambda: self.logged(code) >= times, f"a log line for each of {times} closed with {code!r}"
        )
        assert self.logged(code) == times

    def logged(self, code: CloseCode) -> int:
        """How many log lines tell so far of connections closed with this code."""
        return sum(
            entry["event"] in ("connection closed", "connection cut off") and entry["code"] == code
            for entry in self.server.logs
        )

    @asynccontextmanager
    async def undisturbed(
        self,
        *,
        growth: int = GROWTH,
        seconds: float = SECONDS_PER_EDIT,
        errors: Sequence[str] = (),
        tolerated: Sequence[str] = (),
    ) -> AsyncIterator[None]:
        """Fail if the block disturbs an innocent, bloats the server or meets a fault of its own.

        :param growth: by how many bytes the server's resident memory may grow at most
        :param seconds: how long an innocent's edit may take at most
        :param errors: what the server must log as errors
        :param tolerated: what it may log besides
        """
        first_line = len(self.server.logs)
        self.innocents.forget()
        before = self._peak = self._process.memory_info().rss
        sampling = asyncio.create_task(self._sample())
        try:
            yield
            taken = await self.innocents.seconds(within=10.0)
        finally:
            sampling.cancel()
            await asyncio.wait([sampling])
        await self.server.get("/healthz")
        grown = self._peak - before
        print(
            f"{len(taken)} edits of innocents: median {taken[len(taken) // 2] * 1000:.0f} ms,"
            f" p99 {taken[len(taken) * 99 // 100] * 1000:.0f} ms, slowest {taken[-1] * 1000:.0f} ms;"
            f" the server grew by {grown / MIB:.1f} MiB"
        )
        assert taken[-1] <= seconds, f"an edit took {taken[-1]:.2f} s"
        assert grown <= growth, f"the server grew by {grown / MIB:.1f} MiB"
        logged = [entry for entry in self.server.logs[first_line:] if entry["level"] == "error"]
        faults = [entry for entry in logged if entry["event"] not in tolerated]
        assert [fault["event"] for fault in faults] == list(errors), faults

    async def _sample(self) -> None:
        while True:
            self._peak = max(self._peak, self._process.memory_info().rss)
            await asyncio.sleep(_SAMPLE_SECONDS)


@asynccontextmanager
async def lay_siege(
    data: Path,
    *,
    options: Sequence[str] = (),
    authorize: str | None = None,
    environment: dict[str, str] | None = None,
) -> AsyncIterator[Siege]:
    """Run a server, and innocents who type until the block ends."""
    async with (
        ServerProcess(data, options=options, authorize=authorize, environment=environment) as server,
        AsyncExitStack() as stack,
    ):
        innocents = await Innocents.join(stack, server.port, ATTACKED, ELSEWHERE)
        async with innocents:
            yield Siege(server, innocents)
