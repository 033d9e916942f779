"""A ring on machines where everything has a price: what flow control does to rotation, throughput and latency.

The processors are those of the core; the clock is virtual. A processor takes what has arrived, hands it to its core,
sends what the core wants sent, and then its application deals with the events, one thing after the other, as the trio
driver does it; each of these takes time, on one of so many cores that all share. So a run says how long a
rotation gets, and says the same on every machine and every time.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

from ringproto import Config, Guarantee, Message, Priority, RegularConfiguration
from ringproto._core import Processor

FRAME_SIZE = 1344
"""Bytes of a datagram that fit into a frame."""


@dataclass(frozen=True)
class Prices:
    """What things cost, in seconds."""

    wake: float = 10e-6
    """A processor with nothing to do gets something to do."""
    batch: float = 5e-6
    """Reading a batch."""
    datagram_in: float = 1.5e-6
    datagram_out: float = 1e-6
    message_in: float = 1.5e-6
    """A message in the core and the application."""
    message_out: float = 1e-6
    wire: float = 10e-6
    """On the way."""


@dataclass
class Outcome:
    """What was measured, from the end of the first tenth on."""

    low: int = 0
    """``LOW`` messages delivered at the slowest processor."""
    seconds: float = 0.0
    high: list[float] = field(default_factory=list)
    """Seconds from when a ``HIGH`` message was due to its delivery, for each processor."""
    rotations: int = 0
    retransmissions: int = 0

    @property
    def low_per_s(self) -> float:
        return self.low / self.seconds

    @property
    def rotation_s(self) -> float:
        """The mean rotation."""
        return self.seconds / self.rotations

    def high_s(self, percent: float) -> float:
        """A percentile of the latency of ``HIGH``."""
        ordered = sorted(self.high)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class _Node:
    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self.inbox: list[tuple[float, int, bytes]] = []
        self.due: list[float] = []
        self.free_at = 0.0
        self.step_at = -1.0
        self.low = 0


class PricedRing:
    """Processors 1 to ``count``, formed into one ring.

    Args:
        count: how many.
        config: their settings.
        cores: how many of them run at a time.
        loss: the part of the frames to each receiver that is lost; with it goes the datagram it belongs to.
        datagram_size: bytes of the largest datagram; a frame takes ``FRAME_SIZE`` of them.
        size: bytes of a message, 16 at least.
        buffer: datagrams that a receiver keeps; what comes beyond is lost.
        events_max: events that the application takes at a time.
        prices: what things cost.
    """

    def __init__(
        self,
        count: int,
        config: Config,
        *,
        cores: int | None = None,
        loss: float = 0.0,
        datagram_size: int = FRAME_SIZE,
        size: int = 200,
        buffer: int = 100_000,
        events_max: int = 256,
        prices: Prices | None = None,
        seed: int = 1,
    ) -> None:
        self._prices = Prices() if prices is None else prices
        self._random = random.Random(seed)
        self._loss = 0.0
        self._size = size
        self._low = bytes(size)
        self._buffer = buffer
        self._events_max = events_max
        self._serial = itertools.count()
        self._now = 0.0
        self._cores = [0.0] * (count if cores is None else cores)
        self._steps: list[tuple[float, int, int]] = []
        self._nodes = {
            node: _Node(Processor(node, config, datagram_size=datagram_size, seed=bytes([node]) * 16, now=0.0))
            for node in range(1, count + 1)
        }
        self._flooding = False
        self._outcome: Outcome | None = None
        self._from = 0.0
        for node in self._nodes:
            self._plan(node, 0.0)
        while not all(
            n.processor.complete and len(n.processor.configuration.members) == count for n in self._nodes.values()
        ):
            self._step()
        self._loss = loss

    def run(self, seconds: float, *, flood: bool, high_every: float = 0.002) -> Outcome:
        """Load the ring for so long: a flood of ``LOW`` from all, or none, and a ``HIGH`` message so often from each in
        turn."""
        start, end = self._now, self._now + seconds
        self._flooding = flood
        self._from = start + seconds / 10
        outcome = self._outcome = Outcome(seconds=end - self._from)
        nodes = list(self._nodes)
        for number in range(int(seconds / high_every)):
            node = nodes[number % len(nodes)]
            due = start + (number + self._random.random()) * high_every
            self._nodes[node].due.append(due)
        for node in nodes:
            self._nodes[node].low = 0
            self._plan(node, start)
        before: tuple[float, float] | None = None
        while self._now < end:
            self._step()
            if before is None and self._now >= self._from:
                before = self._count("rotations"), self._count("retransmissions")
        assert before is not None
        outcome.low = min(node.low for node in self._nodes.values())
        outcome.rotations = int(self._count("rotations") - before[0]) // len(nodes)
        outcome.retransmissions = int(self._count("retransmissions") - before[1])
        return outcome

    def statistics(self, node: int) -> dict[str, int | float]:
        return self._nodes[node].processor.statistics()

    def _count(self, name: str) -> float:
        return sum(node.processor.statistics()[name] for node in self._nodes.values())

    def _plan(self, node: int, at: float) -> None:
        """Have a processor run at a time, if it would not run before."""
        this = self._nodes[node]
        at = max(at, this.free_at)
        if this.step_at < 0.0 or at < this.step_at:
            this.step_at = at
            heapq.heappush(self._steps, (at, next(self._serial), node))

    def _step(self) -> None:
        """Run the processor that is next, on the core that is free first."""
        at, _, node = heapq.heappop(self._steps)
        this = self._nodes[node]
        if at != this.step_at:
            return  # it was planned for an earlier time since
        core = min(range(len(self._cores)), key=self._cores.__getitem__)
        start = max(at, self._cores[core])
        this.step_at = -1.0
        self._now = start
        prices, processor = self._prices, this.processor
        cost = prices.batch if start <= this.free_at else prices.wake + prices.batch
        batch = []
        while this.inbox and this.inbox[0][0] <= start:
            batch.append(heapq.heappop(this.inbox)[2])
        now = start + cost
        cost += prices.datagram_in * len(batch)
        ready = processor.turn(batch, now)
        transmits = ready.transmits
        while this.due and this.due[0] <= now:
            payload = repr(this.due.pop(0)).encode().ljust(self._size)
            if processor.submit(payload, Priority.HIGH, Guarantee.AGREED):
                cost += prices.message_out
        while self._flooding and processor.submit(self._low, Priority.LOW, Guarantee.AGREED):
            cost += prices.message_out
        if processor.wants_turn:
            ready = processor.turn([], now)
            transmits += ready.transmits
        while True:
            for destination, datagram in transmits:
                cost += prices.datagram_out
                for other in self._nodes:
                    if other != node and destination in (0, other):
                        self._carry(other, datagram, start + cost + prices.wire)
            # As the drivers do: all pieces of a visit, one after the other.
            if not ready.unfinished:
                break
            ready = processor.turn([], now)
            transmits = ready.transmits
        events = processor.take_events(self._events_max)
        for event in events:
            if isinstance(event, RegularConfiguration):
                processor.unblock(event.ring_id, now)
            elif isinstance(event, Message):
                cost += prices.message_in
                self._deliver(this, event, start + cost)
        this.free_at = self._cores[core] = start + cost
        if processor.wants_turn or ready.events > len(events):
            self._plan(node, this.free_at)
        for later in (this.inbox[:1], this.due[:1]):
            if later:
                self._plan(node, later[0][0] if isinstance(later[0], tuple) else later[0])
        self._plan(node, processor.next_timeout)

    def _carry(self, node: int, datagram: bytes, at: float) -> None:
        """A datagram gets to a processor at a time, if it is not lost."""
        this = self._nodes[node]
        frames = -(-len(datagram) // FRAME_SIZE)
        if self._random.random() >= (1.0 - self._loss) ** frames or len(this.inbox) >= self._buffer:
            return
        heapq.heappush(this.inbox, (at, next(self._serial), datagram))
        self._plan(node, at)

    def _deliver(self, node: _Node, message: Message, at: float) -> None:
        """An application has a message in its hands."""
        if at < self._from:
            return
        if message.priority == Priority.LOW:
            node.low += 1
        elif self._outcome is not None:
            self._outcome.high.append(at - float(message.payload))
