"""Updates as a room's log gets them: from several authors, some late, some before what they build on."""

import random
from typing import Any, NamedTuple

from tests.documents import AnyDoc, edit, new_document


class History(NamedTuple):
    """The updates of one document. ``arrived`` is in the order of the log; ``late`` come after that."""

    arrived: list[bytes]
    late: list[bytes]
    document: AnyDoc
    """What all of them make together."""

    @property
    def all(self) -> list[bytes]:
        return [*self.arrived, *self.late]


class Author:
    """Writes a document, and hears of the others' changes some time later."""

    def __init__(self) -> None:
        self.doc: AnyDoc = new_document()
        self.updates: list[bytes] = []
        self._hearing = False
        self._subscription = self.doc.observe(self._changed)

    def hear(self, updates: list[bytes]) -> None:
        self._hearing = True
        for update in updates:
            self.doc.apply_update(update)
        self._hearing = False

    def _changed(self, event: Any) -> None:
        if not self._hearing:
            self.updates.append(event.update)


def random_history(
    rng: random.Random, *, authors: int, edits: int, lost: float = 0.0, swapped: float = 0.0
) -> History:
    """Let authors write, and spoil the way to the log.

    Authors hear of each other sooner or later, so that they edit and delete each other's words. Of what they
    write the share ``lost`` reaches the log late, and the share ``swapped`` changes places with a later one.
    """
    people = [Author() for _ in range(authors)]
    heard = [0] * authors
    written: list[bytes] = []
    for _ in range(edits):
        me = rng.randrange(authors)
        before = len(people[me].updates)
        edit(people[me].doc, rng)
        written += people[me].updates[before:]
        for listener in rng.sample(range(authors), rng.randint(0, authors - 1)):
            people[listener].hear(written[heard[listener] :])
            heard[listener] = len(written)
    # Nobody wrote on what they had not heard of, so in this order nothing waits for anything.
    document = new_document()
    for update in written:
        document.apply_update(update)
    for at in range(len(written)):
        if rng.random() < swapped:
            other = min(len(written) - 1, at + rng.randrange(10))
            written[at], written[other] = written[other], written[at]
    history = History([], [], document)
    for update in written:
        (history.late if rng.random() < lost else history.arrived).append(update)
    rng.shuffle(history.late)
    return history
