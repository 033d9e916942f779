"""Multicast UDP: a broadcast is sent once, and the token is sent by unicast.

A processor has two sockets. The *group* socket is bound to the group and the port that all processors share; it only
receives. The *own* socket is bound to the address of the interface and a port that the system picks. All datagrams are
sent from it, so the source address of a multicast is the destination of unicasts to that processor. No table is needed:
each datagram begins with a transport header that names its sender,

    bytes 0-3   magic, 52 50 4D 01
    bytes 4-7   node id of the sender, big endian

and the receiver learns (source address, node id) from it. A unicast to a node that has not been heard yet goes to the
group.

A node that sends from a new address was restarted, or two processes have its id. A transport cannot tell which, and
must not send the token of one to the other. So datagrams for that node go to the group until only one of the two
addresses has been heard for a while (``DISPUTE_S``).

A token must not overtake the data that it refers to. They arrive on different sockets, so the own socket (tokens) is
read *first* and its datagrams are returned *last*: all data that was in the group socket when the token arrived then
comes before the token. During a flood this holds tokens back; after some batches they pass nevertheless.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import logging
import math
import os
import socket
import struct
import weakref
from collections import Counter, deque
from collections.abc import Callable

import trio

from ringproto.log import BoundedLog, Lasting
from ringproto.transports._addresses import format_address, format_packed, pack_address
from ringproto.transports._binding import bound_socket, opening_error
from ringproto.transports._checks import check_node, check_seconds, check_whole
from ringproto.transports._interface import TransportError
from ringproto.transports._reverse_path import FilterWatch
from ringproto.transports._search import Search
from ringproto.transports._segments import NOTICE_ANSWER, NOTICE_ASK, notice
from ringproto.transports._silence import Hearing, Silence
from ringproto.transports._sockets import LOG_NAME, PEERS_MAX, DatagramSocket, Sizes, SocketTransport, fitting_sizes
from ringproto.transports._traffic import errno_name
from ringproto.transports.interfaces import Interface
from ringproto.transports.membership import GroupMembership, as_before, usable_interface

__all__ = ["HEADER_SIZE", "MAGIC", "MulticastUDP", "open_multicast_udp"]

MAGIC = b"RPM\x01"
HEADER_SIZE = 8
_HEADER = struct.Struct("!4sI")

HELD_ROUNDS_MAX = 8
"""Maximum number of full batches of data behind which tokens wait."""
DISPUTE_S = 5.0
"""Seconds for which only one of several addresses of a node must be heard before unicasts go there."""
CLAIMS_MAX = 2
"""Maximum number of addresses of one node that are heard at a time."""
REJOIN_EVERY_S = 1.0
"""Seconds between two attempts to join the group again after an error of the interface."""
SILENCE_S = 5.0
"""Seconds without multicasts of others after which the group is joined again, unless the user sets another time."""
SILENCE_BEACONS = 8
"""The same time in beacon periods of the ring, if that is longer."""
ANSWER_EVERY_S = 0.25
"""Minimum number of seconds between two answers to processors that ask whether its multicasts arrive."""
SAID_EVERY = 12
"""The first join in a silence is logged, and then each time after this number of further joins."""

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
    silence_s: float | None = None,
) -> MulticastUDP:
    """Open the transport of one processor. Several processors may be on one host.

    Args:
        node: the node id of this processor.
        group: an IPv4 or IPv6 multicast address, the same at all processors.
        port: UDP port, the same at all processors.
        interface: the interface to use, by name (``"eth0"``), address (``"10.77.0.1"``) or network
            (``"10.77.0.0/24"``). The loopback interface works for IPv4.
        ttl: maximum number of hops of multicasts (time to live; IPv6: hop limit), 0 to 255; 1 stays on the link. Always
            0 on the loopback interface.
        datagram_size: the largest datagram of the ring, in bytes, with the 8 bytes of the transport header, the same at
            all processors. ``None``: 32,000 on the loopback interface; else the size that fits into eight segments of
            1352 bytes. ``datagram_size_max`` is 8 less.
        segment_size: the largest datagram on the network, in bytes, with the transport header; larger ones of the ring
            are cut into segments, and joined again. ``None``: 1352, which fits into a frame of 1400 bytes; on the
            loopback interface nothing is cut.
        receive_buffer: bytes of receive buffer to request from the system, for each of the two sockets.
            ``statistics()["receive_buffer_bytes"]`` is the size that it granted.
        send_buffer: the same for sending.
        offload: whether to use segmentation offload (``UDP_SEGMENT``, ``UDP_GRO``) where the kernel has it, which saves
            most of the cost of a datagram. The gauges ``offload_sending`` and ``offload_receiving`` show whether it is
            in use.
        silence_s: seconds without multicasts of others after which the group is joined again, since a switch may have
            forgotten the listeners. ``None``: 5, or eight times the ``merge_detect_s`` of the ring that uses it, if
            that is longer.

    Raises:
        ValueError: an argument is wrong, as the message says, or this process already has this processor open.
        InterfaceError: there is no such interface, or it is down, has no address of that family or no multicast.
        AddressInUseError: another program has exclusive use of the port.
        TransportError: the system refused for another reason.

    Cancellation: leaves nothing open.
    """
    check_node(node)
    address = _check_group(group)
    check_whole(port, "port", 1, 65_535)
    check_whole(ttl, "ttl", 0, 255)
    check_whole(receive_buffer, "receive_buffer", 1, 2**30)
    check_whole(send_buffer, "send_buffer", 1, 2**30)
    if silence_s is not None:
        check_seconds(silence_s, "silence_s", 0.001, 86_400.0)
    # On a host with many interfaces this takes some tenths of a second. It has its own limiter: a program that uses all
    # of trio's threads must not prevent its ring from starting.
    found = await trio.to_thread.run_sync(
        usable_interface, interface, address, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
    )
    if (str(address), port, found.index, node) in _open_transports:
        raise ValueError(
            f"node {node} is open already on group {address}, port {port}, interface {found.name} in this process: "
            "close that transport first, or use another node id"
        )
    sizes = fitting_sizes(datagram_size, segment_size, HEADER_SIZE, local=found.loopback)
    membership = GroupMembership(address, port, found, 0 if found.loopback else ttl)
    try:
        transport = MulticastUDP(
            node, membership, sizes, receive_buffer, send_buffer, offload, wanted=interface, silence_s=silence_s
        )
    except OSError as exc:
        membership.close()
        raise opening_error(exc) from exc
    except BaseException:
        membership.close()
        raise
    _open_transports[transport._key()] = transport
    return transport


class _Dispute:
    """The state of a node that was heard from several addresses."""

    __slots__ = ("heard", "left", "whole")

    def __init__(self) -> None:
        self.left: list[bytes] = []
        """The addresses where it was heard before it moved."""
        self.heard: list[bytes] = []
        """The addresses where it was heard since the last look."""
        self.whole = False
        """Whether the dispute covers all of the time since the last look."""


class MulticastUDP(SocketTransport):
    """The transport that :func:`open_multicast_udp` opens. Keeps the promises of ``Transport``, and of
    ``BlockingTransport``, ``EagerTransport``, ``AddressedTransport`` and ``PacedTransport`` too."""

    def __init__(
        self,
        node: int,
        membership: GroupMembership,
        sizes: Sizes,
        receive_buffer: int,
        send_buffer: int,
        offload: bool,
        *,
        wanted: str | None = None,
        silence_s: float | None = None,
    ) -> None:
        self._membership = membership
        # The interface as the user gave it, to look it up again.
        self._wanted = membership.interface.name if wanted is None else wanted
        self._header = _HEADER.pack(MAGIC, node)
        self._sizes = sizes
        self._buffers = receive_buffer, send_buffer
        self._offload = offload
        unsaid: deque[Callable[[], None]] = deque()
        log = BoundedLog(LOG_NAME, node=node, waiting=unsaid)
        counts: Counter[str] = Counter()
        self._group, self._own = self._make_sockets(membership, counts, log)
        group = pack_address(membership.destination)
        super().__init__(
            node,
            sizes,
            [self._group, self._own],
            counts,
            header_size=HEADER_SIZE,
            log=log,
            unsaid=unsaid,
            group=group,
        )
        self._everybody = [group]
        self._elsewhere = group
        # The last address of each node, in the order in which they were learned. The addresses that receive direct
        # unicasts are also in _addresses.
        self._places: dict[int, bytes] = {}
        # Origins that were introduced: one for each node, and more for nodes that were heard from several addresses.
        self._origins: set[bytes] = set()
        # The nodes that have changed their address; and for each node that had several addresses, the one before the
        # last.
        self._disputes: dict[int, _Dispute] = {}
        self._look_at_disputes_at = -math.inf
        self._claims: dict[int, bytes] = {}
        # The kinds of lines that were logged since the last check of the clock, so that a flood formats no text.
        self._noted: set[str | int] = set()
        # Tokens that were read and wait for the data before them.
        self._held: list[bytes] = []
        self._held_rounds = 0
        # The error because of which the membership may be lost, or 0; and the time of the next attempt to restore it.
        self._trouble = 0
        self._rejoin_at = -math.inf
        self._search: Search[Interface] | None = None
        self._not_joined = Lasting()
        self._silence_given = silence_s is not None
        self._silence = Silence(SILENCE_S if silence_s is None else silence_s)
        self._answer_at = -math.inf
        self._filter = FilterWatch()
        self._look_at_paths(self._now())
        self._say()

    def __repr__(self) -> str:
        membership = self._membership
        return (
            f"<MulticastUDP node {self.node} on {format_address(membership.destination)} "
            f"from {format_address(membership.own_address)} by {membership.interface.name}>"
        )

    def _make_sockets(
        self, membership: GroupMembership, counts: Counter[str], log: BoundedLog
    ) -> tuple[DatagramSocket, DatagramSocket]:
        """Return the group socket and the own socket."""
        made = []
        for sock in (membership.group_socket, membership.own_socket):
            one = DatagramSocket(
                sock,
                size=self._sizes.datagram,
                senders_max=PEERS_MAX,
                header=self._header,
                skip=pack_address(membership.own_address) + self._header,
                counts=counts,
                offload=self._offload,
                log=log,
            )
            one.set_buffers(*self._buffers)
            made.append(one)
        return made[0], made[1]

    def set_pace(self, merge_detect_s: float) -> None:
        """See :meth:`ringproto.transports.PacedTransport.set_pace`."""
        if not self._silence_given:
            self._silence.silence_s = max(SILENCE_S, SILENCE_BEACONS * merge_detect_s)

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
        """Learn the address of a node from the first datagram with this origin, and return whether the datagram is
        valid."""
        address, header = origin[:-HEADER_SIZE], origin[-HEADER_SIZE:]
        magic, node = _HEADER.unpack(header)
        if magic != MAGIC or node == 0:
            self._counts["drops_bad_header"] += 1
            if "bad_header" not in self._noted:
                self._noted.add("bad_header")
                self._peers_log.warning(
                    "bad_header",
                    f"datagrams from {format_packed(address)} are dropped: they do not begin as those of this "
                    "transport do; another program uses this group or port, or another version",
                )
            return False
        if node == self.node:
            # Another process has this id: this processor's own returned datagrams have its own address, and were
            # skipped before. The ring above decides which of the two gives way, so the datagram passes, and each one is
            # checked here.
            self._counts["own_id_elsewhere"] += 1
            self._claims[node] = address
            if "own_id" not in self._noted:
                self._noted.add("own_id")
                self._peers_log.warning(
                    "own_id",
                    f"datagrams from {format_packed(address)} are of node {node}, which is this processor at "
                    f"{format_address(self._membership.own_address)}: two processes have one id",
                )
            return True
        self._learn(node, address, header)
        return True

    def _learn(self, node: int, address: bytes, header: bytes) -> None:
        """Record an address of a node at which it was not heard before, or not since the last look."""
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
            if address in dispute.left and node not in self._noted:
                # A restarted node does not return to its former address.
                self._noted.add(node)
                self._peers_log.warning(
                    f"two_{node}",
                    f"node {node} is heard from {format_packed(address)} and from {format_packed(former)}: two "
                    "processes have one id",
                )
            others = [one for one in dispute.left if one != former]
            dispute.left = [*others[-(CLAIMS_MAX - 1) :], former]

    def _forget(self, node: int) -> None:
        """Forget a node, to make space for others."""
        self._counts["addresses_forgotten"] += 1
        header = _HEADER.pack(MAGIC, node)
        dispute = self._disputes.pop(node, None)
        for address in (self._places.pop(node), *(dispute.heard if dispute is not None else ())):
            self._origins.discard(address + header)
        self._addresses.pop(node, None)
        self._claims.pop(node, None)

    def address_of(self, node: int) -> str | None:
        """Return the last address of a node; see :meth:`ringproto.transports.AddressedTransport.address_of`."""
        if node == self.node:
            return format_address(self._membership.own_address)
        address = self._places.get(node)
        return None if address is None else format_packed(address)

    def claims_of(self, node: int) -> str | None:
        """Return another address of a node; see :meth:`ringproto.transports.AddressedTransport.claims_of`."""
        address = self._claims.get(node)
        return None if address is None else format_packed(address)

    def _settle_disputes(self, now: float) -> None:
        """Send unicasts directly again to nodes that were heard from only one address since the last look."""
        self._look_at_disputes_at = now + DISPUTE_S
        for node, dispute in tuple(self._disputes.items()):
            header = _HEADER.pack(MAGIC, node)
            heard, dispute.heard = dispute.heard, []
            for address in heard:
                self._origins.discard(address + header)
            if dispute.whole and len(heard) == 1:
                del self._disputes[node]
                self._places[node] = self._addresses[node] = heard[0]
                self._origins.add(heard[0] + header)
            else:
                # On an idle ring the process at the former address may have nothing to send, and the other one may hear
                # nothing.
                for address in {self._places[node], *dispute.left}:
                    self._tell(address, notice(NOTICE_ASK))
            dispute.whole = True

    def _after_loss(self, error: int, address: bytes) -> None:
        super()._after_loss(error, address)
        if address != self._everybody[0]:
            return  # an unreachable destination is no error of the interface
        if error in _INTERFACE_TROUBLE:
            # The membership may be lost: the system forgets it when an interface loses its address.
            self._trouble = error
            self._look_after = 1

    def _tend(self, now: float) -> None:
        super()._tend(now)
        self._noted.clear()
        if now >= self._look_at_disputes_at:
            self._settle_disputes(now)
        if self._trouble:
            self._look_after = 1
            if now >= self._rejoin_at:
                self._rejoin_at = now + REJOIN_EVERY_S
                self._restore(f"its interface was in trouble ({errno_name(self._trouble)})")
            return
        hearing = self._silence.judge(now, self._group.heard, self._own.heard)
        if hearing is Hearing.ASK:
            origin = self._own.receiver.last_origin
            if origin:
                self._tell(origin[:-HEADER_SIZE], notice(NOTICE_ASK))
        elif hearing is Hearing.JOIN:
            self._after_silence()
        elif hearing is Hearing.QUIET:
            self._filter.begin()
        elif hearing is Hearing.AGAIN:
            self._log.info("heard again", f"multicasts of others are heard again on {self._where()}")

    def _where(self) -> str:
        return f"group {format_address(self._membership.destination)} by {self._membership.interface.name}"

    def _after_silence(self) -> None:
        """Handle a silence: no multicast was heard for ``silence_s``."""
        silence = self._silence
        why = None
        if silence.ever and silence.joins % SAID_EVERY == 1:
            why = f"nothing multicast was heard for {silence.quiet_s:.1f} s, " + (
                "while unicasts came: a switch may have forgotten who listens (IGMP or MLD snooping without a querier)"
                if silence.unicasts_heard
                else "and no unicast either"
            )
        self._restore(why)
        silence.unicasts_heard = False
        text = self._filter.explain(self._membership.interface.name) if self._membership.group.version == 4 else None
        if text is not None:
            self._log.warning("rp_filter", f"nothing was heard from anybody on {self._where()}, and {text}")

    def _restore(self, why: str | None) -> None:
        """Look the interface up again by the user's argument, and join the group there; log ``why`` if it is given."""
        former = self._membership
        try:
            found = self._look_up_again()
            if found is None:
                # The search continues at the next look.
                self._trouble = self._trouble or errno.ENODEV
                return
            if (found.name, found.index, found.address) == former.place:
                self._check_own_address()
                former.join()
            else:
                self._move(GroupMembership(former.group, former.port, found, former.ttl))
        except (OSError, ValueError, RuntimeError) as exc:
            # A name that can also be read as an address of the other family raises ValueError once no interface has it.
            self._counts["rejoins_failed"] += 1
            number = (exc.errno or 0) if isinstance(exc, OSError) else 0
            text = str(exc)
            if number and not isinstance(exc, TransportError):
                text = f"{errno_name(number)}, {os.strerror(number)}"
            if self._not_joined.due(self._now(), text):
                self._log.warning("not joined", f"{self._where()} cannot be joined now, and is tried again: {text}")
            self._trouble = self._trouble or number or errno.ENODEV
            return
        self._counts["rejoins"] += 1
        self._trouble = 0
        self._not_joined.over()
        self._silence.joined()
        if why is not None:
            self._log.warning("joined again", f"{self._where()} was joined again: {why}")

    def _look_up_again(self) -> Interface | None:
        """Return the interface that the user's argument means now, or ``None`` while the search is in progress.

        Raises:
            ValueError, InterfaceError: as :func:`usable_interface`.
            RuntimeError: no thread can be started for the search.
        """
        former = self._membership
        found = as_before(self._wanted, former.group, former.interface)
        if found is not None:
            self._search = None
            return found
        if self._search is None:
            self._search = Search(functools.partial(usable_interface, self._wanted, former.group))
        if not self._search.over:
            return None
        search, self._search = self._search, None
        return search.answer()

    def _move(self, membership: GroupMembership) -> None:
        """Switch to the sockets of another membership: the interface has another name, index or address."""
        self._free_id()
        former, self._membership = self._membership, membership
        _open_transports.setdefault(self._key(), self)
        fresh = self._make_sockets(membership, self._counts, self._log)
        for old, new in zip((self._group, self._own), fresh, strict=True):
            new.heard = old.heard
        self._go_on_with(fresh)
        self._group, self._own = fresh
        group = pack_address(membership.destination)
        self._everybody, self._elsewhere, self._paths.group = [group], group, group
        self._counts["interface_changes"] += 1
        self._log.state(
            logging.WARNING,
            "interface",
            f"interface {self._wanted!r} was {_describe(former.interface)}, and is now "
            f"{_describe(membership.interface)}: the sockets were opened anew",
        )

    def _key(self) -> tuple[str, int, int, int]:
        """Return the key that is unique among the open transports of a process."""
        where = self._membership
        return str(where.group), where.port, where.interface.index, self.node

    def _free_id(self) -> None:
        if _open_transports.get(self._key()) is self:
            del _open_transports[self._key()]

    def _take_notice(self, address: bytes, kind: int, number: int) -> None:
        if kind == NOTICE_ASK:
            now = self._now()
            if now >= self._answer_at:
                self._answer_at = now + ANSWER_EVERY_S
                self._tell(self._everybody[0], notice(NOTICE_ANSWER))
        else:
            super()._take_notice(address, kind, number)

    def _bound_beside(self) -> socket.socket:
        """Return a socket at this processor's address, on a port that the system picks."""
        host, _, *rest = self._membership.own_address
        return bound_socket(self._membership.family, (host, 0, *rest), "the own address")

    def _check_own_address(self) -> None:
        """Raise for an address that the system lists but does not let be used (IPv6, when another host has it too)."""
        try:
            self._bound_beside().close()
        except TransportError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:
                raise

    def _open_probe(self) -> socket.socket:
        membership, former = self._membership, self._membership.interface
        if membership.is_stopgap and as_before(self._wanted, membership.group, former) is None:
            # No call fails here: other hosts are heard at a stopgap address, but they do not reach it.
            self._trouble = errno.EADDRNOTAVAIL
        try:
            probe = self._bound_beside()
        except TransportError as exc:
            if exc.errno == errno.EADDRNOTAVAIL:
                # The address is gone. Over IPv6 the system still sends from it, so no other error would show this.
                self._trouble = errno.EADDRNOTAVAIL
            raise
        try:
            if membership.send_by(probe) != former.index:
                self._trouble = errno.ENODEV  # another interface has its name
        except OSError as exc:
            probe.close()
            # The interface may have another name: the membership continues, but operations by name fail. Python's
            # exception has no error number if no interface has that name.
            if exc.errno is None or exc.errno in _INTERFACE_TROUBLE:
                self._trouble = errno.ENODEV
            raise
        except BaseException:
            probe.close()
            raise
        return probe

    async def aclose(self) -> None:
        """Close the transport; see :meth:`ringproto.transports.Transport.aclose`."""
        if not self._closed:
            self._free_id()
        await super().aclose()

    def statistics(self) -> dict[str, int]:
        """Return counters and gauges; docs/transports.md lists them."""
        numbers = super().statistics()
        numbers["own_datagrams_returned"] = self._counted("own_datagrams_returned")
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


def _describe(interface: Interface) -> str:
    return f"{interface.name} (index {interface.index}) with {interface.address}"
