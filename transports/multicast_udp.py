"""Multicast UDP: what goes to everybody is sent once, and the token by unicast.

A processor has two sockets. The *group* socket is bound to the group and the port that all processors share; it only
receives. The *own* socket is bound to the address of the interface and a port that the system picks; everything is sent
from it, so the source of a multicast is where unicasts to that processor go. Nobody needs a table: each datagram begins
with a transport header that names its sender,

    bytes 0-3   magic, 52 50 4D 01
    bytes 4-7   node id of the sender, big endian

and (source address, node id) is learned from it. A unicast to a node that was not heard of yet goes to the group.

A node that comes from another address than before was started anew, or two processes have its id. A transport cannot
tell which, and must not send the token of one to the other; so what is meant for that node goes to the group until one
of the two addresses alone has been heard for a while (``DISPUTE_S``).

Data must not be overtaken by the token that speaks of it. They come in through different sockets, so the own socket
(tokens) is read *first* and handed over *last*: whatever was in the group socket when the token came is then in front
of it. That holds back tokens under a flood; after some batches they pass all the same.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import math
import socket
import struct
import sys
import threading
import weakref
from collections import Counter
from typing import Any

import trio

from ringproto.log import BoundedLog
from ringproto.transports._addresses import format_address, format_packed, pack_address
from ringproto.transports._checks import check_node, check_whole
from ringproto.transports._interface import InterfaceError, TransportError
from ringproto.transports._sockets import (
    DatagramSocket,
    Sizes,
    SocketTransport,
    bound_socket,
    fitting_sizes,
    logger,
)
from ringproto.transports.interfaces import Interface, describe_interfaces, find_interface

__all__ = ["HEADER_SIZE", "MAGIC", "MulticastUDP", "open_multicast_udp"]

MAGIC = b"RPM\x01"
HEADER_SIZE = 8
_HEADER = struct.Struct("!4sI")

PEERS_MAX = 1024
"""Most nodes whose address is remembered."""
HELD_ROUNDS_MAX = 8
"""Tokens wait behind so many full batches of data at most."""
DISPUTE_S = 5.0
"""For so long one of several addresses of a node has to be heard alone, in seconds, until unicasts go there."""
CLAIMS_MAX = 2
"""Most addresses of one node that are heard at a time."""
SAID_EVERY_S = 60.0
"""The shortest time between two lines of the log about one kind of stranger, in seconds."""
LOOK_EVERY_S = 1.0
"""How often the background work looks around, in seconds."""
REJOIN_EVERY_S = 1.0
"""How often an interface that was in trouble is joined again, while it is."""

_IP_MULTICAST_ALL = 49
_IPV6_MULTICAST_ALL = 29
_INTERFACE_TROUBLE = frozenset(
    {
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ENODEV,
        errno.ENXIO,
        errno.EADDRNOTAVAIL,
        errno.EINVAL,
        errno.EHOSTUNREACH,
    }
)
_GROUPS = {
    4: "IPv4 groups are 224.0.0.0 to 239.255.255.255 (of one's own choice: 239.192.0.0 to 239.195.255.255)",
    6: "IPv6 groups are ff00::/8 (of one's own choice: ff12::/16 on one link, ff15::/16 and ff18::/16 on a site)",
}

_open_transports: weakref.WeakValueDictionary[tuple[str, int, int, int], MulticastUDP] = weakref.WeakValueDictionary()


async def open_multicast_udp(
    node: int,
    group: str,
    port: int,
    *,
    interface: str,
    ttl: int = 1,
    datagram_size: int | None = None,
    segment_size: int | None = None,
    receive_buffer: int = 4 * 2**20,
    send_buffer: int = 2**20,
    offload: bool = True,
) -> MulticastUDP:
    """Open the transport of one processor. Several processors may be on one host.

    Args:
        node: the own node id.
        group: an IPv4 or IPv6 multicast address, the same at all processors.
        port: UDP port, the same at all processors.
        interface: the interface to use, by name (``"eth0"``), address (``"10.77.0.1"``) or network
            (``"10.77.0.0/24"``). The loopback interface works for IPv4.
        ttl: how many hops multicasts may go (time to live; IPv6: hop limit), 0 to 255; 1 stays on the link. Always 0 on
            the loopback interface.
        datagram_size: the largest datagram of the ring, in bytes, with the 8 bytes of the transport header, the same at
            all processors. ``None``: 32,000 on the loopback interface; else what fits into eight segments of 1352.
            ``datagram_size_max`` is 8 less.
        segment_size: the largest datagram on the network, in bytes, with the transport header; larger ones of the ring
            are cut into segments, and put together again. ``None``: 1352, which fits into a frame of 1400 bytes; on the
            loopback interface nothing is cut.
        receive_buffer: bytes of receive buffer to ask the system for, for each of the two sockets.
            ``statistics()["receive_buffer_bytes"]`` says what it gave.
        send_buffer: the same for sending.
        offload: whether to use segmentation offload (``UDP_SEGMENT``, ``UDP_GRO``) where the kernel has it, which saves
            most of the price of a datagram. The gauges ``offload_sending`` and ``offload_receiving`` say whether it is
            in use.

    Raises:
        ValueError: an argument is wrong, as the message says, or this process has this processor open already.
        InterfaceError: there is no such interface, or it is down, has no address of that family or no multicast.
        AddressInUseError: another program has the port for itself.
        TransportError: the system refused for another reason.

    Cancellation: leaves nothing open.
    """
    check_node(node)
    address = _check_group(group)
    check_whole(port, "port", 1, 65_535)
    check_whole(ttl, "ttl", 0, 255)
    check_whole(receive_buffer, "receive_buffer", 1, 2**30)
    check_whole(send_buffer, "send_buffer", 1, 2**30)
    await trio.lowlevel.checkpoint()
    found = _usable_interface(interface, address)
    key = (str(address), port, found.index, node)
    if key in _open_transports:
        raise ValueError(
            f"node {node} is open already on group {address}, port {port}, interface {found.name} in this process: "
            "close that transport first, or use another node id"
        )
    headers = 48 if address.version == 6 else 28
    sizes = fitting_sizes(datagram_size, segment_size, HEADER_SIZE, local=found.loopback)
    largest = min(sizes) + HEADER_SIZE
    if found.mtu is not None and largest + headers > found.mtu:
        logger.warning(
            "datagrams of %d bytes do not fit into the %d bytes of a packet on %s and will be sent in fragments: "
            "use segment_size=%d or less",
            largest,
            found.mtu,
            found.name,
            found.mtu - headers,
        )
    membership = Membership(address, port, found, 0 if found.loopback else ttl)
    try:
        transport = MulticastUDP(node, membership, sizes, receive_buffer, send_buffer, offload)
    except BaseException:
        membership.close()
        raise
    _open_transports[key] = transport
    return transport


class Membership:
    """The group on one interface: what has to be said to the system to send to it and to hear it.

    Raises:
        AddressInUseError, TransportError: the sockets cannot be had.
    """

    def __init__(
        self, group: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, interface: Interface, ttl: int
    ) -> None:
        self.group = group
        self.port = port
        self.interface = interface
        self.ttl = ttl
        index = interface.index
        if group.version == 4:
            self.family: int = socket.AF_INET
            own: tuple[Any, ...] = (str(interface.address), 0)
            self.destination: tuple[Any, ...] = (str(group), port)
        else:
            self.family = socket.AF_INET6
            own = (str(interface.address), 0, 0, index if interface.address.is_link_local else 0)
            self.destination = (str(group), port, 0, index if _on_link(group) else 0)
        bound = self.destination if sys.platform != "win32" else ("", *self.destination[1:])
        self.group_socket = bound_socket(self.family, bound, f"the group on {interface.name}", shared=True)
        try:
            self.own_socket = bound_socket(self.family, own, f"the address of {interface.name}")
        except BaseException:
            self.group_socket.close()
            raise
        try:
            self._only_own_groups()
            self.join()
        except OSError as exc:
            self.close()
            raise TransportError(
                exc.errno, f"group {group} cannot be joined on interface {interface.name}: {exc.strerror}"
            ) from exc

    def close(self) -> None:
        self.group_socket.close()
        self.own_socket.close()

    def _only_own_groups(self) -> None:
        """Hear what comes in by this interface, not what other programs joined elsewhere (Linux gives that too)."""
        if sys.platform != "linux":
            return
        if self.family == socket.AF_INET:
            self.group_socket.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            return
        try:
            self.group_socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
        except OSError as exc:
            if exc.errno != errno.ENOPROTOOPT:  # before Linux 4.20
                raise

    def join(self) -> None:
        """Join the group on the interface, and send by it. May be called again when the interface came back.

        Raises:
            OSError: the interface is not there, or has not got its address back.
        """
        index = socket.if_nametoindex(self.interface.name.partition(":")[0])
        group = self.group.packed
        own, heard = self.own_socket, self.group_socket
        if self.family == socket.AF_INET:
            # struct ip_mreqn where there is an index, struct ip_mreq elsewhere
            where = self.interface.address.packed
            if sys.platform == "linux":
                where += struct.pack("@i", index)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self.ttl)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            own.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, group + where if sys.platform == "linux" else where
            )
            _again(heard, socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, socket.IP_ADD_MEMBERSHIP, group + where)
        else:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, self.ttl)
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            request = group + struct.pack("@I", index)
            _again(heard, socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, socket.IPV6_JOIN_GROUP, request)


def _again(sock: socket.socket, level: int, leave: int, join: int, request: bytes) -> None:
    """Join, after leaving whatever is left of a former membership."""
    with contextlib.suppress(OSError):  # it was not a member
        sock.setsockopt(level, leave, request)
    sock.setsockopt(level, join, request)


class _Dispute:
    """A node that was heard from several addresses."""

    __slots__ = ("heard", "whole")

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        """Where it was heard since the last look."""
        self.whole = False
        """Whether the time since the last look is all in the dispute."""


class MulticastUDP(SocketTransport):
    """The transport that :func:`open_multicast_udp` opens. Keeps the promises of ``Transport``, and of
    ``BlockingTransport``, ``EagerTransport``, ``AddressedTransport`` and ``BackgroundTransport`` too."""

    def __init__(
        self,
        node: int,
        membership: Membership,
        sizes: Sizes,
        receive_buffer: int,
        send_buffer: int,
        offload: bool,
    ) -> None:
        counts: Counter[str] = Counter()
        self._membership = membership
        header = _HEADER.pack(MAGIC, node)
        own_address = membership.own_socket.getsockname()
        own_origin = pack_address(own_address) + header
        self._group, self._own = (
            DatagramSocket(
                sock,
                size=sizes.datagram,
                senders_max=PEERS_MAX,
                header=header,
                skip=own_origin,
                counts=counts,
                offload=offload,
            )
            for sock in (membership.group_socket, membership.own_socket)
        )
        for one in (self._group, self._own):
            one.set_buffers(receive_buffer, send_buffer)
        super().__init__(node, sizes, [self._group, self._own], counts)
        self._everybody = [pack_address(membership.destination)]
        self._elsewhere = self._everybody[0]
        # Where each node was heard last, the one that was learned first in front; those of them to whom unicasts go
        # straight are in _addresses too.
        self._places: dict[int, bytes] = {}
        # Origins that were introduced: one for each place, and more for nodes that were heard from several.
        self._origins: set[bytes] = set()
        # The nodes that came from another address than before; and of each node that had several, the one before the
        # last. A driver on another thread learns while the background work looks.
        self._disputes: dict[int, _Dispute] = {}
        self._claims: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._own_address = pack_address(own_address)
        # What was said since the last look.
        self._noted: set[str] = set()
        self._log = BoundedLog("ringproto.transports", spacing_s=SAID_EVERY_S)
        self._in_background = False
        # Tokens that were read and wait for the data before them.
        self._held: list[bytes] = []
        self._held_rounds = 0
        # When to see to a membership that may be lost.
        self._rejoin_at = -math.inf
        self._name = (
            f"<MulticastUDP node {node} on {format_address(membership.destination)} "
            f"from {format_address(own_address)} by {membership.interface.name}>"
        )

    def __repr__(self) -> str:
        return self._name

    def _read(self) -> list[bytes]:
        own_more = False
        if not self._held:
            self._held = self._own.read(self._origins, self._introduce)
            own_more = self._own.more
            self._held_rounds = 0
        batch = self._group.read(self._origins, self._introduce)
        group_more = self._group.more
        if not group_more or self._held_rounds >= HELD_ROUNDS_MAX:
            batch += self._held
            self._held = []
        else:
            self._held_rounds += 1
        self._more = group_more or own_more or bool(self._held)
        return batch

    def _introduce(self, origin: bytes, head: bytes) -> bool:
        """Learn where a node is from the first datagram with this origin, and say whether it is a good one."""
        address, header = origin[:-HEADER_SIZE], origin[-HEADER_SIZE:]
        magic, node = _HEADER.unpack(header)
        if magic != MAGIC or node == 0:
            self._counts["drops_bad_header"] += 1
            if self._is_new("bad_header"):
                self._log.warning(
                    "bad_header",
                    f"datagrams from {format_packed(address)} are dropped: they do not begin as those of this "
                    "transport do; another program uses this group or port, or another version",
                )
            return False
        if node == self.node:
            # The own datagrams that come back have the own address and were left out before.
            self._counts["drops_own_node_id"] += 1
            self._claims[node] = address
            if self._is_new("own_id"):
                self._log.warning(
                    "own_id",
                    f"datagrams from {format_packed(address)} are dropped: they are of node {node}, which is this "
                    f"processor at {format_packed(self._own_address)}; two processes have one id",
                )
            return False
        with self._lock:
            self._learn(node, address, header)
        return True

    def _learn(self, node: int, address: bytes, header: bytes) -> None:
        """A node was heard from an address at which it was not heard before, or not since the last look."""
        former = self._places.pop(node, None)
        self._places[node] = address
        self._origins.add(address + header)
        if former is None:
            if len(self._places) > PEERS_MAX:
                self._forget(next(iter(self._places)))
            self._addresses[node] = address
            return
        dispute = self._disputes.get(node)
        if dispute is None:
            dispute = self._disputes[node] = _Dispute()
            self._origins.discard(former + header)
        dispute.heard.append(address)
        if len(dispute.heard) > CLAIMS_MAX:
            self._origins.discard(dispute.heard.pop(0) + header)
        self._addresses.pop(node, None)
        if former != address:
            self._counts["addresses_changed"] += 1
            self._claims[node] = former

    def _is_new(self, kind: str) -> bool:
        """Whether nothing of this kind was said since the last look, so that a flood costs no text."""
        if kind in self._noted:
            return False
        self._noted.add(kind)
        return True

    def _forget(self, node: int) -> None:
        """Make room for others."""
        self._counts["addresses_forgotten"] += 1
        header = _HEADER.pack(MAGIC, node)
        dispute = self._disputes.pop(node, None)
        for address in (self._places.pop(node), *(dispute.heard if dispute is not None else ())):
            self._origins.discard(address + header)
        self._addresses.pop(node, None)
        self._claims.pop(node, None)

    def address_of(self, node: int) -> str | None:
        """Where a node was heard last; see :meth:`ringproto.transports.AddressedTransport.address_of`."""
        address = self._own_address if node == self.node else self._places.get(node)
        return None if address is None else format_packed(address)

    def claims_of(self, node: int) -> str | None:
        """Where else a node was heard; see :meth:`ringproto.transports.AddressedTransport.claims_of`."""
        address = self._claims.get(node)
        return None if address is None else format_packed(address)

    async def run_background(self) -> None:
        """Find out which of several addresses a node has; see
        :meth:`ringproto.transports.BackgroundTransport.run_background`."""
        if self._in_background:
            raise trio.BusyResourceError("another task runs the background work of this transport")
        self._in_background = True
        try:
            looked_at = trio.current_time()
            while not self._closed:
                await trio.sleep(LOOK_EVERY_S)
                self._noted = set()
                if trio.current_time() >= looked_at + DISPUTE_S:
                    looked_at = trio.current_time()
                    self._settle_disputes()
        finally:
            self._in_background = False

    def _settle_disputes(self) -> None:
        """Send straight to those nodes again that were heard from one address alone since the last look."""
        with self._lock:
            for node, dispute in tuple(self._disputes.items()):
                header = _HEADER.pack(MAGIC, node)
                heard, dispute.heard = dispute.heard, []
                for address in heard:
                    self._origins.discard(address + header)
                if dispute.whole and len(heard) == 1:
                    del self._disputes[node]
                    self._places[node] = self._addresses[node] = heard[0]
                    self._origins.add(heard[0] + header)
                dispute.whole = True

    def _after_loss(self, error: int) -> None:
        # Trouble here is that the membership may be lost.
        if error in _INTERFACE_TROUBLE:
            self._in_trouble = True

    def _before_write(self, now: float) -> None:
        """Join again after the interface was down, or without its address: the system forgets who was a member."""
        if now < self._rejoin_at:
            return
        self._rejoin_at = now + REJOIN_EVERY_S
        try:
            self._membership.join()
        except OSError:
            self._counts["rejoins_failed"] += 1
        else:
            self._counts["rejoins"] += 1
            self._in_trouble = False

    async def aclose(self) -> None:
        """Close it; see :meth:`ringproto.transports.Transport.aclose`."""
        if not self._closed:
            where = self._membership
            _open_transports.pop((str(where.group), where.port, where.interface.index, self.node), None)
        await super().aclose()

    def statistics(self) -> dict[str, int]:
        """Counters and gauges; docs/transports.md lists them."""
        numbers = super().statistics()
        numbers["own_datagrams_returned"] = self._group.receiver.skipped + self._own.receiver.skipped
        numbers["peers_known"] = len(self._places)
        return numbers


def _check_group(group: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ranges = f"{_GROUPS[4]}, {_GROUPS[6]}"
    if not isinstance(group, str):
        raise ValueError(f"group must be a multicast address as a string, not {group!r}: {ranges}")
    if "%" in group:
        raise ValueError(f"group {group!r} names an interface: give that as interface= instead")
    try:
        address = ipaddress.ip_address(group)
    except ValueError:
        raise ValueError(f"group {group!r} is not an IP address: {ranges}") from None
    if not address.is_multicast:
        raise ValueError(f"{group} is not a multicast group: {_GROUPS[address.version]}")
    return address


def _on_link(group: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an IPv6 group never leaves the link (RFC 4291, section 2.7: a scope of 2 or less)."""
    return group.version == 6 and group.packed[1] & 0x0F <= 2


def _usable_interface(wanted: str, group: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Interface:
    interface = find_interface(wanted, group.version, link_local=_on_link(group))
    if not interface.up:
        raise InterfaceError(f"interface {interface.name!r} is down: set it up, or choose from {describe_interfaces()}")
    if not interface.multicast:
        hint = "; the loopback interface carries it for IPv4 groups only" if interface.loopback else ""
        raise InterfaceError(
            f"interface {interface.name!r} does not carry IPv{group.version} multicast{hint}: "
            f"choose from {describe_interfaces()}"
        )
    return interface
