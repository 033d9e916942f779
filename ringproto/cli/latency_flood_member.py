"""One processor of ``ringproto latency --flood``: it floods ``LOW``, probes with ``HIGH``, and measures both.

The probes are an open loop as in latency_member.py; the flood is a closed one: whenever the ring has room for ``LOW``,
it gets some. ``HIGH`` is measured by its latency, ``LOW`` by what is delivered in the measured time.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import trio

from ringproto import Config, Guarantee, Message, Priority, RecoveryComplete, RegularConfiguration, Ring, open_ring
from ringproto.cli.histogram import encode, new_histogram, record_ns
from ringproto.cli.latency_member import HEADER, HEADER_SIZE, Schedule, send_by_the_clock
from ringproto.cli.opening import open_transport, until_left
from ringproto.cli.pipes import Line, Pipes, run_worker
from ringproto.transports import Transport

__all__ = ["measure_flood"]

_FLOOD_BATCH = 64
"""Messages that the flood gives in one call."""


class _Member:
    def __init__(self, line: Line, setup: Mapping[str, Any]) -> None:
        self._line = line
        self._setup = setup
        self._node: int = setup["node"]
        self._nodes: list[int] = setup["nodes"]
        # Of each sender, the numbers of the next HIGH and the next LOW message: sent, and received.
        self._sent = {Priority.HIGH: 0, Priority.LOW: 0}
        self._received = {node: {Priority.HIGH: 0, Priority.LOW: 0} for node in self._nodes}
        self._histogram = new_histogram()
        self._from_ns = self._until_ns = 0
        self._low = 0
        self._disordered = 0
        self._changes = 0
        self._together = trio.Event()
        self._news = trio.Event()

    async def run(self, transport: Transport) -> None:
        config = Config.lan(**self._setup["config"])
        async with open_ring(transport, config=config) as ring, trio.open_nursery() as tasks:
            tasks.start_soon(until_left, tasks.cancel_scope, partial(self._read_events, ring.events))
            await self._together.wait()
            self._changes = 0
            await self._line.send({"ready": True})
            while (load := await self._line.receive()) is not None:
                unsent = await self._phase(ring, load)
                await self._line.send({"sent": [self._sent[Priority.HIGH], self._sent[Priority.LOW]]})
                totals = await self._line.receive()
                if totals is None:
                    break
                await self._line.send({"report": await self._report(totals["sent"], unsent)})
            tasks.cancel_scope.cancel()

    async def _read_events(self, events: Any) -> None:
        header = HEADER
        while True:
            batch = await events.receive_batch()
            now_ns = time.monotonic_ns()
            for event in batch:
                if isinstance(event, Message):
                    due_ns, sender, number = header.unpack_from(event.payload)
                    received = self._received[sender]
                    if number != received[event.priority]:
                        self._disordered += 1
                    received[event.priority] += 1
                    if event.priority == Priority.LOW:
                        self._low += self._from_ns <= now_ns < self._until_ns
                    elif due_ns >= self._from_ns:
                        record_ns(self._histogram, now_ns - due_ns)
                elif isinstance(event, RegularConfiguration):
                    self._changes += 1
                elif isinstance(event, RecoveryComplete) and list(event.members) == self._nodes:
                    self._together.set()
            news, self._news = self._news, trio.Event()
            news.set()

    async def _phase(self, ring: Ring, load: Mapping[str, Any]) -> int:
        """Put one load on the ring; returns how many probes could not be sent."""
        setup = self._setup
        start_ns = load["start_ns"]
        span_s = setup["warmup_s"] + setup["duration_s"]
        self._from_ns = start_ns + round(setup["warmup_s"] * 1e9)
        self._until_ns = start_ns + round(span_s * 1e9)
        self._histogram = new_histogram()
        self._low = 0
        schedule = Schedule(self._node, self._nodes, setup["rate"], start_ns, span_s)
        unsent = 0
        async with trio.open_nursery() as loads:
            if load["low"]:
                loads.start_soon(self._flood, ring, start_ns)
            if load["high"]:
                sent = self._sent[Priority.HIGH]
                high = ring.sender(Priority.HIGH, Guarantee[setup["guarantee"]])
                accepted = await send_by_the_clock(high, schedule, setup["size"], sent, span_s + setup["drain_s"])
                self._sent[Priority.HIGH] += accepted
                unsent = schedule.total - accepted
        return unsent

    async def _flood(self, ring: Ring, start_ns: int) -> None:
        await trio.sleep((start_ns - time.monotonic_ns()) / 1e9)
        padding = bytes(self._setup["size"] - HEADER_SIZE)
        low = ring.low
        while (now_ns := time.monotonic_ns()) < self._until_ns:
            number = self._sent[Priority.LOW]
            numbers = range(number, number + _FLOOD_BATCH)
            self._sent[Priority.LOW] += _FLOOD_BATCH
            await low.send_batch([HEADER.pack(now_ns, self._node, each) + padding for each in numbers])

    async def _report(self, sent: Mapping[str, list[int]], unsent: int) -> dict[str, Any]:
        """Wait until everything was delivered here, as long as something comes, and give the figures of the phase."""
        expected = {int(node): {Priority.HIGH: high, Priority.LOW: low} for node, (high, low) in sent.items()}
        with trio.CancelScope(deadline=trio.current_time() + self._setup["drain_s"]) as scope:
            while self._received != expected:
                await self._news.wait()
                scope.deadline = trio.current_time() + self._setup["drain_s"]
        differences = [
            expected[node][priority] - self._received[node][priority]
            for node in self._nodes
            for priority in (Priority.HIGH, Priority.LOW)
        ]
        disordered, self._disordered = self._disordered, 0
        return {
            "node": self._node,
            "histogram": encode(self._histogram),
            "low_per_s": self._low / self._setup["duration_s"],
            "lost": sum(max(0, missing) for missing in differences),
            "extra": sum(max(0, -missing) for missing in differences),
            "disordered": disordered,
            "unsent": unsent,
            "changes": self._changes,
        }


async def measure_flood(line: Line, setup: Mapping[str, Any], transport: Transport) -> None:
    """Be one processor of a measurement, until the conductor says that it is over or is gone."""
    await _Member(line, setup).run(transport)


async def _main() -> None:
    pipes = Pipes()
    setup = await pipes.receive()
    if setup is not None:
        gc.freeze()
        await measure_flood(pipes, setup, await open_transport(setup["node"], setup["transport"]))


if __name__ == "__main__":
    sys.exit(run_worker(_main))
