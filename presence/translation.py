"""Awareness as presence, and presence as awareness: what each has a word for in the other.

    awareness state                    field
    cursor                             cursor
    user {name, color, ...}            state.user

``user`` is what editors made with Yjs show beside a cursor. It is the client's own word: who it is, is in a
person's id.
"""

import json
from typing import Any

import msgpack

from roomful.crdt.varint import Malformed, read_varuint, write_varbytes

from .fields import NO_FIELDS, Fields, patched


def patch_from_awareness(state: bytes, largest: int) -> dict[str, object]:
    """Return the patch that says what an awareness state does, a varString with a JSON object.

    What presence can't hold is left out.
    """
    _, at = read_varuint(state, 0)
    said: dict[str, Any] = json.loads(state[at:])
    user, cursor = said.get("user"), said.get("cursor")
    shown = {"user": user} if isinstance(user, dict) else None
    patches: tuple[dict[str, object], ...] = (
        {"state": shown, "cursor": cursor},
        {"state": shown, "cursor": None},
        {"state": None, "cursor": cursor},
    )
    for patch in patches:
        try:
            patched(NO_FIELDS, patch, largest)
        except Malformed:
            continue
        return patch
    return {"state": None, "cursor": None}


def awareness_from_fields(fields: Fields, user: str) -> bytes:
    """Return the awareness state of one with these fields, as a varString. ``user`` stands in for a name."""
    shown = _plain(fields, "state").get("user")
    state: dict[str, Any] = {"user": {"name": user, **(shown if isinstance(shown, dict) else {})}}
    cursor = _plain(fields, "cursor")
    if cursor:
        state["cursor"] = cursor
    return write_varbytes(json.dumps(state, separators=(",", ":"), ensure_ascii=False).encode())


def _plain(fields: Fields, name: str) -> dict[str, Any]:
    """Return a field that is a map which JSON can hold, or an empty one: editors look into nothing else."""
    value = msgpack.unpackb(fields[name]) if name in fields else None
    try:
        json.dumps(value)
    except TypeError:
        # Bytes, for which JSON has no word.
        return {}
    return value if isinstance(value, dict) else {}
