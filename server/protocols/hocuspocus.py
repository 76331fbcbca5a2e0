"""The Hocuspocus wire format, providers 2 to 4, as docs/PROTOCOL.md states it.

    frame  := key . varUint(type) . body  |  ping  |  pong
    key    := varString(document)  |  varString(document NUL session)
    ping   := 0x09     pong := 0x0a        one byte, without a key

Types 0, 1 and 3 are those of y-protocols.
"""

from enum import IntEnum

from roomful.crdt.varint import Malformed, read_varstring, read_varuint, write_varstring, write_varuint

PING, PONG = b"\x09", b"\x0a"


class MessageType(IntEnum):
    SYNC = 0
    AWARENESS = 1
    AUTH = 2
    QUERY_AWARENESS = 3
    SYNC_REPLY = 4
    STATELESS = 5
    BROADCAST_STATELESS = 6
    CLOSE = 7
    SYNC_STATUS = 8
    PING = 9
    PONG = 10


_TOKEN, _PERMISSION_DENIED, _AUTHENTICATED = 0, 1, 2
_LONGEST_TOKEN = 16 << 10


def read_head(message: bytes, longest_key: int) -> tuple[bytes, str, MessageType, int]:
    """Return (raw key, document name, type, where the body begins). Raises Malformed."""
    key, at = read_varstring(message, 0, longest_key)
    raw = message[:at]
    kind, at = read_varuint(message, at)
    if kind > MessageType.PONG:
        raise Malformed("type", f"unknown message type {kind}")
    return raw, key.partition("\x00")[0], MessageType(kind), at


def read_token(message: bytes, at: int) -> str:
    """Return the token of an auth message; the version string of newer providers is passed over."""
    kind, at = read_varuint(message, at)
    if kind != _TOKEN:
        raise Malformed("type", f"unknown auth message {kind}")
    token, _ = read_varstring(message, at, _LONGEST_TOKEN)
    return token


def read_stateless(message: bytes, at: int) -> str:
    """Return the text of a stateless message."""
    text, end = read_varstring(message, at, len(message))
    if end != len(message):
        raise Malformed("trailing", "bytes after a stateless message")
    return text


def authenticated(read_only: bool) -> bytes:
    """The token was accepted."""
    scope = write_varstring("readonly" if read_only else "read-write")
    return bytes((MessageType.AUTH, _AUTHENTICATED)) + scope


def permission_denied(reason: str) -> bytes:
    """The token was refused; the socket stays open for other documents."""
    return bytes((MessageType.AUTH, _PERMISSION_DENIED)) + write_varstring(reason)


def sync_status(saved: bool) -> bytes:
    """Answer one update: it is durable, or it was refused."""
    return bytes((MessageType.SYNC_STATUS, saved))


def stateless(text: str) -> bytes:
    """A message for the application."""
    return write_varuint(MessageType.STATELESS) + write_varstring(text)


STORAGE_LOST = stateless('{"type":"roomful:storage","state":"lost"}')
STORAGE_BACK = stateless('{"type":"roomful:storage","state":"back"}')
