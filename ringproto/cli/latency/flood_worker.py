"""One processor of ``ringproto latency --flood``: it floods ``LOW``, probes with ``HIGH``, and measures both.

The probes are an open loop; the flood is a closed one: whenever the ring has room for ``LOW``, it gets some. ``HIGH``
is measured by its latency, ``LOW`` by what is delivered in the measured time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import trio

from ringproto import Guarantee, Message, Priority, Ring
from ringproto._processes.child import Conversation
from ringproto.cli.histogram import encode, new_histogram, record_ns
from ringproto.cli.latency.open_loop import HEADER, HEADER_SIZE, WORD_OF_A_SENDER, Schedule, send_by_the_clock, words_of
from ringproto.cli.latency.worker import MeasuringMember, run_member

__all__ = ["FloodMember"]

_LOW = Priority.LOW
_FLOOD_BATCH = 256
"""Messages that the flood gives in one call."""


class FloodMember(MeasuringMember):
    """Plays one load after the other, and says after each what it found."""

    def __init__(self, line: Conversation, setup: Mapping[str, Any]) -> None:
        super().__init__(line, setup)
        # Of each sender, the numbers of the next HIGH and the next LOW message: sent, and received.
        self._sent = {Priority.HIGH: 0, Priority.LOW: 0}
        self._received = {node: {Priority.HIGH: 0, Priority.LOW: 0} for node in self.nodes}
        self._histogram = new_histogram()
        self._from_ns = self._until_ns = 0
        self._low = 0

    async def play(self, ring: Ring) -> None:
        """One phase for each load that the supervisor names."""
        while (load := await self.line.receive()) is not None:
            unsent = await self._phase(ring, load)
            await self.line.send({"sent": [self._sent[Priority.HIGH], self._sent[Priority.LOW]]})
            totals = await self.line.receive()
            if totals is None:
                break
            await self.line.send({"report": await self._report(totals["sent"], unsent)})

    def take(self, messages: list[Message], now_ns: int) -> None:
        """Count those that are ``LOW`` and measure those that are ``HIGH``, in the measured time."""
        low = [message.payload for message in messages if message.priority is _LOW]
        if len(low) != len(messages):
            for message in messages:
                if message.priority is not _LOW:
                    self._take_high(message.payload, now_ns)
        if low:
            self._take_low(low, now_ns)

    def _take_high(self, payload: bytes, now_ns: int) -> None:
        due_ns, sender, number = HEADER.unpack_from(payload)
        received = self._received[sender]
        self.disordered += number != received[Priority.HIGH]
        received[Priority.HIGH] += 1
        if due_ns >= self._from_ns:
            record_ns(self._histogram, now_ns - due_ns)

    def _take_low(self, payloads: list[bytes], now_ns: int) -> None:
        """By runs of one sender: what a member does for each message of a flood is taken from the ring's own time."""
        if self._from_ns <= now_ns < self._until_ns:
            self._low += len(payloads)
        words = words_of(payloads)
        breaks = [place for place, (word, next_word) in enumerate(pairwise(words), 1) if next_word - word != 1]
        for first, end in pairwise([0, *breaks, len(words)]):
            sender, number = divmod(words[first], WORD_OF_A_SENDER)
            received = self._received[sender]
            self.disordered += number != received[Priority.LOW]
            received[Priority.LOW] += end - first

    async def _phase(self, ring: Ring, load: Mapping[str, Any]) -> int:
        """Put one load on the ring; returns how many probes could not be sent."""
        setup = self.setup
        start_ns = load["start_ns"]
        span_s = setup["warmup_s"] + setup["duration_s"]
        self._from_ns = start_ns + round(setup["warmup_s"] * 1e9)
        self._until_ns = start_ns + round(span_s * 1e9)
        self._histogram = new_histogram()
        self._low = 0
        schedule = Schedule(self.node, self.nodes, setup["rate"], start_ns, span_s)
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
        padding = bytes(self.setup["size"] - HEADER_SIZE)
        low = ring.low
        while (now_ns := time.monotonic_ns()) < self._until_ns:
            number = self._sent[Priority.LOW]
            numbers = range(number, number + _FLOOD_BATCH)
            self._sent[Priority.LOW] += _FLOOD_BATCH
            await low.send_batch([HEADER.pack(now_ns, self.node, each) + padding for each in numbers])

    async def _report(self, sent: Mapping[str, list[int]], unsent: int) -> dict[str, Any]:
        """The figures of the phase, when everything of it was delivered here."""
        expected = {int(node): {Priority.HIGH: high, Priority.LOW: low} for node, (high, low) in sent.items()}
        await self.until_delivered(lambda: self._received == expected)
        report = {
            "node": self.node,
            "histogram": encode(self._histogram),
            "low_per_s": self._low / self.setup["duration_s"],
            "unsent": unsent,
            **self.counts(
                expected[node][priority] - self._received[node][priority]
                for node in self.nodes
                for priority in (Priority.HIGH, Priority.LOW)
            ),
        }
        self.disordered = 0
        return report


if __name__ == "__main__":
    sys.exit(run_member(FloodMember))
