"""Waiting for sockets on a thread that trio does not know.

A thread that runs a ring beside a busy program gets Python's global lock (the GIL) only when the program releases it. A
computation releases it each ``sys.getswitchinterval()``, usually 5 ms. So such a thread acquires the lock once for each
pass: it waits here without the lock, and keeps the lock while it reads and writes between two waits (``keeps_gil``).
"""

from __future__ import annotations

import contextlib
import math
import os
import select
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringproto.transports._sockets import DatagramSocket

__all__ = ["BlockingWait", "wait_for_room"]

_FOREVER_S = 3600.0


class BlockingWait:
    """Waits until one of several sockets can be read, a time has passed, or another thread interrupts.

    Args:
        sockets: the sockets to read. From now on, reads and writes of them keep Python's lock where they can.
    """

    def __init__(self, sockets: Sequence[DatagramSocket]) -> None:
        self._sockets = list(sockets)
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)
        self._closed = False
        self._interrupts = select.poll()
        self._interrupts.register(self._reading, select.POLLIN)
        self._all = select.poll()
        self._all.register(self._reading, select.POLLIN)
        for one in sockets:
            self._add(one)

    def _add(self, one: DatagramSocket) -> None:
        one.receiver.keeps_gil = True
        one.sender.keeps_gil = True
        self._all.register(one.socket.fileno(), select.POLLIN)

    def replace(self, old: DatagramSocket, new: DatagramSocket) -> None:
        """Wait for ``new`` in place of ``old``, which the caller closes next. Call it on the thread that waits."""
        self._sockets[self._sockets.index(old)] = new
        self._all.unregister(old.socket.fileno())
        self._add(new)

    def wait(self, timeout_s: float) -> None:
        """Return when a read is worth a try, after ``timeout_s`` seconds (rounded up to the millisecond), or when
        interrupted."""
        pause_s = max([one.pause_s() for one in self._sockets])
        # While a socket keeps failing, no socket is polled for the pause. After it the sockets are tried.
        poll = self._interrupts if pause_s else self._all
        wait_s = min(timeout_s, pause_s) if pause_s else min(timeout_s, _FOREVER_S)
        for end, _ in poll.poll(math.ceil(max(wait_s, 0.0) * 1000)):
            if end == self._reading and not self._closed:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._reading, 4096)

    def interrupt(self) -> None:
        """Make :meth:`wait` return, or its next call if no call is in progress. May be called from any thread."""
        with contextlib.suppress(BlockingIOError):  # the pipe is full, so an interrupt is pending
            os.write(self._writing, b"\0")

    def close(self) -> None:
        """Close the pipe, from any thread. A wait in progress returns and touches nothing that was closed."""
        self._closed = True
        self.interrupt()
        os.close(self._reading)
        os.close(self._writing)


def wait_for_room(one: DatagramSocket, timeout_s: float) -> bool:
    """Wait until a write is worth a try; return ``False`` after ``timeout_s`` seconds."""
    poll = select.poll()
    poll.register(one.socket.fileno(), select.POLLOUT)
    return bool(poll.poll(math.ceil(timeout_s * 1000)))
