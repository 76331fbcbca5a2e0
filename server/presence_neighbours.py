"""The other processes that have a room open: who is there, and what they are told of who is here."""

from collections.abc import Callable, Collection, Iterable
from itertools import islice

import structlog

from roomful.crdt.varint import Malformed
from roomful.presence.gossip import Gossip
from roomful.presence.tracker import Announcement, Tracker

from .metrics import Metrics

_log = structlog.get_logger()


class PresenceNeighbours:
    """Lets a tracker hear of the others, and tells them by ``tell`` what it announces.

    To look into what was told of a session costs twenty times as much as to receive it. So the last word on
    each waits until ``take_heard`` is called, whose pace bounds the cost however much is told. That a session
    is over is heard at once.
    """

    def __init__(
        self, room: str, tracker: Tracker, gossip: Gossip, tell: Callable[[bytes], None], metrics: Metrics
    ) -> None:
        self._room = room
        self._tracker = tracker
        self._gossip = gossip
        self._tell = tell
        self._metrics = metrics
        self._left: set[str] = set()
        # By process and session, those waiting longest first.
        self._unheard: dict[tuple[str, bytes], bytes] = {}

    def put(self, announcements: Iterable[Announcement]) -> None:
        """Take what is new here; the next ``speak`` tells it."""
        for each in announcements:
            self._gossip.put(each.session.encode(), each.value)

    def speak(self, now: float) -> None:
        """Tell what is due, be it a question or an answer."""
        for message in self._gossip.due(now):
            self._tell(message)

    def next_due(self, now: float) -> float | None:
        """Return when ``speak`` has something to tell by itself, or ``notice_gone`` to notice."""
        return self._gossip.next_due(now)

    def notice_gone(self, now: float) -> None:
        """Lose the processes that have let the room go, or say nothing any more."""
        for process in self._gossip.take_gone(now):
            self._left.add(process)
            self._lose(process, now)

    @property
    def has_heard(self) -> bool:
        """Whether ``take_heard`` has anything to tell the tracker."""
        return bool(self._unheard)

    def take_heard(self, most: int) -> None:
        """Let the tracker hear what was told of so many sessions."""
        for process, key in list(islice(self._unheard, most)):
            self._let_hear(process, key, self._unheard.pop((process, key)))

    def hear(self, message: bytes, now: float) -> None:
        """Take what another process has told."""
        try:
            changes = self._gossip.hear(message, now)
        except Malformed as error:
            self._refused(error)
            return
        for process, key, value in changes:
            if process in self._left:
                # It has opened the room again.
                self._left.discard(process)
                self._tracker.forget_process(process)
            if value is not None:
                self._unheard[process, key] = value
            else:
                self._unheard.pop((process, key), None)
                self._let_hear(process, key, None)

    def missed(self) -> None:
        """Something may have reached nobody, or not this process: the next ``speak`` asks for everything."""
        self._gossip.ask_all()

    def depart(self, processes: Collection[str], now: float) -> None:
        """These processes are gone."""
        for process in processes:
            self._left.discard(process)
            self._gossip.depart(process)
            self._lose(process, now)

    def come_back(self, processes: Collection[str]) -> None:
        """These processes were not gone after all."""
        for process in processes:
            self._gossip.come_back(process)
            self._tracker.find_process(process)

    def leave(self) -> None:
        """Tell that the room is let go."""
        self._tell(self._gossip.bye())

    def _let_hear(self, process: str, key: bytes, value: bytes | None) -> None:
        try:
            self._tracker.hear(process, key.decode(errors="replace"), value)
        except Malformed as error:
            self._refused(error)

    def _lose(self, process: str, now: float) -> None:
        # Should it be found again it tells everything anew.
        for each in [each for each in self._unheard if each[0] == process]:
            del self._unheard[each]
        self._tracker.lose_process(now, process)

    def _refused(self, error: Malformed) -> None:
        self._metrics.refused["gossip"] += 1
        _log.warning("what another process told is refused", room=self._room, error=str(error))
