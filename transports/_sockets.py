"""UDP sockets under trio: batches both ways, and errors that are counted instead of raised.

A socket is non-blocking; trio only tells when it is worth another try (``wait_readable``, ``wait_writable``), and one
wake-up reads or writes up to 128 datagrams. All other results of system calls are network conditions: full buffers,
unreachable hosts, an interface that disappears. The ring above repairs every loss. So an error costs the datagram it
belongs to, is counted by its name, and is never raised. A socket that returns only errors is left alone for a moment,
so that errors do not cause a busy loop.

:class:`SocketTransport` is the part that all UDP transports share: a table says what is sent where, and incoming
datagrams are distinguished by their origin (see ``_plain.py``).
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import trio

from ringproto.log import BoundedLog
from ringproto.transports._addresses import format_address, unpack_address
from ringproto.transports._blocking import BlockingWait, wait_for_room
from ringproto.transports._checks import YIELD_EVERY, check_whole
from ringproto.transports._paths import ANNOUNCE_EVERY_S, LOOK_EVERY_S, PLAIN_FOR_S, Paths
from ringproto.transports._readable import Readable
from ringproto.transports._segments import HEADER_SIZE as SEGMENT_HEADER_SIZE
from ringproto.transports._segments import NOTICE_MTU, SEGMENTS_MAX, Joiner, notice
from ringproto.transports._traffic import LOOK_EVERY, Traffic, UdpSocket, errno_name

_interpreted = os.environ.get("RINGPROTO_INTERPRETED", "") not in ("", "0")
if TYPE_CHECKING or sys.platform != "linux" or _interpreted:
    from ringproto.transports._plain import Receiver, SocketWriter
else:
    try:
        from ringproto.transports._batch import Receiver, SocketWriter
    except ImportError:
        from ringproto.transports._plain import Receiver, SocketWriter

__all__ = [
    "BATCHED",
    "DATAGRAM_SIZE_MAX",
    "DATAGRAM_SIZE_MIN",
    "LOG_NAME",
    "PEERS_MAX",
    "SAID_EVERY_S",
    "DatagramSocket",
    "Sizes",
    "SocketTransport",
    "fitting_sizes",
]

BATCHED: bool = Receiver.__module__.endswith("_batch")
"""Whether the compiled module reads and writes datagrams, many in one system call."""

DATAGRAM_SIZE_MIN = 64
DATAGRAM_SIZE_MAX = 65_507
"""The largest UDP datagram over IPv4, in bytes."""

_FRAME_SIZE = 1352
_FRAMES_BYTES = 8 * _FRAME_SIZE
_HOST_SIZE = 32_000 if sys.platform == "linux" else 8_952

BATCH_MAX = 128
"""Maximum number of messages that one system call reads."""
SEND_BATCH_MAX = 512
"""Maximum number of datagrams that one system call sends."""
BUFFER_BYTES_MAX = 2**20
"""Maximum size of a socket's receive buffers, in bytes. Datagrams of more than 8 KiB are read in smaller batches to
stay below it."""
SEND_WAIT_S = 0.02
"""Seconds for which one call of ``send`` waits for space in the send buffer before it drops the rest of its batch."""

_SO_MEMINFO = 55  # Linux 4.12 and later: an array of 32-bit counters; the ninth counts drops
_MEMINFO = struct.Struct("=9I")

LOG_NAME = "ringproto.transports"
"""The logger of all transports."""
SAID_EVERY_S = 60.0
"""Minimum number of seconds between two log lines about one peer, or about one kind of unknown sender."""
PEERS_MAX = 1024
"""Maximum number of other processors that a transport remembers."""
REFUSED_MAX = 2048
"""Maximum number of addresses that are remembered as refusing runs."""
LOOK_WITHIN_S = 0.5
"""If ``LOOK_EVERY`` writes take longer than this number of seconds, the transport checks the clock at each write."""


class Sizes(NamedTuple):
    """The sizes of what a transport sends, in bytes, without the transport's own header."""

    datagram: int
    """The largest datagram of the ring."""
    segment: int
    """Larger datagrams are cut."""


