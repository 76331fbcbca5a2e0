"""People who type while the server is attacked, and how long their edits are on their way."""

import asyncio
import re
import time
from contextlib import AsyncExitStack
from typing import Self

from roomful.crdt.check import check_update
from roomful.crdt.varint import Malformed, write_varstring, write_varuint
from tests.attacks import item, update
from tests.raw_client import HOCUSPOCUS, Y_WEBSOCKET, Dialect, RawClient, sync_payload

PAUSE = 0.02
"""Seconds between two edits of one person: a fast typist, so that no stall falls between two edits."""

_EDITS_AFTERWARDS = 5
_LONGEST_READ = 64_000

_MARK = re.compile(rb"<(\d{6})>")
_MARK_LENGTH = 8


class Pair:
    """A writer and a reader in one room. Each edit carries its number, by which the reader knows it."""

    def __init__(
        self, room: str, client: int, writes: Dialect, writer: RawClient, reads: Dialect, reader: RawClient
    ) -> None:
        self.room = room
        self.people = (writer, reader)
        self._client = client
        self._dialect = writes
        self._edits = self._counted = 0
        # By its number, when an edit was sent, until it has arrived; then how long it took.
        self._sent: dict[int, float] = {}
        self._taken: list[float] = []
        self._arrived = asyncio.Event()
        self._faults: list[str] = []
        self._reads = reads
        reader.on_message = self._look

    @classmethod
    async def join(
        cls, stack: AsyncExitStack, port: int, room: str, *, client: int, writer: Dialect, reader: Dialect
    ) -> Self:
        """Bring two people into a room; the stack takes them out again."""
        people = [
            await stack.enter_async_context(await RawClient.join(port, dialect, room, keeps=False))
            for dialect in (writer, reader)
        ]
        return cls(room, client, writer, people[0], reader, people[1])

    def type(self) -> None:
        """Make one edit."""
        number = self._edits
        self._edits += 1
        clock = number * _MARK_LENGTH
        text = write_varstring(f"<{number:06}>")
        if number:
            struct = b"\x84" + write_varuint(self._client) + write_varuint(clock - 1) + text
        else:
            struct = item(4, text)
        self._sent[number] = time.perf_counter()
        writer = self.people[0]
        writer.send(self._dialect.update(self.room, update(struct, client=self._client, clock=clock)))

    def forget(self) -> None:
        """Begin to count anew, with the next edit."""
        self._counted = self._edits
        self._taken.clear()

    async def seconds(self, within: float) -> list[float]:
        """How long the edits took that were made up to now, and a few more; waits until all have arrived.

        Fails when one has not arrived in time, when one of the pair was closed, or when the reader was sent
        what no client can read.
        """
        awaited = self._edits + _EDITS_AFTERWARDS
        try:
            async with asyncio.timeout(within):
                while self._edits < awaited or any(number < awaited for number in self._sent):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            closed = [(person.close_code, person.close_reason) for person in self.people]
            lost = sum(number < awaited for number in self._sent)
            raise AssertionError(
                f"{lost} edits in {self.room} have not arrived; people closed with {closed}"
            ) from None
        for person in self.people:
            assert person.is_open, f"an innocent was closed: {person.close_code} {person.close_reason}"
        assert not self._faults, self._faults[0]
        return list(self._taken)

    def _look(self, message: bytes) -> None:
        now = time.perf_counter()
        payload = sync_payload(self._reads, self.room, message)
        if payload is not None and len(payload) < _LONGEST_READ:
            try:
                check_update(payload)
            except Malformed as error:
                self._faults.append(f"sent to an innocent: {error}: {payload.hex()}")
        for mark in _MARK.findall(message):
            sent = self._sent.pop(int(mark), None)
            if sent is not None:
                self._arrived.set()
                if int(mark) >= self._counted:
                    self._taken.append(now - sent)


class Innocents:
    """One pair in each room, both protocols in each. They type while the block runs."""

    def __init__(self, pairs: tuple[Pair, ...]) -> None:
        self.pairs = pairs

    @classmethod
    async def join(cls, stack: AsyncExitStack, port: int, *rooms: str) -> Self:
        """Bring a pair into each room; the stack takes them out again."""
        dialects = ((Y_WEBSOCKET, HOCUSPOCUS), (HOCUSPOCUS, Y_WEBSOCKET))
        pairs = [
            await Pair.join(stack, port, room, client=9_000_001 + at, writer=writer, reader=reader)
            for at, (room, (writer, reader)) in enumerate(zip(rooms, dialects, strict=True))
        ]
        return cls(tuple(pairs))

    async def __aenter__(self) -> Self:
        self._typing = asyncio.create_task(self._type())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._typing.cancel()
        await asyncio.wait([self._typing])

    def forget(self) -> None:
        """Begin to count anew."""
        for pair in self.pairs:
            pair.forget()

    async def seconds(self, within: float) -> list[float]:
        """How long all edits took, the fastest first. Fails when one is lost (``Pair.seconds``)."""
        return sorted([taken for pair in self.pairs for taken in await pair.seconds(within)])

    async def _type(self) -> None:
        while True:
            for pair in self.pairs:
                pair.type()
            await asyncio.sleep(PAUSE)
