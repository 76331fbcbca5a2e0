"""A worker's end of the socket pair that ties it to its parent.

    parent to worker   "c" with a descriptor    a connection to serve
    worker to parent   "r"                      ready: connections may come
                       "e"                      the handshake of one connection has ended
                       "d"                      draining: no more connections
    end of stream                               the other process is gone

A message is one byte, so that none arrives in part; a descriptor travels beside its byte (SCM_RIGHTS,
``unix(7)``), and the kernel never joins two such bytes.
"""

import asyncio
import os
import socket
from collections.abc import Callable

import structlog

CONNECTION, READY, ENDED, DRAINING = b"c", b"r", b"e", b"d"

_BATCH = 32
"""Connections taken before the loop's other business has its turn."""

_log = structlog.get_logger()


class WorkerChannel:
    """Receives connections from the parent between ``start`` and ``close``.

    :param take: serves a connection
    :param parent_gone: called once, when there is no parent any more
    """

    def __init__(
        self, descriptor: int, take: Callable[[socket.socket], None], parent_gone: Callable[[], None]
    ) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._take = take
        self._parent_gone = parent_gone
        self._loop = asyncio.get_running_loop()
        self._unsaid = bytearray()
        self.is_open = True

    def start(self) -> None:
        """Say that this process is ready, and take connections."""
        self._say(READY)
        self._loop.add_reader(self._socket, self._receive)

    def handshake_ended(self) -> None:
        """Tell the parent that one connection more is admitted, or gone."""
        self._say(ENDED)

    def draining(self) -> None:
        """Ask for no more connections. Those that are on their way are still taken."""
        self._say(DRAINING)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()

    def _receive(self) -> None:
        for _ in range(_BATCH):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self.close()
                self._parent_gone()
                return
            if descriptors:
                os.set_inheritable(descriptors[0], False)
                connection = socket.socket(fileno=descriptors[0])
                connection.setblocking(False)
                self._take(connection)
            else:
                # What the kernel does when this process may not open another file.
                _log.error("a connection was lost on its way", reason="too many open files")
                self.handshake_ended()

    def _say(self, message: bytes) -> None:
        if self.is_open:
            self._unsaid += message
            self._write()

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsaid)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            # The parent is gone, which reading will tell.
            sent = len(self._unsaid)
        del self._unsaid[:sent]
        if self._unsaid:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)
