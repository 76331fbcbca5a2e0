"""Several people who edit one text, and what a document of theirs holds."""

import random
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pycrdt import Doc, Text

from roomful.crdt.check import check_update
from roomful.crdt.delete_set import DeleteSet
from roomful.crdt.folding import fold
from roomful.crdt.merge import merge
from roomful.crdt.snapshot import Snapshot
from roomful.crdt.state import DocumentState, Part

CLIENTS = (1, 300, 2**32 + 5)
OTHERS = (2, 2**53 - 1)


class Held(NamedTuple):
    """What a document holds. Equal texts and state vectors alone may hide a lost deletion."""

    text: str
    state_vector: bytes
    delete_set: bytes


def document(updates: Iterable[bytes] = (), client: int | None = None) -> Doc[Any]:
    """Return a document, of a client of its own, that has received these updates.

    They go in as one: given one by one in a wrong order, the library leaves some waiting although their
    ground has come (0.14.13; Yjs does not).
    """
    doc: Doc[Any] = Doc(client_id=client)
    doc.get("text", type=Text)
    doc.apply_update(merge(list(updates)))
    return doc


def held(doc: Doc[Any]) -> Held:
    """Return what a document shows; what waits for its ground is not in it."""
    update = doc.get_update()
    deletes_at = check_update(update).deletes_at
    return Held(str(doc.get("text", type=Text)), doc.get_state(), update[deletes_at:])


def same(one: Doc[Any], other: Doc[Any]) -> bool:
    """Whether two documents hold the same. Clients may come in any order in the encoded forms."""
    first, second = held(one), held(other)
    deletes = [DeleteSet(), DeleteSet()]
    for deleted, each in zip(deletes, (first, second), strict=True):
        deleted.add(each.delete_set)
    return (
        first.text == second.text
        and not _structs(one.get_update(second.state_vector))
        and not _structs(other.get_update(first.state_vector))
        and deletes[0].covers(second.delete_set)
        and deletes[1].covers(first.delete_set)
    )


def _structs(update: bytes) -> int:
    return len(check_update(update).ranges)


class Writers:
    """Insert and delete at random, hearing of each other now and then. ``updates`` is all they have said."""

    def __init__(self, seed: int, clients: Sequence[int] = CLIENTS) -> None:
        self.updates: list[bytes] = []
        self._random = random.Random(seed)
        self._docs: list[Doc[Any]] = [Doc(client_id=client) for client in clients]
        self._heard = [0] * len(clients)

    def write(self, edits: int) -> None:
        """Make so many edits, each of them one update."""
        for _ in range(edits):
            place = self._random.randrange(len(self._docs))
            if self._random.random() < 0.3:
                self._hear(place)
            self._edit(self._docs[place])

    def _hear(self, place: int) -> None:
        for update in self.updates[self._heard[place] :]:
            self._docs[place].apply_update(update)
        self._heard[place] = len(self.updates)

    def _edit(self, doc: Doc[Any]) -> None:
        text = doc.get("text", type=Text)
        said: list[bytes] = []
        subscription = doc.observe(lambda event: said.append(bytes(event.update)))
        length = len(text)
        if length and self._random.random() < 0.35:
            start = self._random.randrange(length)
            del text[start : min(length, start + self._random.randrange(1, 6))]
        else:
            text.insert(self._random.randrange(length + 1), self._random.choice(("a", "bc", "long")))
        doc.unobserve(subscription)
        self.updates += said


def part(update: bytes) -> Part:
    """Check an update."""
    return update, check_update(update)


def append(state: DocumentState, *updates: bytes) -> None:
    """Take in updates that came within one window."""
    state.append(merge(updates), [part(update) for update in updates])


def written(edits: int, seed: int = 1) -> list[bytes]:
    """Return what three people have said in so many edits."""
    writers = Writers(seed)
    writers.write(edits)
    return writers.updates


def folded(updates: list[bytes]) -> Snapshot:
    """Return the snapshot that these updates become."""
    return fold([], updates, merge_only=False)


def one_writer(*texts: str) -> list[bytes]:
    """One client's updates, each of which follows the one before."""
    doc = document()
    updates = []
    for text in texts:
        before = doc.get_state()
        content = doc["text"]
        content.insert(len(content), text)
        updates.append(doc.get_update(before))
    return updates
