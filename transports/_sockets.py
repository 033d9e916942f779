"""UDP sockets under trio: batches both ways, and trouble that is counted instead of raised.

A socket is non-blocking; trio only says when it is worth another try (``wait_readable``, ``wait_writable``), and one
wake-up reads or writes up to 128 datagrams. What the system answers besides that is the weather of a network: full
buffers, unreachable hosts, an interface that goes away. The ring above repairs every loss, so an error costs the
datagram it belongs to, is counted by its name, and is never raised. A socket that answers nothing but errors is left
alone for a moment, so that trouble is not a busy loop.

:class:`SocketTransport` is the part that all transports over UDP share: what to send where is a table, and what comes
in is told apart by its origin (see ``_plain.py``).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from ringproto.transports._addresses import format_address
from ringproto.transports._blocking import BlockingWait, wait_for_room
from ringproto.transports._checks import YIELD_EVERY, check_whole
from ringproto.transports._interface import AddressInUseError, TransportError
from ringproto.transports._segments import HEADER_SIZE as SEGMENT_HEADER_SIZE
from ringproto.transports._segments import SEGMENTS_MAX, Joiner
from ringproto.transports._traffic import Line, Traffic

_interpreted = os.environ.get("RINGPROTO_INTERPRETED", "") not in ("", "0")
if TYPE_CHECKING or sys.platform != "linux" or _interpreted:
    from ringproto.transports._plain import Receiver, Sender
else:
    try:
        from ringproto.transports._batch import Receiver, Sender
    except ImportError:
        from ringproto.transports._plain import Receiver, Sender

__all__ = [
    "BATCHED",
    "DATAGRAM_SIZE_MAX",
    "DATAGRAM_SIZE_MIN",
    "DatagramSocket",
    "Sizes",
    "SocketTransport",
    "bound_socket",
    "fitting_sizes",
]

BATCHED: bool = Receiver.__module__.endswith("_batch")
"""Whether datagrams are read and written by the compiled module, many in one system call."""

DATAGRAM_SIZE_MIN = 64
DATAGRAM_SIZE_MAX = 65_507
"""What fits into one UDP datagram over IPv4, in bytes."""

_FRAME_SIZE = 1352
_FRAMES_BYTES = 8 * _FRAME_SIZE
_HOST_SIZE = 32_000 if sys.platform == "linux" else 8_952

BATCH_MAX = 128
"""Most messages that one system call reads."""
SEND_BATCH_MAX = 512
"""Most datagrams that one system call sends."""
BUFFER_BYTES_MAX = 2**20
"""Datagrams of more than 8 KiB are read in smaller batches, so that the buffers of a socket stay below this."""
SEND_WAIT_S = 0.02
"""How long one call of ``send`` waits for room in the send buffer before it drops the rest of its batch."""

_SO_MEMINFO = 55  # Linux 4.12 and later: an array of 32-bit counters, of which the ninth is drops
_MEMINFO = struct.Struct("=9I")

logger = logging.getLogger("ringproto.transports")


class Sizes(NamedTuple):
    """How large what a transport sends may be, in bytes, without what the transport itself puts in front."""

    datagram: int
    """The largest datagram of the ring."""
    segment: int
    """What is larger than this is cut."""


def fitting_sizes(datagram_size: int | None, segment_size: int | None, header_size: int, *, local: bool) -> Sizes:
    """The sizes that a transport was given, or where these are ``None`` what suits the way.

    A datagram costs the ring nearly the same whatever its size. Within a host (``local``) no frame limits it, and a
    large one carries more than twice as much for the same work. More than 32,000 bytes gain little, and ask the kernel
    for larger pieces of memory in a row. Systems other than Linux refuse more than about 9,000 unless they are told
    otherwise. Between hosts it is as many whole segments as go into 8 frames: a lost segment costs its datagram.

    Args:
        datagram_size, segment_size: what the transport was given; both with its header.
        header_size: bytes of the transport's header, which each segment begins with.
        local: whether all processors are on this host.

    Raises:
        ValueError: a size is no size of a datagram, or the datagram has too many segments.
    """
    for size, name in ((datagram_size, "datagram_size"), (segment_size, "segment_size")):
        if size is not None:
            check_whole(size, name, DATAGRAM_SIZE_MIN, DATAGRAM_SIZE_MAX)
    if segment_size is None:
        segment_size = DATAGRAM_SIZE_MAX if local else _FRAME_SIZE
    segment = segment_size - header_size
    piece = segment - SEGMENT_HEADER_SIZE
    if datagram_size is not None:
        datagram = datagram_size - header_size
    elif local and segment_size >= _HOST_SIZE:
        datagram = _HOST_SIZE - header_size
    else:
        datagram = max(segment, _FRAMES_BYTES // segment_size * piece)
    if datagram > segment and datagram > SEGMENTS_MAX * piece:
        raise ValueError(
            f"a datagram of {datagram} bytes would have more than {SEGMENTS_MAX} segments of {segment_size} bytes: "
            "give a larger segment_size or a smaller datagram_size"
        )
    return Sizes(datagram, segment)


def bound_socket(family: int, address: tuple[Any, ...], what: str, *, shared: bool = False) -> socket.socket:
    """A non-blocking UDP socket bound to ``address``.

    Args:
        family: ``socket.AF_INET`` or ``socket.AF_INET6``.
        address: as ``socket.bind`` takes it.
        what: whose address it is, for the message.
        shared: whether other processors on this host may bind the same address (multicast groups).

    Raises:
        AddressInUseError: another socket has it.
        TransportError: it cannot be had for another reason.
    """
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as exc:
        raise TransportError(exc.errno, f"no {_family_name(family)} socket can be made here: {exc.strerror}") from exc
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform != "linux" and hasattr(socket, "SO_REUSEPORT"):
                # The BSDs ask for it; on Linux it would shut out processors of other users.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError as exc:
        sock.close()
        place = f"{format_address(address)}, {what},"
        if exc.errno == errno.EADDRINUSE:
            raise AddressInUseError(exc.errno, f"{place} is taken by another socket on this host") from exc
        if exc.errno == errno.EADDRNOTAVAIL:
            raise TransportError(exc.errno, f"{place} is not an address of this host") from exc
        if exc.errno in (errno.EACCES, errno.EPERM):
            raise TransportError(exc.errno, f"{place} may not be used by this user (ports below 1024?)") from exc
        raise TransportError(exc.errno, f"{place} cannot be used: {exc.strerror}") from exc
    return sock


def _family_name(family: int) -> str:
    return "IPv6" if family == socket.AF_INET6 else "IPv4"


class DatagramSocket(Line):
    """One socket with its buffers, its counters and its patience.

    Args:
        sock: non-blocking; owned from here on.
        size: the largest datagram of the ring, in bytes, cut or not.
        header: what every datagram that goes out begins with. Those that come in begin with one of the same size.
        senders_max: how many senders may have a datagram in the making.
        skip: the origin of the own datagrams, if they can come back.
        counts: where trouble is counted by name; several sockets may share it.
        offload: whether the kernel may take and give runs of datagrams, if it can.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        size: int,
        senders_max: int,
        header: bytes = b"",
        skip: bytes | None = None,
        counts: Counter[str],
        offload: bool,
    ) -> None:
        # One that is just as large may be a segment, if its first byte is the mark.
        room = size + SEGMENT_HEADER_SIZE
        batch = max(16, min(BATCH_MAX, BUFFER_BYTES_MAX // (room + len(header))))
        super().__init__(
            Receiver(sock, batch, room, len(header), skip, offload),
            Sender(sock, SEND_BATCH_MAX, header, offload),
            Joiner(size, senders_max, counts),
            counts,
        )
        self.socket = sock

    @property
    def batch_max(self) -> int:
        """Most messages that one call of :meth:`read` takes in."""
        return self.receiver.count

    def set_buffers(self, receive_bytes: int, send_bytes: int) -> None:
        """Ask for buffers of these sizes, and log a hint if the system gives less for receiving."""
        self._set_buffer(socket.SO_RCVBUF, "SO_RCVBUFFORCE", 33, receive_bytes)
        self._set_buffer(socket.SO_SNDBUF, "SO_SNDBUFFORCE", 32, send_bytes)
        given = self.buffer_bytes(socket.SO_RCVBUF)
        if given < receive_bytes:
            logger.warning(
                "a receive buffer of %d bytes was asked for and %d given, so bursts may be lost: "
                "raise it with `sysctl -w net.core.rmem_max=%d`, or ask for less (receive_buffer)",
                receive_bytes,
                given,
                receive_bytes,
            )

    def _set_buffer(self, option: int, forced: str, forced_linux: int, size: int) -> None:
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, option, size)
        if self.buffer_bytes(option) < size and sys.platform == "linux":
            # Above the limit of the system, for those who have the right (CAP_NET_ADMIN).
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, getattr(socket, forced, forced_linux), size)

    def buffer_bytes(self, option: int) -> int:
        """The size of a buffer, in the same measure in which it is asked for (Linux tells twice as much)."""
        size = self.socket.getsockopt(socket.SOL_SOCKET, option)
        return size // 2 if sys.platform == "linux" else size

    def kernel_drops(self) -> int | None:
        """Datagrams that the system dropped because the receive buffer was full; ``None`` where it does not say."""
        if sys.platform != "linux":
            return None
        try:
            answer = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return None
        return int(_MEMINFO.unpack(answer)[8]) if len(answer) == _MEMINFO.size else None

    async def write_rest(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], place: int) -> None:
        """Send from ``place`` on, which :meth:`write_some` has reached; wait for room, but not for long.

        Cancellation: noticed only while the send buffer is full; the rest is then dropped and counted.
        """
        total = len(datagrams)
        self._counts["send_waits"] += 1
        deadline = trio.current_time() + SEND_WAIT_S
        while place < total and await self._room_until(deadline, total - place):
            place = self.write_some(addresses, heads, datagrams, place)

    def write_blocking(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes]) -> None:
        """Send as :meth:`write_some` does, and wait as :meth:`write_rest` does, without trio."""
        total = len(datagrams)
        place = self.write_some(addresses, heads, datagrams, 0)
        if place == total:
            return
        self._counts["send_waits"] += 1
        deadline = time.monotonic() + SEND_WAIT_S
        while place < total:
            left_s = deadline - time.monotonic()
            if left_s <= 0.0 or not wait_for_room(self, left_s):
                self._counts["drops_send_buffer_full"] += total - place
                return
            place = self.write_some(addresses, heads, datagrams, place)

    async def _room_until(self, deadline: float, left: int) -> bool:
        """Wait for room in the send buffer; at the deadline count what is ``left`` as dropped and return False."""
        try:
            with trio.move_on_at(deadline):
                await trio.lowlevel.wait_writable(self.socket)
                return True
        except trio.Cancelled:
            self._counts["drops_cancelled"] += left
            raise
        self._counts["drops_send_buffer_full"] += left
        return False

    def close(self) -> None:
        trio.lowlevel.notify_closing(self.socket)
        self.socket.close()


