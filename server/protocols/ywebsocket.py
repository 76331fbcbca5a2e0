"""The y-websocket wire format, clients 1.5 to 3.1, as docs/PROTOCOL.md states it.

    frame := a y-protocols message (crdt/sync.py), one a frame

The room is in the URL's path, the token in its query.
"""

from roomful.crdt.sync import AUTH, QUERY_AWARENESS
from roomful.crdt.varint import Malformed, read_varuint, write_varstring

_DENIED = 0


def read_head(message: bytes) -> tuple[int, int]:
    """Return (message type, where its body begins). Raises Malformed for a type no client sends."""
    if message and message[0] <= QUERY_AWARENESS:
        return message[0], 1
    kind, at = read_varuint(message, 0)
    if kind > QUERY_AWARENESS:
        raise Malformed("type", f"unknown message type {kind}")
    return kind, at


def permission_denied(reason: str) -> bytes:
    """Return the message that tells a client it has not all rights; it stays nevertheless.

        denied := varUint(2) . varUint(0) . varString(reason)

    Stock clients log it; an application that listens (client-demo/src/connection.ts) stops offering to write.
    """
    return bytes((AUTH, _DENIED)) + write_varstring(reason)
