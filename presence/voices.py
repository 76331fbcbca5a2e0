"""Sessions that say what they are in awareness only, as stock clients do, and are seen as people."""

from collections.abc import Callable, Iterable
from itertools import islice

from roomful.crdt.varint import Malformed

from .awareness import Entry
from .tracker import Tracker
from .translation import patch_from_awareness


class _Voice:
    """One session: its name among people, and what its clients say, the last to speak last."""

    __slots__ = ("clients", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.clients: dict[int, Entry] = {}


class Voices:
    """Sees at once who comes and goes. What else they say is kept, the last of it, until ``settle`` is
    called: to look into it costs more than to pass it on.

    :param new_name: returns a name that no session has
    """

    def __init__(self, tracker: Tracker, largest: int, new_name: Callable[[], str]) -> None:
        self._tracker = tracker
        self._largest = largest
        self._new_name = new_name
        self._voices: dict[object, _Voice] = {}
        # Those who said something since it was looked into last, the longest waiting first.
        self._unsettled: dict[object, None] = {}

    @property
    def has_news(self) -> bool:
        """Whether ``settle`` has anything to look into."""
        return bool(self._unsettled)

    def hear(self, now: float, session: object, user: str, entries: Iterable[Entry]) -> None:
        """Take entries that were news, of a session that may speak for their clients."""
        voice = self._voices.get(session)
        is_new = voice is None
        if voice is None:
            voice = _Voice(self._new_name())
        for entry in entries:
            voice.clients.pop(entry.client, None)
            if not entry.gone:
                voice.clients[entry.client] = entry
        if not voice.clients:
            self.leave(now, session, lost=False)
        elif is_new:
            self._join(now, session, user, voice)
        else:
            self._unsettled[session] = None

    def __contains__(self, session: object) -> bool:
        return session in self._voices

    def leave(self, now: float, session: object, *, lost: bool) -> None:
        """A session is over."""
        self._unsettled.pop(session, None)
        voice = self._voices.pop(session, None)
        if voice is None:
            return
        if lost:
            self._tracker.lose(now, voice.name)
        else:
            self._tracker.leave(voice.name)

    def settle(self, now: float, most: int) -> None:
        """Tell the tracker what so many of them have said since the last time."""
        for session in list(islice(self._unsettled, most)):
            del self._unsettled[session]
            voice = self._voices[session]
            self._tracker.change(now, voice.name, self._patch(voice))

    def _join(self, now: float, session: object, user: str, voice: _Voice) -> None:
        # A page that comes back has the same client id.
        instance = f"y:{next(iter(voice.clients))}"
        try:
            self._tracker.join(now, voice.name, user, instance, self._patch(voice))
        except Malformed:
            # A user id that is too long to be shown: they write all the same.
            return
        self._voices[session] = voice

    def _patch(self, voice: _Voice) -> dict[str, object]:
        last = next(reversed(voice.clients.values()))
        return patch_from_awareness(last.state, self._largest)