class Readable:
    """Waits until one of several sockets can be read.

    trio waits for one file descriptor at a time. Where there is epoll, the sockets go into one of their own, which can
    itself be waited for: half a microsecond more than a single socket, against seventy for a nursery with a task for
    each, which is the way elsewhere.
    """

    def __init__(self, sockets: Sequence[DatagramSocket], *, use_epoll: bool = sys.platform == "linux") -> None:
        self._sockets = sockets
        self._epoll: select.epoll | None = None
        self._closed = False
        if len(sockets) > 1 and use_epoll:
            self._epoll = select.epoll()
            for one in sockets:
                self._epoll.register(one.socket.fileno(), select.EPOLLIN)
        self.fd = -1
        """What trio can wait for in place of :meth:`wait` while no socket fails; -1 if there is no one descriptor."""
        if self._epoll is not None:
            self.fd = self._epoll.fileno()
        elif len(sockets) == 1:
            self.fd = sockets[0].socket.fileno()

    async def wait(self) -> None:
        """Return when a read is worth a try. Cancellation changes nothing.

        Raises:
            trio.ClosedResourceError: it was closed meanwhile.
            trio.BusyResourceError: another task waits.
        """
        await self._pause()
        if self.fd >= 0:
            await trio.lowlevel.wait_readable(self.fd)
        else:
            await self._wait_each()

    async def _pause(self) -> None:
        """Leave sockets that keep failing alone for a moment."""
        pause_s = max([one.pause_s() for one in self._sockets])
        if pause_s:
            await trio.sleep(pause_s)
            if self._closed:
                raise trio.ClosedResourceError("the transport was closed")

    async def _wait_each(self) -> None:
        closed = False

        async def wait_for(one: DatagramSocket) -> None:
            nonlocal closed
            try:
                await trio.lowlevel.wait_readable(one.socket)
            except trio.ClosedResourceError:
                closed = True
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for one in self._sockets:
                nursery.start_soon(wait_for, one)
        if closed:
            raise trio.ClosedResourceError("the transport was closed")

    def close(self) -> None:
        self._closed = True
        if self._epoll is not None:
            trio.lowlevel.notify_closing(self._epoll.fileno())
            self._epoll.close()


