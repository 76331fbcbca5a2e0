"""Timers that call back once, and can be started anew."""

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Final, Protocol


class Timer(Protocol):
    """Calls back once after each start, unless it is started again before."""

    def start(self, seconds: float) -> None: ...

    def close(self) -> None:
        """Call back no more."""


MakeTimer = Callable[[Callable[[], None]], Timer]


class LoopTimer:
    """A timer of the running loop; uvloop's count milliseconds, and are late or early by one."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        self.close()
        self._handle = self._loop.call_later(seconds, self._callback)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class FineTimer:
    """A timer of the kernel (timerfd_create(2), Linux), late by a tenth of a millisecond at most when the
    loop is idle. Raises OSError where there is none.
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._descriptor: int = _succeeded(_libc.timerfd_create(time.CLOCK_MONOTONIC, _FLAGS))
        self._setting = _Setting()
        self._loop.add_reader(self._descriptor, self._expired)

    def start(self, seconds: float) -> None:
        # At zero it would be disarmed.
        self._setting.seconds, self._setting.nanoseconds = divmod(max(1, int(seconds * 1e9)), 10**9)
        _succeeded(_libc.timerfd_settime(self._descriptor, 0, ctypes.byref(self._setting), None))

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _expired(self) -> None:
        # Nothing is read when it has been started again since.
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)
            self._callback()


class _Setting(ctypes.Structure):
    """struct itimerspec: the interval, and the time until it expires first."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


def _succeeded(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# TFD_NONBLOCK and TFD_CLOEXEC; Python itself knows these timers from 3.13 on.
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_libc: Final = ctypes.CDLL(None, use_errno=True)

finest: Final[MakeTimer] = FineTimer if sys.platform == "linux" else LoopTimer
"""The timer for what is worth a descriptor."""
