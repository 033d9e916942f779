"""Who is where: the addresses of all peers, and whose name is to be looked up again, and when.

An address in digits stays what it is, unless it has the name of an interface in it. A name that is not there yet is
looked up until it is; and the name of a peer of which nothing has come for a while is looked up again, because the peer
may have come back with another address.

Time is counted in looks, which a transport takes every ``LOOK_EVERY_S``: a program that stands still takes none, and so
does not judge others by the time in which it did not listen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ringproto.transports._addresses import format_packed, is_wildcard, reach, unusable

__all__ = ["LOOK_EVERY_S", "SILENT_LOOKS", "Peer", "PeerTable", "Unanswered"]

LOOK_EVERY_S = 1.0
"""How often a transport looks who was heard, in seconds."""
SILENT_LOOKS = 5
"""After so many looks at which nothing had come of a peer, it counts as silent."""
_MISSING_MAX = 5
"""A name that is not there is looked up again after 1 look, 2, 4, and then every so many."""
_SAME_MAX = 30
"""The name of a silent peer that has the address it had is looked up again after 5 looks, 10, 20, and then every so
many: on an idle ring most peers are silent most of the time."""


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
        """Whether ``host`` may lead to another address later, as a name does."""
        self.address: bytes | None = None
        """Where it is, packed; ``None`` as long as its name gave no address."""
        self.failure = ""
        """Why the last look-up gave no address that can be used."""
        self.asking = False
        """Whether a look-up is under way."""
        self.claimed: bytes | None = None
        """An address from which somebody said that he is this peer, since the last look-up."""
        self.displaced = False
        """Whether somebody at its address said last that he is another node: what comes from there is not of it."""
        self.refuted: bytes | None = None
        """The same before the last look-up, which did not lead there."""
        # In looks: when something of it came, or it got its address; when a look-up ended; how long to wait then.
        self.heard_at = 0
        self.looked_up_at = 0
        self.wait = 0


class PeerTable:
    """The peers of one processor.

    Args:
        node: the own node id.
        own: the own address, packed; it may be a wildcard.
    """

    def __init__(self, node: int, own: bytes) -> None:
        self.node = node
        self.own = own
        self.peers: dict[int, Peer] = {}
        self.looks = 0
        """How many looks there were."""

    def add(self, peer: Peer) -> None:
        self.peers[peer.node] = peer

    def addresses(self) -> dict[int, bytes]:
        """Where each is of whom that is known, by node id and in its order."""
        return {node: peer.address for node, peer in sorted(self.peers.items()) if peer.address is not None}

    def beyond(self) -> int | None:
        """A peer that is farther away than what is sent from the own address goes; ``None`` if there is none."""
        own = reach(self.own)
        return next((node for node, address in self.addresses().items() if reach(address) > own), None)

    def make_way(self) -> bool:
        """Nobody else is where this processor has moved to; whether somebody was thought to be there."""
        there = [peer for peer in self.peers.values() if peer.address == self.own]
        for peer in there:
            self._turn_out(peer, "the own address")
        return bool(there)

    def look(self, heard: Iterable[int]) -> list[Peer]:
        """Take the next look: ``heard`` are the nodes of whom something came since the last one.

        Returns the peers whose names are to be looked up now; :meth:`answered` has to be called for each.
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
        """What is being looked up will not be answered."""
        for peer in self.peers.values():
            peer.asking = False

    def claim(self, node: int, address: bytes) -> bool:
        """Somebody at an address that is not that of ``node`` says that he is that node: whether to believe the table.

        ``False`` as long as its name was not looked up since: then that comes first.
        """
        peer = self.peers.get(node)
        if peer is None or not peer.named:
            return True
        peer.claimed = address
        return peer.refuted == address

    def spoke(self, node: int, claimed: int) -> None:
        """Somebody at the address of ``node`` said that he is ``claimed``."""
        self.peers[node].displaced = node != claimed

    def answered(self, peer: Peer, found: Sequence[bytes], failure: str) -> bool:
        """A look-up gave these addresses, or none for this reason; whether the peer has another address now."""
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
                # Nothing came of it, or this would have been objected to.
                self._turn_out(other, f"the address of node {peer.node}")
        peer.address = chosen
        peer.displaced = False
        peer.heard_at = self.looks
        peer.wait = SILENT_LOOKS
        return True

    def objection(self, peer: Peer, address: bytes) -> str:
        """Why a peer cannot have this address; empty if it can."""
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
        """Why this processor cannot move to this address; empty if it can.

        Where it was when it was opened was the user's to say. What a name leads to while the own address is missing may
        be a stopgap, which would be there still when the address is back.
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
        """It is somewhere else, wherever that is."""
        assert peer.address is not None
        peer.failure = f"{format_packed(peer.address)} is {whose} now"
        peer.address = None
        peer.displaced = False
        peer.wait = 0

    def _choose(self, peer: Peer, found: Sequence[bytes]) -> tuple[bytes | None, str]:
        """Which of the addresses to take, and what is wrong with the last of those that cannot be taken."""
        # Where the peer was heard of says most. Then come those that reach farther, and among equals where it was
        # before, and then the order of the resolver.
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
    """Whether nothing at all comes, although something is sent; told once until something comes again."""

    def __init__(self) -> None:
        self.sent = 0
        """Datagrams sent since something came last."""
        self.strangers = 0
        """Datagrams of strangers that were dropped since then."""
        self._received = 0
        self._sent_before = 0
        self._strangers_before = 0
        self.looks = 0
        """Looks since the first datagram that was not answered."""
        self._told = False

    def look(self, received: int, sent: int, strangers: int) -> bool:
        """Take these counters, once a look; whether to tell somebody now. Datagrams of strangers are those that were
        dropped."""
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
