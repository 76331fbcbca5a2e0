"""How a node lets its clients go: each is told to come back, and when, and they are not told all at once."""

import asyncio
import contextlib

import structlog

from .close_codes import CloseCode
from .connection import Connection
from .node import Node

_log = structlog.get_logger()

_STAGGER_SHARE = 0.3
"""The share of the drain over which closes are spread."""
_RETURNS_PER_SECOND = 500
"""Handshakes with their first syncs that one process is sure to manage; about half of what is measured."""
_SHORTEST_WINDOW, _LONGEST_WINDOW = 500, 60_000


def reconnect_window(connections: int) -> int:
    """Return over how many milliseconds so many clients should spread their return."""
    milliseconds = connections * 1_200 // _RETURNS_PER_SECOND
    return min(max(milliseconds, _SHORTEST_WINDOW), _LONGEST_WINDOW)


async def drain(node: Node, force: asyncio.Event) -> int:
    """Close all connections, spread over part of the drain; abort those that are left at its end.

    Returns the exit code: 1 when `force` cut it short, else 0.
    """
    seconds = node.config.timing.shutdown_seconds
    deadline = asyncio.get_running_loop().time() + seconds
    node.draining = True
    connections = [each for each in node.heartbeat.connections if isinstance(each, Connection)]
    _log.info("draining", connections=len(connections), seconds=seconds)
    node.rooms.flush()
    pause = seconds * _STAGGER_SHARE / max(len(connections), 1)
    reason = f"the server is restarting; reconnect=0-{reconnect_window(len(connections))}"
    for connection in connections:
        connection.close(CloseCode.RESTART, reason)
        if await _forced_within(force, min(pause, 0.05)):
            break
    closing = {connection.socket.closed for connection in connections}
    forced = asyncio.ensure_future(force.wait())
    while closing and not forced.done() and (left := deadline - asyncio.get_running_loop().time()) > 0:
        _, pending = await asyncio.wait({*closing, forced}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        closing = pending - {forced}
    forced.cancel()
    for connection in connections:
        connection.cut_off(CloseCode.RESTART, "the drain is over")
    _log.info("stopped", forced=force.is_set())
    return 1 if force.is_set() else 0


async def _forced_within(force: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await force.wait()
    return force.is_set()
