"""A network in memory, for tests: seeded loss, delay, duplication and reordering, partitions and crashes.

It has no task of its own. A datagram in transit is in the queue of its destination, with the time at which it is due.
``receive`` sleeps until the earliest due time, on trio's clock. So under ``trio.testing.MockClock`` with
``autojump_threshold=0`` a partition and merge takes no real time.

Runs are repeatable. Each processor has its own random numbers, drawn in the order in which *it* sends. Datagrams are
ordered by (due time, sender, position among the sender's datagrams). So the order in which trio runs the tasks of one
instant does not matter. The exception is a latency of 0: such a datagram is delivered immediately, in the order in
which trio runs the senders.
"""

from __future__ import annotations

import math
import random
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

import trio

from ringproto.transports._checks import YIELD_EVERY, check_node, check_whole, is_node, refuse_transmit

__all__ = ["LoopbackNetwork", "LoopbackTransport"]

BATCH_MAX = 256
"""Maximum number of datagrams that one ``receive`` returns."""

UnderWay = tuple[float, int, int, bytes]
"""Due time, sender, position among that sender's datagrams, datagram."""


class LoopbackNetwork:
    """Connects the processors of one process. By default it is perfect: no loss, no delay.

    Args:
        seed: the seed of all random numbers, a whole number.
        latency_s: transit time of a datagram in seconds: a number, or (least, greatest) of a uniform distribution,
            which also reorders datagrams.
        loss: probability that a datagram is lost, independently for each destination, 0 to 1.
        duplication: probability that a datagram arrives twice, each copy with its own delay, 0 to 1.
        datagram_size_max: bytes of the largest datagram.
        queue_max: maximum number of datagrams that are in transit to one processor or wait there; further ones are
            dropped.

    ``latency_s``, ``loss`` and ``duplication`` may be set at any time and apply to datagrams sent afterwards.

    Raises:
        ValueError: an argument is wrong, as the message says.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        latency_s: float | tuple[float, float] = 0.0,
        loss: float = 0.0,
        duplication: float = 0.0,
        datagram_size_max: int = 1352,
        queue_max: int = 4096,
    ) -> None:
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ValueError(f"seed must be a whole number, the same one for the same random numbers, not {seed!r}")
        self.seed = seed
        self.datagram_size_max = check_whole(datagram_size_max, "datagram_size_max", 1, 2**24)
        self.queue_max = check_whole(queue_max, "queue_max", 1, 2**24)
        self.latency_s = latency_s
        self.loss = loss
        self.duplication = duplication
        self._queues: dict[int, _Queue] = {}
        self._senders: dict[int, _LoopbackSource] = {}
        self._groups: list[frozenset[int]] | None = None
        self._cuts: set[tuple[int, int]] = set()

    @property
    def latency_s(self) -> tuple[float, float]:
        """Transit time of a datagram in seconds, (least, greatest)."""
        return self._latency_s

    @latency_s.setter
    def latency_s(self, value: float | tuple[float, float]) -> None:
        pair = value if isinstance(value, (tuple, list)) else (value, value)
        if len(pair) != 2 or not all(_is_number(one) for one in pair) or not 0 <= pair[0] <= pair[1] < math.inf:
            raise ValueError(f"latency_s must be seconds, or a pair (least, greatest) of seconds, not {value!r}")
        self._latency_s = (float(pair[0]), float(pair[1]))

    @property
    def loss(self) -> float:
        """Probability that a datagram is lost."""
        return self._loss

    @loss.setter
    def loss(self, value: float) -> None:
        self._loss = _probability(value, "loss")

    @property
    def duplication(self) -> float:
        """Probability that a datagram arrives twice."""
        return self._duplication

    @duplication.setter
    def duplication(self, value: float) -> None:
        self._duplication = _probability(value, "duplication")

    @property
    def nodes(self) -> tuple[int, ...]:
        """The open processors, sorted."""
        return tuple(sorted(self._queues))

    def open(self, node: int) -> LoopbackTransport:
        """Connect a processor and return its transport.

        Raises:
            ValueError: ``node`` is not 1 .. 2**32 - 1, or is already open.
        """
        check_node(node)
        if node in self._queues:
            raise ValueError(
                f"node {node} is open already on this network: close its transport first, "
                f"crash({node}), or use another node id"
            )
        sender = self._senders.setdefault(node, _LoopbackSource(self.seed, node))
        queue = _Queue(self.queue_max)
        transport = LoopbackTransport(self, node, sender, queue)
        self._queues[node] = queue
        self._topology_changed()

        network = weakref.ref(self)

        def dropped(_: weakref.ref[LoopbackTransport]) -> None:
            alive = network()
            if alive is not None:
                alive._disconnect(node, queue)

        queue.owner = weakref.ref(transport, dropped)
        return transport

    def crash(self, node: int) -> None:
        """Simulate a crash of the processor: its waiting datagrams are lost, and nothing that it sends afterwards gets
        out.

        Its transport remains until it is closed or dropped, but it neither sends nor receives. The caller must cancel
        the tasks that use it. The id can be opened again immediately. A transport that is dropped without being closed
        crashes automatically.

        Raises:
            ValueError: the processor is not open.
        """
        queue = self._queues.get(node)
        if queue is None:
            raise ValueError(f"node {node!r} is not open on this network; open are {list(self.nodes)}")
        self._disconnect(node, queue)

    def partition(self, *groups: Iterable[int]) -> None:
        """Partition the network: two processors reach each other only if one of the groups contains both. Replaces a
        former partition.

        All processors that are in no group form one more group. A processor in two groups is a bridge that reaches both
        sides. Datagrams in transit still arrive.

        Raises:
            ValueError: there are no groups, or a member is not a node id.
            TypeError: a group is not a set or another iterable of node ids.
        """
        if not groups:
            raise ValueError("partition() takes one group or more, such as partition({1, 2}, {3})")
        for group in groups:
            if not isinstance(group, Iterable):
                raise TypeError(
                    f"partition() takes groups of node ids, as in partition({{1, 2}}, {{3}}), not {group!r}"
                )
        self._groups = [frozenset([check_node(node, "a member of a group") for node in group]) for group in groups]
        self._topology_changed()

    def cut(self, source: int, destination: int) -> None:
        """Cut one direction: nothing from ``source`` reaches ``destination`` any more. The other direction stays open.

        Raises:
            ValueError: one of them is not a node id, or both are the same.
        """
        check_node(source, "source")
        check_node(destination, "destination")
        if source == destination:
            raise ValueError(f"cut() takes two processors, not {source} twice")
        self._cuts.add((source, destination))
        self._topology_changed()

    def mend(self, source: int, destination: int) -> None:
        """End a :meth:`cut`; without one this has no effect."""
        self._cuts.discard((source, destination))
        self._topology_changed()

    def heal(self) -> None:
        """End the partition and all cuts."""
        self._groups = None
        self._cuts.clear()
        self._topology_changed()

    def _topology_changed(self) -> None:
        for queue in self._queues.values():
            queue.reachable = None

    def _reaches(self, source: int, destination: int) -> bool:
        if (source, destination) in self._cuts:
            return False
        if self._groups is None:
            return True
        if any(source in group and destination in group for group in self._groups):
            return True
        return not any(source in group or destination in group for group in self._groups)

    def _reachable(self, source: int, queue: _Queue) -> dict[int, _Queue]:
        """Return the queues that ``source`` reaches, by node id. The result is cached until the topology changes."""
        reachable = queue.reachable
        if reachable is None:
            reachable = queue.reachable = {
                node: self._queues[node] for node in self.nodes if node != source and self._reaches(source, node)
            }
        return reachable

    def _disconnect(self, node: int, queue: _Queue) -> None:
        if self._queues.get(node) is queue:
            del self._queues[node]
            self._topology_changed()
        queue.disconnect()


class _LoopbackSource:
    """The state that a processor keeps from one incarnation to the next: its random numbers and its datagram number."""

    __slots__ = ("number", "random")

    def __init__(self, seed: int, node: int) -> None:
        # A string is hashed the same way in every process.
        self.random = random.Random(f"ringproto loopback {seed} {node}")
        self.number = 0


class _Queue:
    """The datagrams in transit to one processor, and those that have arrived.

    Datagrams in the order of their due times wait in ``lane``, which is a cheap queue; only those that overtake wait in
    ``heap``. ``room`` is the number of datagrams that the queue can still take.
    """

    __slots__ = ("arrived", "connected", "dropped", "heap", "lane", "owner", "reachable", "room", "task", "wake_at")

    def __init__(self, room: int) -> None:
        self.arrived: list[bytes] = []
        self.lane: deque[UnderWay] = deque()
        self.heap: list[UnderWay] = []
        self.room = room
        self.dropped = 0
        self.connected = True
        self.task: trio.lowlevel.Task | None = None
        self.wake_at = math.inf
        self.reachable: dict[int, _Queue] | None = None
        self.owner: weakref.ref[Any] | None = None

    def hand_over(self, datagrams: list[bytes]) -> None:
        """Deliver datagrams immediately."""
        count = len(datagrams)
        if count > self.room:
            self.dropped += count - self.room
            datagrams = datagrams[: self.room]
            count = self.room
        self.room -= count
        self.arrived += datagrams
        if self.task is not None:
            self.wake()

    def put(self, entry: UnderWay) -> None:
        """Add a datagram that arrives at its due time."""
        if self.room <= 0:
            self.dropped += 1
            return
        self.room -= 1
        lane = self.lane
        if not lane or entry > lane[-1]:
            lane.append(entry)
        else:
            heappush(self.heap, entry)
        if self.task is not None and entry[0] < self.wake_at:
            self.wake()

    def wake(self) -> None:
        """Wake the receiving task so that it checks again."""
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def due(self) -> float:
        """Return the time at which the next datagram arrives; infinity if none is in transit."""
        lane, heap = self.lane, self.heap
        earliest = lane[0][0] if lane else math.inf
        return heap[0][0] if heap and heap[0][0] < earliest else earliest

    def take(self, now: float) -> list[bytes]:
        """Return datagrams that have arrived by ``now``, at most ``BATCH_MAX``."""
        arrived, lane, heap = self.arrived, self.lane, self.heap
        while True:
            if lane and not (heap and heap[0] < lane[0]):
                if lane[0][0] > now:
                    break
                arrived.append(lane.popleft()[3])
            elif heap:
                if heap[0][0] > now:
                    break
                arrived.append(heappop(heap)[3])
            else:
                break
        if len(arrived) <= BATCH_MAX:
            self.arrived = []
            batch = arrived
        else:
            batch = arrived[:BATCH_MAX]
            del arrived[:BATCH_MAX]
        self.room += len(batch)
        return batch

    def disconnect(self) -> None:
        """Drop all datagrams, and accept no more."""
        self.connected = False
        self.arrived = []
        self.lane.clear()
        self.heap.clear()
        self.room = 0
        self.reachable = {}


class LoopbackTransport:
    """One processor's end of a :class:`LoopbackNetwork`. Keeps the promises of ``Transport``."""

    def __init__(self, network: LoopbackNetwork, node: int, sender: _LoopbackSource, queue: _Queue) -> None:
        self.node = node
        self.datagram_size_max = network.datagram_size_max
        self._network = network
        self._sender = sender
        self._queue = queue
        self._closed = False
        self._sent_since_yield = 0
        self._datagrams_sent = 0
        self._bytes_sent = 0
        self._datagrams_received = 0
        self._bytes_received = 0
        self._drops_lost = 0
        self._drops_cut = 0
        self._drops_unknown_destination = 0
        self._drops_to_self = 0
        self._drops_crashed = 0
        self._duplicates = 0

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._queue.connected else "crashed"
        return f"<LoopbackTransport node {self.node}, {state}>"

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """Put datagrams on the network; see :meth:`ringproto.transports.Transport.send`. Never waits for space."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.send_nowait(transmits)
        self._sent_since_yield += len(transmits)
        if self._sent_since_yield >= YIELD_EVERY:
            self._sent_since_yield = 0
            await trio.lowlevel.cancel_shielded_checkpoint()

    def send_nowait(self, transmits: Sequence[tuple[int, bytes]]) -> bool:
        """Put datagrams on the network; see :meth:`ringproto.transports.EagerTransport.send_nowait`. Keeps nothing."""
        self._check_open()
        size_max = self.datagram_size_max
        for destination, datagram in transmits:
            if type(datagram) is not bytes or not 0 < len(datagram) <= size_max:
                refuse_transmit(destination, datagram, size_max)
            if destination != 0 and not is_node(destination):
                refuse_transmit(destination, datagram, size_max)
        if self._queue.connected:
            self._put(transmits, trio.current_time())
        else:
            self._drops_crashed += len(transmits)
        return True

    def _put(self, transmits: Sequence[tuple[int, bytes]], now: float) -> None:
        network = self._network
        reachable = network._reachable(self.node, self._queue)
        perfect = network._loss == 0.0 and network._duplication == 0.0 and network._latency_s == (0.0, 0.0)
        # Consecutive datagrams with one destination are handled together. Nearly all traffic of a ring has this form.
        run: list[bytes] = []
        last = None
        for destination, datagram in transmits:
            if destination != last:
                if run:
                    self._put_run(last, run, reachable, perfect, now)
                run = []
                last = destination
            run.append(datagram)
        if run:
            self._put_run(last, run, reachable, perfect, now)

    def _put_run(
        self, destination: int | None, run: list[bytes], reachable: dict[int, _Queue], perfect: bool, now: float
    ) -> None:
        """Send consecutive datagrams with one destination."""
        queues: Iterable[_Queue]
        if destination == 0:
            queues = reachable.values()
            count = len(reachable)
            self._drops_cut += (len(self._network._queues) - 1 - count) * len(run)
        elif destination in reachable:
            queues = (reachable[destination],)
            count = 1
        else:
            self._count_unreachable(destination, len(run))
            return
        self._datagrams_sent += count * len(run)
        self._bytes_sent += count * sum(map(len, run))
        if perfect:
            for queue in queues:
                queue.hand_over(run)
            return
        for datagram in run:
            for queue in queues:
                self._put_one(queue, datagram, now)

    def _put_one(self, queue: _Queue, datagram: bytes, now: float) -> None:
        """Send one datagram to one destination. Its loss, copies and delays are drawn in a fixed order."""
        network = self._network
        sender = self._sender
        draw = sender.random.random
        least, greatest = network._latency_s
        if network._loss and draw() < network._loss:
            self._drops_lost += 1
            return
        copies = 1
        if network._duplication and draw() < network._duplication:
            self._duplicates += 1
            copies = 2
        for _ in range(copies):
            delay = least if least == greatest else least + (greatest - least) * draw()
            if delay == 0.0:
                queue.hand_over([datagram])
            else:
                sender.number += 1
                queue.put((now + delay, self.node, sender.number, datagram))

    def _count_unreachable(self, destination: int | None, count: int) -> None:
        if destination == self.node:
            self._drops_to_self += count
        elif destination in self._network._queues:
            self._drops_cut += count
        else:
            self._drops_unknown_destination += count

    async def receive(self) -> list[bytes]:
        """Wait for datagrams; see :meth:`ringproto.transports.Transport.receive`."""
        self._check_open()
        queue = self._queue
        if queue.arrived or queue.due() <= trio.current_time():
            await trio.lowlevel.checkpoint()
        else:
            await self._wait()
        while True:
            # Nothing is taken before this line and nothing waits after it: cancellation cannot lose a datagram.
            self._check_open()
            batch = queue.take(trio.current_time())
            if batch:
                self._datagrams_received += len(batch)
                self._bytes_received += sum(map(len, batch))
                return batch
            await self._wait()

    async def _wait(self) -> None:
        """Sleep until the earliest datagram is due, or until a datagram with an earlier due time is added."""
        queue = self._queue
        if queue.task is not None:
            raise trio.BusyResourceError("another task is receiving from this transport")
        queue.task = trio.lowlevel.current_task()
        queue.wake_at = queue.due()

        def abort(_: Any) -> trio.lowlevel.Abort:
            queue.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        if queue.wake_at == math.inf:
            await trio.lowlevel.wait_task_rescheduled(abort)
            return
        with trio.move_on_at(queue.wake_at):
            await trio.lowlevel.wait_task_rescheduled(abort)

    async def aclose(self) -> None:
        """Close the transport; see :meth:`ringproto.transports.Transport.aclose`."""
        if not self._closed:
            self._closed = True
            self._network._disconnect(self.node, self._queue)
            self._queue.wake()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the transport is closed")

    def statistics(self) -> dict[str, int]:
        """Return the counters; docs/transports.md lists them."""
        return {
            "datagrams_sent": self._datagrams_sent,
            "bytes_sent": self._bytes_sent,
            "datagrams_received": self._datagrams_received,
            "bytes_received": self._bytes_received,
            "duplicates": self._duplicates,
            "drops_lost": self._drops_lost,
            "drops_cut": self._drops_cut,
            "drops_crashed": self._drops_crashed,
            "drops_unknown_destination": self._drops_unknown_destination,
            "drops_to_self": self._drops_to_self,
            "drops_queue_full": self._queue.dropped,
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _probability(value: float, what: str) -> float:
    if not _is_number(value) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{what} must be a probability from 0 to 1, not {value!r}")
    return float(value)
