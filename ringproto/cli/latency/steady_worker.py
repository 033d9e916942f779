"""One processor of a latency measurement: it sends by the clock and measures what it delivers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ringproto import Guarantee, Message, Priority, Ring
from ringproto._processes.child import Conversation
from ringproto.cli.histogram import encode, new_histogram, record_ns
from ringproto.cli.latency.open_loop import HEADER, Schedule, send_by_the_clock
from ringproto.cli.latency.worker import MeasuringMember, run_member

__all__ = ["LatencyMember"]


class LatencyMember(MeasuringMember):
    """Sends at a steady rate, and measures the latency of everything."""

    def __init__(self, line: Conversation, setup: Mapping[str, Any]) -> None:
        super().__init__(line, setup)
        self._histogram = new_histogram()
        self._received = dict.fromkeys(self.nodes, 0)
        self._last_ns = 0
        self._measured_from_ns = 0

    async def play(self, ring: Ring) -> None:
        """One load, then the figures."""
        setup = self.setup
        start = await self.line.receive()
        if start is not None:
            span_s = setup["warmup_s"] + setup["duration_s"]
            schedule = Schedule(self.node, self.nodes, setup["rate"], start["start_ns"], span_s)
            self._measured_from_ns = start["start_ns"] + round(setup["warmup_s"] * 1e9)
            sender = ring.sender(Priority[setup["priority"]], Guarantee[setup["guarantee"]])
            # Beyond the limit the ring is not keeping up, and what is left is reported as not sent.
            sent = await send_by_the_clock(sender, schedule, setup["size"], 0, span_s + setup["drain_s"])
            await self.line.send({"sent": sent})
        totals = await self.line.receive()
        if totals is not None:
            await self.line.send({"report": await self._report({int(n): c for n, c in totals["sent"].items()})})
            await self.line.receive()

    def take(self, messages: list[Message], now_ns: int) -> None:
        """Measure those that were due in the measured time."""
        for message in messages:
            due_ns, sender, number = HEADER.unpack_from(message.payload)
            if number != self._received[sender]:
                self.disordered += 1
            self._received[sender] += 1
            if due_ns >= self._measured_from_ns:
                record_ns(self._histogram, now_ns - due_ns)
                self._last_ns = now_ns

    async def _report(self, sent: Mapping[int, int]) -> dict[str, Any]:
        await self.until_delivered(lambda: self._received == sent)
        return {
            "node": self.node,
            "histogram": encode(self._histogram),
            "measured_s": (self._last_ns - self._measured_from_ns) / 1e9,
            **self.counts(sent[node] - self._received[node] for node in self.nodes),
        }


if __name__ == "__main__":
    sys.exit(run_member(LatencyMember))
