"""Ports for servers that must be told one before they start."""

import os
import random
import socket

_PROCESSES = 4
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _PROCESSES
_PORTS = range(10_000 + _PROCESS, 32_768, _PROCESSES)
"""Those of this process among the ones that a kernel gives to nobody who asks for any."""

_left = random.SystemRandom().sample(_PORTS, len(_PORTS))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, and never again: many may be asked for in advance."""
    while True:
        port = _left.pop()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
