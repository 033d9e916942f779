"""Path MTU: the largest packet on the path to each address, and the segment size that follows from it.

The path to an address has a largest packet, its MTU (RFC 1191, RFC 8201). The system knows the MTU of its own interface
and those that routers on the path reported; a connected socket can be asked for the result. The system cuts a larger
single datagram into fragments, which works but costs more. It refuses a larger run of datagrams (``UDP_SEGMENT``). So
segments are made to fit.

The system cannot know that the other host accepts less than this one sends, as when the two ends of one link differ. So
a transport whose own path takes only small packets tells the others from time to time (a notice, see ``_segments.py``),
and these send it no larger ones: a host that cannot send large packets cannot receive them either.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Collection, Iterable

from ringproto.log import BoundedLog
from ringproto.transports._addresses import IPV4_SIZE, format_address, unpack_address
from ringproto.transports._segments import HEADER_SIZE, SEGMENTS_MAX

__all__ = ["ANNOUNCE_EVERY_S", "LOOK_EVERY_S", "Paths", "packet_headers"]

LOOK_EVERY_S = 5.0
"""Seconds between two queries of MTUs to the system, while datagrams are sent. A change of an MTU is known after this
time."""
LOOK_COUNT = 64
"""Maximum number of addresses in one such query."""
ANNOUNCE_EVERY_S = 2.0
"""Seconds between two notices that only small packets reach this transport, while that is so and datagrams are sent."""
TOLD_FOR_S = 20.0
"""Seconds for which a received notice is valid."""
PLAIN_FOR_S = 60.0
"""Seconds after which a run is tried again to an address for which the system refused runs."""
MTU_MIN = 68
"""The smallest MTU (RFC 791), in bytes."""
SEGMENT_MIN = 256
"""Minimum size of a segment, in bytes. If segments of this size do not fit, the system makes fragments."""
TOLD_MAX = 1024
"""Maximum number of addresses whose notices are remembered."""

# From <linux/in.h> and <linux/in6.h>; the socket module lacks them.
_IP_MTU = 14
_IPV6_MTU = 24


def packet_headers(address: bytes) -> int:
    """Return the number of bytes that IP and UDP put in front of a datagram to a packed address."""
    return 28 if len(address) == IPV4_SIZE else 48


class Paths:
    """The size of segments for each address.

    Args:
        segment: bytes of the largest segment if the path accepts it, without the transport's header.
        datagram: bytes of the largest datagram of the ring, which must not need more than ``SEGMENTS_MAX`` segments.
        header: bytes of the transport's header.
        open_probe: makes a socket that sends as the transport does, for queries to the system.
        log: the log for lines about segments that are smaller than usual.
        group: the multicast group, if there is one: a packet that is small enough for it reaches all processors.
    """

    def __init__(
        self,
        segment: int,
        datagram: int,
        header: int,
        open_probe: Callable[[], socket.socket],
        log: BoundedLog,
        group: bytes | None = None,
    ) -> None:
        self.group = group
        self._segment = min(segment, datagram)
        self._least = min(self._segment, max(SEGMENT_MIN, HEADER_SIZE + -(-datagram // SEGMENTS_MAX)))
        self._header = header
        self._open_probe = open_probe
        self._log = log
        # MTUs too small for the largest segment: those that the system reports, and those from notices with their
        # expiry times.
        self._measured: dict[bytes, int] = {}
        self._told: dict[bytes, tuple[int, float]] = {}
        # The address after which the next look continues.
        self._looked_at = b""
        # The MTUs that were logged, so that each is logged once.
        self._logged: dict[bytes, int] = {}

    @property
    def measured(self) -> Collection[bytes]:
        """The addresses to which packets must be small according to the system of this host."""
        return self._measured.keys()

    def mtu(self, address: bytes) -> int | None:
        """Return the bytes of the largest packet to an address if it is smaller than the largest segment needs, else
        ``None``."""
        known = [self._measured[address]] if address in self._measured else []
        if address == self.group:
            known += [mtu for mtu, _ in self._told.values()]
        elif address in self._told:
            known.append(self._told[address][0])
        return min(known, default=None)

    def size(self, address: bytes) -> int:
        """Return the bytes of the largest segment to an address, without the transport's header."""
        mtu = self.mtu(address)
        if mtu is None:
            return self._segment
        return max(self._least, mtu - packet_headers(address) - self._header)

    def look(self, addresses: Iterable[bytes]) -> None:
        """Query the system for the MTUs of these addresses, of the next ``LOOK_COUNT`` of them."""
        given = sorted(set(addresses))
        after = [one for one in given if one > self._looked_at]
        chosen = (after + given)[: min(LOOK_COUNT, len(given))]
        if chosen:
            self._looked_at = chosen[-1]
        mtus = self._ask(chosen)
        for address, mtu in mtus.items():
            if self._too_small(address, mtu):
                self._measured[address] = mtu
            else:
                self._measured.pop(address, None)
        for address in [one for one in self._measured if one not in given]:
            del self._measured[address]
        self._say()

    def hear(self, address: bytes, mtu: int, now: float) -> None:
        """Handle a notice of the transport at an address: only packets of ``mtu`` bytes reach it."""
        if mtu < MTU_MIN or not self._too_small(address, mtu):
            return
        self._told.pop(address, None)
        if len(self._told) >= TOLD_MAX:
            del self._told[next(iter(self._told))]
        self._told[address] = mtu, now + TOLD_FOR_S
        self._say()

    def forget(self, now: float) -> None:
        """Forget notices that have expired."""
        for address in [one for one, (_, until) in self._told.items() if until <= now]:
            del self._told[address]

    def _too_small(self, address: bytes, mtu: int) -> bool:
        return mtu < self._segment + self._header + packet_headers(address)

    def _ask(self, addresses: Iterable[bytes]) -> dict[bytes, int]:
        """Return the MTUs that the system reports."""
        found: dict[bytes, int] = {}
        if sys.platform != "linux":
            return found
        with contextlib.suppress(OSError), self._open_probe() as probe:
            for address in addresses:
                # An address without a route at this moment is queried again next time.
                with contextlib.suppress(OSError):
                    probe.connect(unpack_address(address))
                    if len(address) == IPV4_SIZE:
                        found[address] = probe.getsockopt(socket.IPPROTO_IP, _IP_MTU)
                    else:
                        found[address] = probe.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
        return found

    def _say(self) -> None:
        """Log changes: one line for the paths that became small, and one for those that have the usual size again."""
        # If there is a group, its size applies to all addresses.
        concerned = {*self._measured, *self._told} if self.group is None else {self.group}
        now = {address: mtu for address in sorted(concerned) if (mtu := self.mtu(address)) is not None}
        news = [address for address, mtu in now.items() if self._logged.get(address) != mtu]
        back = [address for address in self._logged if address not in now]
        self._logged = now
        if news:
            least = min(news, key=lambda one: (now[one], one))
            measured = self._measured.get(least) == now[least]
            why = "as the MTU of the path to it says" if measured else "as it says itself"
            if least == self.group:
                why = "as the MTU of the interface says" if measured else "as a member says that needs it"
            self._log.state(
                logging.WARNING,
                "mtu",
                f"packets to {_places(least, news)} may have {now[least]} bytes ({why}): what goes there is cut into "
                f"datagrams of {self.size(least) + self._header} bytes in place of {self._segment + self._header}",
            )
        if back:
            self._log.state(
                logging.INFO, "mtu back", f"packets to {_places(back[0], back)} may have the usual size again"
            )


def _places(first: bytes, addresses: Collection[bytes]) -> str:
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    return format_address(unpack_address(first)) + more