def fitting_sizes(datagram_size: int | None, segment_size: int | None, header_size: int, *, local: bool) -> Sizes:
    """Return the sizes that the transport was given; a size of ``None`` is replaced by one that suits the path.

    A ring's cost for a datagram hardly depends on its size. Within a host (``local``) no frame limits the size, and a
    large datagram carries more than twice as much for the same work. More than 32,000 bytes gain little and require
    larger contiguous memory from the kernel. Systems other than Linux refuse more than about 9,000 bytes unless
    configured otherwise. Between hosts the default is as many whole segments as fit into 8 frames: a lost segment loses
    its whole datagram.

    Args:
        datagram_size, segment_size: the sizes that the transport was given, both with its header.
        header_size: bytes of the transport's header, with which each segment begins.
        local: whether all processors are on this host.

    Raises:
        ValueError: a size is not valid for a datagram, or the datagram would need too many segments.
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


class DatagramSocket(UdpSocket):
    """One socket: its buffers, its counters and its back-off.

    Args:
        sock: non-blocking; this object owns it from now on.
        size: the largest datagram of the ring, in bytes, cut or not.
        header: the first bytes of every outgoing datagram. Incoming datagrams have a header of the same size.
        senders_max: maximum number of senders with an incomplete datagram.
        skip: the origin of this processor's own datagrams, if they can come back.
        counts: counters of errors by name; several sockets may share it.
        offload: whether the kernel may take and return runs of datagrams, if it can.
        log: the log for a warning about a receive buffer that is too small.
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
        log: BoundedLog,
    ) -> None:
        # A datagram of the full size becomes a segment if its first byte is the mark, and then has a segment header
        # too.
        room = size + SEGMENT_HEADER_SIZE
        batch = max(16, min(BATCH_MAX, BUFFER_BYTES_MAX // (room + len(header))))
        super().__init__(
            Receiver(sock, batch, room, len(header), skip, offload),
            SocketWriter(sock, SEND_BATCH_MAX, header, offload),
            Joiner(size, senders_max, counts),
            counts,
        )
        self.socket = sock
        self._log = log

    def set_buffers(self, receive_bytes: int, send_bytes: int) -> None:
        """Request buffers of these sizes, and log a hint if the system grants less for receiving."""
        self._set_buffer(socket.SO_RCVBUF, "SO_RCVBUFFORCE", 33, receive_bytes)
        self._set_buffer(socket.SO_SNDBUF, "SO_SNDBUFFORCE", 32, send_bytes)
        given = self.buffer_bytes(socket.SO_RCVBUF)
        if given < receive_bytes:
            self._log.warning(
                "receive buffer",
                f"a receive buffer of {receive_bytes} bytes was asked for and {given} given, so bursts may be lost: "
                f"raise it with `sysctl -w net.core.rmem_max={receive_bytes}`, or ask for less (receive_buffer)",
            )

    def _set_buffer(self, option: int, forced: str, forced_linux: int, size: int) -> None:
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, option, size)
        if self.buffer_bytes(option) < size and sys.platform == "linux":
            # Privileged processes (CAP_NET_ADMIN) may exceed the limit of the system.
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, getattr(socket, forced, forced_linux), size)

    def buffer_bytes(self, option: int) -> int:
        """Return the size of a buffer in the unit in which it is requested (Linux reports twice as much)."""
        size = self.socket.getsockopt(socket.SOL_SOCKET, option)
        return size // 2 if sys.platform == "linux" else size

    def kernel_drops(self) -> int | None:
        """Return the number of datagrams that the system dropped because the receive buffer was full; ``None`` where it
        does not report it."""
        if sys.platform != "linux":
            return None
        try:
            answer = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return None
        return int(_MEMINFO.unpack(answer)[8]) if len(answer) == _MEMINFO.size else None

    async def write_rest(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], place: int) -> None:
        """Send from index ``place`` on, which :meth:`write_some` has reached. Wait for space in the send buffer, for at
        most ``SEND_WAIT_S``.

        Cancellation: noticed only while the send buffer is full; the rest is then dropped and counted.
        """
        total = len(datagrams)
        self._counts["send_waits"] += 1
        deadline = trio.current_time() + SEND_WAIT_S
        while place < total and await self._room_until(deadline, total - place):
            place = self.write_some(addresses, heads, datagrams, place)

    def write_blocking(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes]) -> None:
        """Send as :meth:`write_some` does, and wait as :meth:`write_rest` does, but without trio."""
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
        """Wait for space in the send buffer. At the deadline, count the ``left`` datagrams as dropped and return
        ``False``."""
        try:
            with trio.move_on_at(deadline):
                await trio.lowlevel.wait_writable(self.socket)
                return True
        except trio.Cancelled:
            self._counts["drops_cancelled"] += left
            raise
        self._counts["drops_send_buffer_full"] += left
        return False

    def close(self, *, by_trio: bool = True) -> None:
        """Close the socket. With ``by_trio=False`` trio is not notified: a thread without trio has no task that waits,
        and cannot wake one."""
        if by_trio:
            trio.lowlevel.notify_closing(self.socket)
        self.socket.close()


