"""A client with a document of its own: it writes, loses its connection, comes back; over any protocol."""

import random
from typing import Any

from pycrdt import get_state, get_update

from roomful.crdt.check import check_update
from roomful.crdt.delete_set import DeleteSet
from roomful.crdt.merge import merge
from roomful.crdt.state_vector import StateVector
from roomful.crdt.sync import STEP_1, STEP_2
from tests.documents import AnyDoc, adorn, edit, of_updates
from tests.raw_client import Dialect, RawClient
from tests.speech import speech_of


class Replica:
    """All updates that somebody holds, hole or no hole."""

    def __init__(self) -> None:
        self._updates: list[bytes] = []
        self._vector = StateVector()
        self._deletes = DeleteSet()

    def add(self, update: bytes) -> None:
        contents = check_update(update)
        self._updates.append(update)
        self._vector.advance(contents.ranges)
        self._deletes.add(update, contents.deletes_at)

    def covers(self, update: bytes) -> bool:
        """Whether every struct and every deletion of an update is here."""
        contents = check_update(update)
        return self._vector.covers(contents.ranges) and self._deletes.covers(update, contents.deletes_at)

    def equals(self, other: "Replica") -> bool:
        """Whether the same structs and deletions are held, without a hole; documents.py compares more."""
        if self._vector.has_gaps or self._vector.encode() != other._vector.encode():
            return False
        return self._deletes._clients == other._deletes._clients

    @property
    def merged(self) -> bytes:
        """All of it as one update."""
        self._updates = [merge(self._updates)]
        return self._updates[0]

    def document(self) -> AnyDoc:
        return of_updates(self.merged)


class PycrdtClient:
    """``replica`` is what it holds. Of its updates, those the server said are saved are in ``acknowledged``.

    What it writes while ``delaying`` goes out later and in another order; what it writes while away is
    sent when it comes back, as stock clients do.
    """

    def __init__(self, dialect: Dialect, room: str) -> None:
        self.dialect = dialect
        self.room = room
        self.replica = Replica()
        self.acknowledged: list[bytes] = []
        self.delaying = False
        self.refused = 0
        self.stateless: list[str] = []
        self.synced = False
        self._speech = speech_of(dialect, room)
        self._hearing = False
        self._delayed: list[bytes] = []
        self._unanswered: list[bytes] = []
        self._socket: RawClient | None = None
        self._ponged = False
        self._doc: AnyDoc = of_updates()
        self._subscription = self._doc.observe(self._changed)

    # Coming and going

    @property
    def connected(self) -> bool:
        return self._socket is not None and self._socket.is_open and self._socket.close_code is None

    @property
    def socket(self) -> RawClient:
        assert self._socket is not None
        return self._socket

    @property
    def unanswered(self) -> int:
        """Updates sent over this connection that the server has not answered yet."""
        return len(self._unanswered)

    async def connect(
        self, port: int, *, token: str = "", query: str = "", receive_buffer: int | None = None
    ) -> None:
        """Open the room, and ask for what is lacking; what is sent in answer is taken as it comes.

        ``query`` goes into the address besides what the protocol has there.
        """
        self.synced = False
        self._delayed.clear()
        self._unanswered.clear()
        # Rebuilt from bytes, since the library may have kept back what came out of order (see documents.py).
        self._show(self.replica.document())
        path = self._speech.path(token)
        if query:
            path += ("&" if "?" in path else "?") + query
        socket = await RawClient.open(
            port, path, receive_buffer=receive_buffer, headers=self._speech.headers()
        )
        socket.on_message = self._take
        self._socket = socket
        vector = get_state(self.replica.merged)
        socket.send(*self._speech.opening(token, vector))

    async def synchronised(self, within: float = 10.0) -> None:
        """Wait for the end of the server's answer."""
        await self.socket.until(lambda: self.synced or not self.connected, within=within)
        assert self.synced, f"closed with {self.socket.close_code} {self.socket.close_reason}"

    async def answered(self, within: float = 10.0) -> None:
        """Wait until the server has answered everything that was sent."""
        await self.socket.until(lambda: not self._unanswered or not self.connected, within=within)
        assert not self._unanswered, f"closed with {self.socket.close_code} {self.socket.close_reason}"

    async def heard_out(self, within: float = 10.0) -> None:
        """Wait until the server has dealt with all that was sent. y-websocket has no word for it."""
        self._ponged = False
        self.socket.send(self._speech.ping())
        await self.socket.until(lambda: self._ponged or not self.connected, within=within)
        assert self._ponged

    async def drop(self) -> None:
        """Lose the connection, with whatever is on its way."""
        if self._socket is not None:
            async with self._socket:
                pass

    def forget(self) -> None:
        """Do nothing more; without this only the collector could let go of the document."""
        self._doc.unobserve(self._subscription)
        self._socket = None

    # Writing

    def edit(self, rng: random.Random) -> None:
        """Change the document at random."""
        edit(self._doc, rng)

    def type(self, text: str) -> None:
        """Write at the end of the text."""
        self._doc["text"] += text

    def insert(self, at: int, text: str) -> None:
        """Write at a place in the text, counted in bytes."""
        self._doc["text"].insert(at, text)

    def adorn(self, rng: random.Random) -> None:
        """Change the document at random, and not its text."""
        adorn(self._doc, rng)

    @property
    def shown(self) -> str:
        """The text as it is to be edited; cheaper than ``text``, and what came out of order may lack."""
        return str(self._doc["text"])

    def release(self, rng: random.Random) -> None:
        """Send what was delayed, in any order."""
        self.delaying = False
        rng.shuffle(self._delayed)
        for update in self._delayed:
            self._send(update)
        self._delayed.clear()

    def holds_all_of(self, other: "PycrdtClient") -> bool:
        """Whether everything that the other one holds is here; cheaper than to compare texts."""
        return self.replica.covers(other.replica.merged)

    @property
    def text(self) -> str:
        return str(self.replica.document()["text"])

    def _show(self, doc: AnyDoc) -> None:
        self._doc.unobserve(self._subscription)
        self._doc = doc
        self._subscription = doc.observe(self._changed)

    def _changed(self, event: Any) -> None:
        if self._hearing:
            return
        self.replica.add(event.update)
        if self.delaying:
            self._delayed.append(event.update)
        elif self.connected:
            self._send(event.update)

    def _send(self, update: bytes) -> None:
        if self.connected and (message := self._speech.update(update)) is not None:
            self.socket.send(message)
            self._unanswered.append(update)

    # Hearing

    def _take(self, message: bytes) -> None:
        heard = self._speech.hear(message)
        match heard.what:
            case "sync":
                self._sync(heard.step, heard.payload)
            case "saved":
                self.acknowledged += self._unanswered[: heard.answers]
                del self._unanswered[: heard.answers]
            case "refused":
                del self._unanswered[heard.at]
                self.refused += 1
            case "stateless":
                self.stateless.append(heard.text)
            case "pong":
                self._ponged = True
            case "out":
                # As stock clients do: come back, and send what is not saved.
                self.socket.abort()

    def _sync(self, step: int, payload: bytes) -> None:
        if step == STEP_1:
            lacking = get_update(self.replica.merged, payload)
            message = self._speech.update(lacking, step_2=True)
            assert message is not None
            self.socket.send(message)
            self._unanswered.append(lacking)
            return
        self.synced = self.synced or step == STEP_2
        self.replica.add(payload)
        self._hearing = True
        self._doc.apply_update(payload)
        self._hearing = False
