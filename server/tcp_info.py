"""What the kernel knows of a connection's other end (tcp(7), TCP_INFO)."""

import socket
import sys
from typing import Protocol

_OPTION = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
_IN_FLIGHT, _LAST_ACK_RECEIVED = slice(24, 28), slice(56, 60)
"""Of Linux' ``struct tcp_info``: segments, and milliseconds."""


class Connection(Protocol):
    """A socket, or what an event loop gives out in its place."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


def unacknowledged_seconds(connection: Connection | None) -> float:
    """Return for how long the other host has acknowledged nothing, though it was sent something.

    0 when it owes nothing, or where the system does not tell. A host that takes nothing more goes on
    acknowledging, and owes nothing; one without power or network does not.
    """
    if _OPTION is None or connection is None:
        return 0.0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, _OPTION, _LAST_ACK_RECEIVED.stop)
    except (OSError, ValueError):
        # No TCP, or it has just ended, which is a ValueError of uvloop's.
        return 0.0
    if not any(info[_IN_FLIGHT]):
        return 0.0
    return int.from_bytes(info[_LAST_ACK_RECEIVED], sys.byteorder) / 1000
