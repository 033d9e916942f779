"""Faults that stay: what a ring does when something is wrong and remains so.

A link that fails and comes back is weather; one that is bad for good must not make memberships flap for ever, and a
recovery function that never returns must hold everybody up with everybody knowing for whom. After the liveness phase
some runs break one thing and leave it broken. The processors must come to rest: in the last part of the stretch none
of them may install more than a few configurations. Then all is mended, and they must be one ring again in the time
that rule B15 gives. Who is no end of what is broken is left out by nobody meanwhile (rule B21 of the judge).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection

from ringproto.errors import RingError
from ringproto.testing.campaign.lasting_loss import in_vain_max
from ringproto.testing.campaign.settings import BOUND_UNITS, bound_s
from ringproto.testing.judge import Stretch, Violation
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import Guarantee, Priority

__all__ = ["KINDS", "REST_MAX", "REST_UNITS", "SETTLE_MAX", "SETTLE_UNITS", "StandingFault"]

PAIRS_MAX = 3
"""So many pairs of two sides hear each other no more, at most."""
SETTLE_UNITS = 8
"""So many times (token timeout + consensus timeout) the processors have to come to rest, or so many intervals of
beacons where those are longer: who was left out is met by beacons, and left out once more before it is put off."""
SETTLE_MAX = 5
"""So many configurations a processor may install meanwhile."""
REST_UNITS = 10
"""So long they must then stay at rest."""
REST_MAX = 1
"""So many configurations a processor may install meanwhile: the ring may try again once."""
LONG_INTERVALS = 600
"""So many intervals of beacons they must then stay at rest as well: what is remembered of a bad link lasts for 256 of
these, unless it is seen to be bad still (departure 8 in docs/protocol.md)."""
LONG_STEPS = 20_000
"""This ends after so many steps, even if there is time left."""
STUCK_UNITS = 20
"""So long it may take until everybody waits for those whose recovery function does not return."""


def _pair(fault: StandingFault) -> None:
    """Two that do not hear each other, while the others hear both."""
    first, second = fault.random.sample(fault.core, 2)
    fault.ends = frozenset((first, second))
    fault.cluster.block(first, second)
    fault.cluster.block(second, first)


def _one_way(fault: StandingFault) -> None:
    """One that does not hear one other."""
    first, second = fault.random.sample(fault.core, 2)
    fault.ends = frozenset((first, second))
    fault.cluster.block(first, second)


def _deaf(fault: StandingFault) -> None:
    """One that hears nobody and is heard by all."""
    deaf = fault.random.choice(fault.core)
    fault.ends = frozenset((deaf,))
    for node in fault.core:
        if node != deaf:
            fault.cluster.block(node, deaf)


def _mute(fault: StandingFault) -> None:
    """One that hears all and is heard by nobody."""
    mute = fault.random.choice(fault.core)
    fault.ends = frozenset((mute,))
    for node in fault.core:
        if node != mute:
            fault.cluster.block(mute, node)


def _bridge(fault: StandingFault) -> None:
    """Two sides that do not hear each other, and one who hears both."""
    nodes = fault.random.sample(fault.core, len(fault.core))
    middle = nodes.pop()
    half = len(nodes) // 2
    fault.ends = frozenset(fault.core)
    for first in nodes[:half]:
        for second in nodes[half:]:
            fault.cluster.block(first, second)
            fault.cluster.block(second, first)
    fault.cluster._say(f"{middle} is a bridge")


def _lossy(fault: StandingFault) -> None:
    """Two that hear each other sometimes."""
    first, second = fault.random.sample(fault.core, 2)
    fault.ends = frozenset((first, second))
    loss = fault.loss = fault.random.uniform(0.1, 0.9)
    fault.cluster.network.link(first, second).loss = loss
    fault.cluster.network.link(second, first).loss = loss


def _divided(fault: StandingFault) -> None:
    """Two sides that were parted twice, so that each puts the other off; when they hear each other again, up to three
    of one side do not hear one of the other each, or neither hears the other. If there is a ring that has more members
    than each side, there must be one of as many as can be; if not, any rings that rest."""
    random = fault.random
    nodes = random.sample(fault.core, len(fault.core))
    cut = random.randint(1, len(nodes) - 1)
    sides = nodes[:cut], nodes[cut:]
    between = list(itertools.product(*sides))
    pairs = random.sample(between, min(len(between), random.choice((1, 1, 1, 2, PAIRS_MAX))))
    for first, second in pairs:
        fault.cluster.block(first, second)
        if random.random() < 0.5:
            fault.cluster.block(second, first)
    ends = frozenset(itertools.chain(*pairs))
    least = least_left_out(pairs)
    largest = len(nodes) - least
    comes = largest > max(map(len, sides)) or len(pairs) == 1
    fault.ends = ends if comes else frozenset(fault.core)
    for _ in range(2):
        fault.part_and_heal(*sides)
        if comes:
            fault.come_together(largest)
        else:
            fault.cluster.run(SETTLE_UNITS * fault.unit_s)


def least_left_out(pairs: Collection[tuple[int, int]]) -> int:
    """How many must be left out so that of each of these pairs one is."""
    ends = sorted(set(itertools.chain(*pairs)))
    return next(
        count
        for count in range(len(ends) + 1)
        for out in itertools.combinations(ends, count)
        if not any(set(pair).isdisjoint(out) for pair in pairs)
    )


KINDS: dict[str, Callable[[StandingFault], None]] = {
    "pair": _pair,
    "one way": _one_way,
    "deaf": _deaf,
    "mute": _mute,
    "bridge": _bridge,
    "lossy": _lossy,
    "divided": _divided,
}
"""Links that are bad and stay so."""


WIDE = ("bridge", "divided")
"""Those that take three processors."""


class StandingFault:
    """One fault that stays, among processors that are one ring and at rest."""

    def __init__(self, cluster: Cluster, core: tuple[int, ...], kind: str) -> None:
        self.cluster = cluster
        self.random = cluster.random
        self.core = core
        self.kind = kind
        self.unit_s = cluster.config.token_timeout_s + cluster.config.consensus_timeout_s
        self.loss = 0.0
        """Of a lossy link, how much it loses."""
        self.ends: frozenset[int] = frozenset()
        """Who may be left out."""
        self.violations: list[Violation] = []
        self.stretches: list[Stretch] = []
        """For the judge: all others stay together."""

    @classmethod
    def draw(cls, cluster: Cluster, core: tuple[int, ...]) -> StandingFault:
        """Of any kind that so many processors can have."""
        kinds = [*KINDS, "stuck recover"]
        if len(core) < 3:
            kinds = [kind for kind in kinds if kind not in WIDE]
        return cls(cluster, core, cluster.random.choice(kinds))

    def play(self) -> None:
        """Break it, look, and mend it; what was wrong is in ``violations``."""
        self.cluster.note("standing fault: " + self.kind)
        self.cluster._say(f"from now on: {self.kind}")
        if self.kind == "stuck recover":
            self._play_stuck_recover()
        else:
            self._play_links()

    def _fail(self, rule: str, text: str) -> None:
        self.violations.append(Violation(rule, text, 0, 0, 0))

    # For those that begin with a partition

    def part_and_heal(self, *sides: list[int]) -> None:
        """These do not hear each other until each is a ring of its own; what else is broken stays so."""
        cluster = self.cluster
        between = [
            link
            for link in cluster.network.links()
            if not link.blocked and not any({link.source, link.destination} <= set(side) for side in sides)
        ]
        for link in between:
            link.blocked = True
        cluster._say(f"{' and '.join(str(sorted(side)) for side in sides)} do not hear each other")
        cluster.run_until(
            lambda: all(cluster.formed(side) for side in sides), SETTLE_UNITS * self.unit_s, every_s=self.unit_s / 20
        )
        for link in between:
            link.blocked = False

    def come_together(self, least: int) -> None:
        """So many, or more, are one ring within the bound of rule B15, and only ends are not on it."""
        cluster, core = self.cluster, self.core
        kept = set(core) - self.ends
        limit_s = bound_s(cluster.config, len(core), max(BOUND_UNITS))
        alive = [cluster.processor(node) for node in core if cluster.alive(node)]
        limit_s += max((float(processor.statistics()["token_patience_s"]) for processor in alive), default=0.0)

        def rings() -> list[tuple[int, ...]]:
            return sorted({processor.configuration.members for processor in alive})

        def together(ring: tuple[int, ...]) -> bool:
            return len(ring) >= least and kept.issubset(ring) and cluster.formed(ring)

        if not cluster.run_until(lambda: any(map(together, rings())), limit_s, every_s=self.unit_s / 20):
            text = f"{rings()} did not come together within {limit_s:.2f} s"
            self._fail("B15", f"{text} although only links between {sorted(self.ends)} are bad ({self.kind})")

    def _installed(self) -> dict[int, int]:
        counts = {}
        for node in self.core:
            host = self.cluster.hosts[node]
            counts[node] = -1 if host.processor is None else int(host.processor.statistics().get("configurations", 0))
        return counts

    def _play_links(self) -> None:
        cluster = self.cluster
        KINDS[self.kind](self)
        unit_s = max(self.unit_s, cluster.config.merge_detect_s)
        # Who is deaf suspects its successor, and the others do so with it: once, while the ring breaks (departure 18).
        kept = frozenset(self.core) - self.ends
        self._rest(SETTLE_UNITS * unit_s, SETTLE_MAX, frozenset() if self.kind == "deaf" else kept)
        self._rest(REST_UNITS * unit_s, REST_MAX, kept)
        self._rest(LONG_INTERVALS * cluster.config.merge_detect_s, REST_MAX, kept, LONG_STEPS)
        for link in cluster.network.links():
            link.blocked = False
            link.loss = 0.0
        cluster._say("the links are mended")

    def _rest(self, seconds: float, most: int, kept: frozenset[int], steps: int | None = None) -> None:
        """So much time passes, or so many steps if they take less, in which each installs so many configurations at
        most, and nobody of ``kept`` is left out."""
        cluster = self.cluster
        before, places, began = self._installed(), self._places(), cluster.now
        last = math.inf if steps is None else cluster.timeline.steps + steps
        while cluster.now < began + seconds and cluster.timeline.steps < last:
            cluster.run(min(began + seconds - cluster.now, seconds if steps is None else self.unit_s))
        after, seconds = self._installed(), cluster.now - began
        most += in_vain_max(self.loss, seconds, cluster.config)
        self._ask_for_stability(places, kept, most)
        for node in self.core:
            if after[node] < 0:
                self._fail("flapping", f"node {node} left although only a link was bad ({self.kind})")
            elif after[node] - before[node] > most:
                count = after[node] - before[node]
                text = f"node {node} installed {count} configurations in {seconds:.2f} s; at most {most}"
                self._fail("flapping", f"{text} while links are bad for good ({self.kind})")

    def _places(self) -> dict[tuple[int, int], int]:
        return self.cluster.places(node for node in self.core if self.cluster.alive(node))

    def _ask_for_stability(self, before: dict[tuple[int, int], int], kept: frozenset[int], most: int) -> None:
        """The judge is to look at who was left out since then."""
        after = self._places()
        what = f"only links of {sorted(self.ends)} are bad for good ({self.kind})"
        places = {who: (first, after[who]) for who, first in before.items() if who in after}
        self.stretches.append(Stretch(places, kept=kept, changes_max=most, what=what))

    def _play_stuck_recover(self) -> None:
        """Some recovery functions do not return. Everybody must know whose, for as long as it takes."""
        cluster = self.cluster
        stuck = frozenset(self.random.sample(self.core, self.random.randint(1, len(self.core))))
        cluster.hold(*stuck)
        cluster.restart(self.random.choice(self.core))
        limit_s = STUCK_UNITS * self.unit_s
        if not cluster.run_until(lambda: self._all_wait_for(stuck), limit_s, every_s=self.unit_s / 20):
            told = {node: sorted(cluster.processor(node).waiting_for) for node in self.core if cluster.alive(node)}
            self._fail("hang", f"recover of {sorted(stuck)} does not return, and waiting_for says {told}")
        for node in self.core:
            self._submit(node)
        rings = {cluster.configuration(node).ring_id for node in self.core if cluster.alive(node)}
        cluster.run(REST_UNITS * self.unit_s / 2)
        if not self.violations and not self._all_wait_for(stuck):
            self._fail("hang", f"a barrier that waited for {sorted(stuck)} did not go on to wait")
        if not self.violations and {cluster.configuration(node).ring_id for node in self.core} != rings:
            self._fail("flapping", f"the configuration changed while the barrier waited for {sorted(stuck)}")
        cluster.release(*stuck)

    def _submit(self, node: int) -> None:
        """Something that has to wait, for the judge to see that it does."""
        host = self.cluster.hosts[node]
        if host.application is None:
            return
        try:
            host.application.submit(host.application.payload(30), Priority.HIGH, Guarantee.AGREED)
        except RingError:
            return
        host.flush()

    def _all_wait_for(self, stuck: frozenset[int]) -> bool:
        rings = set()
        for node in self.core:
            processor = self.cluster.hosts[node].processor
            if processor is None or processor.state != "operational" or processor.waiting_for != stuck:
                return False
            if processor.configuration.members != self.core:
                return False
            rings.add(processor.configuration.ring_id)
        return len(rings) == 1
