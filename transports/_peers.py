"""The table of peers: the address of each, and which names to look up again, and when.

An address in digits never changes, unless it contains the name of an interface. A missing name is looked up until it
resolves. The name of a peer that has been silent for a while is looked up again, because the peer may have come back
with another address.

Time is counted in looks. A look is a periodic check that a transport makes every ``LOOK_EVERY_S``. A suspended program
makes none, so it does not judge peers by a time in which it did not listen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ringproto.transports._addresses import format_packed, is_wildcard, reach, unusable

__all__ = ["LOOK_EVERY_S", "SILENT_LOOKS", "Peer", "PeerTable", "Unanswered"]

LOOK_EVERY_S = 1.0
"""Seconds between two looks, at which a transport checks which peers were heard."""
SILENT_LOOKS = 5
"""Number of looks without a datagram from a peer after which it counts as silent."""
_MISSING_MAX = 5
"""A missing name is looked up again after 1 look, 2, 4, and then each time after this number of looks."""
_SAME_MAX = 30
"""The name of a silent peer with an unchanged address is looked up again after 5 looks, 10, 20, and then each time
after this number: on an idle ring most peers are silent most of the time."""


class Peer:
    """One other processor."""

    __slots__ = (
        "address",
        "asking",
        "claimed",
        "displaced",
        "failure",
        "heard_at",
        "host",
        "looked_up_at",
        "named",
        "node",
        "port",
        "refuted",
        "wait",
    )

    def __init__(self, node: int, host: str, port: int, named: bool) -> None:
        self.node = node
        self.host = host
        self.port = port
        self.named = named
        """Whether ``host`` may resolve to another address later, as a name does."""
        self.address: bytes | None = None
        """The packed address of the peer; ``None`` while its name has no address."""
        self.failure = ""
        """The reason why the last look-up found no usable address."""
        self.asking = False
        """Whether a look-up is in progress."""
        self.claimed: bytes | None = None
        """An address from which a datagram has claimed to come from this peer, since the last look-up."""
        self.displaced = False
        """Whether the last claim from the peer's address was that of another node: then datagrams from there are not
        from this peer."""
        self.refuted: bytes | None = None
        """Such a claimed address from before the last look-up; the look-up did not lead to it."""
        # In looks: when the peer was last heard or got its address; when its last look-up ended; how long to wait after
        # that.
        self.heard_at = 0
        self.looked_up_at = 0
        self.wait = 0


class PeerTable:
    """The peers of one processor.

    Args:
        node: the node id of this processor.
        own: the packed address of this processor; it may be a wildcard.
    """

    def __init__(self, node: int, own: bytes) -> None:
        self.node = node
        self.own = own
        self.peers: dict[int, Peer] = {}
        self.looks = 0
        """The number of looks so far."""

    def add(self, peer: Peer) -> None:
        self.peers[peer.node] = peer

    def addresses(self) -> dict[int, bytes]:
        """Return the known addresses by node id, sorted by node id."""
        return {node: peer.address for node, peer in sorted(self.peers.items()) if peer.address is not None}

    def beyond(self) -> int | None:
        """Return a peer that is out of reach from this processor's address (see ``reach``); ``None`` if there is
        none."""
        own = reach(self.own)
        return next((node for node, address in self.addresses().items() if reach(address) > own), None)

    def make_way(self) -> bool:
        """Remove this processor's new address from peers that had it; return whether there were any."""
        there = [peer for peer in self.peers.values() if peer.address == self.own]
        for peer in there:
            self._turn_out(peer, "the own address")
        return bool(there)

    def look(self, heard: Iterable[int]) -> list[Peer]:
        """Take the next look. ``heard`` are the nodes that were heard since the last one.

        Returns the peers whose names must be looked up now; :meth:`answered` must be called for each.
        """
        self.looks += 1
        for node in heard:
            peer = self.peers[node]
            if peer.displaced:
                continue
            peer.heard_at = self.looks
            peer.wait = SILENT_LOOKS
        due = [peer for peer in self.peers.values() if self._is_due(peer)]
        for peer in due:
            peer.asking = True
        return due

    def give_up(self) -> None:
        """Note that look-ups in progress will not be answered."""
        for peer in self.peers.values():
            peer.asking = False

    def claim(self, node: int, address: bytes) -> bool:
        """Handle a claim: a datagram from another address claims to come from ``node``. Return whether to trust the
        table.

        ``False`` until the name of the node has been looked up after the claim: the look-up comes first.
        """
        peer = self.peers.get(node)
        if peer is None or not peer.named:
            return True
        peer.claimed = address
        return peer.refuted == address

    def spoke(self, node: int, claimed: int) -> None:
        """Handle a claim: a datagram from the address of ``node`` claims to come from ``claimed``."""
        self.peers[node].displaced = node != claimed

    def answered(self, peer: Peer, found: Sequence[bytes], failure: str) -> bool:
        """Handle the result of a look-up: addresses, or the reason why there are none. Return whether the peer has a
        new address."""
        peer.asking = False
        peer.looked_up_at = self.looks
        chosen, peer.failure = self._choose(peer, found)
        peer.failure = failure or peer.failure
        peer.refuted = None if peer.claimed == chosen else peer.claimed
        peer.claimed = None
        if chosen is None or chosen == peer.address:
            limit = _MISSING_MAX if peer.address is None else _SAME_MAX
            peer.wait = min(max(1, 2 * peer.wait), limit)
            return False
        for other in self.peers.values():
            if other.address == chosen:
                # The other peer is silent, or there would be an objection to this address.
                self._turn_out(other, f"the address of node {peer.node}")
        peer.address = chosen
        peer.displaced = False
        peer.heard_at = self.looks
        peer.wait = SILENT_LOOKS
        return True

    def objection(self, peer: Peer, address: bytes) -> str:
        """Return the reason why a peer cannot have this address; empty if it can."""
        if is_wildcard(address):
            return "stands for every address of a host and cannot be sent to: only the own entry may be one"
        wrong = unusable(address)
        if wrong:
            return wrong
        if address == self.own:
            return "is the own address"
        for other in self.peers.values():
            if other is not peer and other.address == address and not (other.named and self._silent(other)):
                return f"is that of node {other.node} too"
        return ""

    def own_objection(self, address: bytes) -> str:
        """Return the reason why this processor cannot move to this address; empty if it can.

        The user chose the address at which the transport was opened. An address to which a name resolves while that
        address is missing may be a stopgap, and it would still be in use when the address is back.
        """
        if is_wildcard(address):
            return "stands for every address of a host"
        wrong = unusable(address)
        if wrong:
            return wrong
        for other in self.peers.values():
            if other.address == address and not other.named:
                return f"is that of node {other.node}"
            if other.address is not None and reach(other.address) > reach(address):
                return f"does not reach node {other.node} at {format_packed(other.address)}"
        return ""

    def _turn_out(self, peer: Peer, whose: str) -> None:
        """Take the address from a peer, whose new address is not known."""
        assert peer.address is not None
        peer.failure = f"{format_packed(peer.address)} is {whose} now"
        peer.address = None
        peer.displaced = False
        peer.wait = 0

    def _choose(self, peer: Peer, found: Sequence[bytes]) -> tuple[bytes | None, str]:
        """Return the address to take, or the objection to the last of those that cannot be taken."""
        # The address that was claimed is the best evidence. Then come addresses with a greater reach. Among equals
        # comes the former address, and then the resolver's order.
        heard_of = [one for one in found if one == peer.claimed]
        others = sorted(found, key=lambda one: (-reach(one), one != peer.address))
        wrong = ""
        for address in (*heard_of, *others):
            objection = self.objection(peer, address)
            if not objection:
                return address, ""
            wrong = f"{format_packed(address)} {objection}"
        return None, wrong

    def _silent(self, peer: Peer) -> bool:
        return peer.displaced or self.looks - peer.heard_at >= SILENT_LOOKS

    def _is_due(self, peer: Peer) -> bool:
        if not peer.named or peer.asking:
            return False
        since = self.looks - peer.looked_up_at
        if peer.claimed is not None:
            return since >= SILENT_LOOKS or peer.address is None
        return since >= peer.wait and (peer.address is None or self._silent(peer))


class Unanswered:
    """Detects that nothing at all is received although datagrams are sent. It reports once until something is received
    again."""

    def __init__(self) -> None:
        self.sent = 0
        """Datagrams sent since the last one was received."""
        self.strangers = 0
        """Datagrams from unknown senders that were dropped in that time."""
        self._received = 0
        self._sent_before = 0
        self._strangers_before = 0
        self.looks = 0
        """Looks since the first datagram without an answer."""
        self._told = False

    def look(self, received: int, sent: int, strangers: int) -> bool:
        """Take these counters, once per look; return whether to report now. ``strangers`` are the dropped datagrams
        from unknown senders."""
        self.strangers = strangers - self._strangers_before
        if received != self._received:
            self._received = received
            self._sent_before = sent
            self._strangers_before = strangers
            self.looks = 0
            self._told = False
            return False
        self.sent = sent - self._sent_before
        if self.sent:
            self.looks += 1
        if self._told or self.looks <= SILENT_LOOKS:
            return False
        self._told = True
        return True
