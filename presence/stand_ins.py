"""Awareness entries for those who have typed presence and no awareness, so that stock clients see them."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from roomful.crdt.varint import write_varuint

from .awareness import Entry, gone_entry
from .record import Record
from .translation import awareness_from_fields

_RENEWAL_SECONDS = 15.0
"""Stock clients forget whom they have not heard of for 30 s."""

_REMEMBERED = 1_024


class _StandIn:
    __slots__ = ("client", "clock", "said_at", "state")

    def __init__(self, client: int) -> None:
        self.client = client
        self.clock = 0
        self.state = b""
        self.said_at = 0.0

    def entry(self) -> Entry:
        raw = write_varuint(self.client) + write_varuint(self.clock) + self.state
        return Entry(self.client, self.clock, self.state, raw)


class StandIns:
    """The entries of one room's sessions in this process, by session."""

    def __init__(self) -> None:
        self._by_session: dict[str, _StandIn] = {}
        # Of those that are shown no more: shown again, they go on from there.
        self._clocks: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_session)

    def client(self, session: str) -> int | None:
        """Return the client id under which a session is shown."""
        stand_in = self._by_session.get(session)
        return None if stand_in is None else stand_in.client

    def show(self, session: str, record: Record) -> None:
        """Let a session be seen as it is now; ``entries`` says it."""
        stand_in = self._by_session.get(session)
        if stand_in is None:
            stand_in = self._by_session[session] = _StandIn(_client_id(session, record))
            stand_in.clock = self._clocks.pop(stand_in.client, 0)
        state = awareness_from_fields(record.fields, record.user)
        if state != stand_in.state:
            stand_in.state = state
            stand_in.said_at = 0.0

    def forget(self, session: str) -> Entry | None:
        """Show a session no more. Returns the entry that says so, if it was shown."""
        stand_in = self._by_session.pop(session, None)
        if stand_in is None:
            return None
        if len(self._clocks) >= _REMEMBERED:
            del self._clocks[next(iter(self._clocks))]
        self._clocks[stand_in.client] = stand_in.clock
        return gone_entry(stand_in.client, stand_in.clock)

    def entries(self, now: float, seconds: int) -> Iterator[tuple[str, Entry]]:
        """Return what is new or to be said again, by session. ``now`` is a steady clock's.

        ``seconds`` are a wall clock's: a session that comes back has to have a higher clock than before,
        whichever process it comes to.
        """
        for session, stand_in in self._by_session.items():
            if stand_in.said_at and now < stand_in.said_at + _RENEWAL_SECONDS:
                continue
            stand_in.said_at = now
            stand_in.clock = max(stand_in.clock + 1, seconds)
            yield session, stand_in.entry()

    def answer(self, session: str, asked: Iterable[Entry]) -> Entry | None:
        """Return the entry that says a session anew with a higher clock, if one of these asks for it.

        They are ``null``, as for stock clients, which do the same.
        """
        stand_in = self._by_session.get(session)
        for each in asked:
            if stand_in is not None and each.client == stand_in.client:
                stand_in.clock = max(stand_in.clock, each.clock) + 1
                return stand_in.entry()
        return None


def _client_id(session: str, record: Record) -> int:
    """Return a client id as Yjs makes them, of 32 bits: the same for a client that comes back."""
    same = f"{record.user}\n{record.instance}" if record.instance else session
    return int.from_bytes(blake2b(same.encode(), digest_size=4).digest())
