"""Documents to test with: random edits, and what tells two documents apart."""

import random
from typing import Any, Final

from pycrdt import Array, Doc, Map, Text

from roomful.crdt.check import check_update
from roomful.crdt.delete_set import DeleteSet
from roomful.crdt.merge import merge

AnyDoc = Doc[Any]

_WORDS: Final = ("a", "be", "sea", "é", "日本", "😀", "👩‍👩‍👧", "\n", "lorem ipsum dolor")
_KEYS: Final = ("title", "k1", "k2", "k3", "größe")


def new_document() -> AnyDoc:
    """A document with a text, a map and an array, which ``edit`` changes."""
    return Doc({"text": Text(), "map": Map(), "array": Array()})


def edit(doc: AnyDoc, rng: random.Random, *, steps: int = 3) -> None:
    """Change a document at random, in one transaction."""
    with doc.transaction():
        for _ in range(rng.randint(1, steps)):
            rng.choice((_write, _write, _erase, _format, _set, _unset, _put, _take))(doc, rng)


def adorn(doc: AnyDoc, rng: random.Random) -> None:
    """Change a document at random, and not its text."""
    rng.choice((_set, _unset, _put, _take))(doc, rng)


def content(doc: AnyDoc) -> dict[str, Any]:
    """What a person sees of a document."""
    return {
        "text": doc["text"].diff(),
        "map": doc["map"].to_py(),
        "array": doc["array"].to_py(),
    }


def differences(one: AnyDoc, other: AnyDoc) -> list[str]:
    """What one document has and the other has not, in words; nothing means that they are equal for ever.

    Equal state vectors are not enough: a deletion has no clock. Nor is equal content: it may change with the
    next update.
    """
    found = []
    for mine, yours, name in ((one, other, "first"), (other, one, "second")):
        lacking = mine.get_update(yours.get_state())
        contents = check_update(lacking)
        if contents.ranges:
            found.append(f"only the {name} holds {contents.ranges}")
        deletions = DeleteSet()
        theirs = yours.get_update()
        deletions.add(theirs, check_update(theirs).deletes_at)
        if not deletions.covers(lacking, contents.deletes_at):
            found.append(f"deletions that only the {name} knows: {lacking[contents.deletes_at :].hex()}")
    if not found and content(one) != content(other):
        found.append(f"{content(one)} is not {content(other)}")
    return found


def of_updates(*updates: bytes) -> AnyDoc:
    """The document that all these updates make together, in whatever order they are given.

    They are merged first: applied one by one, out of order, the library (pycrdt 0.14.13) may let some wait
    for ever, even after all that they build on has come.
    """
    doc = new_document()
    doc.apply_update(merge(updates))
    return doc


def _write(doc: AnyDoc, rng: random.Random) -> None:
    text = doc["text"]
    text.insert(_at(str(text), rng), rng.choice(_WORDS))


def _erase(doc: AnyDoc, rng: random.Random) -> None:
    text = doc["text"]
    start, end = _range(str(text), rng)
    if start < end:
        del text[start:end]


def _format(doc: AnyDoc, rng: random.Random) -> None:
    text = doc["text"]
    start, end = _range(str(text), rng)
    if start < end:
        text.format(start, end, {"bold": rng.choice((True, None))})


def _set(doc: AnyDoc, rng: random.Random) -> None:
    doc["map"][rng.choice(_KEYS)] = _value(rng)


def _unset(doc: AnyDoc, rng: random.Random) -> None:
    doc["map"].pop(rng.choice(_KEYS), None)


def _put(doc: AnyDoc, rng: random.Random) -> None:
    array = doc["array"]
    array.insert(rng.randint(0, len(array)), _value(rng))


def _take(doc: AnyDoc, rng: random.Random) -> None:
    array = doc["array"]
    if len(array):
        del array[rng.randrange(len(array))]


def _value(rng: random.Random) -> object:
    kind = rng.randrange(6)
    if kind == 0:
        return Map({"inner": rng.random(), "text": "nested"})
    if kind == 1:
        return Array([1, "two", None])
    return (rng.randrange(1_000), "é" * rng.randrange(4), {"plain": [1, {"deep": True}]}, None)[kind - 2]


def _at(text: str, rng: random.Random) -> int:
    """A place in a text as pycrdt counts: in bytes of UTF-8, between whole characters."""
    return len(text[: rng.randint(0, len(text))].encode())


def _range(text: str, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(text))
    end = min(len(text), start + rng.randint(0, 12))
    return len(text[:start].encode()), len(text[:end].encode())
