"""Waiting under trio until one of several sockets can be read."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from ringproto.transports._sockets import DatagramSocket

__all__ = ["Readable"]


class Readable:
    """Waits until one of several sockets can be read.

    trio waits for one file descriptor at a time. Where epoll exists, the sockets are put into an epoll object, and trio
    waits for that. This costs half a microsecond more than a single socket. The fallback on other systems, a nursery
    with a task for each socket, costs seventy microseconds.
    """

    def __init__(self, sockets: Sequence[DatagramSocket], *, use_epoll: bool = sys.platform == "linux") -> None:
        self._sockets = list(sockets)
        self._epoll: select.epoll | None = None
        self._closed = False
        if len(sockets) > 1 and use_epoll:
            self._epoll = select.epoll()
            for one in sockets:
                self._epoll.register(one.socket.fileno(), select.EPOLLIN)
        self.fd = -1
        """The descriptor for which trio can wait in place of :meth:`wait` while no socket fails; -1 if no single one
        exists."""
        if self._epoll is not None:
            self.fd = self._epoll.fileno()
        elif len(sockets) == 1:
            self.fd = sockets[0].socket.fileno()

    def replace(self, old: DatagramSocket, new: DatagramSocket) -> None:
        """Wait for ``new`` in place of ``old``, which the caller closes next."""
        self._sockets[self._sockets.index(old)] = new
        if self._epoll is not None:
            self._epoll.unregister(old.socket.fileno())
            self._epoll.register(new.socket.fileno(), select.EPOLLIN)
        elif len(self._sockets) == 1:
            self.fd = new.socket.fileno()

    async def wait(self) -> None:
        """Return when a read is worth a try. Cancellation changes nothing.

        Raises:
            trio.ClosedResourceError: it was closed during the wait.
            trio.BusyResourceError: another task waits.
        """
        await self._pause()
        if self.fd >= 0:
            try:
                await trio.lowlevel.wait_readable(self.fd)
            except trio.ClosedResourceError:
                if self._closed:
                    raise  # else another socket took the place of the one that was closed
        else:
            await self._wait_each()

    async def _pause(self) -> None:
        """Sleep for a moment if a socket keeps failing."""
        pause_s = max([one.pause_s() for one in self._sockets])
        if pause_s:
            await trio.sleep(pause_s)
            if self._closed:
                raise trio.ClosedResourceError("the transport was closed")

    async def _wait_each(self) -> None:
        async def wait_for(one: DatagramSocket) -> None:
            with contextlib.suppress(trio.ClosedResourceError):  # closed with the transport, or replaced
                await trio.lowlevel.wait_readable(one.socket)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for one in self._sockets:
                nursery.start_soon(wait_for, one)
        if self._closed:
            raise trio.ClosedResourceError("the transport was closed")

    def close(self) -> None:
        self._closed = True
        if self._epoll is not None:
            trio.lowlevel.notify_closing(self._epoll.fileno())
            self._epoll.close()
