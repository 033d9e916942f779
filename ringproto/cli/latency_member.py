"""One processor of a latency measurement: it sends by the clock and measures what it delivers.

The load is an open loop: message i of a processor is due at a time fixed beforehand, whatever became of those before
it, and its latency counts from then. A ring that stalls for a second is so charged for every message that was due in
that second, and not only for the one that happened to be under way. The due time travels in the payload; the clock is
CLOCK_MONOTONIC, which all processes of one host share.

A member talks with the conductor in latency.py through a :class:`~ringproto.cli.pipes.Line`, whether it is a process of
its own (``python -m ringproto.cli.latency_member``) or, on the loopback transport, a task beside the others.
"""

from __future__ import annotations

import gc
import struct
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import trio

from ringproto import Config, Guarantee, Message, Priority, RecoveryComplete, RegularConfiguration, Sender, open_ring
from ringproto.cli.histogram import encode, new_histogram, record_ns
from ringproto.cli.opening import open_transport, until_left
from ringproto.cli.pipes import Line, Pipes, run_worker
from ringproto.transports import Transport

__all__ = ["HEADER", "HEADER_SIZE", "Schedule", "measure", "send_by_the_clock"]

HEADER = struct.Struct("!QII")
"""What a payload begins with: the due time in nanoseconds, the sender, and the number of the message."""
HEADER_SIZE = HEADER.size
"""Bytes that every payload needs."""


class Schedule(NamedTuple):
    """When the messages of one processor are due. The processors take turns, so that those of all are spread evenly."""

    node: int
    nodes: list[int]
    rate: float
    """Messages a second, of all together."""
    start_ns: int
    span_s: float

    @property
    def interval_ns(self) -> float:
        """Nanoseconds from one message of this processor to the next."""
        return 1e9 * len(self.nodes) / self.rate

    @property
    def first_ns(self) -> float:
        """When the first one is due."""
        return self.start_ns + self.interval_ns * self.nodes.index(self.node) / len(self.nodes)

    @property
    def total(self) -> int:
        """How many this processor sends."""
        return int(self.span_s * 1e9 / self.interval_ns)


async def send_by_the_clock(sender: Sender, schedule: Schedule, size: int, number: int, limit_s: float) -> int:
    """Send each message when it is due, at once if it is late; returns how many were accepted.

    Args:
        sender: where to send.
        schedule: when.
        size: bytes of a payload.
        number: the number of the first message.
        limit_s: seconds after the start at which what is left is given up.
    """
    first_ns, interval_ns, total = schedule.first_ns, schedule.interval_ns, schedule.total
    padding = bytes(size - HEADER_SIZE)
    sent = 0
    give_up = trio.current_time() + (schedule.start_ns - time.monotonic_ns()) / 1e9 + limit_s
    with trio.CancelScope(deadline=give_up):
        while sent < total:
            due_ns = first_ns + sent * interval_ns
            ahead_s = (due_ns - time.monotonic_ns()) / 1e9
            if ahead_s > 0:
                await trio.sleep(ahead_s)
            due_now = min(total, int((time.monotonic_ns() - first_ns) / interval_ns) + 1)
            while sent < due_now:
                payload = HEADER.pack(round(first_ns + sent * interval_ns), schedule.node, number + sent) + padding
                try:
                    sender.send_nowait(payload)
                except trio.WouldBlock:
                    await sender.send(payload)
                sent += 1
            await trio.lowlevel.checkpoint()
    return sent


class _Member:
    def __init__(self, line: Line, setup: Mapping[str, Any]) -> None:
        self._line = line
        self._setup = setup
        self._node: int = setup["node"]
        self._nodes: list[int] = setup["nodes"]
        self._histogram = new_histogram()
        self._received = dict.fromkeys(self._nodes, 0)
        self._disordered = 0
        self._changes = 0
        self._last_ns = 0
        self._measured_from_ns = 0
        self._together = trio.Event()
        self._news = trio.Event()

    async def run(self, transport: Transport) -> None:
        setup = self._setup
        config = Config.lan(**setup["config"])
        async with open_ring(transport, config=config) as ring, trio.open_nursery() as tasks:
            tasks.start_soon(until_left, tasks.cancel_scope, partial(self._read_events, ring.events))
            await self._together.wait()
            await self._line.send({"ready": True})
            start = await self._line.receive()
            if start is not None:
                self._changes = 0
                self._measured_from_ns = start["start_ns"] + round(setup["warmup_s"] * 1e9)
                sender = ring.sender(Priority[setup["priority"]], Guarantee[setup["guarantee"]])
                await self._line.send({"sent": await self._send_all(sender, start["start_ns"])})
            totals = await self._line.receive()
            if totals is not None:
                await self._line.send({"report": await self._report({int(n): c for n, c in totals["sent"].items()})})
                await self._line.receive()
            tasks.cancel_scope.cancel()

    async def _read_events(self, events: Any) -> None:
        header, received, measured = HEADER, self._received, self._histogram
        while True:
            batch = await events.receive_batch()
            now_ns = time.monotonic_ns()
            for event in batch:
                if isinstance(event, Message):
                    due_ns, sender, number = header.unpack_from(event.payload)
                    if number != received[sender]:
                        self._disordered += 1
                    received[sender] += 1
                    if due_ns >= self._measured_from_ns:
                        record_ns(measured, now_ns - due_ns)
                        self._last_ns = now_ns
                elif isinstance(event, RegularConfiguration):
                    self._changes += 1
                elif isinstance(event, RecoveryComplete) and list(event.members) == self._nodes:
                    self._together.set()
            news, self._news = self._news, trio.Event()
            news.set()

    async def _send_all(self, sender: Sender, start_ns: int) -> int:
        """Send each message when it is due, at once if it is late; returns how many were accepted."""
        setup = self._setup
        span_s = setup["warmup_s"] + setup["duration_s"]
        schedule = Schedule(self._node, self._nodes, setup["rate"], start_ns, span_s)
        # Beyond this the ring is not keeping up, and what is left is reported as not sent.
        return await send_by_the_clock(sender, schedule, setup["size"], 0, span_s + setup["drain_s"])

    async def _report(self, sent: Mapping[int, int]) -> dict[str, Any]:
        """Wait until everything was delivered here, as long as something comes, and give the figures."""
        with trio.CancelScope(deadline=trio.current_time() + self._setup["drain_s"]) as scope:
            while self._received != sent:
                await self._news.wait()
                scope.deadline = trio.current_time() + self._setup["drain_s"]
        return {
            "node": self._node,
            "histogram": encode(self._histogram),
            "lost": sum(max(0, sent[node] - self._received[node]) for node in self._nodes),
            "extra": sum(max(0, self._received[node] - sent[node]) for node in self._nodes),
            "disordered": self._disordered,
            "changes": self._changes,
            "measured_s": (self._last_ns - self._measured_from_ns) / 1e9,
        }


async def measure(line: Line, setup: Mapping[str, Any], transport: Transport) -> None:
    """Be one processor of a measurement, until the conductor says that it is over or is gone."""
    await _Member(line, setup).run(transport)


async def _main() -> None:
    pipes = Pipes()
    setup = await pipes.receive()
    if setup is not None:
        # What the imports left is looked through no more: the pauses that remain are those of the load.
        gc.freeze()
        await measure(pipes, setup, await open_transport(setup["node"], setup["transport"]))


if __name__ == "__main__":
    sys.exit(run_worker(_main))
