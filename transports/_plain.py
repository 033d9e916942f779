"""Reading and writing datagrams with the ``socket`` module, one system call for each.

The same face as ``_batch.pyx``, for platforms without ``recvmmsg`` and ``sendmmsg`` and for installations without the
compiled module. Errors come back as numbers and not as exceptions, because on a busy socket «nothing there» is the most
frequent answer of all.

An *origin* is the packed address that a datagram came from, followed by the header it began with. It is one key for one
look-up: «do I know this sender?».
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection
from typing import TypeAlias

from ringproto.transports._addresses import pack_address, unpack_address
from ringproto.transports._claims import HEAD_SIZE
from ringproto.transports._segments import Joiner, extent

__all__ = ["Introduce", "Receiver", "Sender"]

Introduce: TypeAlias = "Callable[[bytes, bytes], bool]"
"""Says whether datagrams of an origin are welcome, given that origin and how one of them begins."""


class Receiver:
    """Reads what waits in one non-blocking socket. Not for use by several threads at a time.

    Args:
        sock: the socket.
        count: most datagrams of one call of :meth:`receive`.
        size: the largest datagram, in bytes without header; longer ones are dropped and counted.
        header_size: bytes that every datagram begins with; they become part of its origin.
        skip: the origin of the own datagrams, which are dropped and counted.
        coalesce: whether the kernel may hand over runs of datagrams as one message, if it can.
    """

    coalesces = False
    """Whether a message may be a run of datagrams."""
    keeps_gil = False
    """Whether a call keeps Python's lock instead of letting it go for the time in the system. Of no effect here: the
    ``socket`` module always lets it go."""

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
        """Most messages of one call of :meth:`receive`."""
        self._size = size
        self._header_size = header_size
        self._skip = skip
        self._error = 0
        self.last_origin = b""
        """The origin of the last welcome datagram, empty if none came yet."""
        self.skipped = 0
        """Datagrams whose origin was ``skip``."""
        self.oversized = 0
        """Datagrams longer than ``size``."""
        self.undersized = 0
        """Datagrams with nothing in them beside a header."""

    def receive(self, joiner: Joiner, known: Collection[bytes], introduce: Introduce, whole: list[bytes]) -> int:
        """Give what waits to ``joiner``, each datagram without its header, which appends to ``whole`` what is whole.

        ``known`` has the origins that are welcome. ``introduce`` is asked about each datagram with another one, is
        shown its first ``HEAD_SIZE`` bytes after the header, and what it says no to is dropped.

        Returns how many messages the system gave (as many as ``count`` means that more may wait), 0 if there were
        none, or the error number of the system, negated. An error that comes after datagrams is returned next time.
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
                # Those of one sender come in runs, which are looked up once.
                former = origin
                welcome = origin in known
            if not welcome:
                welcome = introduce(origin, data[head : head + HEAD_SIZE])
            if welcome:
                self.last_origin = origin
                joiner.add(origin, data[head:], whole)
        return self.count


class Sender:
    """Writes to one non-blocking socket. Not for use by several threads at a time.

    Args:
        sock: the socket.
        count: most datagrams of one call of :meth:`send`.
        header: what is put before each datagram.
        segment: whether runs of datagrams may go to the kernel as one message, if it can.
    """

    segments = False
    """Whether runs of datagrams go to the kernel as one message."""
    keeps_gil = False
    """As that of :class:`Receiver`, for calls of a few messages."""
    refused = 0
    """The error of the last run that the system did not take, 0 if there was none. Who looks at it sets it to 0."""

    def __init__(self, sock: socket.socket, count: int, header: bytes = b"", segment: bool = False) -> None:
        self._socket = sock
        self._count = count
        self._header = header
        self.datagrams_sent = 0
        """Datagrams and segments that the system took."""
        self.bytes_sent = 0
        """Bytes of theirs, without ``header``."""
        self.plain: dict[bytes, int] = {}
        """Packed addresses to which datagrams go one by one, not in runs, and the error for which each is here."""

    def send(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], start: int) -> int:
        """Send from place ``start`` on, each to the packed address at its place: the whole datagram, or a segment.

        A head that is not empty is the header of a segment, and says which piece of the datagram follows it (see
        ``_segments.extent``). The segments of a datagram have a place each, with the same datagram at all of them.

        Returns how many the system took, or, if it did not take the first, its error number, negated. The lists must
        be of one length and must not change meanwhile. If what was not taken is a run, which is larger than the path
        takes or which this way does not know, then ``refused`` is set too: nothing is lost, the address is in ``plain``
        now, and the next call sends the same datagrams one by one.

        Raises:
            ValueError: a packed address is not one, or a head does not belong to its datagram.
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
                # As sendmmsg does: the first error ends the call, and belongs to the datagram it stopped at.
                return place - start if place > start else -(exc.errno or errno.EIO)
            self.datagrams_sent += 1
            self.bytes_sent += len(data)
        return end - start
