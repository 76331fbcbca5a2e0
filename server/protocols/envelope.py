"""How a room's messages look to one kind of listener."""

from typing import Protocol

from roomful.crdt.sync import SYNC, awareness_head, sync_head

from ..frames import BINARY, head


class Envelope(Protocol):
    """Frames messages for listeners that are served the same frame objects. Immutable."""

    @property
    def prefix(self) -> bytes:
        """Tells envelopes apart: those with the same one make the same frames."""

    def sync(self, step: int, payload: bytes) -> bytes:
        """Return the frame of a sync message."""

    def sync_start(self, step: int, length: int) -> bytes:
        """Return what stands before a sync payload, so that a large one need not be copied."""

    def awareness(self, entries: bytes) -> bytes:
        """Return the frame of an awareness message."""


class YjsEnvelope:
    """Frames messages of y-protocols for y-websocket and Hocuspocus clients.

    frame := WebSocket head . prefix . y-protocols message

    The prefix is empty for y-websocket and the document's key for Hocuspocus.
    """

    __slots__ = ("prefix",)

    def __init__(self, prefix: bytes = b"") -> None:
        self.prefix = prefix

    def message(self, body: bytes) -> bytes:
        """Return the frame of any message."""
        return self.start(len(body)) + body

    def start(self, length: int) -> bytes:
        """Return what stands before a message of this length, so that a large one need not be copied."""
        return head(BINARY, len(self.prefix) + length) + self.prefix

    def sync(self, step: int, payload: bytes) -> bytes:
        return self.sync_start(step, len(payload)) + payload

    def sync_start(self, step: int, length: int) -> bytes:
        size = len(self.prefix) + 3 + length
        if size < 126:
            # A keystroke's: each length is one byte.
            return bytes((BINARY, size)) + self.prefix + bytes((SYNC, step, length))
        start = self.prefix + sync_head(step, length)
        return head(BINARY, len(start) + length) + start

    def awareness(self, entries: bytes) -> bytes:
        return self.message(awareness_head(len(entries)) + entries)
