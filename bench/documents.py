"""Real Yjs documents and updates to measure with, made once by pycrdt, kept for the next run."""

import gzip
import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import cast

from pycrdt import Doc, Text, TransactionEvent, XmlElement, XmlFragment, XmlText, merge_updates

_PROSE = """
the of and to in is that for it as was with be by on not he his but at are this have from or had an they
which one you were all her she there would their we him been has when who will no more if out so up said
what its about than into them can only other time new some could these two may first then do any like my
room lesson teacher question answer page figure table because number between water light energy history
"""
WORDS = _PROSE.split()


def typed_updates(client: int, count: int, seed: int) -> list[bytes]:
    """``count`` updates of one character each by one person, with clocks 0, 1, 2 ...

    The cursor mostly moves on; now and then it jumps back into what this person wrote. Each update depends on
    this person's earlier ones alone, so every replica can integrate them in any order of persons.
    """
    dice = random.Random(seed)
    doc: Doc[Text] = Doc(client_id=client)
    text = doc.get("text", type=Text)
    updates: list[bytes] = []
    subscription = doc.observe(_collector(updates))
    cursor = size = 0
    while len(updates) < count:
        for letter in dice.choice(WORDS) + " ":
            text.insert(cursor, letter)
            cursor += 1
            size += 1
        if dice.random() < 0.05:
            cursor = dice.randrange(size + 1)
    doc.unobserve(subscription)
    return updates[:count]


def _collector(updates: list[bytes]) -> Callable[[TransactionEvent], None]:
    def collect(event: TransactionEvent) -> None:
        updates.append(event.update)

    return collect


def large_document(folder: Path, size: int, writers: int = 8, seed: int = 7) -> Path:
    """A document of ``size`` bytes as an update (within 2 %): paragraphs that several people wrote into.

    They take turns: each types bursts of a few words into paragraphs old and new, and deletes now and then.
    The file holds the history: one update a turn, as ``write_updates`` stores them.
    """
    path = folder / f"document-{size}-{writers}-{seed}.updates"
    if path.exists():
        return path
    dice = random.Random(seed)
    docs: list[Doc[XmlFragment]] = [Doc(client_id=dice.getrandbits(32)) for _ in range(writers)]
    history: list[bytes] = []
    total = 0
    while total < size:
        writer = docs[len(history) % writers]
        turn: list[bytes] = []
        subscription = writer.observe(_collector(turn))
        _edit(writer, dice, bursts=150)
        writer.unobserve(subscription)
        update = merge_updates(*turn)
        history.append(update)
        for doc in docs:
            if doc is not writer:
                doc.apply_update(update)
        total = (
            len(docs[0].get_update()) if total > 0.9 * size or len(history) % 20 == 0 else total + len(update)
        )
    write_updates(path, history)
    return path


def _edit(doc: "Doc[XmlFragment]", dice: random.Random, bursts: int) -> None:
    paragraphs = doc.get("prosemirror", type=XmlFragment).children
    for _ in range(bursts):
        if len(paragraphs) == 0 or dice.random() < 0.04:
            paragraph = paragraphs.append(XmlElement("paragraph"))
            text = paragraph.children.append(XmlText(""))
        else:
            paragraph = cast("XmlElement", paragraphs[dice.randrange(len(paragraphs))])
            text = cast("XmlText", paragraph.children[0])
        size = len(str(text))
        if size > 40 and dice.random() < 0.1:
            start = dice.randrange(size - 20)
            del text[start : start + dice.randint(1, 20)]
        else:
            text.insert(dice.randint(0, size), " ".join(dice.choices(WORDS, k=dice.randint(1, 5))) + " ")


def paper_updates(folder: Path, trace: Path) -> tuple[Path, str]:
    """The trace's edits as one update each, in a file, and the text they end with."""
    packed = trace.read_bytes()
    recording = json.loads(gzip.decompress(packed))
    path = folder / f"paper-{hashlib.sha256(packed).hexdigest()[:12]}.updates"
    if not path.exists():
        doc: Doc[Text] = Doc(client_id=1_717_171_717)
        text = doc.get("text", type=Text)
        updates: list[bytes] = []
        subscription = doc.observe(_collector(updates))
        for transaction in recording["txns"]:
            for position, deleted, inserted in transaction["patches"]:
                # pycrdt counts UTF-8 bytes, the trace code points: the same in this one, which is ASCII.
                with doc.transaction():
                    if deleted:
                        del text[position : position + deleted]
                    if inserted:
                        text.insert(position, inserted)
        doc.unobserve(subscription)
        if str(text) != recording["endContent"]:
            raise ValueError(f"{trace} does not replay to its own end")
        write_updates(path, updates)
    return path, str(recording["endContent"])


def write_updates(path: Path, updates: list[bytes]) -> None:
    """Each update behind its length in four little-endian bytes."""
    part = path.with_suffix(".part")
    part.write_bytes(b"".join(struct.pack("<I", len(update)) + update for update in updates))
    part.replace(path)


def read_updates(path: Path) -> list[bytes]:
    data = path.read_bytes()
    updates: list[bytes] = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        updates.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return updates


def whole(updates: list[bytes]) -> "Doc[Text]":
    """The document that the updates make. Applied in groups: one by one is slow, all at once slower."""
    doc: Doc[Text] = Doc()
    for start in range(0, len(updates), 100):
        doc.apply_update(merge_updates(*updates[start : start + 100]))
    return doc
