"""One replica of the demonstration's store, driven by the ordered stream and nothing else.

:meth:`Replica.handle` is called for every event in its order and never waits; :meth:`Replica.recover` is the coroutine
that the ring runs for every regular configuration. They meet in a :class:`~ringproto.cli.demo.reconcile.Round`, which
lives from a regular configuration to its RecoveryComplete. This file is what an application with replicated state looks
like; how the states are reconciled is told in reconcile.py.
"""

from __future__ import annotations

import time
import zlib
from typing import Any, Protocol

import trio

from ringproto import Event, Message, Priority, RecoveryComplete, RegularConfiguration, RingId
from ringproto.cli.demo.feed import Feed, read_payload
from ringproto.cli.demo.log import Complete, Delivered, Entry, Note, Regular, StreamDigest, Transitional
from ringproto.cli.demo.reconcile import Offer, Reconciliation, state_messages
from ringproto.cli.demo.store import Store

__all__ = ["RecoveryLike", "Replica", "entry_of", "take_audit"]

_LETTERS = {Priority.HIGH: "h", Priority.LOW: "l", Priority.RECOVERY: "r"}


def entry_of(event: Event) -> Delivered | Regular | Transitional | Complete:
    """The entry of the log for an event that comes now.

    Raises:
        ValueError: a payload is not a record.
    """
    ring = str(event.ring_id)
    if isinstance(event, Message):
        letter, payload = _LETTERS[event.priority], event.payload
        mid = payload[:1].decode("latin-1") if letter == "r" else read_payload(payload)[0]
        return Delivered(ring, event.seq, letter, event.sender, mid, zlib.crc32(payload))
    now_s = time.monotonic()
    if isinstance(event, RegularConfiguration):
        return Regular(now_s, ring, event.members, event.joined, event.left, event.primary)
    if isinstance(event, RecoveryComplete):
        return Complete(now_s, ring, event.seq, event.members)
    return Transitional(now_s, ring, event.members)


def take_audit(audit: list[tuple[Any, ...]], digest: StreamDigest) -> None:
    """Empty the audit list of a ring, and add to the digest what it says that the ring has delivered."""
    entries = audit[:]
    del audit[: len(entries)]  # what came meanwhile stays
    for entry in entries:
        if entry[0] in ("CONF", "DELV", "DONE"):
            digest.add(entry_of(entry[1]))


class RecoveryLike(Protocol):
    """What the ring hands to ``recover``, as far as a replica uses it."""

    @property
    def configuration(self) -> RegularConfiguration:
        """The configuration to recover in."""

    async def send(self, payload: bytes, /) -> None:
        """Send one RECOVERY message of this configuration."""


class Replica:
    """The state of one processor, its reconciliations, and the log of what it saw.

    ``full_size`` is the number of members with which the load begins: not before all are there.
    """

    def __init__(self, node: int, feed: Feed, full_size: int) -> None:
        self.node = node
        self.feed = feed
        self.store = Store()
        self.log: list[Entry] = []
        """What happened since somebody took it."""
        self.latencies_s: dict[str, list[float]] = {"h": [], "l": []}
        """From send to own delivery, since somebody took them."""
        self.configuration: RegularConfiguration | None = None
        self.complete = False
        self.delivered_here = {"h": 0, "l": 0}
        """Deliveries in the present configuration, by priority."""
        self.round: Reconciliation | None = None
        self._full_size = full_size
        self._epoch = RingId(0, 0, 0)
        self._changed = trio.Event()

    def handle(self, event: Event) -> None:
        """Take the next event of the ordered stream.

        Raises:
            ReconcileError: the replicas do not fit together.
            ValueError: a payload is not a record.
        """
        self.log.append(entry_of(event))
        if isinstance(event, Message):
            self._message(event)
        elif isinstance(event, RegularConfiguration):
            self._regular(event)
        elif isinstance(event, RecoveryComplete):
            self._recovery_complete(event)

    async def recover(self, recovery: RecoveryLike) -> None:
        """Reconcile the replicas of one configuration: send an offer and, as the leader, the state.

        A new configuration cancels it; what was sent then counts for nothing.
        """
        ring_id = recovery.configuration.ring_id
        # The offer must speak of the state at the beginning of this configuration, so handle() must have got there.
        while self.round is None or self.round.ring_id != ring_id:
            await self._changed.wait()
        current = self.round
        await recovery.send(current.own.encode())
        while current.leader is None:
            await self._changed.wait()
        if current.leader != self.node or not current.needs_state:
            return
        started_s = time.monotonic()
        size = 0
        for message in state_messages(self.store):
            size += len(message)
            await recovery.send(message)
        behind = sorted(m for m, offer in current.offers.items() if not offer.same_history(current.own))
        facts = {"to": behind, "entries": len(self.store.entries), "bytes": size}
        self._note("state sent", **facts, seconds=time.monotonic() - started_s)

    def _message(self, message: Message) -> None:
        if message.priority is Priority.RECOVERY:
            # What a configuration that has ended still brings speaks of a round that is over.
            if self.round is not None and message.ring_id == self.round.ring_id:
                self.round.deliver(message.sender, message.payload)
                self._wake()
            return
        letter = _LETTERS[message.priority]
        mid, key, value = read_payload(message.payload)
        self.delivered_here[letter] += 1
        self.store.put(key, value)
        if message.sender == self.node:
            latency_s = self.feed.own_delivered(mid)
            if latency_s is not None:
                self.latencies_s[letter].append(latency_s)

    def _regular(self, configuration: RegularConfiguration) -> None:
        self.configuration = configuration
        self.complete = False
        self.delivered_here = {"h": 0, "l": 0}
        epoch = (self._epoch.sequence, self._epoch.representative, self._epoch.nonce)
        own = Offer(epoch, self.store.revision, self.store.chain)
        self.round = Reconciliation(configuration.ring_id, configuration.members, own, self.node)
        self._wake()

    def _recovery_complete(self, event: RecoveryComplete) -> None:
        assert self.round is not None and self.round.ring_id == event.ring_id
        state = self.round.result()
        if state is not None:
            behind, self.store = self.store, state
            facts = {"from": self.round.leader, "entries": len(state.entries), "bytes": self.round.state_bytes}
            self._note("state taken over", **facts, revision_before=behind.revision, revision=state.revision)
            self.feed.state_taken_over(state)
        self._epoch = event.ring_id
        self.complete = True
        self.round = None
        if not self.feed.begun and len(event.members) >= self._full_size:
            self.feed.begin(self.store)

    def _note(self, what: str, /, **facts: object) -> None:
        self.log.append(Note(time.monotonic(), what, facts))

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
