"""What the transports over UDP do between two waits: take a batch from a socket, find out what goes where, write it.

A hop of the token is one wait and what is done then for one small batch, so this part is compiled, and has no ``async``
in it: the waits are in ``_sockets.py``, which builds on both classes here. :class:`Line` is one socket: batches in, as
datagrams of the ring, and batches out. :class:`Traffic` is a transport: the tables of addresses, and the counters.

Trouble has its price where it occurs. Who is not known, what the system refuses and what the send buffer does not take
goes through methods that a transport fills in, and none of these is called for a datagram that went well.
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
    from ringproto.transports._plain import Introduce, Receiver, Sender

__all__ = ["Line", "Traffic", "errno_name"]

ERRORS_IN_A_ROW = 4
"""So many errors on receiving, with nothing received in between, are tried again at once."""
ERROR_PAUSE_S = 0.001
ERROR_PAUSE_MAX_S = 0.1
"""After that the pause doubles, from the first of these to the second."""
LOOK_EVERY = 16
"""So many writes after it looked last a transport looks at the clock, and sees to what is due. After each write while
there is trouble, or while writes are rare."""

_WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)


class Line:
    """One socket: what it gives, as datagrams of the ring, and what it takes.

    Args:
        receiver, sender: of the socket.
        joiner: puts together what comes in segments.
        counts: where trouble is counted by name; several may share it.
    """

    def __init__(self, receiver: Receiver, sender: Sender, joiner: Joiner, counts: Counter[str]) -> None:
        self.receiver = receiver
        self.sender = sender
        self.joiner = joiner
        self._counts = counts
        self.more = False
        """Whether more may wait, after what was read last."""
        self.errors_in_a_row = 0
        """Errors on receiving since something was received."""
        self.heard = 0
        """Datagrams of the ring and notices that came by this socket from welcome origins."""
        self.lost_to = 0
        """The number of the first error that cost a datagram that was to be sent, 0 if none did. Who looks at it sets
        it to 0."""
        self.lost_address = b""
        """Where that datagram was to go."""
        self.refused = 0
        """The number of the last error for which a run went as single datagrams, 0 if none did."""

    def read(self, known: Collection[bytes], introduce: Introduce) -> list[bytes]:
        """One batch of what waits, maybe nothing, put together; sets ``more``. Never blocks.

        ``known`` has the origins that are welcome; ``introduce`` is asked about every other one.
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
        """How long to leave the socket alone before it is read again, in seconds; 0 unless it keeps failing."""
        excess = self.errors_in_a_row - ERRORS_IN_A_ROW
        return min(ERROR_PAUSE_S * 2.0 ** min(excess, 20), ERROR_PAUSE_MAX_S) if excess >= 0 else 0.0

    def write_some(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], place: int) -> int:
        """Send from ``place`` on until the send buffer is full; see ``_plain.Sender.send``.

        Returns the place that was reached. Errors that cost a datagram are counted, and the first is kept in
        ``lost_to``: what was broadcast comes before what was unicast, and tells more of the interface.
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
                # It was a run. Its datagrams go one by one in the next turn of this loop.
                self.refused, self.sender.refused = error, 0
                self._counts["runs_refused_" + errno_name(error)] += 1
                continue
            self._counts["send_errors_" + errno_name(error)] += 1
            if error == errno.ECONNREFUSED and not refused:
                # Some systems report here what became of an earlier datagram. This one has not been tried yet.
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
    """What goes through a transport.

    Args:
        node: the own node id.
        size_max: the largest datagram of the ring, in bytes.
        segment_size: what is larger than this is cut, in bytes.
        lines: the sockets that are read; the last one is also written.
        counts: where trouble is counted by name.
    """

    def __init__(
        self, node: int, size_max: int, segment_size: int, lines: Sequence[Line], counts: Counter[str]
    ) -> None:
        self.node = node
        self.datagram_size_max = size_max
        # What is larger is cut, and where another size is needed for what goes to one address.
        self._segment_size = min(size_max, segment_size)
        self._narrow: dict[bytes, int] = {}
        self._cutter = Cutter(segment_size)
        self._counts = counts
        self._lines = list(lines)
        self._writer = lines[-1]
        # Where a broadcast goes, where each node is, and where a node is looked for that is not in the table.
        self._everybody: list[bytes] = []
        self._addresses: dict[int, bytes] = {}
        self._elsewhere: bytes | None = None
        # Whose datagrams are welcome.
        self._origins: Collection[bytes] = frozenset()
        # Whether a read is worth a try without waiting for the sockets.
        self._more = False
        # The file descriptor that trio waits for, -1 where there is no such one; and the same, but -1 also while more
        # may be there to be read already, or a socket fails.
        self._readable_fd = -1
        self._wait_for = -1
        # Writes since the transport looked at the clock, and after how many it looks again.
        self._unlooked = 0
        self._look_after = 1
        self._sending = False
        # What send_nowait() could not send, and the place in it that was reached.
        self._kept: tuple[list[bytes], list[bytes], list[bytes], int] | None = None
        # Lines for the log, which are written when nothing is half done.
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
        """Write what there is room for now; returns the place that was reached."""
        place = self._writer.write_some(addresses, heads, datagrams, 0)
        if self._writer.lost_to or self._writer.refused:
            self._look_at_loss()
        return place

    def _is_due(self) -> bool:
        """Whether to look at the clock before this write. What is due may change where datagrams go."""
        self._unlooked += 1
        if self._unlooked < self._look_after:
            return False
        self._unlooked = 0
        return True

    def _look_at_loss(self) -> None:
        """See what came of a write."""
        writer = self._writer
        if writer.lost_to:
            error, writer.lost_to = writer.lost_to, 0
            self._after_loss(error, writer.lost_address)
        if writer.refused:
            error, writer.refused = writer.refused, 0
            self._after_refusal(error)

    def _route(self, transmits: Sequence[tuple[int, bytes]]) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Check all of a batch, then say what goes where: addresses, heads and datagrams, as ``_plain.Sender.send``
        takes them."""
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
        """All of them to one address after the other, so that runs of one address are long."""
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
        """All of them to one address to which segments are smaller than usual."""
        for head, datagram in zip(broadcast_heads, broadcasts, strict=True):
            if head and head[1]:
                continue  # it is cut anew where its first segment stands
            cut = [b""] if len(datagram) <= size and datagram[0] != MARK else self._cutter.cut(datagram, size)
            addresses += [address] * len(cut)
            heads += cut
            datagrams += [datagram] * len(cut)

    def _read_counted(self) -> list[bytes]:
        """One batch of datagrams from known senders, maybe none; sets ``_more``.

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
        """Write the lines that wait for the log, unless a batch is being sent: a handler of the program's may send."""
        while not self._sending and self._kept is None:
            try:
                write = self._unsaid.popleft()
            except IndexError:
                return  # no more; the driver and the background work may be two threads
            write()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the transport is closed")

    # What a transport fills in

    def _read(self) -> list[bytes]:
        """One batch of datagrams from known senders, maybe none; sets ``_more``. This is for a single socket."""
        line = self._writer
        batch = line.read(self._origins, self._introduce)
        self._more = line.more
        return batch

    def _introduce(self, origin: bytes, head: bytes) -> bool:
        """Whether datagrams of an origin that is not known are welcome. ``head`` is how one of them begins."""
        return False

    def _tend(self, now: float) -> None:
        """See to what is due; a batch is about to be sent. ``now`` are seconds on a steady clock."""

    def _after_loss(self, error: int, address: bytes) -> None:
        """A datagram that was to be sent to this address was lost to this error."""

    def _after_refusal(self, error: int) -> None:
        """The system refused a run of datagrams with this error, and took them one by one."""

    def _take_notices(self, notices: list[tuple[bytes, int, int]]) -> None:
        """Other transports gave these notices: origin, kind and number of each."""


def errno_name(number: int) -> str:
    return errno.errorcode.get(number, str(number))
