"""What loss leaves of a saturated ring, and what a full queue drops, in virtual time.

The processors are those of the core, the network is the simulated one (``ringproto.testing``): a fixed latency, each
copy of each datagram lost by itself, and where it is asked for a bottleneck before each receiver. Nothing that is
computed takes time, so the protocol alone is the limit and the figures are the same on any machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from ringproto import Config, Event, Guarantee, Message, Priority, RegularConfiguration
from ringproto._core import Processor
from ringproto._core.ring.congestion import sendings
from ringproto.testing.simulator.network import Bottleneck, SimulatedNetwork, Weather

DATAGRAM_SIZE = 1352
LEFT_OF_IDEAL = {0.01: 0.80, 0.05: 0.60, 0.15: 0.40}
"""At each loss, the goal: at least this part of the ideal, with 3, 6 and 12 members, at 1 and 10 ms one way."""
_SETTLE_S = 30.0
"""Virtual seconds that a ring has to form."""


class _LossyNode:
    """One processor, whose queue of ``LOW`` is never empty."""

    def __init__(self, ring: SaturatedRing, node: int) -> None:
        self.node = node
        self.processor = Processor(
            node, ring.config, datagram_size=DATAGRAM_SIZE, seed=node.to_bytes(16, "big"), now=0.0
        )
        self.messages = 0
        self.configurations = 0
        self._ring = ring
        self._inbox: list[bytes] = []
        self._due = float("inf")

    def arrive(self, source: int, datagram: bytes) -> None:
        """What arrives at one time is one batch."""
        if not self._inbox:
            self._ring.network.timeline.at(0.0, self._read)
        self._inbox.append(datagram)

    def _read(self, *_: Any) -> None:
        batch, self._inbox = self._inbox, []
        self.turn(batch)

    def _tick(self, due: float, _: Any) -> None:
        if due == self._due:
            self._due = float("inf")
            self.turn([])

    def turn(self, batch: list[bytes]) -> None:
        """What a driver and an application do at one wake-up."""
        ring, processor = self._ring, self.processor
        network, now = ring.network, ring.network.timeline.now
        ready = processor.turn(batch, now)
        while True:
            for destination, datagram in ready.transmits:
                network.send(self.node, destination, datagram)
            self._take(processor.take_events(1_000_000))
            if ring.payload is not None:
                while processor.submit(ring.payload, Priority.LOW, Guarantee.AGREED):
                    pass
            if not (ready.unfinished or processor.wants_turn):
                break
            ready = processor.turn([], now)
        if processor.next_timeout < self._due:
            self._due = max(processor.next_timeout, now)
            network.timeline.at(self._due, self._tick, self._due)

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Message):
                self.messages += 1
            elif isinstance(event, RegularConfiguration):
                self.configurations += 1
                self.processor.unblock(event.ring_id, self._ring.network.timeline.now)


class SaturatedRing:
    """So many processors that form a ring on a network with a fixed latency."""

    def __init__(self, members: int, latency_s: float, *, seed: int = 1, **changes: Any) -> None:
        self.config = Config.lan(send_queue_max=512, **changes)
        self.payload: bytes | None = None
        self.network = SimulatedNetwork(
            random.Random(seed), weather=Weather(latency_s=(latency_s, latency_s)), in_flight_max=1_000_000
        )
        self.nodes = [_LossyNode(self, node) for node in range(1, members + 1)]
        for node in self.nodes:
            self.network.attach(node.node, node.arrive)
        for node in self.nodes:
            node.turn([])
        whole = tuple(range(1, members + 1))
        while not all(n.processor.complete and n.processor.configuration.members == whole for n in self.nodes):
            if self.network.timeline.now > _SETTLE_S:
                raise TimeoutError(f"{members} processors did not form one ring within {_SETTLE_S} s")
            self.run(0.01)

    def run(self, seconds: float) -> None:
        """Let so much virtual time pass."""
        timeline = self.network.timeline
        timeline.run(timeline.now + seconds)

    def total(self, counter: str) -> float:
        """A counter of all members together."""
        return sum(node.processor.statistics().get(counter, 0) for node in self.nodes)

    def measure(self, seconds: float, payload_size: int, warm_up_s: float) -> dict[str, float]:
        """All send without end: what the slowest member is given, and what it takes."""
        self.payload = bytes(payload_size)
        for node in self.nodes:
            node.turn([])
        self.run(warm_up_s)
        names = ("packets_sent", "retransmissions", "tokens_retransmitted", "rotations")
        before = {name: self.total(name) for name in names}
        configurations = sum(node.configurations for node in self.nodes)
        messages = [node.messages for node in self.nodes]
        self.run(seconds)
        after = {name: self.total(name) - before[name] for name in names}
        rotations = after["rotations"] / len(self.nodes)
        return {
            "messages_per_s": min(n.messages - had for n, had in zip(self.nodes, messages, strict=True)) / seconds,
            "rotation_s": seconds / max(1.0, rotations),
            "packets_per_rotation": (after["packets_sent"] + after["retransmissions"]) / max(1.0, rotations),
            "sent_again": after["retransmissions"] / max(1.0, after["packets_sent"]),
            "tokens_sent_again": after["tokens_retransmitted"] / max(1.0, rotations),
            "changes": sum(node.configurations for node in self.nodes) - configurations,
        }


def ideal(members: int, latency_s: float, loss: float, window: int) -> float:
    """Packets a second of a ring that loses time only where a hop of the token is lost, 2.5 ways each time, and packets
    only by sending again what somebody lacks."""
    rotation_s = members * latency_s * (1.0 + 2.5 * loss / (1.0 - loss))
    return window / rotation_s / sendings(loss, members - 1)


def under_loss(
    members: int, latency_s: float, loss: float, rotations: int, payload_size: int = 1300, **changes: Any
) -> dict[str, Any]:
    """A saturated ring at one rate of loss, and what part of the ideal is left."""
    ring = SaturatedRing(members, latency_s, **changes)
    window = ring.config.fitted(DATAGRAM_SIZE).windows[0]
    ring.network.weather = Weather(latency_s=(latency_s, latency_s), loss=loss)
    turn_s = members * latency_s
    result = ring.measure(rotations * turn_s, payload_size, rotations / 3 * turn_s)
    best = ideal(members, latency_s, loss, window)
    return {
        "members": members,
        "latency_s": latency_s,
        "loss": loss,
        "ideal_per_s": best,
        "of_ideal": result["messages_per_s"] / best,
        **result,
    }


def under_congestion(
    members: int,
    latency_s: float,
    rate: float,
    queue: int,
    rotations: int,
    *,
    slow: int | None = None,
    loss: float = 0.0,
    payload_size: int = 1300,
    **changes: Any,
) -> dict[str, Any]:
    """A saturated ring whose receivers have a port that passes less than a full window in each rotation.

    Args:
        rate: packets that the port passes in the time of a rotation, as a part of the window.
        queue: packets that wait before the port.
        slow: how many receivers have such a port; ``None``: all.
    """
    ring = SaturatedRing(members, latency_s, **changes)
    window = ring.config.fitted(DATAGRAM_SIZE).windows[0]
    ring.network.weather = Weather(latency_s=(latency_s, latency_s), loss=loss)
    turn_s = members * latency_s
    ports = []
    for node in range(1, (members if slow is None else slow) + 1):
        port = Bottleneck(rate * window * DATAGRAM_SIZE / turn_s, queue * DATAGRAM_SIZE)
        ports.append(port)
        for link in ring.network.links():
            if link.destination == node:
                link.bottleneck = port
    result = ring.measure(rotations * turn_s, payload_size, 0.0)
    offered, dropped = sum(port.offered for port in ports), sum(port.dropped for port in ports)
    return {
        "members": members,
        "latency_s": latency_s,
        "rate": rate,
        "queue": queue,
        "slow": members if slow is None else slow,
        "loss": loss,
        "dropped": dropped / max(1, offered),
        **result,
    }
