"""A transport with links that can be told to lose, to delay and to disorder: on real sockets, without a privilege.

It stands between the ring and a real transport and puts five bytes before every datagram: one that is neither 0, by
which a transport over UDP would know a segment, nor the version of the wire format, by which it would know whose
datagram it is; and the node id of the sender.
The receiving end knows so over which link a datagram came and loses it with the probability that was set for that link.
A link has a direction; a partition is every link across it with probability one, set at both ends. What is lost has
gone through the kernel's sockets first, and whatever is kept is exactly what the real transport gave, at once and in
its order unless a :class:`~ringproto.chaos.faulty_transport.Disorder` is set.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from random import Random

import trio

from ringproto.transports import BackgroundTransport, Transport

__all__ = ["CALM", "HEADER_SIZE", "HELD_MAX", "Disorder", "HeldDatagrams", "LossyLinks"]

_HEADER = struct.Struct("!BI")
_FIRST = 255
HEADER_SIZE = _HEADER.size
"""Bytes that every datagram is longer by."""


class LossyLinks:
    """A transport that keeps the promises of ``Transport``, on another one that it closes with itself.

    Args:
        inner: the real transport.
        random: decides what a link that loses some loses.
        before_send: called each time before datagrams leave, for what must be on the disk before anybody hears of it.
    """

    def __init__(self, inner: Transport, random: Random, before_send: Callable[[], None] | None = None) -> None:
        if inner.datagram_size_max <= HEADER_SIZE:
            raise ValueError(f"the transport must take more than {HEADER_SIZE} bytes, not {inner.datagram_size_max}")
        self._inner = inner
        self._random = random
        self._before_send = before_send
        self._header = _HEADER.pack(_FIRST, inner.node)
        self._losses: dict[int, float] = {}
        self._held = HeldDatagrams(random)
        self._lost = 0
        self._strange = 0
        self._bytes_lost = 0

    @property
    def node(self) -> int:
        """The own node id."""
        return self._inner.node

    @property
    def datagram_size_max(self) -> int:
        """The largest datagram, in bytes."""
        return self._inner.datagram_size_max - HEADER_SIZE

    def lose(self, losses: Mapping[int, float]) -> None:
        """From now on lose what comes from these nodes with these probabilities (0 to 1), and nothing else.

        Raises:
            ValueError: a number is no probability. Nothing was changed.
        """
        for node, probability in losses.items():
            if not 0.0 <= probability <= 1.0:
                raise ValueError(f"node {node} must be lost with a probability from 0 to 1, not {probability!r}")
        self._losses = {node: probability for node, probability in losses.items() if probability > 0.0}

    def disturb(self, disorder: Disorder) -> None:
        """From now on this happens to what comes over all links, whoever sent it."""
        self._held.disorder = disorder

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        """As ``Transport.send``."""
        header = self._header
        for _, datagram in transmits:
            if not isinstance(datagram, bytes):
                raise TypeError(f"a datagram must be bytes, not {type(datagram).__name__}")
            if not datagram:
                raise ValueError(f"a datagram must have 1 to {self.datagram_size_max} bytes, not 0")
        if self._before_send is not None:
            self._before_send()
        await self._inner.send([(destination, header + datagram) for destination, datagram in transmits])

    async def receive(self) -> list[bytes]:
        """As ``Transport.receive``."""
        held = self._held
        while True:
            # What is due by now may wait no longer, and what came must not be lost when this is cancelled: so it is
            # held first, and there is nothing to wait for between taking it out and returning it.
            with trio.move_on_at(held.next_due):
                for datagram in await self._inner.receive():
                    if self._passes(datagram):
                        held.take(datagram[HEADER_SIZE:], trio.current_time())
            due = held.due(trio.current_time())
            if due:
                return due

    async def run_background(self) -> None:
        """As ``BackgroundTransport.run_background``."""
        if isinstance(self._inner, BackgroundTransport):
            await self._inner.run_background()

    async def aclose(self) -> None:
        """As ``Transport.aclose``; the transport below is closed too."""
        await self._inner.aclose()

    def statistics(self) -> dict[str, int]:
        """Those of the transport below, less the headers of datagrams that it does not cut, and what the links lost as
        ``drops_link``."""
        values = self._inner.statistics()
        values["datagrams_received"] -= self._lost + self._strange
        values["bytes_sent"] -= HEADER_SIZE * values["datagrams_sent"]
        values["bytes_received"] -= HEADER_SIZE * values["datagrams_received"] + self._bytes_lost
        if self._lost:
            values["drops_link"] = self._lost
        if self._held.copies:
            values["copies_link"] = self._held.copies
        if self._strange:
            values["drops_no_sender"] = self._strange
        return values

    def _passes(self, datagram: bytes) -> bool:
        if len(datagram) <= HEADER_SIZE:
            self._strange += 1
            self._bytes_lost += len(datagram)
            return False
        probability = self._losses.get(_HEADER.unpack_from(datagram)[1], 0.0)
        if probability and (probability >= 1.0 or self._random.random() < probability):
            self._lost += 1
            self._bytes_lost += len(datagram)
            return False
        return True

    def __repr__(self) -> str:
        return f"<LossyLinks on {self._inner!r}, {len(self._losses)} of them lose>"


# What links do to datagrams besides losing them: delay, copies, and datagrams that are overtaken by later ones.
#
# A :class:`Disorder` says how bad it is, and :class:`HeldDatagrams` keeps what is late until it is due. The time is
# given to it, so it runs on any clock.
HELD_MAX = 20_000
"""So many datagrams are late at one processor at most; what comes then is not held up, so that memory is bounded."""


@dataclasses.dataclass(frozen=True)
class Disorder:
    """What happens to the datagrams that come to one processor. The default is nothing."""

    delay_s: float = 0.0
    """Each datagram comes later, by up to so many seconds; this alone leaves them in their order."""
    duplication: float = 0.0
    """How probable it is that a datagram comes once more, up to ``late_s`` later."""
    reordering: float = 0.0
    """How probable it is that a datagram comes up to ``late_s`` later than those before it, so that others overtake."""
    late_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("duplication", "reordering"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be a probability from 0 to 1, not {getattr(self, name)!r}")
        for name in ("delay_s", "late_s"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number of seconds of at least 0, not {getattr(self, name)!r}")

    def __str__(self) -> str:
        parts = []
        if self.delay_s:
            parts.append(f"delay up to {self.delay_s * 1000:.0f} ms")
        if self.duplication:
            parts.append(f"{self.duplication:.0%} come twice, up to {self.late_s * 1000:.0f} ms apart")
        if self.reordering:
            parts.append(f"{self.reordering:.0%} are overtaken for up to {self.late_s * 1000:.0f} ms")
        return ", ".join(parts) or "no disorder"


CALM = Disorder()


class HeldDatagrams:
    """The datagrams that are on their way to one processor, and when each is due.

    Args:
        random: decides what happens to each.
    """

    def __init__(self, random: Random) -> None:
        self.disorder = CALM
        """May be set at any time; what is held already comes when it was to come."""
        self.copies = 0
        """Datagrams that came, or will come, a second time."""
        self._random = random
        self._held: list[tuple[float, int, bytes]] = []
        self._taken = 0
        self._last_due = -math.inf

    def __len__(self) -> int:
        return len(self._held)

    @property
    def next_due(self) -> float:
        """When the next one is due; ``math.inf`` if none is held."""
        return self._held[0][0] if self._held else math.inf

    def take(self, datagram: bytes, now: float) -> None:
        """A datagram came; it is due now or later."""
        random, disorder = self._random, self.disorder
        if disorder == CALM or len(self._held) >= HELD_MAX:
            self._push(now, datagram)
            return
        due = now + disorder.delay_s * random.random()
        if disorder.duplication and random.random() < disorder.duplication:
            self.copies += 1
            self._push(due + disorder.late_s * random.random(), datagram)
        if disorder.reordering and random.random() < disorder.reordering:
            due += disorder.late_s * random.random()
        else:
            due = self._last_due = max(due, self._last_due)
        self._push(due, datagram)

    def due(self, now: float) -> list[bytes]:
        """What has come by now, in the order in which it was due."""
        held = self._held
        out = []
        while held and held[0][0] <= now:
            out.append(heapq.heappop(held)[2])
        return out

    def _push(self, due: float, datagram: bytes) -> None:
        self._taken += 1
        heapq.heappush(self._held, (due, self._taken, datagram))
