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
    user = said.get("user")
    patch: dict[str, object] = {"cursor": None, "state": None}
    for name, value in (
        ("state", {"user": user} if isinstance(user, dict) else None),
        ("cursor", said.get("cursor")),
    ):
        try:
            patched(NO_FIELDS, {**patch, name: value}, largest)
        except Malformed:
            continue
        patch[name] = value
    return patch


def awareness_from_fields(fields: Fields, user: str) -> bytes:
    """Return the awareness state of one with these fields, as a varString. ``user`` stands in for a name."""
    shown = _plain(fields, "state").get("user")
    state: dict[str, Any] = {"user": {"name": user, **(shown if isinstance(shown, dict) else {})}}
    cursor = _plain(fields, "cursor")
    if cursor:
        state["cursor"] = cursor
    return write_varbytes(json.dumps(state, separators=(",", ":"), ensure_ascii=False).encode())


def _plain(fields: Fields, name: str) -> dict[str, Any]:
    """Return a field that is a map which JSON can hold, or an empty one."""
    value = msgpack.unpackb(fields[name]) if name in fields else None
    try:
        json.dumps(value)
    except TypeError:
        # Bytes, for which JSON has no word.
        return {}
    return value if isinstance(value, dict) else {}
