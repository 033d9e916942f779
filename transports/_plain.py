"""Reading and writing datagrams with the ``socket`` module, one system call for each.

This module has the same interface as ``_batch.pyx``. It is for platforms without ``recvmmsg`` and ``sendmmsg`` and for
installations without the compiled module. Errors are returned as numbers and not raised as exceptions, because "nothing
to read" is the most frequent result on a busy socket.

An *origin* is the packed source address of a datagram, followed by the datagram's header. It is one key for one
look-up: is this sender known?
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection
from typing import TypeAlias

from ringproto.transports._addresses import pack_address, unpack_address
from ringproto.transports._claims import HEAD_SIZE
from ringproto.transports._segments import Joiner, extent

__all__ = ["Introduce", "Receiver", "SocketWriter"]

Introduce: TypeAlias = "Callable[[bytes, bytes], bool]"
"""A callable that returns whether datagrams of an origin are welcome. Its arguments are the origin and the first bytes
of one of the datagrams."""


class Receiver:
    """Reads waiting datagrams from one non-blocking socket. Not for concurrent use by several threads.

    Args:
        sock: the socket.
        count: maximum number of datagrams in one call of :meth:`receive`.
        size: the largest datagram, in bytes without header; longer ones are dropped and counted.
        header_size: bytes of the header of every datagram; the header becomes part of the origin.
        skip: the origin of this processor's own datagrams, which are dropped and counted.
        coalesce: whether the kernel may return a run of datagrams as one message, if it can.
    """

    coalesces = False
    """Whether a message may be a run of datagrams."""
    keeps_gil = False
    """Whether a call keeps Python's lock during the system call instead of releasing it. It has no effect here: the
    ``socket`` module always releases it."""

    def __init__(
        self,
        sock: socket.socket,
        count: int,
        size: int,
        header_size: int = 0,
        skip: bytes | None = None,
        coalesce: bool = False,
    ) -> None:
        self._socket = sock
        self.count = count
        """Maximum number of messages in one call of :meth:`receive`."""
        self._size = size
        self._header_size = header_size
        self._skip = skip
        self._error = 0
        self.last_origin = b""
        """The origin of the last welcome datagram; empty before the first one."""
        self.skipped = 0
        """Datagrams whose origin was ``skip``."""
        self.oversized = 0
        """Datagrams longer than ``size``."""
        self.undersized = 0
        """Datagrams with nothing after the header."""

    def receive(self, joiner: Joiner, known: Collection[bytes], introduce: Introduce, whole: list[bytes]) -> int:
        """Pass waiting datagrams to ``joiner``, without their headers. The joiner appends complete datagrams to
        ``whole``.

        ``known`` contains the welcome origins. ``introduce`` is called for each datagram of another origin, with the
        first ``HEAD_SIZE`` bytes after its header; if it returns ``False``, the datagram is dropped.

        Returns the number of messages that the system gave (``count`` means that more may wait), 0 if there were none,
        or the system's error number, negated. An error after datagrams is returned by the next call.
        """
        if self._error:
            error, self._error = self._error, 0
            return -error
        head = self._header_size
        limit = head + self._size
        former = None
        welcome = False
        for read in range(self.count):
            try:
                data, address = self._socket.recvfrom(limit + 1)
            except BlockingIOError:
                return read
            except InterruptedError:
                return read
            except OSError as exc:
                error = exc.errno or errno.EIO
                if not read:
                    return -error
                self._error = error
                return read
            if len(data) > limit:
                self.oversized += 1
                continue
            if len(data) <= head:
                self.undersized += 1
                continue
            origin = pack_address(address) + data[:head]
            if origin == self._skip:
                self.skipped += 1
                continue
            if origin != former:
                # Datagrams of one sender come in runs, and each run needs only one look-up.
                former = origin
                welcome = origin in known
            if not welcome:
                welcome = introduce(origin, data[head : head + HEAD_SIZE])
            if welcome:
                self.last_origin = origin
                joiner.add(origin, data[head:], whole)
        return self.count


class SocketWriter:
    """Writes to one non-blocking socket. Not for concurrent use by several threads.

    Args:
        sock: the socket.
        count: maximum number of datagrams in one call of :meth:`send`.
        header: bytes that are put before each datagram.
        segment: whether a run of datagrams may go to the kernel as one message, if the kernel can take it.
    """

    segments = False
    """Whether runs of datagrams go to the kernel as one message."""
    keeps_gil = False
    """As in :class:`Receiver`, for calls with few messages."""
    refused = 0
    """The error number of the last run that the system refused, 0 if there was none. The reader resets it to 0."""

    def __init__(self, sock: socket.socket, count: int, header: bytes = b"", segment: bool = False) -> None:
        self._socket = sock
        self._count = count
        self._header = header
        self.datagrams_sent = 0
        """Datagrams and segments that the system accepted."""
        self.bytes_sent = 0
        """The bytes of those, without ``header``."""
        self.plain: dict[bytes, int] = {}
        """Packed addresses to which datagrams go one by one, not in runs, each with the error number that is the
        reason."""

    def send(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], start: int) -> int:
        """Send from index ``start`` on, each to the packed address at the same index: the whole datagram, or a segment
        of it.

        A head that is not empty is the header of a segment, and says which piece of the datagram follows it (see
        ``_segments.extent``). Each segment of a datagram has an index of its own, with the same datagram at all of
        these.

        Returns the number that the system accepted. If it did not accept the first, returns the system's error number,
        negated. The lists must have equal lengths and must not change during the call. If the refused message is a run,
        which is larger than the path accepts or not supported on it, then ``refused`` is set too. Nothing is lost in
        this case: the address is now in ``plain``, and the next call sends the same datagrams one by one.

        Raises:
            ValueError: a packed address is not valid, or a head does not belong to its datagram.
        """
        end = min(len(datagrams), start + self._count)
        for place in range(start, end):
            address = unpack_address(addresses[place])
            head = heads[place]
            first, size, padding = extent(head, len(datagrams[place]))
            data = head + datagrams[place][first : first + size] + bytes(padding)
            try:
                self._socket.sendto(self._header + data, address)
            except OSError as exc:
                # As with sendmmsg, the first error ends the call and belongs to the datagram at which it stopped.
                return place - start if place > start else -(exc.errno or errno.EIO)
            self.datagrams_sent += 1
            self.bytes_sent += len(data)
        return end - start
