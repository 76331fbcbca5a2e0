"""The sockets that the server listens on."""

import socket
from collections.abc import Sequence

_BACKLOG = 4_096
"""Connections that wait in the kernel to be accepted, per socket; Linux cuts it to ``net.core.somaxconn``."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that `host` stands for, all on one port; ``::`` alone takes IPv4 as well.

    Port 0 takes a free one. Raises OSError, also when the name is unknown, or one of its addresses is taken.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name may be listed twice in /etc/hosts.
    places = list(dict.fromkeys((family, address[:2]) for family, _, _, _, address in found))
    listeners: list[socket.socket] = []
    try:
        for family, (name, wanted) in places:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                both = name == "::" and len(places) == 1
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            listener.bind((name, wanted or listeners[0].getsockname()[1] if listeners[1:] else wanted))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def spoken(listeners: Sequence[socket.socket]) -> dict[str, str | int]:
    """Return host, port and url of the first, for the log."""
    host, port = listeners[0].getsockname()[:2]
    return {"host": host, "port": port, "url": f"http://{f'[{host}]' if ':' in host else host}:{port}/"}
