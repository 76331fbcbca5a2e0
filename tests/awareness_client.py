"""A client that is seen and sees, with y-protocols' rules: it echoes what it hears, as stock clients do."""

from typing import Any, Self

from roomful.crdt.varint import read_varstring, write_varstring
from roomful.presence.awareness import Entry, decode_entries, encode_entries
from tests.presence.entries import Peer
from tests.raw_client import Y_WEBSOCKET, Dialect, RawClient, awareness_messages, frame
from tests.waiting import until

_CLOSE = 0x8


class AwarenessClient:
    """``seen`` is whom it sees, itself left out; ``vanished`` whom it has seen go, in that order."""

    def __init__(self, client: int, room: str, dialect: Dialect = Y_WEBSOCKET) -> None:
        self.client = client
        self.vanished: list[int] = []
        self.stateless: list[str] = []
        self.frames = 0
        self._room = room
        self._dialect = dialect
        self._peer = Peer(client, {})
        self._socket: RawClient | None = None

    async def connect(self, port: int, *, token: str = "", **state: Any) -> Self:
        """Come, or come back, and say what one is, with the clock that it has."""
        if state:
            self._peer.say(state)
        path = self._dialect.path(self._room, token)
        socket = self._socket = await RawClient.open(port, path)
        self._forget_others()
        socket.on_message = self._take
        step_1 = self._dialect.step_1(self._room)
        socket.send(*self._dialect.login(self._room, token), step_1)
        self._send([self._peer.own()])
        # Some may have come with the answer to the upgrade; a page reads them after it has spoken.
        for message in socket.messages:
            self._take(message)
        return self

    def say(self, **state: Any) -> None:
        """Change what the others see."""
        self._send([self._peer.say(state)])

    def renew(self) -> None:
        """Say it again with a higher clock, as stock clients do every 15 s."""
        state = self._peer.states[self.client]
        self._peer.clocks[self.client] += 1
        self._peer._set(self.client, state)
        self._send([self._peer.own()])

    def send_stateless(self, text: str) -> None:
        assert self._dialect.keyed
        self.socket.send(self._dialect.key(self._room) + b"\x05" + write_varstring(text))

    async def leave(self) -> None:
        """Close as an application does that goes elsewhere."""
        self.socket.write(frame((1000).to_bytes(2, "big"), _CLOSE))
        await self.socket.until(lambda: not self.socket.is_open)

    async def lose(self) -> None:
        """Lose the connection, without a word."""
        if self._socket is not None:
            async with self._socket:
                pass

    @property
    def socket(self) -> RawClient:
        assert self._socket is not None
        return self._socket

    @property
    def seen(self) -> set[int]:
        return self._peer.states.keys() - {self.client}

    def state(self, client: int) -> str | None:
        """Return what somebody says, as JSON."""
        return self._peer.states.get(client)

    async def sees(self, *clients: int, within: float = 10.0) -> None:
        await until(lambda: self.seen == set(clients), f"{self.client} seeing {clients}", within=within)

    def _forget_others(self) -> None:
        # A client that lost the server marks all others as gone, at the clocks that it knows.
        for client in self.seen:
            del self._peer.states[client]

    def _send(self, entries: list[Entry]) -> None:
        self.socket.send(self._dialect.awareness(self._room, encode_entries(entries)))

    def _take(self, message: bytes) -> None:
        for body in awareness_messages(self._dialect, self._room, [message]):
            self.frames += 1
            entries = decode_entries(body, most=10_000, largest=1 << 20)
            before, clock = set(self._peer.states), self._peer.clocks[self.client]
            changed = [each for each in entries if self._is_news(each)]
            self._peer.hear(entries)
            self.vanished.extend(sorted(before - set(self._peer.states)))
            echoes = [each for each in changed if each.client != self.client]
            if self._peer.clocks[self.client] != clock:
                echoes.append(self._peer.own())
            if echoes:
                self._send(echoes)
        key = self._dialect.key(self._room)
        if self._dialect.keyed and message.startswith(key + b"\x05"):
            self.stateless.append(read_varstring(message, len(key) + 1, len(message))[0])

    def _is_news(self, entry: Entry) -> bool:
        return entry.clock > self._peer.clocks.get(entry.client, 0)
