"""Real Yjs clients in a Node process, as typed objects for tests.

``driver.mjs`` hosts any number of published y-websocket and Hocuspocus providers in one process. Waiting
happens there, by the clients' own events, so a test never polls and never sleeps.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from .client import Call, HocuspocusSocket, YjsClient, endpoint

HERE: Final = Path(__file__).parent
START_SECONDS: Final = 20.0
ANSWER_SECONDS: Final = 10.0
LONGEST_LINE: Final = 64 * 1024 * 1024


class DriverError(AssertionError):
    """The driver could not do what it was told; for a wait, the message says what was seen instead."""


class Trace:
    """An editing session that clients can live through again.

    ``content`` is the text everybody must hold after all ``transactions``.
    """

    def __init__(self, call: Call, name: str, transactions: int, content: str) -> None:
        self._call = call
        self._name = name
        self.transactions = transactions
        self.content = content

    async def replay(self, authors: Sequence[YjsClient], first: int, end: int, *, within: float) -> None:
        """Let each author type its part of ``transactions[first:end]``, all at the same time.

        An author waits with an edit until it has received, through the server, all that the edit builds on.
        """
        names = [author.name for author in authors]
        await self._call("replay", id=self._name, authors=names, first=first, end=end, wait=within)


class YjsDriver:
    """A Node process full of clients.

    ``async with YjsDriver() as driver`` starts it. Leaving ends it, and fails if an exception escaped from
    a provider meanwhile. What the libraries print is kept in ``printed``.
    """

    def __init__(self) -> None:
        self.printed: list[str] = []
        self.faults: list[str] = []
        self._sequence = count(1)
        self._names = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._ready: asyncio.Future[None] | None = None
        self._process: Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        if not (HERE / "node_modules").is_dir():
            raise DriverError(f"run: npm ci --prefix {HERE}")
        self._ready = asyncio.get_running_loop().create_future()
        self._process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "driver.mjs"), stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=LONGEST_LINE
        )
        self._readers = [
            asyncio.create_task(self._read_answers(self._process)),
            asyncio.create_task(self._read_prints(self._process)),
        ]
        async with asyncio.timeout(START_SECONDS):
            await self._ready
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
        if kind is not None and self.printed:
            print("the clients printed:", *self.printed[-20:], sep="\n  ", file=sys.stderr)
        if kind is None and self.faults:
            raise DriverError("an exception escaped from a client: " + "\n".join(self.faults))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def kill(self) -> None:
        """End the process at once: no client says goodbye."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._readers)

    async def call(self, op: str, *, wait: float = 0.0, **arguments: Any) -> Any:
        """Send one command and return its result; ``wait`` is how long the command itself may take."""
        assert self._process is not None and self._process.stdin is not None
        sequence = next(self._sequence)
        answer = self._answers[sequence] = asyncio.get_running_loop().create_future()
        command = {"seq": sequence, "op": op, "timeout": wait, **arguments}
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        try:
            async with asyncio.timeout(wait + ANSWER_SECONDS):
                await self._process.stdin.drain()
                return await answer
        finally:
            del self._answers[sequence]

    async def client(
        self,
        library: str,
        server: str,
        room: str,
        *,
        token: str | None = "somebody",
        name: str | None = None,
        params: dict[str, str] | None = None,
        options: dict[str, Any] | None = None,
        awareness: bool = True,
        connect: bool = True,
        client_id: int | None = None,
        socket: HocuspocusSocket | None = None,
    ) -> YjsClient:
        """Create a client of ``library`` in ``room`` and return at once; it connects meanwhile.

        :param server: the server's WebSocket URL without a path
        :param token: sent as the library sends it: in the URL, or in Hocuspocus' own message; None for none
        :param options: further options of the provider, as the library names them
        :param awareness: false for a client that tells nothing of itself
        :param socket: a Hocuspocus socket shared with other documents, instead of an own one
        """
        settings: dict[str, Any] = {
            "library": library,
            "url": endpoint(library, server),
            "room": room,
            "token": token,
            "params": params,
            "options": options,
            "awareness": awareness,
            "connect": connect,
            "clientId": client_id,
            "socket": None if socket is None else socket.name,
        }
        name = name or f"{library}#{next(self._names)}"
        known = {key: value for key, value in settings.items() if value is not None}
        client_id = await self.call("create", id=name, **known)
        assert client_id is not None
        return YjsClient(self.call, name, library, client_id)

    async def socket(
        self, library: str, server: str, *, options: dict[str, Any] | None = None
    ) -> HocuspocusSocket:
        """Open a Hocuspocus socket that several clients may share."""
        name = f"socket#{next(self._names)}"
        await self.call(
            "create_socket", id=name, library=library, url=endpoint(library, server), options=options or {}
        )
        return HocuspocusSocket(self.call, name)

    async def destroy_all(self) -> None:
        """Destroy every client and socket there is."""
        await self.call("destroy_all")

    async def converge(self, *clients: YjsClient, within: float = 10.0) -> None:
        """Wait until all hold the same items and deletions, the same content, and nothing pending."""
        await self.call("converge", ids=[client.name for client in clients], wait=within)

    async def load_trace(self, path: Path, *, first: int | None = None) -> Trace:
        """Prepare the replay of a concurrent editing trace, or of its ``first`` transactions."""
        name = f"{path.name}#{next(self._names)}"
        loaded = await self.call("load_trace", id=name, path=str(path), first=first, wait=ANSWER_SECONDS)
        return Trace(self.call, name, loaded["transactions"], loaded["content"])

    async def _read_answers(self, process: Process) -> None:
        assert process.stdout is not None and self._ready is not None
        async for line in process.stdout:
            message = json.loads(line)
            if "ready" in message:
                self._ready.set_result(None)
            elif "fault" in message:
                self.faults.append(message["fault"])
            elif (answer := self._answers.get(message["seq"])) is not None and not answer.done():
                if "error" in message:
                    answer.set_exception(DriverError(message["error"]))
                else:
                    answer.set_result(message["result"])
        gone = DriverError("the driver's process has ended")
        for waiting in (self._ready, *self._answers.values()):
            if not waiting.done():
                waiting.set_exception(gone)

    async def _read_prints(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self.printed.append(line.decode(errors="replace").rstrip())
