"""A real editing session as Yjs updates: traces/friendsforever.json.gz, typed anew into the library."""

import gzip
import json
from pathlib import Path
from typing import Any

from pycrdt import Doc, Text

_TRACE = Path(__file__).parents[1] / "traces" / "friendsforever.json.gz"


class _Author:
    """A document that has seen just what its author had seen before each edit."""

    def __init__(self, client: int) -> None:
        self.emitted: list[bytes] = []
        self.doc: Doc[Any] = Doc(client_id=client)
        self.text = self.doc.get("text", type=Text)
        self.known: set[int] = set()
        self._subscription = self.doc.observe(lambda event: self.emitted.append(event.update))

    def write(self, position: int, deleted: int, inserted: str) -> None:
        if deleted:
            del self.text[position : position + deleted]
        if inserted:
            self.text.insert(position, inserted)


def friends_forever() -> tuple[list[bytes], str]:
    """Return an update for each edit, in a causal order, and the text that all of them give."""
    trace = json.loads(gzip.decompress(_TRACE.read_bytes()))
    transactions = trace["txns"]
    # The library counts bytes, the trace characters.
    assert trace["endContent"].isascii()
    authors = [_Author(3_000_000_000 + number) for number in range(trace["numAgents"])]
    updates: list[list[bytes]] = []
    for place, transaction in enumerate(transactions):
        author = authors[transaction["agent"]]
        missing = set()
        stack = list(transaction["parents"])
        while stack:
            parent = stack.pop()
            if parent not in author.known:
                author.known.add(parent)
                missing.add(parent)
                stack += transactions[parent]["parents"]
        for other in sorted(missing):
            for update in updates[other]:
                author.doc.apply_update(update)
        author.emitted.clear()
        for patch in transaction["patches"]:
            author.write(*patch)
        author.known.add(place)
        updates.append(author.emitted[:])
    return [update for emitted in updates for update in emitted], trace["endContent"]
