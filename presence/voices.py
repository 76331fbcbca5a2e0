"""Sessions that say what they are in awareness only, as stock clients do, and are seen as people."""

from collections.abc import Callable, Iterable

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
    """Takes what sessions say at any rate, and looks at the last of it when asked to ``settle``.

    :param new_name: returns a name that no session has
    """

    def __init__(self, tracker: Tracker, largest: int, new_name: Callable[[], str]) -> None:
        self._tracker = tracker
        self._largest = largest
        self._new_name = new_name
        self._voices: dict[object, _Voice] = {}
        self._heard: dict[object, tuple[str, dict[int, Entry]]] = {}

    @property
    def has_news(self) -> bool:
        """Whether ``settle`` has anything to look at."""
        return bool(self._heard)

    def hear(self, session: object, user: str, entries: Iterable[Entry]) -> None:
        """Take entries that were news, of a session that may speak for their clients."""
        heard = self._heard.setdefault(session, (user, {}))[1]
        for entry in entries:
            heard.pop(entry.client, None)
            heard[entry.client] = entry

    def leave(self, now: float, session: object, *, lost: bool) -> None:
        """A session is over."""
        self._heard.pop(session, None)
        voice = self._voices.pop(session, None)
        if voice is None:
            return
        if lost:
            self._tracker.lose(now, voice.name)
        else:
            self._tracker.leave(voice.name)

    def settle(self, now: float) -> None:
        """Tell the tracker what has been said since the last time."""
        heard, self._heard = self._heard, {}
        for session, (user, entries) in heard.items():
            try:
                self._settle(now, session, user, entries)
            except Malformed:
                # A user id that is too long to be shown: they write all the same.
                self._voices.pop(session, None)

    def _settle(self, now: float, session: object, user: str, entries: dict[int, Entry]) -> None:
        voice = self._voices.get(session)
        is_new = voice is None
        if voice is None:
            voice = _Voice(self._new_name())
        for entry in entries.values():
            voice.clients.pop(entry.client, None)
            if not entry.gone:
                voice.clients[entry.client] = entry
        if not voice.clients:
            self.leave(now, session, lost=False)
            return
        last = next(reversed(voice.clients.values()))
        patch = patch_from_awareness(last.state, self._largest)
        if is_new:
            # A page that comes back has the same client id.
            instance = f"y:{next(iter(voice.clients))}"
            self._tracker.join(now, voice.name, user, instance, patch)
            self._voices[session] = voice
        else:
            self._tracker.change(now, voice.name, patch)
