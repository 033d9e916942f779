"""The part of the UDP transports between two waits: read a batch, route a batch, write it.

A hop of the token consists of one wait and the work for one small batch. So this part is compiled and has no ``async``;
the waits are in ``_sockets.py``, which builds on both classes here. :class:`UdpSocket` is one socket: it reads batches
of datagrams of the ring, and writes batches. :class:`Traffic` is a transport: the tables of addresses and the counters.

Error handling is off the fast path. Unknown senders, errors of the system and a full send buffer are handled by methods
that a transport overrides. None of them is called for a datagram without an error.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import trio

from ringproto.transports._checks import is_node, refuse_transmit
from ringproto.transports._segments import MARK, Cutter, Joiner

if TYPE_CHECKING:
    from ringproto.transports._plain import Introduce, Receiver, SocketWriter

__all__ = ["Traffic", "UdpSocket", "errno_name"]

ERRORS_IN_A_ROW = 4
"""Number of consecutive errors on receiving from which on the socket pauses before the next try."""
ERROR_PAUSE_S = 0.001
ERROR_PAUSE_MAX_S = 0.1
"""The pause doubles with each further error, from ``ERROR_PAUSE_S`` to ``ERROR_PAUSE_MAX_S`` seconds."""
LOOK_EVERY = 16
"""Number of writes between two checks of the clock, at which a transport does the work that is due. During errors, or
while writes are rare, it checks at each write."""

_WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)


class UdpSocket:
    """One socket: it reads datagrams of the ring, and writes datagrams and segments.

    Args:
        receiver, sender: the two directions of the socket.
        joiner: joins segments.
        counts: counters of errors by name; several sockets may share it.
    """

    def __init__(self, receiver: Receiver, sender: SocketWriter, joiner: Joiner, counts: Counter[str]) -> None:
        self.receiver = receiver
        self.sender = sender
        self.joiner = joiner
        self._counts = counts
        self.more = False
        """Whether more datagrams may wait after the last read."""
        self.errors_in_a_row = 0
        """Errors on receiving since the last datagram was received."""
        self.heard = 0
        """Datagrams of the ring and notices that this socket received from welcome origins."""
        self.lost_to = 0
        """The number of the first error that lost an outgoing datagram, 0 if none did. The reader resets it to 0."""
        self.lost_address = b""
        """The destination of that datagram."""
        self.refused = 0
        """The number of the last error because of which a run was sent as single datagrams, 0 if there was none."""

    def read(self, known: Collection[bytes], introduce: Introduce) -> list[bytes]:
        """Return one batch of waiting datagrams, joined, or an empty list; sets ``more``. Never blocks.

        ``known`` contains the welcome origins; ``introduce`` is called for every other one.
        """
        whole: list[bytes] = []
        read = self.receiver.receive(self.joiner, known, introduce, whole)
        if read < 0:
            self.more = False
            self._counts["receive_errors_" + errno_name(-read)] += 1
            self.errors_in_a_row += 1
            return whole
        self.more = read > 0 and read == self.receiver.count
        if read:
            self.errors_in_a_row = 0
            self.heard += len(whole) + len(self.joiner.notices)
        return whole

    def pause_s(self) -> float:
        """Return the seconds for which the socket must not be read; 0 unless it keeps failing."""
        excess = self.errors_in_a_row - ERRORS_IN_A_ROW
        return min(ERROR_PAUSE_S * 2.0 ** min(excess, 20), ERROR_PAUSE_MAX_S) if excess >= 0 else 0.0

    def write_some(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], place: int) -> int:
        """Send from index ``place`` on until the send buffer is full; see ``_plain.Sender.send``.

        Returns the index that was reached. Errors that lose a datagram are counted, and the first is kept in
        ``lost_to``: broadcasts come before unicasts, and their errors say more about the interface.
        """
        total = len(datagrams)
        refused = False
        while place < total:
            sent = self.sender.send(addresses, heads, datagrams, place)
            if sent > 0:
                place += sent
                refused = False
                continue
            error = -sent
            if error in _WOULD_BLOCK:
                break
            if self.sender.refused:
                # The refused message was a run. The next iteration sends its datagrams one by one.
                self.refused, self.sender.refused = error, 0
                self._counts["runs_refused_" + errno_name(error)] += 1
                continue
            self._counts["send_errors_" + errno_name(error)] += 1
            if error == errno.ECONNREFUSED and not refused:
                # Some systems report the fate of an earlier datagram here. This one has not been tried yet.
                refused = True
                continue
            refused = False
            if self.lost_to:
                place += 1
                continue
            self.lost_to = error
            self.lost_address = addresses[place]
            place += 1
        return place


class Traffic:
    """The synchronous part of a transport.

    Args:
        node: the node id of this processor.
        size_max: the largest datagram of the ring, in bytes.
        segment_size: the size in bytes above which a datagram is cut.
        lines: the sockets to read; the last one is also written.
        counts: counters of errors by name.
    """

    def __init__(
        self, node: int, size_max: int, segment_size: int, lines: Sequence[UdpSocket], counts: Counter[str]
    ) -> None:
        self.node = node
        self.datagram_size_max = size_max
        # The size above which datagrams are cut, and smaller sizes for single addresses.
        self._segment_size = min(size_max, segment_size)
        self._narrow: dict[bytes, int] = {}
        self._cutter = Cutter(segment_size)
        self._counts = counts
        self._lines = list(lines)
        self._writer = lines[-1]
        # The destinations of a broadcast, the address of each node, and the destination for nodes without an address.
        self._everybody: list[bytes] = []
        self._addresses: dict[int, bytes] = {}
        self._elsewhere: bytes | None = None
        # The welcome origins.
        self._origins: Collection[bytes] = frozenset()
        # Whether a read is worth a try without a wait for the sockets.
        self._more = False
        # The file descriptor for which trio waits, -1 if there is no single one. The second is also -1 while more
        # datagrams may be ready to be read, or while a socket fails.
        self._readable_fd = -1
        self._wait_for = -1
        # Writes since the last check of the clock, and the number of writes until the next one.
        self._unlooked = 0
        self._look_after = 1
        self._sending = False
        # The batch that send_nowait() could not finish, and the index that was reached in it.
        self._kept: tuple[list[bytes], list[bytes], list[bytes], int] | None = None
        # Lines for the log, which are written when no operation is half done.
        self._unsaid: deque[Callable[[], None]] = deque()
        self._closed = False
        self._datagrams_received = 0
        self._bytes_received = 0

    def send_nowait(self, transmits: Sequence[tuple[int, bytes]]) -> bool:
        """Send datagrams; see :meth:`ringproto.transports.EagerTransport.send_nowait`."""
        if self._closed:
            self._check_open()
        if self._sending or self._kept is not None:
            raise trio.BusyResourceError("what this transport sends waits for room; await send() of nothing first")
        if transmits and self._is_due():
            self._tend(trio.current_time())
        addresses, heads, datagrams = self._route(transmits)
        place = self._write(addresses, heads, datagrams)
        if place < len(datagrams):
            self._kept = (addresses, heads, datagrams, place)
            return False
        if self._unsaid:
            self._say()
        return True

    def _write(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes]) -> int:
        """Write until the send buffer is full; return the index that was reached."""
        place = self._writer.write_some(addresses, heads, datagrams, 0)
        if self._writer.lost_to or self._writer.refused:
            self._look_at_loss()
        return place

    def _is_due(self) -> bool:
        """Return whether to check the clock before this write. The work that is due may change destinations."""
        self._unlooked += 1
        if self._unlooked < self._look_after:
            return False
        self._unlooked = 0
        return True

    def _look_at_loss(self) -> None:
        """Handle the errors of a write."""
        writer = self._writer
        if writer.lost_to:
            error, writer.lost_to = writer.lost_to, 0
            self._after_loss(error, writer.lost_address)
        if writer.refused:
            error, writer.refused = writer.refused, 0
            self._after_refusal(error)

    def _route(self, transmits: Sequence[tuple[int, bytes]]) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Check a whole batch, then route it. Returns addresses, heads and datagrams, in the form that
        ``_plain.Sender.send`` takes."""
        addresses: list[bytes] = []
        heads: list[bytes] = []
        datagrams: list[bytes] = []
        strangers: list[int] = []
        broadcast_heads: list[bytes] = []
        broadcasts: list[bytes] = []
        size_max = self.datagram_size_max
        segment_size = self._segment_size
        narrow = self._narrow
        known = self._addresses
        mark = MARK
        for destination, given in transmits:
            if type(given) is not bytes or not 0 < len(given) <= size_max:
                refuse_transmit(destination, given, size_max)
            datagram = given
            whole = len(datagram) <= segment_size and datagram[0] != mark
            if destination == 0:
                if whole:
                    broadcast_heads.append(b"")
                    broadcasts.append(datagram)
                else:
                    cut = self._cutter.cut(datagram, segment_size)
                    broadcast_heads += cut
                    broadcasts += [datagram] * len(cut)
                continue
            if broadcasts:
                self._route_broadcasts(broadcast_heads, broadcasts, addresses, heads, datagrams)
                broadcast_heads, broadcasts = [], []
            address = known.get(destination)
            if address is None:
                if not is_node(destination):
                    refuse_transmit(destination, datagram, size_max)
                strangers.append(destination)
                address = self._elsewhere
                if address is None or destination == self.node:
                    continue
            size = segment_size
            if narrow and address in narrow:
                size = narrow[address]
                whole = len(datagram) <= size and datagram[0] != mark
            if whole:
                addresses.append(address)
                heads.append(b"")
                datagrams.append(datagram)
            else:
                cut = self._cutter.cut(datagram, size)
                addresses += [address] * len(cut)
                heads += cut
                datagrams += [datagram] * len(cut)
        if broadcasts:
            self._route_broadcasts(broadcast_heads, broadcasts, addresses, heads, datagrams)
        for stranger in strangers:
            if stranger == self.node:
                self._counts["drops_to_self"] += 1
            elif self._elsewhere is None:
                self._counts["drops_unknown_destination"] += 1
            else:
                self._counts["unicasts_to_group"] += 1
        return addresses, heads, datagrams

    def _route_broadcasts(
        self,
        broadcast_heads: list[bytes],
        broadcasts: list[bytes],
        addresses: list[bytes],
        heads: list[bytes],
        datagrams: list[bytes],
    ) -> None:
        """Route all broadcasts to one address, then to the next, so that runs to one address are long."""
        narrow = self._narrow
        for address in self._everybody:
            if narrow and address in narrow:
                self._route_narrow(address, narrow[address], broadcast_heads, broadcasts, addresses, heads, datagrams)
            else:
                addresses += [address] * len(broadcasts)
                heads += broadcast_heads
                datagrams += broadcasts

    def _route_narrow(
        self,
        address: bytes,
        size: int,
        broadcast_heads: list[bytes],
        broadcasts: list[bytes],
        addresses: list[bytes],
        heads: list[bytes],
        datagrams: list[bytes],
    ) -> None:
        """Route all broadcasts to one address that needs smaller segments than usual."""
        for head, datagram in zip(broadcast_heads, broadcasts, strict=True):
            if head and head[1]:
                continue  # its datagram is cut again at its first segment
            cut = [b""] if len(datagram) <= size and datagram[0] != MARK else self._cutter.cut(datagram, size)
            addresses += [address] * len(cut)
            heads += cut
            datagrams += [datagram] * len(cut)

    def _read_counted(self) -> list[bytes]:
        """Return one batch of datagrams from known senders, or an empty list; sets ``_more``.

        Raises:
            trio.ClosedResourceError: the transport is closed.
        """
        if self._closed:
            self._check_open()
        batch = self._read()
        size = 0
        for datagram in batch:
            size += len(datagram)
        self._bytes_received += size
        self._datagrams_received += len(batch)
        self._wait_for = -1 if self._more else self._readable_fd
        for line in self._lines:
            if line.errors_in_a_row:
                self._wait_for = -1
            if line.joiner.notices:
                notices, line.joiner.notices = line.joiner.notices, []
                self._take_notices(notices)
        if self._unsaid:
            self._say()
        return batch

    def _say(self) -> None:
        """Write the waiting lines of the log, unless a batch is being sent: a log handler of the program may send."""
        while not self._sending and self._kept is None:
            try:
                write = self._unsaid.popleft()
            except IndexError:
                return  # the queue is empty; the driver and the background work may be two threads
            write()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the transport is closed")

    # Methods that a transport overrides

    def _read(self) -> list[bytes]:
        """Return one batch of datagrams from known senders, or an empty list; sets ``_more``. This version is for a
        single socket."""
        line = self._writer
        batch = line.read(self._origins, self._introduce)
        self._more = line.more
        return batch

    def _introduce(self, origin: bytes, head: bytes) -> bool:
        """Return whether datagrams of an unknown origin are welcome. ``head`` is how one of them begins."""
        return False

    def _tend(self, now: float) -> None:
        """Do the work that is due, before a batch is sent. ``now`` is in seconds on a steady clock."""

    def _after_loss(self, error: int, address: bytes) -> None:
        """Handle the loss of an outgoing datagram to this address by this error."""

    def _after_refusal(self, error: int) -> None:
        """Handle a run of datagrams that the system refused with this error; its datagrams are sent one by one."""

    def _take_notices(self, notices: list[tuple[bytes, int, int]]) -> None:
        """Handle notices of other transports: origin, kind and number of each."""


def errno_name(number: int) -> str:
    return errno.errorcode.get(number, str(number))
