"""People: a user's sessions seen as one, on however many devices.

    person := {id, sessions: {session: device | nil}, status?, typing?, hand?, cursor?, view?, state?}

The status is the most available one; cursor, view and state are those of the session that spoke last and has
one; one hand up is a hand up.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .fields import STATUSES, Fields, encode_map, pack
from .record import Record

SESSIONS_SHOWN = 8
"""Of one person, those that spoke last."""

PERSON_BYTES = 3 << 10
"""A person takes at most so many bytes more than the largest presence of one session."""

_AVAILABILITY = tuple(map(pack, STATUSES))
_NIL = pack(None)


class Person(NamedTuple):
    """Somebody in the room. ``values`` are the entries of the map above, each as msgpack."""

    id: str
    values: Fields

    @property
    def is_typing(self) -> bool:
        return "typing" in self.values

    @property
    def hand_is_up(self) -> bool:
        return "hand" in self.values

    def encode(self) -> bytes:
        """Return the person as msgpack."""
        return encode_map(self.values)

    def change_from(self, before: "Person") -> bytes:
        """Return what turns ``before`` into this: the id and the changed entries, nil for those gone."""
        changes = {name: value for name, value in self.values.items() if before.values.get(name) != value}
        changes.update((name, _NIL) for name in before.values if name not in self.values)
        return encode_map({"id": self.values["id"], **changes})


def person_of(person: str, sessions: Mapping[str, Record]) -> Person | None:
    """Return the person who has these sessions, or None without any."""
    present = _present(sessions)
    if not present:
        return None
    # The last to speak first; the name decides between two processes that had not heard of each other.
    present.sort(key=lambda each: (each[1].said, each[0]), reverse=True)
    shown = present[:SESSIONS_SHOWN]
    values = {
        "id": pack(person),
        "sessions": bytes((0x80 | len(shown),))
        + b"".join(pack(session) + record.fields.get("device", _NIL) for session, record in sorted(shown)),
    }
    records = [record for _, record in present]
    statuses = [record.fields["status"] for record in records if "status" in record.fields]
    if statuses:
        values["status"] = min(statuses, key=_AVAILABILITY.index)
    # Who is lost types no more.
    _newest(values, ("typing",), (record for record in records if not record.lost))
    _newest(values, ("hand", "cursor", "view", "state"), records)
    return Person(person, values)


def _newest(values: dict[str, bytes], names: tuple[str, ...], records: Iterable[Record]) -> None:
    """Take each value from the first record that has it."""
    for record in records:
        for name in names:
            if name in record.fields:
                values.setdefault(name, record.fields[name])


def _present(sessions: Mapping[str, Record]) -> list[tuple[str, Record]]:
    """Leave out the sessions in whose place a later one has come.

    A client that is back, or a lost session of somebody who has come again, would be seen twice until the
    process that had it before has noticed.
    """
    if len(sessions) == 1:
        return list(sessions.items())
    latest = -1
    latest_of: dict[str, int] = {}
    for record in sessions.values():
        if not record.lost:
            latest = max(latest, record.began)
            latest_of[record.instance] = max(latest_of.get(record.instance, -1), record.began)
    return [
        (session, record)
        for session, record in sessions.items()
        if not (record.lost and latest > record.began)
        and not (record.instance and latest_of.get(record.instance, -1) > record.began)
    ]
