"""A bystander of a run: what the logs do not tell, for the probes.

A :class:`Watch` stands beside the hosts and the network of a :class:`~ringproto.testing.simulator.cluster.Cluster`. It
sees every change of state, what is transmitted, what arrives and what is lost, and writes down what happened by name
(``happened``), what the counters of each incarnation came to (``lives``), and which packets it had. It draws no random
number and changes nothing, so a run with it is the same as one without, only slower.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ringproto.events import RegularConfiguration
from ringproto.testing.simulator.wire_reader import (
    BEACON,
    COMMIT,
    DATA,
    JOIN,
    LEAVE,
    TOKEN,
    JoinSeen,
    intact,
    kind_of,
    read_commit,
    read_data,
    read_identity,
    read_join,
    sender_of,
)
from ringproto.types import Priority, RingId

if TYPE_CHECKING:
    from ringproto.testing.simulator.host import Host
    from ringproto.testing.simulator.network import Link

__all__ = ["LifeSeen", "Watch"]

READ = frozenset((DATA, JOIN, BEACON, LEAVE))
"""What is read when it arrives; the rest is told by what the processor does then."""
PROOFS = 3
MANY_PIECES = 100


class LifeSeen:
    """One incarnation, as it was seen from beside."""

    __slots__ = (
        "asked",
        "audited",
        "cut",
        "failed",
        "forming",
        "host",
        "incarnations",
        "installed_now",
        "join",
        "last_packet",
        "open",
        "packets",
        "pieces",
        "proofs",
        "refused",
        "representative",
        "serials",
        "state",
        "statistics",
        "token_losses",
    )

    def __init__(self, host: Host) -> None:
        self.host = host
        self.state = "gather"
        self.statistics: dict[str, int | float] = {}
        """What its counters came to."""
        self.failed = False
        """Whether its application raised an error."""
        self.pieces: Counter[int] = Counter()
        """Of each priority, in how many packets the message is by now."""
        self.refused = 0
        """Messages for which a queue was full."""
        self.audited = 0
        self.token_losses = 0
        self.forming: frozenset[int] = frozenset()
        """Members of the ring that it forms, or formed last."""
        self.representative = 0
        self.join: JoinSeen | None = None
        self.last_packet: dict[RingId, int] = {}
        self.open: set[int] = set()
        """Priorities of which a message is begun and not ended."""
        self.cut: set[int] = set()
        """Of these, the ones that a change of configuration cut."""
        self.installed_now = False
        """Whether it has sent nothing new since it installed its ring."""
        self.packets: set[tuple[RingId, int]] = set()
        """The packets that came to it or were sent by it."""
        self.asked: set[RingId] = set()
        """The rounds in which its application unblocked."""
        self.incarnations: dict[int, int] = {}
        """Of each other processor, the incarnation that was heard last."""
        self.serials: dict[tuple[int, int], int] = {}
        self.proofs: Counter[tuple[int, int]] = Counter()


class Watch:
    """What was seen of one run."""

    __slots__ = ("_living", "happened", "lives", "places")

    def __init__(self) -> None:
        self.happened: Counter[str] = Counter()
        self.lives: list[LifeSeen] = []
        self.places: dict[RingId, list[tuple[int, int]]] = defaultdict(list)
        """Of each ring, (message number before it, packet number) of its packets in the order of their numbers."""
        self._living: dict[int, LifeSeen] = {}

    def note(self, what: str) -> None:
        """Something happened that has this name."""
        self.happened[what] += 1

    def packet_of(self, ring_id: RingId, message_seq: int) -> int:
        """The number of the packet in which this message ended; 0 if none was seen."""
        places = self.places.get(ring_id, [])
        at = bisect_left(places, (message_seq, 0)) - 1
        return places[at][1] if at >= 0 else 0

    # Called by hosts

    def started(self, host: Host) -> None:
        """A new incarnation begins."""
        life = self._living[host.node] = LifeSeen(host)
        self.lives.append(life)

    def stepped(self, host: Host, transmits: list[tuple[int, bytes]]) -> None:
        """The processor did something, and this is what it sends."""
        life = self._living[host.node]
        assert host.processor is not None
        if len(host.audit) > life.audited:
            for entry in host.audit[life.audited :]:
                if entry[0] == "CONF" and isinstance(entry[1], RegularConfiguration):
                    self._changed(life)
            life.audited = len(host.audit)
        for _, datagram in transmits:
            kind = datagram[1]
            if kind == TOKEN:
                life.installed_now = False
            if kind == DATA:
                self._sent_data(life, datagram)
            elif kind == COMMIT:
                self._sent_commit(life, datagram)
            elif kind == JOIN:
                self._said_join(life, datagram)
        state = host.processor.state
        if state != life.state:
            self._entered(life, state)

    def arrived(self, host: Host, batch: list[bytes]) -> None:
        """These are about to be handled by the processor."""
        life = self._living[host.node]
        for datagram in batch:
            if len(datagram) > 1 and datagram[1] in READ and intact(datagram):
                try:
                    self._arrived(life, datagram)
                except struct.error:
                    self.note("forged datagram")  # the checksum is right, and the counts are not

    def _arrived(self, life: LifeSeen, datagram: bytes) -> None:
        if datagram[1] == DATA:
            data = read_data(datagram)
            life.packets.add((data.ring_id, data.seq))
            if life.state == "gather" and not data.recovered and data.ring_id == _ring_of(life.host):
                self.note("old packet in gather")
        else:
            self._heard(life, datagram[1], datagram)

    def crashed(self, host: Host) -> None:
        """The process was killed, and its log says so; its processor can still be asked."""
        life = self._living[host.node]
        self.happened[f"crash in {life.state}"] += 1
        assert host.processor is not None
        if life.state == "commit" and life.representative == host.node:
            self.note("representative crashed in commit")
        if life.state == "recovery" and life.representative == host.node:
            self.note("representative crashed in recovery")
        if life.open:
            self.note("crash in the middle of a message")
        ring_id = host.processor.configuration.ring_id
        unblocked = any(entry[0] == "UNB_SEND" and entry[1] == ring_id for entry in host.audit[-200:])
        if unblocked and host.processor.waiting_for:
            self.note("crash between unblock and completion")
        elif not unblocked and len(host.processor.configuration.members) > 1:
            self.note("crash before the unblock")
        # The own unblock is delivered in the step that sends it, and the last record is the crash itself.
        if any(entry[0] == "UNB_SEND" for entry in host.audit[-6:]):
            self.note("crash right after the unblock")

    def sampled(self, statistics: dict[str, int | float]) -> None:
        """The counters and gauges of a processor in the middle of the run."""
        if statistics["packets_held"]:
            self.note("packets held for a slow consumer")

    def ended(self, host: Host) -> None:
        """The incarnation is over."""
        self._keep(self._living.pop(host.node), host)

    def finish(self, hosts: dict[int, Host]) -> None:
        """The run is over: read the counters of those that still run."""
        for host in hosts.values():
            if host.processor is not None and host.node in self._living:
                self._keep(self._living.pop(host.node), host)

    def _keep(self, life: LifeSeen, host: Host) -> None:
        assert host.processor is not None and host.application is not None
        life.statistics = host.processor.statistics()
        life.refused = host.application.refused
        life.failed = host.application.failed
        life.asked = host.application.asked

    # Called by the network

    def lost(self, link: Link, datagram: bytes) -> None:
        """A datagram did not get over this link."""
        kind = kind_of(datagram)
        self.happened[kind + " lost"] += 1
        if kind == "token":
            source = self._living.get(link.source)
            if source is not None and source.state == "recovery":
                self.note("token lost in recovery")
            elif source is not None and source.installed_now:
                self.note("token that says INSTALLED lost")

    # What it means

    def _entered(self, life: LifeSeen, state: str) -> None:
        before, life.state = life.state, state
        self.happened[f"{before} to {state}"] += 1
        life.installed_now = state == "operational"
        if state == "gather":
            life.join = None
            processor = life.host.processor
            assert processor is not None
            losses = int(processor.statistics().get("token_losses", 0))
            if losses > life.token_losses:
                self.happened[f"token missed in {before}"] += 1
            life.token_losses = losses

    def _changed(self, life: LifeSeen) -> None:
        """A regular configuration was installed."""
        if life.open:
            self.note("fragment cut by a change")
        life.cut |= life.open
        life.open.clear()

    def _sent_data(self, life: LifeSeen, datagram: bytes) -> None:
        data = read_data(datagram)
        life.installed_now = False
        if data.recovered:
            life.packets.add((data.ring_id, data.seq))
            return
        if sender_of(datagram) != life.host.node or data.seq <= life.last_packet.get(data.ring_id, 0):
            return  # sent again
        life.last_packet[data.ring_id] = data.seq
        life.packets.add((data.ring_id, data.seq))
        self.places[data.ring_id].append((data.message_seq, data.seq))
        low_seen = False
        for chunk in data.chunks(datagram):
            if chunk.control:
                continue
            if chunk.priority == Priority.HIGH:
                if low_seen:
                    self.note("LOW before HIGH")
                if Priority.LOW in life.open:
                    self.note("HIGH between the pieces of LOW")
            life.pieces[chunk.priority] = 1 if chunk.first else life.pieces[chunk.priority] + 1
            if life.pieces[chunk.priority] == MANY_PIECES:
                self.note("message of a hundred packets")
            low_seen = low_seen or chunk.priority == Priority.LOW
            if chunk.first:
                if chunk.priority in life.cut:
                    life.cut.discard(chunk.priority)
                    if chunk.priority != Priority.RECOVERY:
                        self.note("fragment sent again")
                if not chunk.last:
                    life.open.add(chunk.priority)
            elif chunk.last:
                life.open.discard(chunk.priority)

    def _sent_commit(self, life: LifeSeen, datagram: bytes) -> None:
        commit = read_commit(datagram)
        nodes = frozenset(commit.nodes)
        life.forming = nodes if commit.members == len(nodes) else life.forming | nodes
        life.representative = commit.representative
        if commit.members > len(commit.nodes):
            self.note("commit token of several datagrams")
        if commit.obliged:
            self.note("obligations in a commit token")

    def _said_join(self, life: LifeSeen, datagram: bytes) -> None:
        join = read_join(datagram)
        if join.fail_set:
            self.note("somebody given up in gather")
        if life.join is not None and life.state == "gather" and life.join.fail_set - join.fail_set:
            self.note("gathered anew without a commit token")
        life.join = join

    def _heard(self, life: LifeSeen, kind: int, datagram: bytes) -> None:
        sender = sender_of(datagram)
        node = life.host.node
        incarnation, serial = read_identity(datagram)
        if sender == node:
            return
        key = sender, incarnation
        known = life.serials.get(key)
        life.serials[key] = max(serial, known or 0)
        last = life.incarnations.get(sender)
        if known is not None and last is not None and last != incarnation:
            self.note("late copy of a former life" if serial <= known else "two lives compete")
            if serial > known:
                life.proofs[key] += 1
                if life.proofs[key] >= PROOFS:
                    self.note("a life proved that it lives")
                    life.incarnations[sender] = incarnation
        elif known is None or serial > known:
            life.incarnations[sender] = incarnation
            life.proofs.pop(key, None)
        if kind == JOIN:
            join = read_join(datagram)
            if node in join.fail_set:
                self.happened[f"given up by a join in {life.state}"] += 1
            if life.state in ("commit", "recovery") and sender not in life.forming:
                self.happened[f"a stranger's join in {life.state}"] += 1
        elif kind == LEAVE and life.state in ("commit", "recovery", "gather"):
            self.happened[f"leave heard in {life.state}"] += 1


def _ring_of(host: Host) -> RingId:
    assert host.processor is not None
    return host.processor.configuration.ring_id
