"""How whole rings behave in one process: ``open_ring`` on ``LoopbackNetwork``, under real trio.

All members share one thread, so their throughput falls as they become more; what is to stay the same is the CPU time
for each message at each receiver. Every member checks that the numbers of the messages that it is given have no gap.
"""

from __future__ import annotations

import dataclasses
import gc
import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from bench.growth.meter import peak_bytes, resident_bytes
from ringproto import Config, Event, Message, Ring, open_ring
from ringproto.transports import LoopbackNetwork

BATCH = 64
_LEAVE_S = 0.05
_TOKEN_TIMEOUT_S = 10.0
"""Not the default: 32 saturated members that share a busy core need longer for a rotation than 0.5 s."""


class CountingMember:
    """One processor and its application, which counts what it is given."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.messages = 0
        self.bytes = 0
        self.last_seq = 0
        self.ring: Ring | None = None
        self.arrived = trio.Event()

    def take(self, events: list[Event]) -> None:
        """Count the messages of one batch of events, and keep none of them."""
        messages = [event for event in events if isinstance(event, Message)]
        if not messages:
            return
        if self.last_seq and messages[-1].seq - self.last_seq != len(messages):
            raise AssertionError(f"node {self.node}: {len(messages)} messages from {self.last_seq} end elsewhere")
        self.last_seq = messages[-1].seq
        self.messages += len(messages)
        self.bytes += sum(len(message.payload) for message in messages)
        self.arrived.set()


@dataclasses.dataclass
class Running:
    """Members that are one ring."""

    members: list[CountingMember]
    nursery: trio.Nursery

    @property
    def messages(self) -> int:
        """Delivered at all members together."""
        return sum(member.messages for member in self.members)

    def ring(self, node: int) -> Ring:
        ring = self.members[node - 1].ring
        assert ring is not None
        return ring

    def total(self, counter: str) -> float:
        """A counter of all members together."""
        return sum(self.ring(member.node).statistics().get(counter, 0) for member in self.members)


@asynccontextmanager
async def running(network: LoopbackNetwork, count: int, config: Config) -> AsyncIterator[Running]:
    """Have so many members form a ring, and read their events until the block ends."""
    members = [CountingMember(node) for node in range(1, count + 1)]
    nodes = tuple(member.node for member in members)
    formed = trio.Event()
    waiting = set(nodes)

    async def run(member: CountingMember) -> None:
        async with open_ring(network.open(member.node), config=config) as member.ring:
            ring = member.ring
            while (await ring.recovery_complete.receive()).members != nodes:
                pass
            waiting.discard(member.node)
            if not waiting:
                formed.set()
            while True:
                member.take(await ring.events.receive_batch())

    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(run, member)
        with trio.fail_after(60):
            await formed.wait()
        yield Running(members, nursery)
        nursery.cancel_scope.cancel()


async def _flood(ring: Ring, payload: bytes) -> None:
    batch = [payload] * BATCH
    while True:
        await ring.low.send_batch(batch)


def _config(**changes: Any) -> Config:
    return Config.lan(leave_timeout_s=_LEAVE_S, token_timeout_s=_TOKEN_TIMEOUT_S, **changes)


async def _measured(ring: Running, seconds: float) -> dict[str, Any]:
    """What a ring that is under load does in so many seconds."""
    counters = ("packets_sent", "retransmissions", "tokens_retransmitted", "token_losses")
    before = {name: ring.total(name) for name in counters}
    cpu, began, messages = time.process_time(), trio.current_time(), ring.messages
    rotations = ring.ring(1).statistics()["rotations"]
    await trio.sleep(seconds)
    cpu, took = time.process_time() - cpu, trio.current_time() - began
    messages = ring.messages - messages
    rotations = ring.ring(1).statistics()["rotations"] - rotations
    return {
        "us_per_delivery": cpu * 1e6 / max(1, messages),
        "messages_per_s": messages / len(ring.members) / took,
        "rotation_s": took / max(1, rotations),
        **{name: ring.total(name) - before[name] for name in counters},
    }


def saturated(
    members: int,
    seconds: float,
    payload_size: int,
    loss: float = 0.0,
    latency_s: float = 0.0,
    *,
    virtual: bool = False,
) -> Any:
    """All send without end. In virtual time what is computed costs nothing, so the protocol alone is the limit."""

    async def main() -> dict[str, Any]:
        before = resident_bytes()
        network = LoopbackNetwork(seed=1, loss=loss, latency_s=latency_s)
        async with running(network, members, _config()) as ring:
            for member in ring.members:
                ring.nursery.start_soon(_flood, ring.ring(member.node), bytes(payload_size))
            await trio.sleep(seconds / 4)
            result = await _measured(ring, seconds)
            used = resident_bytes() - before
        return {"members": members, "loss": loss, **result, "bytes_per_processor": used / members}

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.0) if virtual else None)


def at_rest(members: int, seconds: float) -> Any:
    """Nothing is sent, and then one message at a time: CPU of an idle processor, and the latency of a message."""

    async def main() -> dict[str, Any]:
        async with running(LoopbackNetwork(seed=1), members, _config()) as ring:
            await trio.sleep(0.2)
            cpu, began = time.process_time(), time.perf_counter()
            await trio.sleep(seconds)
            idle = (time.process_time() - cpu) / (time.perf_counter() - began) / members
            sender = ring.members[members // 2]
            latencies = []
            for _ in range(300):
                sender.arrived = trio.Event()
                sent = time.perf_counter()
                await ring.ring(sender.node).high.send(bytes(200))
                await sender.arrived.wait()
                latencies.append(time.perf_counter() - sent)
        return {"members": members, "idle_cpu": idle, "latency_s": statistics.median(latencies)}

    return trio.run(main)


def memory_over_time(seconds: float, samples: int, payload_size: int, *, traced: bool) -> Any:
    """Three members saturated for long: memory at equal intervals, resident or as Python allocated it."""

    async def main() -> dict[str, Any]:
        used = []
        async with running(LoopbackNetwork(seed=1), 3, _config()) as ring:
            for member in ring.members:
                ring.nursery.start_soon(_flood, ring.ring(member.node), bytes(payload_size))
            await trio.sleep(seconds / samples)
            gc.collect()
            if traced:
                tracemalloc.start()
            messages = ring.messages
            for _ in range(samples):
                await trio.sleep(seconds / samples)
                gc.collect()
                used.append(tracemalloc.get_traced_memory()[0] if traced else resident_bytes())
            messages = ring.messages - messages
        return {"traced": traced, "seconds": seconds, "messages": messages // 3, "bytes": used}

    return trio.run(main)


def large_messages(count: int, size: int) -> Any:
    """One member sends so many messages, each of bytes of its own; all receive them and keep none."""

    async def main() -> dict[str, Any]:
        config = _config(message_size_max=size, events_bytes_max=2 * size, send_queue_bytes_max=2 * size)
        async with running(LoopbackNetwork(seed=1), 3, config) as ring:
            gc.collect()
            before = resident_bytes()
            cpu, began = time.process_time(), time.perf_counter()
            for number in range(count):
                await ring.ring(1).low.send(number.to_bytes(4, "big") * (size // 4))
            await until(lambda: min(member.messages for member in ring.members) == count)
            cpu, took = time.process_time() - cpu, time.perf_counter() - began
            assert all(member.bytes == count * size for member in ring.members)
        return {
            "count": count,
            "size": size,
            "bytes_per_s": count * size / took,
            "cpu_s_per_message": cpu / count,
            "peak_bytes": peak_bytes() - before,
        }

    return trio.run(main)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.002)
