"""Ports for servers that must be told one before they start."""

import random
import socket

_BELOW_THOSE_FOR_CLIENTS = range(10_000, 32_768)
"""Others are given to whoever asks for any, be it before the server that one was found for has started."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, and that nobody who asks at the same time gets either."""
    dice = random.SystemRandom()
    while True:
        port = dice.choice(_BELOW_THOSE_FOR_CLIENTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
