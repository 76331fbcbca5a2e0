"""The signals by which a process is told to stop."""

import asyncio
import signal
from collections.abc import Iterable


class Stopping:
    """``stop`` is set by the first of the signals, ``force`` by the second. Made while the loop runs."""

    def __init__(self, signals: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> None:
        self.stop = asyncio.Event()
        self.force = asyncio.Event()
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, self._heard)

    def _heard(self) -> None:
        (self.force if self.stop.is_set() else self.stop).set()
