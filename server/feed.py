"""What one session has been sent of its document, and what it still lacks.

A session is never owed a queue of updates. It is live, and gets each frame as it is made; or it lacks
something, and gets it in steps as its socket drains: first pieces of the snapshot, then everything since
as one update, and with that it is live. A socket that can't keep up is taken out of the live ones
and owes nothing to memory but a number: where it stopped.
"""

import asyncio
from typing import Protocol

from roomful.crdt.state import DocumentState, Lacking
from roomful.crdt.sync import EMPTY_STATE_VECTOR, EMPTY_UPDATE, STEP_1, STEP_2, UPDATE

from .protocols.envelope import Envelope
from .websocket import WebSocket

_COPIED = 16 << 10
"""Bytes that are copied behind their head rather than written apart from it."""


class Audience(Protocol):
    """Where live feeds are written to."""

    def enter(self, listener: "Feed") -> None: ...

    def leave(self, listener: "Feed") -> None: ...


class Feed:
    """One session's stream of document messages."""

    __slots__ = (
        "_again", "_answering", "_audience", "_lacking", "_live", "_loop", "_pumping",
        "_seq", "_state", "_vector", "envelope", "socket",
    )  # fmt: skip

    def __init__(
        self, state: DocumentState, socket: WebSocket, envelope: Envelope, audience: Audience
    ) -> None:
        self.envelope = envelope
        self.socket = socket
        self._loop = asyncio.get_running_loop()
        self._state = state
        self._audience = audience
        self._live = False
        self._lacking: Lacking | None = None
        self._answering = False
        self._pumping = False
        self._again: bytes | None = None
        # The update up to which all has been sent, and a state vector that the client has reached with it.
        self._seq: int | None = None
        self._vector = EMPTY_STATE_VECTOR

    def start(self, vector: bytes) -> None:
        """Answer a (checked) state vector: send ours and what it lacks, a step 2 as the last, and stay live.

        Asked again before the answer is complete, only the latest question is answered after it.
        """
        if self._answering:
            self._again = vector
            return
        self.stop()
        self._answering = True
        self.socket.write(self.envelope.sync(STEP_1, self._state.state_vector))
        self._lacking = self._state.lacking(vector)
        self.pump()

    def pump(self) -> None:
        """Send as much as the socket takes."""
        if self._pumping or self._live:
            return
        while not self.socket.is_congested and self.socket.is_open:
            if self._lacking is not None:
                if not self._send_piece(self._lacking):
                    self._pump_later()
                    return
            elif self._seq is None:
                return
            elif (rest := self._state.since(self._seq)) is None:
                # What followed has been folded away meanwhile: read on from the newer snapshot.
                self._lacking = self._state.lacking(self._vector)
            elif (reached := self._state.reach(self._seq)) < self._state.seq:
                self._send(UPDATE, rest)
                self._seq = reached
                self._pump_later()
                return
            else:
                self._complete(rest)
                return

    def fall_behind(self) -> bool:
        """The socket is congested: send nothing more until it has drained. Returns whether it was live."""
        if not self._live:
            return False
        self._audience.leave(self)
        self._live = False
        self._note_all_sent()
        return True

    def stop(self) -> None:
        """Send nothing more at all."""
        if self._live:
            self._audience.leave(self)
        self._live = False
        self._lacking = None
        self._seq = None

    def _pump_later(self) -> None:
        self._pumping = True
        self._loop.call_soon(self._pump_on)

    def _pump_on(self) -> None:
        self._pumping = False
        self.pump()

    def _send_piece(self, lacking: Lacking) -> bool:
        """Send the next piece. Returns False when the loop should have a turn before the one after it."""
        piece = next(lacking, None)
        if piece is None:
            self._lacking, self._seq, self._vector = None, lacking.seq, lacking.reached
            return True
        if piece != EMPTY_UPDATE:
            self._send(UPDATE, piece)
        return lacking.at_hand

    def _complete(self, rest: bytes) -> None:
        if self._answering or rest != EMPTY_UPDATE:
            self._send(STEP_2 if self._answering else UPDATE, rest)
        self._answering = False
        if self._again is not None:
            vector, self._again = self._again, None
            self.start(vector)
        elif self.socket.is_congested:
            self._note_all_sent()
        else:
            self._live = True
            self._audience.enter(self)

    def _note_all_sent(self) -> None:
        self._seq = self._state.seq
        # Should what follows be folded away meanwhile, only what it lacks need be sent of the newer snapshot.
        self._vector = self._state.state_vector

    def _send(self, step: int, update: bytes) -> None:
        start = self.envelope.sync_start(step, len(update))
        if len(update) > _COPIED:
            self.socket.write(start)
            self.socket.write(update)
        else:
            self.socket.write(start + update)
