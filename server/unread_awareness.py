"""What sessions have said in awareness, as it came, until it is looked into."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from roomful.presence.awareness import Entry, decode_entries, encode_entries

from .protocols.envelope import Envelope

_MOST_ENTRIES: Final = 10_000
"""Stock clients repeat everybody's state in one message when they reconnect."""
_MOST_MESSAGES: Final = 64
_MOST_BYTES: Final = 64 << 10
"""More than this does not wait."""


class Speaker(Protocol):
    """One session as it is answered."""

    @property
    def envelope(self) -> Envelope: ...

    def say(self, *parts: bytes) -> None:
        """Write an answer."""

    def fail(self, error: Exception) -> None:
        """Something is wrong with what this session said."""


Member = TypeVar("Member", bound=Speaker)


class Tell(Protocol):
    """Calls something with what it takes: at once, or soon."""

    def __call__(self, what: Callable[[Any], object], about: Any, /) -> object: ...


class UnreadAwareness(Generic[Member]):
    """Messages of a room's sessions, in their order. A state has at most ``largest`` bytes."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._messages: deque[tuple[Member, bytes]] = deque()
        self._size = 0

    @property
    def is_much(self) -> bool:
        """Whether it should wait no longer."""
        return len(self._messages) > _MOST_MESSAGES or self._size > _MOST_BYTES

    def add(self, member: Member, message: bytes) -> None:
        self._messages.append((member, message))
        self._size += len(message)

    def look_into(self, take: Callable[[Member, Sequence[Entry]], list[Entry]], tell: Tell) -> None:
        """``take`` all that sessions say of their clients, and ``tell`` them what that answers, or what is
        wrong with it.

        Told at once, a session may leave the room by that.
        """
        self._size = 0
        while self._messages:
            member, message = self._messages.popleft()
            try:
                entries = decode_entries(message, most=_MOST_ENTRIES, largest=self._largest)
                answer = take(member, entries)
            except Exception as error:  # noqa: BLE001 - it is one session's, and others' messages follow
                # It leaves by this, and what it said after is worth nothing.
                self._messages = deque(each for each in self._messages if each[0] is not member)
                tell(member.fail, error)
            else:
                if answer:
                    tell(member.say, member.envelope.awareness(encode_entries(answer)))


def at_once(what: Callable[[Any], object], about: Any, /) -> None:
    """Tell somebody something without delay."""
    what(about)