def _counts_of(one: DatagramSocket) -> dict[str, int]:
    """Return the counters that a socket keeps itself."""
    return {
        "drops_oversized": one.receiver.oversized + one.joiner.oversized,
        "drops_undersized": one.receiver.undersized,
        "drops_receive_buffer_full": one.kernel_drops() or 0,
        "own_datagrams_returned": one.receiver.skipped,
    }


class SocketTransport(Traffic):
    """The common part of the UDP transports. They add the destinations (the tables) and the way of reading.

    Args:
        node: the node id of this processor.
        sizes: the sizes of the largest datagram and of the largest segment.
        sockets: the sockets to read; the last one is also written.
        counts: the counters that the sockets share.
        header_size: bytes that the transport puts before each datagram and segment.
        log: the log for the operator.
        unsaid: the queue in which lines of ``log`` wait until no operation is half done.
        group: the multicast group, as a packed address, if broadcasts go to one.
    """

    def __init__(
        self,
        node: int,
        sizes: Sizes,
        sockets: Sequence[DatagramSocket],
        counts: Counter[str],
        *,
        header_size: int,
        log: BoundedLog,
        unsaid: deque[Callable[[], None]],
        group: bytes | None = None,
    ) -> None:
        super().__init__(node, sizes.datagram, sizes.segment, sockets, counts)
        self._unsaid = unsaid
        self._sockets = list(sockets)
        self._header_size = header_size
        self._log = log
        # Log for datagrams that do not fit the configuration: every datagram of a peer may cause the same line again.
        self._peers_log = BoundedLog(
            LOG_NAME, spacing_s=SAID_EVERY_S, kinds_max=4 * PEERS_MAX, node=node, waiting=unsaid
        )
        self._paths = Paths(sizes.segment, sizes.datagram, header_size, self._open_probe, log, group)
        # The time of the last check of the clock, and the due times of the periodic work.
        self._looked_at = -math.inf
        self._look_at_paths_at = -math.inf
        self._announce_at = -math.inf
        self._runs_again_at = math.inf
        # The segment size with which runs to an address were last refused.
        self._refused_size: dict[bytes, int] = {}
        self._readable = Readable(sockets)
        self._readable_fd = self._wait_for = self._readable.fd
        self._sent_since_yield = 0
        self._last_gauges: dict[str, int] = {}
        # The counters of sockets that were closed since.
        self._retired: Counter[str] = Counter()
        # The wait of the driver's thread, if trio does not know that thread. The offset is added to its clock so that
        # its time continues trio's: no time that was noted before must be changed.
        self._blocking: BlockingWait | None = None
        self._clock_offset_s = 0.0

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Send datagrams; see :meth:`ringproto.transports.Transport.send`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_open()
        if self._sending:
            raise trio.BusyResourceError("another task is sending through this transport")
        if transmits and self._is_due():
            self._tend(self._now())
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
            if self._unsaid:
                self._say()
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
                try:
                    await trio.lowlevel.wait_readable(self._wait_for)
                except trio.ClosedResourceError:
                    self._check_open()
                    self._wait_for = self._readable_fd  # another socket replaced the closed one
                    continue
            elif self._more:
                await trio.lowlevel.checkpoint()
            else:
                await self._readable.wait()
            # Nothing is read before this line and nothing waits after it: cancellation cannot lose a datagram.
            batch = self._read_counted()
            if batch:
                return batch

    def begin_blocking(self) -> None:
        """Switch to use by a thread; see :meth:`ringproto.transports.BlockingTransport.begin_blocking`."""
        self._check_open()
        if self._blocking is None:
            self._clock_offset_s = trio.current_time() - time.monotonic()
            self._blocking = BlockingWait(self._sockets)

    def send_blocking(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Send datagrams; see :meth:`ringproto.transports.BlockingTransport.send_blocking`."""
        self._check_open()
        if transmits and self._is_due():
            self._tend(self._now())
        addresses, heads, datagrams = self._route(transmits)
        if datagrams:
            self._sockets[-1].write_blocking(addresses, heads, datagrams)
            self._look_at_loss()
        if self._unsaid:
            self._say()

    def receive_blocking(self, timeout_s: float) -> list[bytes]:
        """Wait for datagrams; see :meth:`ringproto.transports.BlockingTransport.receive_blocking`."""
        self._check_open()
        assert self._blocking is not None, "begin_blocking() comes first"
        if not self._more:
            self._blocking.wait(timeout_s)
        return self._read_counted()

    def interrupt(self) -> None:
        """Wake the thread; see :meth:`ringproto.transports.BlockingTransport.interrupt`."""
        if self._blocking is not None and not self._closed:
            self._blocking.interrupt()

    def _go_on_with(self, fresh: Sequence[DatagramSocket]) -> None:
        """Close the sockets and use these instead. Datagrams that wait in the old ones are lost; a task that waits for
        the old ones continues with the new ones."""
        for old, new in zip(self._sockets, fresh, strict=True):
            self._retired.update(_counts_of(old))
            self._readable.replace(old, new)
            if self._blocking is not None:
                self._blocking.replace(old, new)
        former, self._sockets = self._sockets, list(fresh)
        self._retired.update(datagrams_sent=former[-1].sender.datagrams_sent, bytes_sent=former[-1].sender.bytes_sent)
        self._lines = list(fresh)
        self._writer = fresh[-1]
        self._readable_fd = self._readable.fd
        self._wait_for = -1
        self._refused_size.clear()
        for one in former:
            one.close(by_trio=self._blocking is None)

    async def aclose(self) -> None:
        """Close the transport; see :meth:`ringproto.transports.Transport.aclose`."""
        if not self._closed:
            self._last_gauges = self._gauges()
            self._closed = True
            self._readable.close()
            if self._blocking is not None:
                self._blocking.close()
            for one in self._sockets:
                one.close()
            self._kept = None
            for log in (self._log, self._peers_log):
                log.write_held(at_once=True)
            self._say()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> dict[str, int]:
        """Return counters and gauges; docs/transports.md lists them. May be called from any thread."""
        sockets = self._sockets
        try:
            return self._numbers()
        except OSError:
            if self._closed or self._sockets is not sockets:
                return self.statistics()  # they were closed, or replaced, during a call on another thread
            raise

    def _numbers(self) -> dict[str, int]:
        numbers = {
            "datagrams_sent": self._datagrams_sent(),
            "bytes_sent": self._sockets[-1].sender.bytes_sent + self._retired["bytes_sent"],
            "datagrams_received": self._datagrams_received,
            "bytes_received": self._bytes_received,
            "drops_oversized": self._counted("drops_oversized"),
            "drops_undersized": self._counted("drops_undersized"),
        }
        numbers.update(self._counts)
        failures = self._log.failures + self._peers_log.failures
        if failures:
            numbers["log_failures"] = failures
        numbers.update(self._last_gauges if self._closed else self._gauges())
        return numbers

    def _datagrams_sent(self) -> int:
        return self._sockets[-1].sender.datagrams_sent + self._retired["datagrams_sent"]

    def _gauges(self) -> dict[str, int]:
        """Return the gauges of the sockets, which can be read only while they are open."""
        gauges = {
            "offload_receiving": int(any(one.receiver.coalesces for one in self._sockets)),
            "offload_sending": int(self._sends_runs()),
            "segment_bytes": min([self._segment_size, *self._narrow.values()]) + self._header_size,
            "receive_buffer_bytes": min(one.buffer_bytes(socket.SO_RCVBUF) for one in self._sockets),
            "send_buffer_bytes": self._sockets[-1].buffer_bytes(socket.SO_SNDBUF),
        }
        if self._sockets[0].kernel_drops() is not None:
            gauges["drops_receive_buffer_full"] = self._counted("drops_receive_buffer_full")
        return gauges

    def _counted(self, name: str) -> int:
        """Return the total of all sockets for this counter, including closed ones."""
        return self._retired[name] + sum(_counts_of(one)[name] for one in self._sockets)

    def _sends_runs(self) -> bool:
        """Return whether runs are sent to at least one address."""
        sender = self._sockets[-1].sender
        return sender.segments and not (self._everybody and all(one in sender.plain for one in self._everybody))

    # Periodic work, and work after errors

    def _now(self) -> float:
        """Return seconds on the clock that :meth:`_tend` uses."""
        return trio.current_time() if self._blocking is None else time.monotonic() + self._clock_offset_s

    def _tend(self, now: float) -> None:
        often = (now - self._looked_at) * LOOK_EVERY < LOOK_WITHIN_S * self._look_after
        self._look_after = LOOK_EVERY if often else 1
        self._looked_at = now
        self._log.write_held()
        self._peers_log.write_held()
        if now >= self._look_at_paths_at:
            self._look_at_paths(now)
        if self._paths.measured and now >= self._announce_at:
            self._announce_at = now + ANNOUNCE_EVERY_S
            self._announce()

    def _look_at_paths(self, now: float) -> None:
        """Update the sizes of segments from the MTUs of the paths."""
        self._look_at_paths_at = now + LOOK_EVERY_S
        self._paths.forget(now)
        self._paths.look([*self._everybody, *self._addresses.values()])
        self._fit_segments()
        if now >= self._runs_again_at:
            self._runs_again_at = math.inf
            self._refused_size.clear()
            self._sockets[-1].sender.plain.clear()

    def _fit_segments(self) -> None:
        """Set the sizes of segments as the paths are known now."""
        paths = self._paths
        everybody = self._everybody  # the background work of a transport may replace the table
        here = {*everybody, *self._addresses.values()}
        if not here:
            return
        sizes = {address: paths.size(address) for address in here}
        # The usual size is that of broadcasts. A node that was first heard just now is behind the same interface.
        self._segment_size = usual = max(sizes[address] for address in everybody or here)
        self._narrow = {address: size for address, size in sizes.items() if size < usual}

    def _announce(self) -> None:
        """Tell the other transports that only small packets reach this host."""
        paths = self._paths
        for address in paths.measured if paths.group is None else (paths.group,):
            mtu = paths.mtu(address)
            if mtu is not None:
                self._tell(address, notice(NOTICE_MTU, min(mtu, 0xFFFF)))

    def _tell(self, address: bytes, text: bytes) -> None:
        """Send a notice now, if the send buffer has space for it."""
        if self._sockets[-1].sender.send([address], [b""], [text], 0) == 1:
            self._counts["notices_sent"] += 1

    def _take_notices(self, notices: list[tuple[bytes, int, int]]) -> None:
        for origin, kind, number in notices:
            self._counts["notices_received"] += 1
            self._take_notice(origin[: len(origin) - self._header_size], kind, number)

    def _take_notice(self, address: bytes, kind: int, number: int) -> None:
        """Handle a notice of the transport at an address."""
        if kind == NOTICE_MTU:
            self._paths.hear(address, number, self._now())
            self._fit_segments()

    def _after_loss(self, error: int, address: bytes) -> None:
        name = errno_name(error)
        self._log.warning(
            f"send {name}",
            f"a datagram to {format_address(unpack_address(address))} could not be sent: {name}, {os.strerror(error)} "
            f"({self._counts['send_errors_' + name]} since the transport was opened)",
        )

    def _after_refusal(self, error: int) -> None:
        now = self._now()
        self._look_at_paths(now)
        plain = self._sockets[-1].sender.plain
        if len(self._refused_size) > REFUSED_MAX:
            self._refused_size.clear()
        for address in list(plain):
            size = self._paths.size(address)
            if self._refused_size.get(address) != size:
                # The refused datagrams were cut before this size was known.
                self._refused_size[address] = size
                del plain[address]
        if plain:
            self._runs_again_at = now + PLAIN_FOR_S
            first = next(reversed(plain))
            self._log.warning(
                "offload",
                f"the system does not take runs of datagrams to {format_address(unpack_address(first))} "
                f"({errno_name(error)}, {os.strerror(error)}): each datagram to {len(plain)} addresses goes by itself, "
                f"which costs more; runs are tried again after {PLAIN_FOR_S:.0f} s",
            )

    def _open_probe(self) -> socket.socket:
        """Return a socket that sends as this transport does; it is only for queries.

        Raises:
            OSError: the socket cannot be made.
        """
        raise NotImplementedError
