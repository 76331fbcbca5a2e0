"""WebSocket frames from the server, taken apart for tests."""

from collections.abc import Iterable
from typing import NamedTuple


class Frame(NamedTuple):
    """One frame as it came: the opcode with the bit that says it is the last of its message."""

    opcode: int
    payload: bytes


def frames(data: bytes) -> list[Frame]:
    """Take a stream of whole unmasked frames apart."""
    found = []
    at = 0
    while at < len(data):
        opcode, length = data[at], data[at + 1]
        at += 2
        if length > 125:
            wide = 2 if length == 126 else 8
            length = int.from_bytes(data[at : at + wide], "big")
            at += wide
        assert at + length <= len(data), "a frame is cut short"
        found.append(Frame(opcode, data[at : at + length]))
        at += length
    return found


def unframe(data: bytes) -> bytes:
    """Return the message of the one binary frame that these bytes are."""
    ((opcode, payload),) = frames(data)
    assert opcode == 0x82
    return payload


def messages(writes: Iterable[bytes]) -> list[bytes]:
    """Return the binary messages in what was written."""
    return [payload for opcode, payload in frames(b"".join(writes)) if opcode == 0x82]
