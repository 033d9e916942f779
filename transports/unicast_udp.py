"""Unicast UDP: a table of all processors, and one datagram for each of them.

For networks that do not carry multicast. A broadcast is sent once to each peer, so what leaves a processor grows with
their number; the token costs the same as everywhere. The table is also the guest list: what comes from an address that
is not in it is dropped.

A table names hosts, and hosts come later than others and move. So an opened transport begins with the peers whose names
have addresses, and looks the others up again in the background, and those of whom nothing comes (``_peers.py``). What
does not fit into the table is told to an operator, with the node id that the datagrams claim: at most a line a minute
and peer. For peers that fit, that costs one look at one datagram of each in a second.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any

import trio

from ringproto.log import BoundedLog
from ringproto.transports._addresses import format_address, format_packed, is_wildcard, pack_address, unpack_address
from ringproto.transports._checks import check_node, check_whole
from ringproto.transports._claims import Claim, claim_of
from ringproto.transports._interface import TransportError
from ringproto.transports._names import FAMILIES, LOOKUP_S, LOOKUPS_AT_ONCE, Answer, is_name, look_up, look_up_all
from ringproto.transports._peers import LOOK_EVERY_S, SILENT_LOOKS, Peer, PeerTable
from ringproto.transports._sockets import (
    DatagramSocket,
    Sizes,
    SocketTransport,
    bound_socket,
    fitting_sizes,
    logger,
)

__all__ = ["UnicastUDP", "open_unicast_udp"]

PEERS_MAX = 1024
SAID_EVERY_S = 60.0
"""The shortest time between two lines of the log about one peer, in seconds."""


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
            wildcard (``"0.0.0.0"``, ``"::"``). The names of peers that have no address yet, and those of silent peers,
            are looked up again by ``run_background``. An address in digits is never looked up.
        datagram_size: the largest datagram of the ring, in bytes, the same at all processors. ``None``: 32,000 if every
            processor is at a loopback address in digits or at ``"localhost"``, and so on this host; else what fits into
            eight segments of 1352.
        segment_size: the largest datagram on the network, in bytes; larger ones of the ring are cut into segments, and
            put together again. ``None``: 1352, which fits into a frame of 1400 bytes; within a host nothing is cut.
        receive_buffer: bytes of receive buffer to ask the system for. ``statistics()["receive_buffer_bytes"]`` says
            what it gave.
        send_buffer: the same for sending.
        family: ``socket.AF_INET`` or ``socket.AF_INET6`` to use only addresses of that family. By default IPv4 if
            every host that has an address has such a one, and IPv6 otherwise, so that all processors come to the same
            choice.
        offload: whether to use segmentation offload (``UDP_SEGMENT``, ``UDP_GRO``) where the kernel has it, which saves
            most of the price of a datagram. The gauges ``offload_sending`` and ``offload_receiving`` say whether it is
            in use.

    The names of the others are waited for at most 5 s, and that of the own host at most 30 s.

    Raises:
        ValueError: an argument is wrong, as the message says.
        TransportError: the own name cannot be resolved, another one can be no name, the hosts have no family in common,
            or the own address is not one of this host.
        AddressInUseError: the own port is taken.

    Cancellation: leaves nothing open.
    """
    check_node(node)
    check_whole(receive_buffer, "receive_buffer", 1, 2**30)
    check_whole(send_buffer, "send_buffer", 1, 2**30)
    if family is not None and family not in FAMILIES:
        raise ValueError(f"family must be socket.AF_INET, socket.AF_INET6 or None, not {family!r}")
    _check_table(node, peers)
    answers = await look_up_all({one: (host, port) for one, (host, port) in peers.items()}, node)
    _check_answers(node, peers, answers)
    found = {one: answers[one].addresses for one in sorted(peers) if answers[one].addresses}
    chosen = _choose_family(found, peers, family)
    own = found[node][chosen][0]
    table = _make_table(node, peers, answers, chosen, own)
    sizes = fitting_sizes(datagram_size, segment_size, 0, local=_all_on_this_host(table, peers[node][0]))
    sock = bound_socket(chosen, own, f"the own entry of node {node}")
    try:
        return UnicastUDP(table, chosen, sock, sizes, receive_buffer, send_buffer, offload)
    except BaseException:
        sock.close()
        raise


