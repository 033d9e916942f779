"""Unicast UDP: a table of all processors, and one datagram for each of them.

For networks that do not carry multicast. A broadcast is sent once to each peer, so what leaves a processor grows with
their number; the token costs the same as everywhere. The table is also the guest list: what comes from an address that
is not in it is dropped, unread.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any

import trio

from ringproto.log import BoundedLog
from ringproto.transports._addresses import format_address, is_wildcard, pack_address
from ringproto.transports._binding import bound_socket
from ringproto.transports._checks import check_node, check_whole
from ringproto.transports._interface import TransportError
from ringproto.transports._own_name import OwnName
from ringproto.transports._sockets import LOG_NAME, DatagramSocket, Sizes, SocketTransport, fitting_sizes

__all__ = ["UnicastUDP", "open_unicast_udp"]

_FAMILIES: dict[int, str] = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
PEERS_MAX = 1024
TROUBLE_EVERY_S = 1.0
"""How often the own address is looked for while datagrams are lost because it may be gone."""
_ADDRESS_GONE = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO, errno.EINVAL})
"""What the system says when an address is bound that is not there any more, or whose interface is another one."""


async def open_unicast_udp(
    node: int,
    peers: Mapping[int, tuple[str, int]],
    *,
    datagram_size: int | None = None,
    segment_size: int | None = None,
    receive_buffer: int = 4 * 2**20,
    send_buffer: int = 2**20,
    family: int | None = None,
    offload: bool = True,
) -> UnicastUDP:
    """Open the transport of one processor.

    Args:
        node: the own node id, one of those in ``peers``.
        peers: for every processor, this one too, its (host, port). The own entry is what is bound; it may be a
            wildcard (``"0.0.0.0"``, ``"::"``). Host names are resolved once, here.
        datagram_size: the largest datagram of the ring, in bytes, the same at all processors. ``None``: 32,000 if every
            other processor is at a loopback address, and so on this host; else what fits into eight segments of 1352.
        segment_size: the largest datagram on the network, in bytes; larger ones of the ring are cut into segments, and
            put together again. ``None``: 1352, which fits into a frame of 1400 bytes; within a host nothing is cut.
        receive_buffer: bytes of receive buffer to ask the system for. ``statistics()["receive_buffer_bytes"]`` says
            what it gave.
        send_buffer: the same for sending.
        family: ``socket.AF_INET`` or ``socket.AF_INET6`` to use only addresses of that family. By default IPv4 if
            every host has such an address, and IPv6 otherwise, so that all processors come to the same choice.
        offload: whether to use segmentation offload (``UDP_SEGMENT``, ``UDP_GRO``) where the kernel has it, which saves
            most of the price of a datagram. The gauges ``offload_sending`` and ``offload_receiving`` say whether it is
            in use.

    Raises:
        ValueError: an argument is wrong, as the message says.
        TransportError: a name cannot be resolved, the hosts have no family in common, or the own address is not one
            of this host.
        AddressInUseError: the own port is taken.

    Cancellation: leaves nothing open.
    """
    check_node(node)
    check_whole(receive_buffer, "receive_buffer", 1, 2**30)
    check_whole(send_buffer, "send_buffer", 1, 2**30)
    if family is not None and family not in _FAMILIES:
        raise ValueError(f"family must be socket.AF_INET, socket.AF_INET6 or None, not {family!r}")
    _check_table(node, peers)
    found = {peer: await _resolve(peer, host, port) for peer, (host, port) in peers.items()}
    chosen = _choose_family(found, peers, family)
    addresses = {peer: candidates[chosen] for peer, candidates in found.items()}
    log = BoundedLog(LOG_NAME)
    _check_addresses(node, addresses, log)
    local = all(_ip(address).is_loopback for peer, address in addresses.items() if peer != node)
    sizes = fitting_sizes(datagram_size, segment_size, 0, local=local and len(addresses) > 1)
    sock = bound_socket(chosen, addresses[node], f"the own entry of node {node}")
    try:
        return UnicastUDP(node, addresses, sock, sizes, receive_buffer, send_buffer, offload, log, peers[node])
    except BaseException:
        sock.close()
        raise


class UnicastUDP(SocketTransport):
    """The transport that :func:`open_unicast_udp` opens. Keeps the promises of ``Transport``."""

    def __init__(
        self,
        node: int,
        addresses: Mapping[int, tuple[Any, ...]],
        sock: socket.socket,
        sizes: Sizes,
        receive_buffer: int,
        send_buffer: int,
        offload: bool,
        log: BoundedLog,
        own: tuple[str, int] | None = None,
    ) -> None:
        counts: Counter[str] = Counter()
        self._make_socket = functools.partial(
            DatagramSocket, size=sizes.datagram, senders_max=len(addresses), counts=counts, offload=offload, log=log
        )
        self._buffers = receive_buffer, send_buffer
        self._socket = self._make_socket(sock)
        self._socket.set_buffers(*self._buffers)
        super().__init__(node, sizes, [self._socket], counts, header_size=0, log=log)
        self._addresses = {peer: pack_address(tuple(addresses[peer])) for peer in sorted(addresses) if peer != node}
        self._everybody = list(self._addresses.values())
        # What is bound, where that may lead to later, and whether it was not there when it was looked for last.
        self._own_address = tuple(addresses[node])
        host, port = own or self._own_address[:2]
        self._own_name = OwnName(host, port, int(sock.family))
        self._address_gone = False
        self._origins = frozenset(self._everybody)
        self._look_at_paths(self._now())

    def __repr__(self) -> str:
        return f"<UnicastUDP node {self.node} at {format_address(self._own_address)}, {len(self._everybody)} peers>"

    def _introduce(self, origin: bytes) -> bool:
        self._counts["drops_unknown_source"] += 1
        return False

    def _after_loss(self, error: int, address: bytes) -> None:
        super()._after_loss(error, address)
        if error in _ADDRESS_GONE or error == errno.ENETUNREACH:
            # Look soon whether the own address is still there.
            self._look_at_paths_at = min(self._look_at_paths_at, self._looked_at + TROUBLE_EVERY_S)

    def _open_probe(self) -> socket.socket:
        # Another port of the same address, so that the way is the same.
        host, _, *rest = self._own_address
        try:
            probe = bound_socket(self._socket.socket.family, (host, 0, *rest), "the own address")
        except TransportError as exc:
            if exc.errno in _ADDRESS_GONE:
                self._lose_address(exc)
            raise
        if self._address_gone:
            self._address_gone = False
            self._log.warning("own address back", f"{format_address(self._own_address)} is of this host again")
        return probe

    def _lose_address(self, error: TransportError) -> None:
        """The own address is not there any more: look up where the own name leads now, and go there."""
        if not self._address_gone:
            self._address_gone = True
            self._log.warning(
                "own address",
                f"node {self.node} is bound to {format_address(self._own_address)}, and reaches nobody until that "
                f"address is back or its name leads to another one: {error.strerror}",
            )
        found = self._own_name.take()
        self._own_name.look_up()
        if found is None or found == self._own_address:
            return
        try:
            sock = bound_socket(self._socket.socket.family, found, f"the own entry of node {self.node}")
        except TransportError:
            return  # not here yet
        fresh = self._make_socket(sock)
        fresh.set_buffers(*self._buffers)
        self._go_on_with([fresh])
        self._socket = fresh
        self._address_gone = False
        self._counts["interface_changes"] += 1
        self._log.warning(
            "interface",
            f"node {self.node} is at {format_address(found)} now, and was at {format_address(self._own_address)}: "
            "the socket was opened anew",
        )
        self._own_address = found


def _check_table(node: int, peers: Mapping[int, tuple[str, int]]) -> None:
    if not isinstance(peers, Mapping):
        raise ValueError(f"peers must map node ids to (host, port), and is of type {type(peers).__name__}")
    if len(peers) > PEERS_MAX:
        raise ValueError(f"peers may have {PEERS_MAX} entries at most, not {len(peers)}")
    for peer, entry in peers.items():
        check_node(peer, "a key of peers")
        if not isinstance(entry, (tuple, list)) or len(entry) != 2 or not isinstance(entry[0], str) or not entry[0]:
            raise ValueError(f"peers[{peer}] must be (host, port), such as ('10.0.0.1', 5001), not {entry!r}")
        check_whole(entry[1], f"the port in peers[{peer}]", 1, 65_535)
    if node not in peers:
        raise ValueError(
            f"peers must have an entry for the own node {node}, the address to bind; it has {sorted(peers)}"
        )


async def _resolve(node: int, host: str, port: int) -> dict[int, tuple[Any, ...]]:
    """The first address of each family that a host has."""
    try:
        answers = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as exc:
        raise TransportError(f"host {host!r} of node {node} cannot be resolved: {exc}") from exc
    found: dict[int, tuple[Any, ...]] = {}
    for family, _, _, _, address in answers:
        if family in _FAMILIES:
            found.setdefault(int(family), address)
    return found


def _choose_family(
    found: Mapping[int, Mapping[int, tuple[Any, ...]]], peers: Mapping[int, tuple[str, int]], wanted: int | None
) -> int:
    for family in _FAMILIES if wanted is None else (wanted,):
        if all(family in candidates for candidates in found.values()):
            return family
    have = ", ".join(
        f"node {node} ({peers[node][0]}) has {' and '.join(_FAMILIES[one] for one in found[node]) or 'none'}"
        for node in sorted(found)
    )
    what = "addresses of one family" if wanted is None else f"{_FAMILIES[wanted]} addresses"
    raise TransportError(f"all processors must have {what}: {have}")


def _check_addresses(node: int, addresses: Mapping[int, tuple[Any, ...]], log: BoundedLog) -> None:
    """Refuse tables that cannot work, and hint at one that probably does not."""
    taken: dict[bytes, int] = {}
    for peer in sorted(addresses):
        packed = pack_address(tuple(addresses[peer]))
        if packed in taken:
            raise ValueError(f"nodes {taken[packed]} and {peer} have one address, {format_address(addresses[peer])}")
        taken[packed] = peer
        if _ip(addresses[peer]).is_multicast:
            raise ValueError(
                f"the address of node {peer}, {format_address(addresses[peer])}, is a multicast group: "
                "give an address of one host, or use open_multicast_udp"
            )
        ip = _ip(addresses[peer])
        if ip.version == 6 and ip.is_link_local and not addresses[peer][3]:
            raise ValueError(
                f"the address of node {peer}, {format_address(addresses[peer])}, is link-local, so it means nothing "
                f"without its interface: name its interface, such as {ip}%eth0"
            )
        if peer != node and is_wildcard(packed):
            raise ValueError(
                f"the address of node {peer}, {format_address(addresses[peer])}, stands for every address of a host "
                "and cannot be sent to: only the own entry may be one"
            )
    outside = [peer for peer in sorted(addresses) if not _ip(addresses[peer]).is_loopback]
    if outside and node not in outside:
        log.warning(
            "own address",
            f"the own address of node {node}, {format_address(addresses[node])}, reaches this host alone, and node "
            f"{outside[0]} is at {format_address(addresses[outside[0]])}: if that is another host, give the address by "
            "which it can reach this one (host names often stand for 127.0.1.1 at home)",
        )


def _ip(address: tuple[Any, ...]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(str(address[0]).partition("%")[0])
