"""LZ4 for what is stored, where it pays.

    packed := 0x00 . payload                                 as it is
            | 0x01 . size (4 bytes, little endian) . block   LZ4 block

Blocks and not LZ4 frames, because a frame's header alone costs fifteen bytes. Below 256 bytes real
updates do not shrink (measured), so they are not tried.
"""

import lz4.block

_SMALLEST = 256
_RAW, _LZ4 = b"\x00", b"\x01"


class Unreadable(ValueError):
    """Stored bytes are not what ``pack`` wrote."""


def pack(payload: bytes) -> bytes:
    """Return the payload behind its flag byte, compressed only where that is shorter."""
    if len(payload) >= _SMALLEST:
        block: bytes = lz4.block.compress(payload)
        if len(block) < len(payload):
            return _LZ4 + block
    return _RAW + payload


def unpack(packed: bytes, limit: int) -> bytes:
    """Return what was packed. Raises Unreadable for a bad flag, block, or a claimed size over ``limit``."""
    flag = packed[:1]
    if flag == _RAW:
        return packed[1:]
    if flag != _LZ4 or len(packed) < 5:
        raise Unreadable("unknown compression flag")
    if int.from_bytes(packed[1:5], "little") > limit:
        raise Unreadable("compressed payload claims more than the limit")
    try:
        payload: bytes = lz4.block.decompress(packed[1:])
    except (lz4.block.LZ4BlockError, ValueError) as error:  # ValueError: a size beyond what LZ4 knows
        raise Unreadable("broken LZ4 block") from error
    return payload
