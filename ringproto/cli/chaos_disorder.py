"""What links do to datagrams besides losing them: delay, copies, and datagrams that are overtaken by later ones.

A :class:`Disorder` says how bad it is, and :class:`HeldDatagrams` keeps what is late until it is due. The time is given
to it, so it runs on any clock.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from random import Random

__all__ = ["CALM", "HELD_MAX", "Disorder", "HeldDatagrams"]

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
