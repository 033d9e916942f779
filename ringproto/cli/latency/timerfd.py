"""How a sender in a trio program keeps time more finely than trio does.

``trio.sleep`` ends with a whole millisecond: Python's epoll rounds its timeout up to one, whatever was asked for. A
timer that is a file descriptor wakes its waiter when it says.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
import time

import trio

__all__ = ["Alarm"]

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_TIMER_ABSTIME = 1
_ITIMERSPEC = struct.Struct("@qqqq")


class Alarm:
    """Waits for times of CLOCK_MONOTONIC, one wait at a time; where there is no timerfd, as finely as trio does."""

    def __init__(self) -> None:
        self._file = -1
        if sys.platform == "linux" and sys.maxsize > 2**32:
            self._libc = ctypes.CDLL(None)
            self._file = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK)

    async def until(self, time_ns: int) -> None:
        """Return at this time, or as soon as may be after it. A checkpoint."""
        if self._file < 0:
            await trio.sleep(max(0, time_ns - time.monotonic_ns()) / 1e9)
            return
        # All zero would be no alarm at all.
        setting = _ITIMERSPEC.pack(0, 0, *divmod(max(1, time_ns), 10**9))
        self._libc.timerfd_settime(self._file, _TFD_TIMER_ABSTIME, setting, None)
        await trio.lowlevel.wait_readable(self._file)
        with contextlib.suppress(BlockingIOError):
            os.read(self._file, 8)

    def __enter__(self) -> Alarm:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._file >= 0:
            trio.lowlevel.notify_closing(self._file)
            os.close(self._file)
            self._file = -1
