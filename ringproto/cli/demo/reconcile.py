"""How replicas agree on one state while the barrier is down.

The replicas of one configuration may differ: a newcomer is empty, the halves of a partition went their own ways, and a
round that was aborted left everybody as they were. So a replica does not guess from the membership who has the state;
it asks. Everything here travels as RECOVERY messages of one configuration, in its total order:

1. Every member sends one offer: the last configuration whose barrier it saw complete, its revision and its chain.
2. When all offers are there (every member sees the same ones, for the order is total) the best offer leads: a state
   that is not empty before one that is, then the later configuration, then the higher revision, then the lower node id.
   The later configuration stands before the revision because only a configuration with a quorum completes its barrier:
   a processor that was cut off may have delivered more of its own messages, and its history is still not the main line.
3. If every offer has the leader's history, nothing more is needed. Otherwise the leader sends its state: begin, parts,
   end. Members that have that history only compare; the others collect the parts beside their own state.
4. At RecoveryComplete those others replace their state by what they collected, whole, at the same place of the order.
   If the configuration changes before that, what was collected is forgotten and nobody's state has changed.

The leader unblocks after its last part, so the barrier cannot complete without the state; the others unblock as soon as
they have sent their offers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import NamedTuple

from ringproto import RingId
from ringproto.cli.demo.store import Store, StoreError

__all__ = ["CHUNK_SIZE", "Offer", "ReconcileError", "Reconciliation", "state_messages"]

CHUNK_SIZE = 32 * 1024
"""Bytes of state in one RECOVERY message, about."""

_OFFER, _BEGIN, _PART, _END = b"O", b"B", b"P", b"E"


class ReconcileError(Exception):
    """A RECOVERY message does not fit the round: some replica is broken."""


class Offer(NamedTuple):
    """What one replica has."""

    epoch: tuple[int, int, int]
    """Ring id of the last configuration whose barrier it saw complete; zeros if there was none."""
    revision: int
    chain: bytes

    def encode(self) -> bytes:
        """The RECOVERY message that makes this offer."""
        return _OFFER + json.dumps([list(self.epoch), self.revision, self.chain.hex()]).encode()

    def same_history(self, other: Offer) -> bool:
        """Whether both replicas applied the same records in the same order."""
        return (self.revision, self.chain) == (other.revision, other.chain)


def state_messages(store: Store) -> Iterator[bytes]:
    """The RECOVERY messages that carry a whole state. The store must not change meanwhile."""
    yield _BEGIN + json.dumps([store.revision, store.chain.hex(), len(store.entries)]).encode()
    digest = hashlib.blake2b(digest_size=16)
    parts = 0
    for part in store.chunks(CHUNK_SIZE):
        digest.update(part)
        parts += 1
        yield _PART + part
    yield _END + json.dumps([parts, digest.hexdigest()]).encode()


class Reconciliation:
    """One configuration's reconciliation, as one member sees it."""

    def __init__(self, ring_id: RingId, members: tuple[int, ...], own: Offer, node: int) -> None:
        self.ring_id = ring_id
        self.members = members
        self.own = own
        self.offers: dict[int, Offer] = {}
        self.state_bytes = 0
        """Bytes of state seen on their way, collected or not."""
        self._node = node
        self._collected: Store | None = None
        self._announced = 0
        self._parts = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._ended = False

    @property
    def leader(self) -> int | None:
        """The member whose state all take, or ``None`` as long as an offer is missing."""
        if len(self.offers) < len(self.members):
            return None
        return max(self.members, key=self._rank)

    @property
    def needs_state(self) -> bool:
        """Whether some member lacks the leader's history. False as long as an offer is missing."""
        leader = self.leader
        return leader is not None and not all(o.same_history(self.offers[leader]) for o in self.offers.values())

    @property
    def replaces_own(self) -> bool:
        """Whether this member is to take over the leader's state."""
        leader = self.leader
        return leader is not None and not self.own.same_history(self.offers[leader])

    def _rank(self, member: int) -> tuple[bool, tuple[int, int, int], int, int]:
        offer = self.offers[member]
        return offer.revision > 0, offer.epoch, offer.revision, -member

    def deliver(self, sender: int, payload: bytes) -> None:
        """Take one RECOVERY message of this configuration.

        Raises:
            ReconcileError: it does not fit the round.
        """
        kind, body = payload[:1], payload[1:]
        try:
            if kind == _OFFER:
                self._take_offer(sender, body)
            elif sender != self.leader:
                raise ReconcileError(f"processor {sender} sent state, but the leader is {self.leader}")
            elif kind == _BEGIN:
                self._begin(body)
            elif kind == _PART:
                self._part(body)
            elif kind == _END:
                self._end(body)
            else:
                raise ReconcileError(f"processor {sender} sent a RECOVERY message of unknown kind {kind!r}")
        except (ValueError, TypeError, StoreError) as error:
            raise ReconcileError(f"processor {sender} sent a RECOVERY message that cannot be read: {error}") from error

    def result(self) -> Store | None:
        """At RecoveryComplete: the state that replaces this member's own, or ``None`` if its own stays.

        Raises:
            ReconcileError: the barrier is complete and the state is not; it came down too early.
        """
        if self.leader is None:
            missing = sorted(set(self.members) - set(self.offers))
            raise ReconcileError(f"the barrier is complete and the offers of {missing} are missing")
        if not self.needs_state:
            return None
        if not self._ended:
            raise ReconcileError(f"the barrier is complete and the state of processor {self.leader} is not")
        return self._collected if self.replaces_own else None

    def _take_offer(self, sender: int, body: bytes) -> None:
        if sender not in self.members or sender in self.offers:
            raise ReconcileError(f"processor {sender} is not a member, or made two offers")
        epoch, revision, chain = json.loads(body)
        sequence, representative, nonce = epoch
        self.offers[sender] = Offer((sequence, representative, nonce), revision, bytes.fromhex(chain))
        if sender == self._node and self.offers[sender] != self.own:
            raise ReconcileError(f"processor {sender} received another offer than it sent")

    def _begin(self, body: bytes) -> None:
        revision, chain, self._announced = json.loads(body)
        assert self.leader is not None
        if self._collected is not None or (revision, bytes.fromhex(chain)) != self.offers[self.leader][1:]:
            raise ReconcileError(f"processor {self.leader} began to send a state that it did not offer")
        self._collected = Store()
        self._collected.revision = revision
        self._collected.chain = bytes.fromhex(chain)

    def _part(self, body: bytes) -> None:
        if self._collected is None or self._ended:
            raise ReconcileError("a part of the state came before its begin or after its end")
        self._parts += 1
        self._digest.update(body)
        self.state_bytes += len(body)
        if self.replaces_own:
            self._collected.entries.update(Store.read_chunk(body))

    def _end(self, body: bytes) -> None:
        parts, digest = json.loads(body)
        if self._collected is None or self._ended:
            raise ReconcileError("the end of the state came without its begin, or twice")
        if (parts, digest) != (self._parts, self._digest.hexdigest()):
            raise ReconcileError(f"{parts} parts of state were sent, and other parts arrived ({self._parts})")
        if self.replaces_own and len(self._collected.entries) != self._announced:
            raise ReconcileError(f"{self._announced} entries were announced, {len(self._collected.entries)} arrived")
        self._ended = True
