"""Who hears a room's frames, and the loop that writes one frame to all of them.

A transport that holds nothing for its client can be passed by: the frame goes to the kernel in one system
call, which is most of what a delivery costs. What the kernel does not take goes to the transport; from then
on the socket is congested and in no audience (feed.py), until the transport is empty again.
"""

import os
from array import array
from collections.abc import Callable, Iterable
from typing import Protocol

from .protocols.envelope import Envelope

Write = Callable[[bytes], object]


class Outlet(Protocol):
    """A socket as its audience sees it. ``descriptor`` is None where the transport can't be passed by."""

    @property
    def descriptor(self) -> int | None: ...

    @property
    def write(self) -> Write: ...


class Receivers:
    """The outlets of an audience at one moment."""

    __slots__ = ("_by_descriptor", "_descriptors", "_others")

    def __init__(self, outlets: Iterable[Outlet]) -> None:
        self._by_descriptor: dict[int, Outlet] = {}
        self._others: list[Outlet] = []
        for outlet in outlets:
            if outlet.descriptor is None:
                self._others.append(outlet)
            else:
                self._by_descriptor[outlet.descriptor] = outlet
        # Numbers side by side: the loop over a thousand receivers touches no object of theirs.
        self._descriptors = array("i", sorted(self._by_descriptor))

    def __len__(self) -> int:
        return len(self._descriptors) + len(self._others)

    def __contains__(self, outlet: Outlet) -> bool:
        if outlet.descriptor is None:
            return outlet in self._others
        return outlet.descriptor in self._by_descriptor

    def send(self, frame: bytes, passed_over: Outlet | None) -> bool:
        """Write a frame to all but one. Returns whether every kernel has taken all of it.

        Nothing may have been queued for any of them since they entered the audience: it would be overtaken.
        """
        size = len(frame)
        left_out = passed_over.descriptor if passed_over is not None else None
        complete = True
        for descriptor in self._descriptors:
            if descriptor == left_out:
                continue
            try:
                taken = os.write(descriptor, frame)
            except OSError:
                # Full, or gone; its transport finds out which.
                taken = 0
            if taken != size:
                complete = False
                self._by_descriptor[descriptor].write(frame[taken:])
        for outlet in self._others:
            if outlet is not passed_over:
                outlet.write(frame)
        return complete

    def queue(self, frame: bytes, passed_over: Outlet | None) -> None:
        """Write a frame to all but one, behind whatever their transports hold."""
        for outlet in (*self._by_descriptor.values(), *self._others):
            if outlet is not passed_over:
                outlet.write(frame)


class Listener(Protocol):
    """Somebody who hears frames from entering to leaving; never while its socket is congested or lost."""

    @property
    def socket(self) -> Outlet: ...


class Audience:
    """The live listeners that are served the same frames, and how many ``members`` might become so."""

    __slots__ = ("_listeners", "_receivers", "envelope", "members")

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self.members = 0
        self._listeners: set[Listener] = set()
        self._receivers: Receivers | None = None

    def enter(self, listener: Listener) -> None:
        self._listeners.add(listener)
        self._receivers = None

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        self._receivers = None

    @property
    def receivers(self) -> Receivers:
        """Return those who listen now. A write may change who does; a loop goes on over what it was given."""
        # Made anew after changes only.
        if self._receivers is None:
            self._receivers = Receivers(listener.socket for listener in self._listeners)
        return self._receivers
