"""The numbers, strings and byte strings of lib0, the encoding under every Yjs message.

    varuint    7 bits a byte, lowest first; the top bit says that another byte follows
    varbytes   varuint length | bytes
    varstring  varuint length in bytes | UTF-8

Numbers go up to 2^53 - 1, the largest integer that a JavaScript number holds exactly.
Source: lib0 ``encoding.js`` and ``decoding.js``.
"""

from typing import Literal

MAX_UINT = 2**53 - 1

Reason = Literal[
    "truncated",  # ends before what it announces
    "trailing",  # goes on after its end
    "varint",  # a number above 2^53 - 1, or in more than eight bytes
    "utf8",  # a string that is not UTF-8
    "limit",  # a string longer than its reader allows
    "count",  # more elements announced than the bytes could hold, or a section of none
    "client",  # two sections for one client
    "clock",  # a clock above 2^31 - 1
    "zero-length",  # a struct or a deletion of nothing
    "content",  # no such content, type or value
    "depth",  # values nested too deep
    "json",  # not JSON
    "type",  # a message or step of no known kind
    "unmergeable",  # good for Yjs, but the CRDT library cannot read it or reads something else
]


class Malformed(ValueError):
    """Bytes that are not what they should be.

    ``reason`` is one of the few words of ``Reason``, fit for a metric label; the text says more.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        # Both arguments go to the base class: it pickles by them, and this error crosses processes.
        super().__init__(reason, message)
        self.reason: Reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


def read_varuint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at`` and the position after it.

    Raises ``Malformed`` if it is cut off, needs more than eight bytes, or exceeds 2^53 - 1.
    """
    value = shift = 0
    for byte in data[at : at + 8]:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            if value > MAX_UINT:
                raise Malformed("varint", f"number above 2^53 - 1 at byte {at}")
            return value, at + shift // 7
    if at + 8 <= len(data):
        raise Malformed("varint", f"number in more than eight bytes at byte {at}")
    raise Malformed("truncated", f"number cut off at byte {len(data)}")


def write_varuint(n: int) -> bytes:
    """Return ``n`` encoded; raises ``ValueError`` outside 0 .. 2^53 - 1."""
    if 0 <= n < 128:
        return n.to_bytes(1)
    if not 0 <= n <= MAX_UINT:
        raise ValueError(f"{n} is not in 0 .. 2^53 - 1")
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def read_varbytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the byte string at ``at`` and the position after it; raises ``Malformed``."""
    length, at = read_varuint(data, at)
    end = at + length
    if end > len(data):
        raise Malformed("truncated", f"{length} bytes announced at byte {at} of {len(data)}")
    return data[at:end], end


def write_varbytes(b: bytes) -> bytes:
    """Return ``b`` with its length before it."""
    return write_varuint(len(b)) + b


def read_varstring(data: bytes, at: int, limit: int) -> tuple[str, int]:
    """Return the string at ``at`` and the position after it.

    Raises ``Malformed``, also when the string takes more than ``limit`` bytes.
    """
    length, start = read_varuint(data, at)
    if length > limit:
        raise Malformed("limit", f"string of {length} bytes at byte {at}, at most {limit} allowed")
    end = start + length
    if end > len(data):
        raise Malformed("truncated", f"{length} bytes announced at byte {at} of {len(data)}")
    try:
        return data[start:end].decode(), end
    except UnicodeDecodeError as error:
        raise Malformed("utf8", f"string at byte {at}: {error.reason}") from None


def write_varstring(s: str) -> bytes:
    """Return ``s`` in UTF-8 with its length before it; raises ``UnicodeEncodeError`` on a lone surrogate."""
    return write_varbytes(s.encode())