class SocketTransport(Traffic):
    """What the transports over UDP have in common; they add where to send (the tables) and how to read.

    Args:
        node: the own node id.
        sizes: of the largest datagram, and of what is not cut.
        sockets: those that are read; the last one is also written.
        counts: the counter that the sockets share.
    """

    def __init__(self, node: int, sizes: Sizes, sockets: Sequence[DatagramSocket], counts: Counter[str]) -> None:
        super().__init__(node, sizes.datagram, sizes.segment, sockets, counts)
        self._sockets = sockets
        self._readable = Readable(sockets)
        self._readable_fd = self._wait_for = self._readable.fd
        self._sent_since_yield = 0
        self._last_gauges: dict[str, int] = {}
        # How a thread waits, once there is one that trio does not know.
        self._blocking: BlockingWait | None = None

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Send datagrams; see :meth:`ringproto.transports.Transport.send`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if self._sending:
            raise trio.BusyResourceError("another task is sending through this transport")
        addresses, heads, datagrams = self._route(transmits)
        self._sending = True
        try:
            if self._kept is not None:
                kept, self._kept = self._kept, None
                try:
                    await self._sockets[-1].write_rest(*kept)
                except trio.Cancelled:
                    self._counts["drops_cancelled"] += len(datagrams)
                    raise
                self._look_at_loss()
            place = self._write(addresses, heads, datagrams)
            if place < len(datagrams):
                await self._sockets[-1].write_rest(addresses, heads, datagrams, place)
                self._look_at_loss()
        finally:
            self._sending = False
        self._sent_since_yield += len(datagrams)
        if self._sent_since_yield >= YIELD_EVERY:
            self._sent_since_yield = 0
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive(self) -> list[bytes]:
        """Wait for datagrams; see :meth:`ringproto.transports.Transport.receive`."""
        if self._closed:
            self._check_open()
        while True:
            if self._wait_for >= 0:
                await trio.lowlevel.wait_readable(self._wait_for)
            elif self._more:
                await trio.lowlevel.checkpoint()
            else:
                await self._readable.wait()
            # Nothing is read before this line and nothing waits after it: cancellation cannot lose a datagram.
            batch = self._read_counted()
            if batch:
                return batch

    def begin_blocking(self) -> None:
        """From now on a thread uses it; see :meth:`ringproto.transports.BlockingTransport.begin_blocking`."""
        self._check_open()
        if self._blocking is None:
            self._blocking = BlockingWait(self._sockets)

    def send_blocking(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Send datagrams; see :meth:`ringproto.transports.BlockingTransport.send_blocking`."""
        self._check_open()
        addresses, heads, datagrams = self._route(transmits)
        if datagrams:
            if self._in_trouble:
                self._before_write(time.monotonic())
            self._sockets[-1].write_blocking(addresses, heads, datagrams)
            self._look_at_loss()

    def receive_blocking(self, timeout_s: float) -> list[bytes]:
        """Wait for datagrams; see :meth:`ringproto.transports.BlockingTransport.receive_blocking`."""
        self._check_open()
        assert self._blocking is not None, "begin_blocking() comes first"
        if not self._more:
            self._blocking.wait(timeout_s)
        return self._read_counted()

    def interrupt(self) -> None:
        """Let the thread look; see :meth:`ringproto.transports.BlockingTransport.interrupt`."""
        if self._blocking is not None and not self._closed:
            self._blocking.interrupt()

    async def aclose(self) -> None:
        """Close it; see :meth:`ringproto.transports.Transport.aclose`."""
        if not self._closed:
            self._last_gauges = self._gauges()
            self._closed = True
            self._readable.close()
            if self._blocking is not None:
                self._blocking.close()
            for one in self._sockets:
                one.close()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> dict[str, int]:
        """Counters and gauges; docs/transports.md lists them."""
        numbers = {
            "datagrams_sent": self._sockets[-1].sender.datagrams_sent,
            "bytes_sent": self._sockets[-1].sender.bytes_sent,
            "datagrams_received": self._datagrams_received,
            "bytes_received": self._bytes_received,
            "drops_oversized": sum(one.receiver.oversized + one.joiner.oversized for one in self._sockets),
            "drops_undersized": sum(one.receiver.undersized for one in self._sockets),
        }
        numbers.update(self._counts)
        numbers.update(self._last_gauges if self._closed else self._gauges())
        return numbers

    def _gauges(self) -> dict[str, int]:
        """What the sockets say of themselves, which has to be asked while they are open."""
        gauges = {
            "offload_receiving": int(any(one.receiver.coalesces for one in self._sockets)),
            "offload_sending": int(self._sockets[-1].sender.segments),
            "receive_buffer_bytes": min(one.buffer_bytes(socket.SO_RCVBUF) for one in self._sockets),
            "send_buffer_bytes": self._sockets[-1].buffer_bytes(socket.SO_SNDBUF),
        }
        drops = [one.kernel_drops() for one in self._sockets]
        if None not in drops:
            gauges["drops_receive_buffer_full"] = sum(filter(None, drops))
        return gauges
