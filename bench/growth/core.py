"""How the core grows with the number of processors, without trio: what it costs, and how large rings form.

Two harnesses. In :class:`Lockstep` every datagram arrives a tenth of a millisecond after it was sent, nothing is
random, and only the time spent inside the core's calls is counted, so 128 processors can be compared with two. For
formation, a crash and a merge there is the simulator (``ringproto.testing.Cluster``), whose links have latencies.
"""

from __future__ import annotations

import time
from typing import Any

from bench.growth.meter import resident_bytes
from ringproto import Config, Guarantee, Message, Priority, RegularConfiguration
from ringproto._core import Processor
from ringproto.testing import Cluster

DATAGRAM_SIZE = 1352
HOP_S = 0.0001
SETTLE_S = 30.0
"""What the simulator gives a ring to form, in virtual seconds."""


def large_config(members: int, **changes: Any) -> Config:
    """The default settings, with room for so many members."""
    return Config.lan(members_max=max(64, members), send_queue_max=512).replace(**changes)


class Lockstep:
    """Processors joined by lists."""

    def __init__(self, members: int, **changes: Any) -> None:
        self.now = 0.0
        self.cpu_ns = 0
        self.delivered = 0
        config = large_config(members, **changes)
        self.processors = {
            node: Processor(node, config, datagram_size=DATAGRAM_SIZE, seed=node.to_bytes(16, "big"), now=0.0)
            for node in range(1, members + 1)
        }
        self.inbox: dict[int, list[bytes]] = {node: [] for node in self.processors}

    def step(self, payload: bytes | None = None) -> None:
        """One hop of time. With ``payload`` every processor sends it, as often as its queue takes it."""
        self.now += HOP_S
        # What arrives in this step was sent in the last one, so all is handled before anything is carried.
        sent: list[tuple[int, list[tuple[int, bytes]]]] = []
        clock = time.process_time_ns
        for node, processor in self.processors.items():
            batch = self.inbox[node]
            if not batch and processor.next_timeout > self.now:
                continue
            self.inbox[node] = []
            begun = clock()
            transmits = processor.turn(batch, self.now).transmits
            if payload is not None:
                while processor.submit(payload, Priority.LOW, Guarantee.AGREED):
                    pass
            events = processor.take_events(1_000_000)
            if processor.wants_turn:
                transmits += processor.turn([], self.now).transmits
            self.cpu_ns += clock() - begun
            sent.append((node, transmits))
            for event in events:
                if isinstance(event, Message):
                    self.delivered += 1
                elif isinstance(event, RegularConfiguration):
                    processor.unblock(event.ring_id, self.now)
        for node, transmits in sent:
            to_all = [datagram for destination, datagram in transmits if not destination]
            for other, inbox in self.inbox.items():
                if other != node:
                    inbox += to_all
            for destination, datagram in transmits:
                if destination:
                    self.inbox[destination].append(datagram)

    def form(self) -> None:
        """Until all are one ring and its barrier is complete."""
        members = tuple(self.processors)
        while not all(p.complete and p.configuration.members == members for p in self.processors.values()):
            if self.now > SETTLE_S:
                raise TimeoutError(f"{len(members)} processors did not form one ring within {SETTLE_S} s")
            self.step()

    @property
    def rotations(self) -> int:
        return int(self.processors[1].statistics()["rotations"])


def saturated(members: int, rotations: int, payload_size: int) -> dict[str, Any]:
    """All send without end: CPU time of the core for each message at each receiver, rotation time, memory."""
    before = resident_bytes()
    ring = Lockstep(members)
    ring.form()
    payload = bytes(payload_size)
    goal = ring.rotations + 5
    while ring.rotations < goal:
        ring.step(payload)
    ring.cpu_ns = ring.delivered = 0
    first, began = ring.rotations, ring.now
    while ring.rotations < first + rotations:
        ring.step(payload)
    turned = ring.rotations - first
    return {
        "members": members,
        "us_per_delivery": ring.cpu_ns / 1e3 / ring.delivered,
        "deliveries": ring.delivered,
        "messages_per_rotation": ring.delivered / members / turned,
        "rotation_s": (ring.now - began) / turned,
        "bytes_per_processor": (resident_bytes() - before) / members,
    }


def idle(members: int, rotations: int) -> dict[str, Any]:
    """CPU time of the core for one hop of a token that carries nothing and never rests."""
    ring = Lockstep(members, token_hold_s=0.0)
    ring.form()
    ring.cpu_ns = 0
    first = ring.rotations
    while ring.rotations < first + rotations:
        ring.step()
    return {"members": members, "us_per_hop": ring.cpu_ns / 1e3 / ((ring.rotations - first) * members)}


def formation(members: int) -> dict[str, Any]:
    """In the simulator: all start at once; then one crashes; then the network is parted in halves and healed."""
    cluster = Cluster(1, large_config(members))
    nodes = set(range(1, members + 1))
    result: dict[str, Any] = {"members": members}

    def until_settled(what: str, groups: list[set[int]]) -> None:
        began, sent, cpu = cluster.now, cluster.network.sent, time.process_time()
        if not cluster.run_until(lambda: all(map(cluster.settled, groups)), SETTLE_S, every_s=0.005):
            raise TimeoutError(f"{what} of {members} processors did not end within {SETTLE_S} s")
        result[what] = {
            "virtual_s": cluster.now - began,
            "copies": cluster.network.sent - sent,
            "cpu_s": time.process_time() - cpu,
        }

    cluster.start(*nodes)
    until_settled("formation", [nodes])
    result["joins"] = sum(cluster.processor(node).statistics().get("joins_sent", 0) for node in nodes)
    cluster.crash(members)
    nodes.discard(members)
    until_settled("crash", [nodes])
    if members > 2:
        halves = [{node for node in nodes if node % 2 == side} for side in (0, 1)]
        cluster.partition(*halves)
        until_settled("partition", halves)
        cluster.heal()
        until_settled("merge", [nodes])
    return result