class UnicastUDP(SocketTransport):
    """The transport that :func:`open_unicast_udp` opens. Keeps the promises of ``Transport``, and of
    ``BlockingTransport``, ``EagerTransport``, ``AddressedTransport`` and ``BackgroundTransport`` too."""

    def __init__(
        self,
        table: PeerTable,
        family: int,
        sock: socket.socket,
        sizes: Sizes,
        receive_buffer: int,
        send_buffer: int,
        offload: bool,
    ) -> None:
        counts: Counter[str] = Counter()
        self._socket = DatagramSocket(
            sock, size=sizes.datagram, senders_max=1 + len(table.peers), counts=counts, offload=offload
        )
        self._socket.set_buffers(receive_buffer, send_buffer)
        super().__init__(table.node, sizes, [self._socket], counts)
        self._table = table
        self._family = family
        self._log = BoundedLog("ringproto.transports", spacing_s=SAID_EVERY_S, kinds_max=4 * PEERS_MAX)
        # Who is at an address. A driver on another thread reads this and the tables of Traffic, so a change puts new
        # ones in their place.
        self._nodes: dict[bytes, int] = {}
        # The peers that were heard since the last look: the first datagram of each is shown to _introduce.
        self._origins: set[bytes] = set()
        # What was said of since the last look, and where claims came from that do not fit.
        self._noted: set[int] = set()
        self._claims: dict[int, bytes] = {}
        self._last_stranger = ""
        # The number that stands for the own cluster, once a peer that fits was heard.
        self._cluster: int | None = None
        self._silence = _Silence()
        self._in_background = False
        self._apply()
        own = format_packed(table.own)
        self._name = f"<UnicastUDP node {self.node} at {own}, {len(table.peers)} peers>"
        for peer in table.peers.values():
            self._say_failure(peer)
        _hint_at_loopback(table)
        self._say_wildcard()

    def __repr__(self) -> str:
        return self._name

    def address_of(self, node: int) -> str | None:
        """Where a node is; see :meth:`ringproto.transports.AddressedTransport.address_of`."""
        address = self._table.own if node == self.node else self._addresses.get(node)
        return None if address is None else format_packed(address)

    def claims_of(self, node: int) -> str | None:
        """Where else a node was; see :meth:`ringproto.transports.AddressedTransport.claims_of`."""
        address = self._claims.get(node)
        return None if address is None else format_packed(address)

    async def run_background(self) -> None:
        """Look names up again; see :meth:`ringproto.transports.BackgroundTransport.run_background`."""
        if self._in_background:
            raise trio.BusyResourceError("another task runs the background work of this transport")
        self._in_background = True
        limiter = trio.CapacityLimiter(LOOKUPS_AT_ONCE)
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.sleep(LOOK_EVERY_S)
                    if self._closed:
                        break
                    for peer in self._look():
                        nursery.start_soon(self._look_up, peer, limiter)
                nursery.cancel_scope.cancel()
        finally:
            self._in_background = False
            self._table.give_up()

    def statistics(self) -> dict[str, int]:
        """Counters and gauges; docs/transports.md lists them."""
        numbers = super().statistics()
        numbers["peers_known"] = len(self._addresses)
        return numbers

    # Background

    def _look(self) -> list[Peer]:
        """See who was heard; returns the peers whose names are to be looked up."""
        heard, self._origins = self._origins, set()
        self._noted = set()
        nodes = self._nodes
        # A thread may add to the old set still, so it is copied in one step.
        due = self._table.look([nodes[origin] for origin in tuple(heard) if origin in nodes])
        if self._addresses and self._silence.look(self._datagrams_received, self._sockets[-1].sender.datagrams_sent):
            self._say_silence()
        return due

    async def _look_up(self, peer: Peer, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            answer = await look_up(peer.host, peer.port, LOOKUP_S)
        found, failure = _of_family(answer, self._family)
        former = peer.address
        moved = self._table.answered(peer, found, failure)
        self._counts["lookups"] += 1
        if peer.failure:
            self._counts["lookups_failed"] += 1
            self._say_failure(peer)
        if moved:
            assert peer.address is not None
            self._apply()
            where = f"node {peer.node} ({peer.host}) is at {format_packed(peer.address)}"
            if former is not None:
                self._counts["addresses_changed"] += 1
                where += f" now, and was at {format_packed(former)}"
            self._log.info(f"address_{peer.node}", where)

    def _apply(self) -> None:
        """Send to and hear those who are in the table."""
        self._addresses = addresses = self._table.addresses()
        self._everybody = list(addresses.values())
        self._nodes = {address: node for node, address in addresses.items()}

    # What does not fit

    def _introduce(self, origin: bytes, head: bytes) -> bool:
        """A peer that was not heard since the last look, or a stranger."""
        claim = claim_of(head)
        node = self._nodes.get(origin)
        if node is None:
            self._counts["drops_unknown_source"] += 1
            self._note_stranger(origin, claim)
            return False
        self._origins.add(origin)
        if claim is not None and claim.is_sender:
            if claim.node == node:
                self._cluster = claim.cluster
            else:
                self._note_other_node(node, origin, claim)
        return True

    def _note_other_node(self, node: int, origin: bytes, claim: Claim) -> None:
        self._counts["nodes_misplaced"] += 1
        self._claims[claim.node] = origin
        if len(self._claims) > PEERS_MAX:
            del self._claims[next(iter(self._claims))]
        whose = "this processor's own id" if claim.node == self.node else f"node {claim.node}"
        self._log.warning(
            f"misplaced_{node}",
            f"datagrams from {format_packed(origin)}, where the table of peers has node {node}, are of {whose}: "
            "give all processors one table, in which each node has its own address",
        )

    def _note_stranger(self, origin: bytes, claim: Claim | None) -> None:
        """Say once that datagrams came from an address that is not in the table, and whose they claim to be."""
        foreign = claim is not None and self._cluster is not None and claim.cluster != self._cluster
        known = claim is not None and not foreign and self._is_in_table(claim.node)
        if claim is not None and known:
            if not claim.is_sender:
                # Maybe it is that node, maybe another one that sends its packet again; more will come of it.
                self._table.claim(claim.node, origin)
                return
            self._counts["claims_from_elsewhere"] += 1
            self._claims[claim.node] = origin
        about = claim.node if claim is not None and known else 0
        if about in self._noted:
            return
        self._noted.add(about)
        source = format_packed(origin)
        self._last_stranger = source if claim is None else f"{source}, of node {claim.node}"
        if claim is None:
            self._log.warning(
                "unknown_source",
                f"datagrams from {source} are dropped: the table of peers does not have that address, and they do not "
                "say of which node they are",
            )
        elif not known:
            whose = f"node {claim.node} of another cluster" if foreign else f"node {claim.node}"
            self._log.warning(
                "unknown_source",
                f"datagrams from {source}, of {whose}, are dropped: the table of peers does not have that address; "
                "all processors must have one table",
            )
        elif claim.node == self.node:
            self._log.warning(
                "own_id",
                f"datagrams from {source} are dropped: they are of node {self.node}, which is this processor at "
                f"{format_packed(self._table.own)}; two processes have one id, or a table is wrong",
            )
        elif self._table.claim(claim.node, origin):
            there = self._addresses.get(claim.node)
            self._log.warning(
                f"elsewhere_{claim.node}",
                f"datagrams from {source} are dropped: they are of node {claim.node}, which the table of peers has at "
                f"{format_packed(there) if there is not None else 'no address yet'}; two processes have that id, the "
                "tables differ, or its host has several addresses and its own entry is a wildcard",
            )

    def _is_in_table(self, node: int) -> bool:
        return node == self.node or node in self._table.peers

    def _say_failure(self, peer: Peer) -> None:
        """A name gave no address."""
        if not peer.failure:
            return
        what = f"host {peer.host!r} of node {peer.node} has no address that can be used: {peer.failure}"
        if peer.address is None:
            self._log.warning(f"name_{peer.node}", f"{what}; it is looked up again")
        else:
            self._log.info(f"name_{peer.node}", f"{what}; {format_packed(peer.address)} is kept")

    def _say_silence(self) -> None:
        """Nothing came of anybody."""
        own = f"{format_packed(self._table.own)}"
        if is_wildcard(self._table.own):
            sources = ", ".join(sorted(set(self._sources().values()))) or "an address that is not known"
            own += f" (a wildcard; this host sends from {sources})"
        dropped = self._silence.strangers(self._counts["drops_unknown_source"])
        strangers = ""
        if dropped:
            strangers = (
                f". Meanwhile {dropped} datagrams from addresses that are not in the table were dropped, the last of "
                f"them from {self._last_stranger}"
            )
        self._log.warning(
            "silence",
            f"nothing came from any of {len(self._addresses)} peers for {SILENT_LOOKS * LOOK_EVERY_S:g} s, although "
            f"{self._silence.sent} datagrams were sent to them: if they run, see whether their tables have node "
            f"{self.node} at {own}, whether this table is theirs, and whether a firewall drops UDP between them"
            f"{strangers}",
        )

    def _sources(self) -> dict[int, str]:
        """The address that the system sends from to each peer, as far as it has a way there."""
        sources = {}
        for node, address in self._addresses.items():
            with socket.socket(self._family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect(unpack_address(address))  # sends nothing
                except OSError:
                    continue
                sources[node] = str(probe.getsockname()[0])
        return sources

    def _say_wildcard(self) -> None:
        """Who binds a wildcard is known to the peers by the address that the system picks."""
        if not is_wildcard(self._table.own):
            return
        by_source: dict[str, list[int]] = {}
        for node, source in self._sources().items():
            by_source.setdefault(source, []).append(node)
        where = " and ".join(f"{source} to {_nodes(nodes)}" for source, nodes in by_source.items())
        start = f"the own entry of node {self.node} is a wildcard, and this host sends from {where}"
        if len(by_source) > 1:
            self._log.warning(
                "wildcard", f"{start}: no table is right for all of them; give the own address in place of the wildcard"
            )
        elif by_source:
            self._log.info("wildcard", f"{start}: that must be its address in their tables")


class _Silence:
    """Whether nothing at all comes, although something is sent; told once until something comes again."""

    def __init__(self) -> None:
        self.sent = 0
        """Datagrams sent since something came last."""
        self._received = 0
        self._sent_before = 0
        self._strangers_before = 0
        self._looks = 0
        self._told = False

    def look(self, received: int, sent: int) -> bool:
        """Take these counters, once a look; whether to tell somebody now."""
        if received != self._received:
            self._received = received
            self._sent_before = sent
            self._looks = 0
            self._told = False
            return False
        self.sent = sent - self._sent_before
        if self.sent:
            self._looks += 1  # since the first that was not answered
        if self._told or self._looks <= SILENT_LOOKS:
            return False
        self._told = True
        return True

    def strangers(self, dropped: int) -> int:
        """How many datagrams of strangers were dropped since this was asked last."""
        since, self._strangers_before = dropped - self._strangers_before, dropped
        return since


def _check_table(node: int, peers: Mapping[int, tuple[str, int]]) -> None:
    if not isinstance(peers, Mapping):
        raise ValueError(f"peers must map node ids to (host, port), and is of type {type(peers).__name__}")
    if len(peers) > PEERS_MAX:
        raise ValueError(f"peers may have {PEERS_MAX} entries at most, not {len(peers)}")
    taken: dict[tuple[str, int], int] = {}
    for peer, entry in peers.items():
        check_node(peer, "a key of peers")
        if not isinstance(entry, (tuple, list)) or len(entry) != 2 or not isinstance(entry[0], str) or not entry[0]:
            raise ValueError(f"peers[{peer}] must be (host, port), such as ('10.0.0.1', 5001), not {entry!r}")
        check_whole(entry[1], f"the port in peers[{peer}]", 1, 65_535)
        where = (entry[0].lower(), entry[1])
        if where in taken:
            raise ValueError(f"nodes {taken[where]} and {peer} have one address, {format_address(where)}")
        taken[where] = peer
    if node not in peers:
        raise ValueError(
            f"peers must have an entry for the own node {node}, the address to bind; it has {sorted(peers)}"
        )


def _check_answers(node: int, peers: Mapping[int, tuple[str, int]], answers: Mapping[int, Answer]) -> None:
    """Refuse a host without which there is no transport, or which can be no host."""
    for peer in (node, *peers):
        answer, host = answers[peer], peers[peer][0]
        if not answer.addresses and (peer == node or not is_name(host) or isinstance(answer.error, UnicodeError)):
            raise TransportError(f"host {host!r} of node {peer} cannot be resolved: {answer.failure}") from answer.error


def _choose_family(
    found: Mapping[int, Mapping[int, list[tuple[Any, ...]]]],
    peers: Mapping[int, tuple[str, int]],
    wanted: int | None,
) -> int:
    for family in FAMILIES if wanted is None else (wanted,):
        if all(family in candidates for candidates in found.values()):
            return family
    have = ", ".join(
        f"node {node} ({peers[node][0]}) has {' and '.join(FAMILIES[one] for one in found[node]) or 'none'}"
        for node in sorted(found)
    )
    what = "addresses of one family" if wanted is None else f"{FAMILIES[wanted]} addresses"
    raise TransportError(f"all processors must have {what}: {have}")


def _of_family(answer: Answer, family: int) -> tuple[list[bytes], str]:
    """The packed addresses of this family, and why there are none."""
    found = [pack_address(address) for address in answer.addresses.get(family, [])]
    if found or answer.failure:
        return found, answer.failure
    has = " and ".join(FAMILIES[one] for one in answer.addresses)
    return [], f"it has {has} addresses only, and this processor uses {FAMILIES[family]} (family)"


def _make_table(
    node: int,
    peers: Mapping[int, tuple[str, int]],
    answers: Mapping[int, Answer],
    family: int,
    own: tuple[Any, ...],
) -> PeerTable:
    """The table, with what is known of the addresses.

    Raises:
        ValueError: it cannot work whatever becomes of the names in it.
    """
    table = PeerTable(node, pack_address(own))
    for one in sorted(peers):
        if one != node:
            host, port = peers[one]
            table.add(Peer(one, host, port, is_name(host)))
    if _ip(own).is_multicast:
        raise ValueError(
            f"the own address of node {node}, {format_address(own)}, is a multicast group: give an address of this "
            "host, or use open_multicast_udp"
        )
    # Addresses in digits first: they are what they are, and a name that leads to one of them waits for a better answer.
    for peer in sorted(table.peers.values(), key=lambda peer: peer.named):
        found, failure = _of_family(answers[peer.node], family)
        table.answered(peer, found, failure)
        if peer.address is None and not peer.named:
            raise ValueError(f"node {peer.node} cannot have this address: {peer.failure}")
    return table


def _hint_at_loopback(table: PeerTable) -> None:
    """A table that probably does not work."""
    own = unpack_address(table.own)
    outside = [peer for peer, address in table.addresses().items() if not _is_loopback(address)]
    if outside and _ip(own).is_loopback:
        logger.warning(
            "the own address of node %d, %s, reaches this host alone, and node %d is at %s: if that is another host, "
            "give the address by which it can reach this one (host names often stand for 127.0.1.1 at home)",
            table.node,
            format_address(own),
            outside[0],
            format_packed(table.addresses()[outside[0]]),
        )


def _all_on_this_host(table: PeerTable, own_host: str) -> bool:
    """Whether the table says so by itself: a name may lead elsewhere at another processor, or later, and all must come
    to one answer."""
    places: list[tuple[str, bytes | None]] = [(peer.host, peer.address) for peer in table.peers.values()]
    if not is_wildcard(table.own):
        places.append((own_host, table.own))
    return bool(table.peers) and all(
        address is not None and _is_loopback(address) and (host.lower() == "localhost" or not is_name(host))
        for host, address in places
    )


def _nodes(nodes: list[int]) -> str:
    return ("node " if len(nodes) == 1 else "nodes ") + ", ".join(map(str, nodes))


def _is_loopback(address: bytes) -> bool:
    return _ip(unpack_address(address)).is_loopback


def _ip(address: tuple[Any, ...]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(str(address[0]).partition("%")[0])
