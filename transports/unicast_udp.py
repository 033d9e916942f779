"""Unicast UDP: a table of all processors, and one datagram for each of them.

This transport is for networks that do not carry multicast. A broadcast is sent once to each peer, so a processor's
outgoing traffic grows with the number of peers; the token costs the same as with other transports. The table is also an
admission list: datagrams from other addresses are dropped.

A table names hosts, and a host may start late or move. So an opened transport begins with the peers whose names have
addresses. In the background it looks up the other names again, and those of silent peers (``_peers.py``). A log line
tells the operator of datagrams that do not fit the table, with the node id that they claim: at most one line per minute
and peer. For peers that fit, this costs one look at one datagram of each per second.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import math
import socket
from collections import Counter, deque
from collections.abc import Callable, Mapping

import trio

from ringproto.log import BoundedLog, Lasting
from ringproto.transports._addresses import format_packed, is_wildcard, pack_address, unpack_address
from ringproto.transports._binding import bound_socket, opening_error
from ringproto.transports._checks import check_node, check_whole
from ringproto.transports._claims import Claim, claim_of
from ringproto.transports._interface import AddressInUseError, TransportError
from ringproto.transports._names import FAMILIES, LOOKUP_S, Limiters, look_up, look_up_all
from ringproto.transports._own_address import ADDRESS_GONE, OwnAddress, bind_own
from ringproto.transports._peers import LOOK_EVERY_S, SILENT_LOOKS, Peer, PeerTable, Unanswered
from ringproto.transports._reverse_path import FilterWatch
from ringproto.transports._sockets import LOG_NAME, PEERS_MAX, DatagramSocket, Sizes, SocketTransport, fitting_sizes
from ringproto.transports._tables import (
    all_on_this_host,
    check_answers,
    check_table,
    choose_family,
    hint_at_reach,
    make_table,
    of_family,
)

__all__ = ["UnicastUDP", "open_unicast_udp"]

TROUBLE_EVERY_S = 1.0
"""Seconds between two checks of this processor's address while datagrams are lost because it may be gone."""
STRANGERS_MAX = 16
"""Maximum number of nodes outside the table with log lines of their own; further ones share one."""


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
        node: the node id of this processor, one of those in ``peers``.
        peers: the (host, port) of every processor, including this one. The entry of this processor is bound; it may be
            a wildcard (``"0.0.0.0"``, ``"::"``). ``run_background`` looks up again the names of peers without an
            address and those of silent peers. An address in digits is never looked up.
        datagram_size: the largest datagram of the ring, in bytes, the same at all processors. ``None``: 32,000 if every
            processor has a loopback address in digits or ``"localhost"``, and so is on this host; else the size that
            fits into eight segments of 1352 bytes.
        segment_size: the largest datagram on the network, in bytes; larger ones of the ring are cut into segments, and
            joined again. ``None``: 1352, which fits into a frame of 1400 bytes; within a host nothing is cut.
        receive_buffer: bytes of receive buffer to request from the system. ``statistics()["receive_buffer_bytes"]`` is
            the size that it granted.
        send_buffer: the same for sending.
        family: ``socket.AF_INET`` or ``socket.AF_INET6`` to use only addresses of that family. The default is IPv4 if
            every host with an address has an IPv4 address, and IPv6 otherwise. The choice is final: processors that
            start while a name is missing or has other addresses may choose a different family than those that start
            later, and then they do not hear each other. Set it if names may be added later.
        offload: whether to use segmentation offload (``UDP_SEGMENT``, ``UDP_GRO``) where the kernel has it, which saves
            most of the cost of a datagram. The gauges ``offload_sending`` and ``offload_receiving`` show whether it is
            in use.

    The call waits at most 5 s for the names of the other hosts, and at most 30 s for the name of this host.

    Raises:
        ValueError: an argument is wrong, as the message says.
        TransportError: the name of this host cannot be resolved, another name is invalid, the hosts have no family in
            common, or the address of this processor is not one of this host.
        AddressInUseError: the port of this processor is taken.

    Cancellation: leaves nothing open.
    """
    check_node(node)
    check_whole(receive_buffer, "receive_buffer", 1, 2**30)
    check_whole(send_buffer, "send_buffer", 1, 2**30)
    if family is not None and family not in FAMILIES:
        raise ValueError(f"family must be socket.AF_INET, socket.AF_INET6 or None, not {family!r}")
    check_table(node, peers)
    limiters = Limiters.make()
    answers = await look_up_all({one: (host, port) for one, (host, port) in peers.items()}, node, limiters)
    check_answers(node, peers, answers)
    found = {one: answers[one].addresses for one in sorted(peers) if answers[one].addresses}
    chosen = choose_family(found, peers, family)
    own, sock = bind_own(node, chosen, [pack_address(address) for address in found[node][chosen]])
    try:
        table = make_table(node, peers, answers, chosen, own)
        sizes = fitting_sizes(datagram_size, segment_size, 0, local=all_on_this_host(table, peers[node][0]))
        buffers = receive_buffer, send_buffer
        return UnicastUDP(table, chosen, sock, sizes, buffers, offload, own=peers[node], limiters=limiters)
    except OSError as exc:
        sock.close()
        raise opening_error(exc) from exc
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
        buffers: tuple[int, int],
        offload: bool,
        *,
        own: tuple[str, int],
        limiters: Limiters,
    ) -> None:
        counts: Counter[str] = Counter()
        unsaid: deque[Callable[[], None]] = deque()
        log = BoundedLog(LOG_NAME, node=table.node, waiting=unsaid)
        self._make_socket = functools.partial(
            DatagramSocket,
            size=sizes.datagram,
            senders_max=1 + len(table.peers),
            counts=counts,
            offload=offload,
            log=log,
        )
        self._buffers = buffers
        self._socket = self._make_socket(sock)
        self._socket.set_buffers(*self._buffers)
        super().__init__(table.node, sizes, [self._socket], counts, header_size=0, log=log, unsaid=unsaid)
        self._table = table
        self._family = family
        self._own = OwnAddress(table, family, *own, limiters.own)
        self._taken = Lasting()
        self._lookups = limiters.others
        # The node at each address. A driver on another thread reads this and the tables of Traffic, so a change
        # replaces them by new objects.
        self._nodes: dict[bytes, int] = {}
        # The addresses that were heard since the last look: the first datagram of each is passed to _introduce.
        self._origins: set[bytes] = set()
        # The nodes about which a line was logged since the last look, and the addresses of claims that do not fit.
        self._noted: set[int] = set()
        self._claims: dict[int, bytes] = {}
        # The address and the claim of the last datagram from an unknown address.
        self._last_stranger: tuple[bytes, Claim | None] = b"", None
        # The first nodes outside the table from which datagrams came.
        self._strangers: set[int] = set()
        # The number that identifies the own cluster, once a peer that fits was heard.
        self._cluster: int | None = None
        self._silence = Unanswered()
        self._filter = FilterWatch()
        self._in_background = False
        self._apply()
        for peer in table.peers.values():
            self._say_failure(peer)
        self._say_wildcard()
        self._look_at_paths(self._now())
        self._say()

    def __repr__(self) -> str:
        own = format_packed(self._table.own)
        return f"<UnicastUDP node {self.node} at {own}, {len(self._table.peers)} peers>"

    def address_of(self, node: int) -> str | None:
        """Return the address of a node; see :meth:`ringproto.transports.AddressedTransport.address_of`."""
        address = self._table.own if node == self.node else self._addresses.get(node)
        return None if address is None else format_packed(address)

    def claims_of(self, node: int) -> str | None:
        """Return another address of a node; see :meth:`ringproto.transports.AddressedTransport.claims_of`."""
        address = self._claims.get(node)
        here = self._table.own if node == self.node else self._addresses.get(node)
        # A peer whose address was changed to that of the claim has no other address.
        return None if address is None or address == here else format_packed(address)

    async def run_background(self) -> None:
        """Look names up again; see :meth:`ringproto.transports.BackgroundTransport.run_background`."""
        if self._in_background:
            raise trio.BusyResourceError("another task runs the background work of this transport")
        self._in_background = True
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    await trio.sleep(LOOK_EVERY_S)
                    if self._closed:
                        break
                    due = self._look()
                    self._say()
                    for peer in due:
                        nursery.start_soon(self._look_up, peer)
                    if self._own.due:
                        nursery.start_soon(self._own.look_up)
                nursery.cancel_scope.cancel()
        finally:
            self._in_background = False
            self._table.give_up()

    def statistics(self) -> dict[str, int]:
        """Return counters and gauges; docs/transports.md lists them."""
        numbers = super().statistics()
        numbers["peers_known"] = len(self._addresses)
        return numbers

    # Background

    def _look(self) -> list[Peer]:
        """Take a look at which peers were heard; return the peers whose names must be looked up."""
        heard, self._origins = self._origins, set()
        self._noted = set()
        if self._table.make_way():
            self._apply()
        nodes = self._nodes
        # A thread may still add to the old set, so it is copied in one step.
        due = self._table.look([nodes[origin] for origin in tuple(heard) if origin in nodes])
        dropped = self._counts["drops_unknown_source"]
        if self._addresses and self._silence.look(self._datagrams_received, self._datagrams_sent(), dropped):
            self._say_silence()
        elif self._silence.looks == 1:
            self._filter.begin()
        return due

    async def _look_up(self, peer: Peer) -> None:
        answer = await look_up(peer.host, peer.port, LOOKUP_S, self._lookups)
        found, failure = of_family(answer, self._family)
        if answer.addresses and not found and peer.address is None:
            self._say_family(peer, next(iter(answer.addresses)))
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
            self._peers_log.state(logging.INFO, f"address_{peer.node}", where)
        self._say()

    def _apply(self) -> None:
        """Apply the table: send to and receive from the addresses in it."""
        self._addresses = addresses = self._table.addresses()
        self._everybody = list(addresses.values())
        self._nodes = {address: node for node, address in addresses.items()}
        self._look_at_paths_at = -math.inf
        if not self._own.gone:
            hint_at_reach(self._table, self._log)

    # Datagrams and names that do not fit the table

    def _introduce(self, origin: bytes, head: bytes) -> bool:
        """Handle a datagram of a peer that was not heard since the last look, or of an unknown sender."""
        if origin == self._table.own:
            self._counts["drops_to_self"] += 1
            return False  # it was sent to a peer that had this address before this processor
        claim = claim_of(head)
        node = self._nodes.get(origin)
        if node is None:
            self._note_stranger(origin, claim)
            self._counts["drops_unknown_source"] += 1
            return False
        self._origins.add(origin)
        if claim is not None and claim.is_sender:
            self._table.spoke(node, claim.node)
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
        if not self._is_foreign(claim) and not self._table.claim(claim.node, origin):
            return  # the node may have moved: its name is looked up first
        whose = "this processor's own id" if claim.node == self.node else f"node {claim.node}"
        self._peers_log.warning(
            f"misplaced_{node}",
            f"datagrams from {format_packed(origin)}, where the table of peers has node {node}, are of {whose}: "
            "give all processors one table, in which each node has its own address",
        )

    def _note_stranger(self, origin: bytes, claim: Claim | None) -> None:
        """Log once that datagrams came from an address outside the table, and which node they claim to come from."""
        self._last_stranger = origin, claim
        foreign = claim is not None and self._is_foreign(claim)
        known = claim is not None and not foreign and self._is_in_table(claim.node)
        if claim is not None and known:
            if not claim.is_sender:
                # The sender may be that node, or another one that sends its packet again. Its other datagrams will show
                # which.
                self._table.claim(claim.node, origin)
                return
            self._counts["claims_from_elsewhere"] += 1
            self._claims[claim.node] = origin
        about = self._kind_of(claim, known)
        if about in self._noted:
            return
        self._noted.add(about)
        source = format_packed(origin)
        if claim is None:
            self._peers_log.warning(
                "unknown_source",
                f"datagrams from {source} are dropped: the table of peers does not have that address, and they do not "
                "say of which node they are",
            )
        elif not known:
            kind = f"unknown_source_{about}" if about else "unknown_source"
            whose = f"node {claim.node} of another cluster" if foreign else f"node {claim.node}"
            self._peers_log.warning(
                kind,
                f"datagrams from {source}, of {whose}, are dropped: the table of peers does not have that address; "
                "all processors must have one table",
            )
        elif claim.node == self.node:
            self._peers_log.warning(
                "own_id",
                f"datagrams from {source} are dropped: they are of node {self.node}, which is this processor at "
                f"{format_packed(self._table.own)}; two processes have one id, or a table is wrong",
            )
        elif self._table.claim(claim.node, origin):
            there = self._addresses.get(claim.node)
            self._peers_log.warning(
                f"elsewhere_{claim.node}",
                f"datagrams from {source} are dropped: they are of node {claim.node}, which the table of peers has at "
                f"{format_packed(there) if there is not None else 'no address yet'}; two processes have that id, the "
                "tables differ, or its host has several addresses and its own entry is a wildcard",
            )

    def _kind_of(self, claim: Claim | None, known: bool) -> int:
        """Return the node id that distinguishes log lines about a datagram that does not fit. It is 0 for all nodes
        without lines of their own, since anyone who can forge a datagram can claim any id."""
        if claim is None:
            return 0
        if not known and claim.node not in self._strangers:
            if len(self._strangers) >= STRANGERS_MAX:
                return 0
            self._strangers.add(claim.node)
        return claim.node

    def _is_foreign(self, claim: Claim) -> bool:
        return self._cluster is not None and claim.cluster != self._cluster

    def _is_in_table(self, node: int) -> bool:
        return node == self.node or node in self._table.peers

    def _say_failure(self, peer: Peer) -> None:
        """Log that a name has no usable address."""
        if not peer.failure:
            return
        what = f"host {peer.host!r} of node {peer.node} has no address that can be used: {peer.failure}"
        if peer.address is None:
            self._peers_log.warning(f"name_{peer.node}", f"{what}; it is looked up again")
        else:
            self._peers_log.info(f"name_{peer.node}", f"{what}; {format_packed(peer.address)} is kept")

    def _say_family(self, peer: Peer, other: int) -> None:
        """Log that a name that resolved later has only addresses of the other family. If the name had resolved when the
        transport was opened, that family would have been chosen, or opening would have failed, unless the user set a
        family."""
        ours, theirs = FAMILIES[self._family], FAMILIES[other]
        self._peers_log.warning(
            "family",
            f"node {self.node} uses {ours}, and node {peer.node} ({peer.host}) has {theirs} addresses only, so they "
            f"cannot hear each other. Who starts now may choose {theirs}: open this transport anew, or give all the "
            "same family, and every host an address of it",
        )

    def _say_silence(self) -> None:
        """Log that nothing was received from any peer."""
        own = f"{format_packed(self._table.own)}"
        if is_wildcard(self._table.own):
            sources = ", ".join(sorted(set(self._sources().values()))) or "an address that is not known"
            own += f" (a wildcard; this host sends from {sources})"
        dropped = self._silence.strangers
        strangers = ""
        if dropped:
            origin, claim = self._last_stranger
            strangers = (
                f". Meanwhile {dropped} datagrams from addresses that are not in the table were dropped, the last of "
                f"them from {format_packed(origin)}"
            )
            if claim is not None and claim.is_sender:
                strangers += f", of node {claim.node}"
        # Between two such lines something was received, and then nothing for several looks, so there are few of them.
        self._log.warning(
            "silence",
            f"nothing came from any of {len(self._addresses)} peers for {SILENT_LOOKS * LOOK_EVERY_S:g} s, although "
            f"{self._silence.sent} datagrams were sent to them: if they run, see whether their tables have node "
            f"{self.node} at {own}, whether this table is theirs, and whether a firewall drops UDP between them"
            f"{strangers}",
        )
        text = self._filter.explain(None) if self._family == socket.AF_INET else None
        if text is not None:
            self._log.warning("rp_filter", f"nothing came from any peer, and {text}")

    def _sources(self) -> dict[int, str]:
        """Return the source address that the system uses for each peer, if it has a route."""
        sources = {}
        for node, address in self._addresses.items():
            with contextlib.suppress(OSError), socket.socket(self._family, socket.SOCK_DGRAM) as probe:
                probe.connect(unpack_address(address))  # sends nothing
                sources[node] = str(probe.getsockname()[0])
        return sources

    def _say_wildcard(self) -> None:
        """Log the source addresses of a processor that binds a wildcard: the peers know it by the address that the
        system picks."""
        if not is_wildcard(self._table.own):
            return
        by_source: dict[str, list[int]] = {}
        for node, source in self._sources().items():
            by_source.setdefault(source, []).append(node)
        where = " and ".join(f"{source} to {_nodes(nodes)}" for source, nodes in by_source.items())
        start = f"the own entry of node {self.node} is a wildcard, and this host sends from {where}"
        if len(by_source) > 1:
            self._peers_log.warning(
                "wildcard", f"{start}: no table is right for all of them; give the own address in place of the wildcard"
            )
        elif by_source:
            self._peers_log.info("wildcard", f"{start}: that must be its address in their tables")

    # This processor's address

    def _after_loss(self, error: int, address: bytes) -> None:
        super()._after_loss(error, address)
        if error in ADDRESS_GONE or error == errno.ENETUNREACH:
            # Check soon whether this processor's address still exists.
            self._look_at_paths_at = min(self._look_at_paths_at, self._looked_at + TROUBLE_EVERY_S)

    def _open_probe(self) -> socket.socket:
        if self._table.beyond() is not None:
            self._go_elsewhere()
        # Another port of the same address, so that the path is the same.
        host, _, *rest = unpack_address(self._table.own)
        try:
            probe = bound_socket(self._family, (host, 0, *rest), "the own address")
        except TransportError as exc:
            if exc.errno in ADDRESS_GONE:
                self._lose_address(exc)
            raise
        if self._own.gone:
            self._own.gone = False
            text = f"{format_packed(self._table.own)} is of this host again"
            self._log.state(logging.WARNING, "own address", text)
        return probe

    def _lose_address(self, error: TransportError) -> None:
        """Handle the loss of this processor's address: note that its name must be looked up, and move to an address
        that it resolves to."""
        if self._own.lost():
            self._log.state(
                logging.WARNING,
                "own address",
                f"node {self.node} is bound to {format_packed(self._table.own)}, and reaches nobody until that address "
                f"is back or its name leads to another one: {error.strerror}",
            )
        self._go_elsewhere()

    def _go_elsewhere(self) -> None:
        """Move to another address of this host, if this processor's name resolves to one."""
        try:
            place = self._own.bind_elsewhere()
        except ValueError as exc:
            self._peers_log.warning("own address refused", f"node {self.node} does not go where its name leads: {exc}")
            return
        except AddressInUseError as exc:
            text = f"node {self.node} cannot go on at its new address: {exc.strerror}"
            if self._taken.due(self._now(), text):
                self._log.warning("own address taken", text)
            return
        if place is None:
            return
        self._taken.over()
        former = self._table.own
        found, sock = place
        fresh = self._make_socket(sock)
        fresh.set_buffers(*self._buffers)
        self._go_on_with([fresh])
        self._socket = fresh
        self._table.own = found
        self._origins = set()  # a peer may have had this address
        self._own.gone = False
        self._counts["interface_changes"] += 1
        self._log.state(
            logging.WARNING,
            "interface",
            f"node {self.node} is at {format_packed(found)} now, and was at {format_packed(former)}: the socket was "
            "opened anew",
        )


def _nodes(nodes: list[int]) -> str:
    return ("node " if len(nodes) == 1 else "nodes ") + ", ".join(map(str, nodes))
