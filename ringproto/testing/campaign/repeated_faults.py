"""One thing that happens to one processor, again and again, for the whole of the safety phase.

A ring may bear a fault, and what it remembers of it may make the same fault unbearable when it comes for the third or
the tenth time. So each of these classes has one victim, and comes back after pauses in which the ring has mostly formed
again: after a fraction of the time in which it notices that something is wrong, or after many times of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ringproto.testing.simulator.cluster import Cluster

__all__ = ["KINDS", "Repeats"]

PAUSES = ((0.1, 1.0), (1.0, 6.0), (4.0, 16.0))
"""Between two times there is so much of token timeout plus consensus timeout, at least and at most."""
LASTS = (0.3, 5.0)
"""So many token timeouts a stall or a cut lasts."""


class FaultPlan(Protocol):
    """What the faults of a run offer."""

    cluster: Cluster
    unit_s: float

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call it after a while, unless the safety phase is over by then."""

    def restart(self, node: int) -> None:
        """Start it again, unless it runs."""

    def happens(self, name: str) -> None:
        """It happened."""


class Repeats:
    """One kind of fault for one victim, which comes until the faults end."""

    def __init__(self, plan: FaultPlan, kind: str, victim: int) -> None:
        self.plan = plan
        self.kind = kind
        self.victim = victim
        self.random = plan.cluster.random
        self.pause = self.random.choice(PAUSES)

    def begin(self) -> None:
        """From now on it happens again and again."""
        self._again()

    def lasts_s(self) -> float:
        """How long the next stall or cut lasts."""
        return self.random.uniform(*LASTS) * self.plan.cluster.config.token_timeout_s

    def _again(self) -> None:
        self.plan.later(self.random.uniform(*self.pause) * self.plan.unit_s, self._happen)

    def _happen(self) -> None:
        seconds = KINDS[self.kind](self)
        self.plan.happens(self.kind)
        self.plan.later(seconds, self._again)

    def stall(self) -> float:
        """The process stands still."""
        seconds = self.lasts_s()
        self.plan.cluster.pause(self.victim, seconds)
        return seconds

    def cut(self) -> float:
        """It hears nobody and nobody hears it."""
        seconds = self.lasts_s()
        cluster = self.plan.cluster
        links = [link for link in cluster.network.links() if self.victim in (link.source, link.destination)]
        for link in links:
            link.blocked = True
        cluster._say(f"node {self.victim} is cut off once more")

        def mend() -> None:
            for link in links:
                link.blocked = False
            cluster._say(f"node {self.victim} is connected again")

        self.plan.later(seconds, mend)
        return seconds

    def restart(self) -> float:
        """It dies and is there again, at once or after a while."""
        cluster = self.plan.cluster
        seconds = self.lasts_s() if self.random.random() < 0.7 else 0.0
        if cluster.alive(self.victim):
            cluster.crash(self.victim)
        self.plan.later(seconds, lambda: self.plan.restart(self.victim))
        return seconds


KINDS: dict[str, Callable[[Repeats], float]] = {
    "stalls": Repeats.stall,
    "cuts": Repeats.cut,
    "restarts": Repeats.restart,
}
"""What comes again and again; each says how many seconds it lasts."""
