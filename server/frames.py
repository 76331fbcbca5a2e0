"""WebSocket frames from the server (RFC 6455 section 5.2): one frame a message, never masked.

    frame := 0x80 | opcode . length . payload
    length := 1 byte below 126 | 126 . 2 bytes | 127 . 8 bytes

Unmasked frames are the same for every receiver, so one ``bytes`` object serves them all.
"""

BINARY, CLOSE, PING, PONG = 0x82, 0x88, 0x89, 0x8A

_LONGEST_CLOSE_REASON = 123


def head(opcode: int, length: int) -> bytes:
    """Return what stands before a payload of ``length`` bytes."""
    if length < 126:
        return bytes((opcode, length))
    if length < 1 << 16:
        return bytes((opcode, 126, length >> 8, length & 0xFF))
    return bytes((opcode, 127)) + length.to_bytes(8, "big")


def binary(payload: bytes) -> bytes:
    """Return a whole binary message."""
    return head(BINARY, len(payload)) + payload


def control(opcode: int, payload: bytes = b"") -> bytes:
    """Return a ping or pong frame; RFC 6455 bounds its payload at 125 bytes."""
    return head(opcode, len(payload)) + payload


def close(code: int, reason: str) -> bytes:
    """Return a close frame; a long reason is cut at a character."""
    text = reason.encode()[:_LONGEST_CLOSE_REASON].decode(errors="ignore").encode()
    return head(CLOSE, 2 + len(text)) + code.to_bytes(2, "big") + text
