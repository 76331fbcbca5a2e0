"""A document that people write in, and its listeners, whose sockets congest and drain on command."""

from roomful.crdt.check import check_update
from roomful.crdt.folding import fold
from roomful.crdt.snapshot import Snapshot
from roomful.crdt.split import split_update
from roomful.crdt.state import DocumentState
from roomful.crdt.sync import STEP_1, UPDATE, read_sync
from roomful.server.feed import Feed
from roomful.server.protocols.envelope import YjsEnvelope
from tests.crdt.writers import CLIENTS, Writers, document, same
from tests.server.fakes import FakeClient

PIECE = 200


class Live:
    """Those who get each update as it comes."""

    def __init__(self) -> None:
        self.feeds: set[Feed] = set()

    def enter(self, listener: Feed) -> None:
        assert listener not in self.feeds
        self.feeds.add(listener)

    def leave(self, listener: Feed) -> None:
        self.feeds.remove(listener)


class Listener:
    """A connection with one session."""

    def __init__(self, state: DocumentState, live: Live) -> None:
        self.client = FakeClient()
        self.envelope = YjsEnvelope(b"\x03doc")
        self.feed = Feed(state, self.client.socket, self.envelope, live)
        self.fell_behind = 0
        self.replica: list[bytes] = []
        self.client.start(lambda _: self)

    def received(self, message: bytes) -> None: ...

    def turn(self) -> None: ...

    def turn_over(self) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def congested(self) -> None:
        self.fell_behind += self.feed.fall_behind()

    def drained(self) -> None:
        self.feed.pump()

    def lost(self) -> None:
        self.feed.stop()

    def received_steps(self) -> list[tuple[int, bytes]]:
        """Return (step, payload) of what has been sent since the last look."""
        messages = self.client.received()
        assert all(message.startswith(b"\x03doc\x00") for message in messages)
        steps = [read_sync(message, 5) for message in messages]
        self.replica += [payload for step, payload in steps if step != STEP_1]
        return steps

    def kinds(self) -> list[int]:
        return [step for step, _ in self.received_steps()]


class Document:
    """A document that people write in, and that those who are live hear of."""

    def __init__(self, *, edits: int = 0, folded: int = 0, seed: int = 1) -> None:
        self.live = Live()
        self._seed = seed
        writers = Writers(seed)
        writers.write(edits)
        self.said = writers.updates
        self.state = DocumentState(in_pieces(self.said[:folded]) if folded else None)
        for update in self.said[folded:]:
            self.take(update)

    def take(self, update: bytes) -> None:
        self.state.append(update, [(update, check_update(update))])
        for feed in tuple(self.live.feeds):
            feed.socket.write(feed.envelope.sync(UPDATE, update))

    def write(self, edits: int = 1) -> list[bytes]:
        self._seed += 1
        writers = Writers(self._seed, clients=[self._seed + CLIENTS[-1] + 1])
        writers.write(edits)
        for update in writers.updates:
            self.said.append(update)
            self.take(update)
        return writers.updates

    def fold(self, updates: int | None = None) -> None:
        count = len(self.state.tail) if updates is None else updates
        self.state.fold(count, fold(self.state.pieces, self.state.tail[:count], merge_only=False))

    def listener(self) -> Listener:
        return Listener(self.state, self.live)

    def is_held_by(self, listener: Listener, *known: bytes) -> bool:
        listener.received_steps()
        return same(document([*known, *listener.replica]), document(self.said))


def in_pieces(updates: list[bytes]) -> Snapshot:
    """Fold, and cut into small pieces."""
    folded = fold([], updates, merge_only=False)
    return Snapshot(
        [part for piece in folded.pieces for part in split_update(piece, PIECE)], folded.state_vector
    )
