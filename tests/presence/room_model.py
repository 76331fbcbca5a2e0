"""Who is in a room, in the plainest form: all sessions are looked through from the start each time."""

from dataclasses import dataclass, field
from typing import Any

import msgpack

from roomful.presence.people import SESSIONS_SHOWN, Person
from roomful.presence.record import Record
from roomful.presence.tracker import Changes

STATUSES = ["available", "busy", "away"]
Seen = dict[str, dict[str, Any]]


@dataclass
class Session:
    """A session as its process knows it."""

    name: str
    user: str
    instance: str
    began: int
    said: int = 0
    fields: dict[str, Any] = field(default_factory=dict)
    lost: bool = False

    @property
    def person(self) -> str:
        return Record(self.user, self.instance, 0, 0).person(self.name)


def people_of(sessions: list[Session]) -> Seen:
    """Return what is to be seen of these sessions."""
    people: Seen = {}
    for person in {session.person for session in sessions}:
        of_person = [session for session in sessions if session.person == person]
        present = [each for each in of_person if not any(_replaces(later, each) for later in of_person)]
        present.sort(key=lambda each: (each.said, each.name), reverse=True)
        seen: dict[str, Any] = {"id": person}
        seen["sessions"] = {each.name: each.fields.get("device") for each in present[:SESSIONS_SHOWN]}
        for name in ("typing", "hand", "cursor", "view", "state"):
            having = [
                each for each in present if name in each.fields and not (name == "typing" and each.lost)
            ]
            if having:
                seen[name] = having[0].fields[name]
        statuses = [each.fields["status"] for each in present if "status" in each.fields]
        if statuses:
            seen["status"] = min(statuses, key=STATUSES.index)
        people[person] = seen
    return people


def _replaces(later: Session, session: Session) -> bool:
    if later.lost or later.began <= session.began:
        return False
    return session.lost or (bool(session.instance) and later.instance == session.instance)


def plain(people: dict[str, Person]) -> Seen:
    """Return people as plain values."""
    return {person: msgpack.unpackb(each.encode()) for person, each in people.items()}


class Watcher:
    """A client: what it knows from the bodies it was sent."""

    def __init__(self) -> None:
        self.people: Seen = {}
        self.count = self.sessions = 0
        self.tier = "full"

    def hear(self, data: bytes | None) -> None:
        if data is not None:
            self.take(msgpack.unpackb(data))

    def take(self, body: dict[str, Any]) -> None:
        self.count, self.sessions, self.tier = body["people"], body["sessions"], body["tier"]
        if body.get("reset"):
            self.people = {}
        for person in body.get("joined", ()):
            assert person["id"] not in self.people
            self.people[person["id"]] = person
        for change in body.get("updated", ()):
            person = self.people[change["id"]] | change
            self.people[change["id"]] = {name: value for name, value in person.items() if value is not None}
        for gone in (*body.get("left", ()), *body.get("idle", ())):
            del self.people[gone]


def apply(seen: dict[str, Person], changes: Changes) -> None:
    """Change what is seen; a join must be of somebody new, an update a real one, a leave of somebody seen."""
    for person in changes.joined:
        assert person.id not in seen
        seen[person.id] = person
    for person in changes.updated:
        assert seen[person.id] != person
        seen[person.id] = person
    for gone in changes.left:
        del seen[gone]
