"""A host without power: what is sent to it is lost, and nothing comes back. On Linux, and without rights."""

import ctypes
import struct
from typing import Protocol

_SOL_SOCKET, _SO_ATTACH_FILTER = 1, 26
_RETURN_0 = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A program for the kernel's packet filter (bpf(4)): keep nothing."""


class Connection(Protocol):
    """A TCP socket, or what an event loop gives out in its place."""

    def setsockopt(self, level: int, optname: int, value: bytes, /) -> None: ...


def swallow(connection: Connection) -> None:
    """Let a TCP socket lose every segment from now on before its kernel has seen it."""
    program = ctypes.create_string_buffer(_RETURN_0, len(_RETURN_0))
    connection.setsockopt(_SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
