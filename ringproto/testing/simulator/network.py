"""A network on virtual time that does everything that real ones do, and worse.

A link is one direction between two processors. Without faults a link is first in, first out, as a switched network is;
reordering, copies, corruption and loss are rates of a :class:`Weather` that holds for all links, next to what is broken
on one link alone. All randomness comes from the ``random.Random`` that is given, so one seed is one history.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random as random_module
from collections.abc import Callable, Collection, Iterable

from ringproto.testing.simulator.forgery import forge
from ringproto.testing.simulator.timeline import Handler, Timeline
from ringproto.testing.simulator.wire_reader import COMMIT, DATA, KINDS, TOKEN, kind_of

__all__ = ["KINDS", "Bottleneck", "Filter", "Link", "SimulatedNetwork", "Weather", "kind_of"]

RECORDED_MAX = 256

Filter = Callable[[float, int, int, bytes], "bool | bytes"]
"""(time, source, destination, datagram): True lets it pass, False loses it, bytes go in its place."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Weather:
    """The rates (0 to 1) and times of all links. The default is a quiet local network."""

    latency_s: tuple[float, float] = (0.000_05, 0.000_2)
    """Least and greatest; with ``exponential`` the least, and the mean of what comes on top."""
    exponential: bool = False
    loss: float = 0.0
    kind_loss: tuple[tuple[int, float], ...] = ()
    """(type of datagram, loss) pairs."""
    every_kth_token: int = 0
    """Every so many tokens one is lost; 0: none."""
    first_token_loss: float = 0.0
    """Loss of the first token that a processor sends after a commit token."""
    burst: float = 0.0
    """How probable it is that a datagram begins a burst of lost ones on its link."""
    burst_max: int = 200
    big_bytes: int = 0
    """From this size datagrams suffer ``big_loss`` and ``big_delay_s``; 0: they do not."""
    big_loss: float = 0.0
    big_delay_s: float = 0.0
    duplication: float = 0.0
    duplicate_delay_s: float = 10.0
    """A copy comes at most so much later."""
    late: float = 0.0
    """How probable it is that a copy comes much later, after at most ``late_s``: the ring and the incarnation that sent
    it may be gone by then."""
    late_s: float = 120.0
    reordering: float = 0.0
    reordering_delay_s: float = 0.01
    flooding: float = 0.0
    """How probable it is that a datagram to one processor goes to every other one as well, as switches do that have
    forgotten an address."""
    corruption: float = 0.0
    forgery: float = 0.0
    """How probable it is that after a datagram comes another that resembles it and must be refused."""
    replay: float = 0.0
    """How probable it is that with a datagram an older one, recorded before, is sent again."""
    replay_delay_s: float = 1.0

    @property
    def fair(self) -> bool:
        """Whether there is nothing but latency."""
        return not (
            self.loss
            or self.kind_loss
            or self.every_kth_token
            or self.first_token_loss
            or self.burst
            or self.big_bytes
            or self.duplication
            or self.late
            or self.reordering
            or self.flooding
            or self.corruption
            or self.forgery
            or self.replay
            or self.exponential
        )


class Bottleneck:
    """A port of bounded rate with a bounded queue before it: what finds the queue full is dropped, whatever it is.

    Links that share one have one queue together, as all that goes to one processor does at the last port of a switch.

    Args:
        rate: bytes a second that leave the queue.
        queue_bytes: most bytes that wait in it. A datagram that is on its way out counts until it is out.
    """

    __slots__ = ("_empty_at", "dropped", "offered", "queue_bytes", "rate")

    def __init__(self, rate: float, queue_bytes: int) -> None:
        if not rate > 0.0 or queue_bytes < 1:
            raise ValueError(f"a bottleneck needs a rate and a queue above 0, not {rate!r} and {queue_bytes!r}")
        self.rate = rate
        self.queue_bytes = queue_bytes
        self.offered = 0
        """Datagrams that came to it."""
        self.dropped = 0
        """Datagrams that found no room."""
        self._empty_at = 0.0

    def passes_after(self, now: float, size: int) -> float | None:
        """Take in a datagram of ``size`` bytes: after how many seconds it is out; ``None`` if there is no room."""
        self.offered += 1
        waits = max(0.0, self._empty_at - now)
        if waits * self.rate + size > self.queue_bytes + 0.5:  # there are no half bytes, only rounding
            self.dropped += 1
            return None
        waits += size / self.rate
        self._empty_at = now + waits
        return waits


class Link:
    """One direction between two processors."""

    __slots__ = (
        "arrive",
        "blocked",
        "bottleneck",
        "burst",
        "clogged_until",
        "cut",
        "destination",
        "last_arrival",
        "loss",
        "no_data",
        "source",
        "stale_until",
        "unclogs_s",
    )

    def __init__(self, source: int, destination: int, arrive: Handler) -> None:
        self.source = source
        self.destination = destination
        self.arrive = arrive
        self.cut = False  # by a partition
        self.blocked = False  # by itself
        self.bottleneck: Bottleneck | None = None  # of the machines, not a fault: healing leaves it
        self.loss = 0.0
        self.no_data = False  # data is lost, and all else passes
        self.stale_until = 0.0  # until then it leads to an old address of the destination
        self.clogged_until = 0.0
        self.unclogs_s = 0.0  # over so much time what was stopped comes out, in any order; 0: at once, in order
        self.burst = 0  # so many more are lost
        self.last_arrival = 0.0


class SimulatedNetwork:
    """Carries datagrams between the processors that are attached, over virtual time.

    Memory is bounded: when ``in_flight_max`` entries wait on the timeline, further datagrams are lost.
    """

    def __init__(
        self,
        random: random_module.Random,
        timeline: Timeline | None = None,
        *,
        weather: Weather | None = None,
        in_flight_max: int = 100_000,
    ) -> None:
        self.random = random
        self.timeline = Timeline() if timeline is None else timeline
        self.filter: Filter | None = None
        self.in_flight_max = in_flight_max
        self.on_loss: Callable[[Link, bytes], None] | None = None
        """Told of every datagram that is lost."""
        self.sent = 0  # copies handed to links
        self.lost = 0
        self._links: dict[int, dict[int, Link]] = {}
        self._arrive: dict[int, Handler] = {}
        self._groups: tuple[frozenset[int], ...] | None = None  # of the partition
        self._recorded: list[tuple[Link, bytes]] = []
        self._tokens = 0
        self._after_commit: set[int] = set()
        self.clear = Weather()
        """The weather when all is calm."""
        self.weather = self.clear if weather is None else weather

    @property
    def weather(self) -> Weather:
        """What all links suffer; may be set at any time."""
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        self._fair = weather.fair
        self._latency_least_s, greatest = weather.latency_s
        self._latency_spread_s = greatest - self._latency_least_s

    # Topology

    def attach(self, node: int, arrive: Handler) -> None:
        """From now on datagrams for ``node`` are handed to ``arrive(source, datagram)``.

        Raises:
            ValueError: ``node`` is attached already.
        """
        if node in self._arrive:
            raise ValueError(f"node {node} is attached to this network already; give another id")
        self._links[node] = {other: Link(node, other, there) for other, there in self._arrive.items()}
        for other in self._arrive:
            self._links[other][node] = Link(other, node, arrive)
        self._arrive[node] = arrive
        for link in (*self._links[node].values(), *(self._links[other][node] for other in self._links[node])):
            link.cut = self._parts(link)

    def _parts(self, link: Link) -> bool:
        """Whether the partition is between the ends of this link."""
        groups = self._groups
        return groups is not None and not any(link.source in group and link.destination in group for group in groups)

    def link(self, source: int, destination: int) -> Link:
        """The link from ``source`` to ``destination``.

        Raises:
            KeyError: one of them is not attached, or they are the same.
        """
        return self._links[source][destination]

    def links(self) -> Iterable[Link]:
        """All links, in a stable order."""
        for source in self._links.values():
            yield from source.values()

    def partition(self, *groups: Collection[int]) -> None:
        """Only processors that share a group hear each other; one in no group is alone, one in two is a bridge.

        It holds for those that are attached later too, until :meth:`heal` or another partition.
        """
        self._groups = tuple(frozenset(group) for group in groups)
        for link in self.links():
            link.cut = self._parts(link)

    def heal(self) -> None:
        """Mend what is broken on single links: partitions, blocks, losses, clogs. The weather stays."""
        self._groups = None
        for link in self.links():
            link.cut = link.blocked = link.no_data = False
            link.loss = 0.0
            link.burst = 0
            link.stale_until = link.clogged_until = link.unclogs_s = 0.0

    def calm(self, among: Collection[int], horizon_s: float = 0.05) -> None:
        """The weather of ``clear``, and nothing old on the way.

        Forget recorded datagrams and those that would arrive later than ``horizon_s`` or that come from outside
        ``among``. If late copies belong to ``clear``, those among them come still.
        """
        timeline = self.timeline
        self.weather = self.clear
        self._recorded.clear()
        handlers = list(self._arrive.values())
        limit = timeline.now + horizon_s
        latest = math.inf if self.clear.late else limit
        kept = [
            entry for entry in timeline.heap if entry[2] not in handlers or (entry[0] <= latest and entry[3] in among)
        ]
        heapq.heapify(kept)
        timeline.heap[:] = kept
        for link in self.links():
            link.last_arrival = min(link.last_arrival, limit)

    def lose_in_flight(self, destination: int) -> None:
        """Lose all that is on its way to this node.

        Raises:
            KeyError: it is not attached.
        """
        arrive = self._arrive[destination]
        heap = self.timeline.heap
        kept = [entry for entry in heap if entry[2] != arrive]
        self.lost += len(heap) - len(kept)
        heapq.heapify(kept)
        heap[:] = kept

    # Datagrams

    def send(self, source: int, destination: int, datagram: bytes) -> None:
        """Carry a datagram to one processor, or with destination 0 to every other one."""
        targets = self._links[source]
        if destination:
            link = targets.get(destination)
            if link is not None:
                self._carry(link, datagram)
            if self._weather.flooding and self.random.random() < self._weather.flooding:
                for other in targets.values():
                    if other is not link:
                        self._carry(other, datagram)
            return
        for link in targets.values():
            self._carry(link, datagram)

    def _carry(self, link: Link, datagram: bytes) -> None:
        timeline = self.timeline
        self.sent += 1
        now = timeline.now
        if link.cut or link.blocked or now < link.stale_until or len(timeline.heap) >= self.in_flight_max:
            self._lose(link, datagram)
            return
        if self.filter is not None:
            verdict = self.filter(now, link.source, link.destination, datagram)
            if verdict is False:
                self._lose(link, datagram)
                return
            if verdict is not True:
                datagram = verdict
        if not self._fair or link.loss or link.no_data or link.bottleneck is not None:
            self._carry_in_bad_weather(link, datagram)
            return
        arrival = now + self._latency_least_s + self._latency_spread_s * self.random.random()
        if arrival < link.clogged_until:
            if link.unclogs_s:
                self._push(link, datagram, 0.0, False)
                return
            arrival = link.clogged_until
        if arrival < link.last_arrival:
            arrival = link.last_arrival
        else:
            link.last_arrival = arrival
        heapq.heappush(timeline.heap, (arrival, next(timeline.order), link.arrive, link.source, datagram))

    def _carry_in_bad_weather(self, link: Link, datagram: bytes) -> None:
        weather = self._weather
        chance = self.random.random
        if weather.replay:
            self._record_and_replay(link, datagram)
        if self._is_lost(link, datagram):
            self._lose(link, datagram)
            return
        latency = self._latency_least_s
        if weather.exponential:
            latency -= self._latency_spread_s * math.log(1.0 - chance())
        else:
            latency += self._latency_spread_s * chance()
        if link.bottleneck is not None:
            waits = link.bottleneck.passes_after(self.timeline.now, len(datagram))
            if waits is None:
                self._lose(link, datagram)
                return
            latency += waits
        in_order = True
        if weather.big_bytes and len(datagram) >= weather.big_bytes and weather.big_delay_s:
            latency += weather.big_delay_s * chance()
            in_order = False
        if weather.reordering and chance() < weather.reordering:
            latency += weather.reordering_delay_s * chance()
            in_order = False
        if weather.duplication and chance() < weather.duplication:
            # Most copies follow at once; some are from a ring that is long gone.
            late = weather.duplicate_delay_s if chance() < 0.3 else 0.01
            self._push(link, datagram, latency + late * chance(), False)
        # Copies that wait for minutes must leave room for what is on its way now.
        if weather.late and len(self.timeline.heap) < self.in_flight_max // 2 and chance() < weather.late:
            self._push(link, datagram, latency + weather.late_s * chance(), False)
        if weather.forgery and chance() < weather.forgery:
            self._push(link, forge(self.random, datagram, link.destination), latency, False)
        if weather.corruption and chance() < weather.corruption:
            datagram = corrupt(self.random, datagram)
        self._push(link, datagram, latency, in_order)

    def _push(self, link: Link, datagram: bytes, latency: float, in_order: bool) -> None:
        timeline = self.timeline
        arrival = timeline.now + latency
        if arrival < link.clogged_until:
            arrival = link.clogged_until
            if link.unclogs_s:
                arrival += link.unclogs_s * self.random.random()
                in_order = False
        if in_order:
            arrival = link.last_arrival = max(arrival, link.last_arrival)
        heapq.heappush(timeline.heap, (arrival, next(timeline.order), link.arrive, link.source, datagram))

    def _lose(self, link: Link, datagram: bytes) -> None:
        self.lost += 1
        if self.on_loss is not None:
            self.on_loss(link, datagram)

    def _is_lost(self, link: Link, datagram: bytes) -> bool:
        weather = self._weather
        chance = self.random.random
        if link.burst:
            link.burst -= 1
            return True
        if weather.burst and chance() < weather.burst:
            link.burst = self.random.randint(2, max(2, weather.burst_max)) - 1
            return True
        if weather.loss and chance() < weather.loss:
            return True
        if link.loss and chance() < link.loss:
            return True
        kind = datagram[1] if len(datagram) > 1 else 0
        if link.no_data and kind == DATA:
            return True
        for lossy, rate in weather.kind_loss:
            if kind == lossy and chance() < rate:
                return True
        if kind == TOKEN:
            self._tokens += 1
            if weather.every_kth_token and self._tokens % weather.every_kth_token == 0:
                return True
            if link.source in self._after_commit:
                self._after_commit.discard(link.source)
                if chance() < weather.first_token_loss:
                    return True
        elif kind == COMMIT and weather.first_token_loss:
            self._after_commit.add(link.source)
        big = weather.big_bytes and len(datagram) >= weather.big_bytes
        return bool(big and weather.big_loss and chance() < weather.big_loss)

    def _record_and_replay(self, link: Link, datagram: bytes) -> None:
        weather = self._weather
        chance = self.random.random
        recorded = self._recorded
        if len(recorded) < RECORDED_MAX:
            recorded.append((link, datagram))
        elif chance() < 0.05:
            recorded[int(chance() * RECORDED_MAX)] = (link, datagram)
        if chance() < weather.replay:
            old_link, old = recorded[int(chance() * len(recorded))]
            if not old_link.cut:
                self._push(old_link, old, weather.replay_delay_s * chance(), False)


def corrupt(random: random_module.Random, datagram: bytes) -> bytes:
    """A damaged copy: bits turned over, cut short, lengthened, or a field overwritten with an extreme number."""
    damaged = bytearray(datagram)
    way = random.randrange(5)
    if not damaged or way == 0:
        damaged += random.randbytes(random.randint(1, 64))
    elif way == 1:
        for _ in range(random.randint(1, 8)):
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    elif way == 2:
        del damaged[random.randrange(len(damaged)) :]
    elif way == 3:
        width = random.choice((2, 4, 8))
        place = random.randrange(len(damaged))
        number = random.choice((0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**63, 2**64 - 1)) % 256**width
        damaged[place : place + width] = number.to_bytes(width, "big")
    else:
        damaged = bytearray(random.randbytes(random.randint(0, 200)))
    return bytes(damaged)
