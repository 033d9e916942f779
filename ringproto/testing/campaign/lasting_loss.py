"""Loss that stays when all other faults have stopped, and what a ring must do under it.

Networks lose datagrams as long as they exist, so a ring that only forms when nothing is lost is of no use. In half of
the runs some loss stays after the heal: of all links, or of one direction of one link. Then the members must be
together within a bound for that loss, and what follows is a stretch of time, idle or loaded, over which stability is
asked for: rules B21 and "stability" of the judge.
"""

from __future__ import annotations

import dataclasses
import math
import random as random_module
from collections.abc import Callable, Collection

from ringproto.config import Config
from ringproto.testing.campaign.settings import unit_s
from ringproto.testing.judge.history import Stretch
from ringproto.testing.simulator.cluster import Cluster

__all__ = ["KINDS", "STRETCH_UNITS", "LastingLoss", "changes_max"]

KINDS = ("uniform", "one link", "bad link")
"""All links lose; one direction of one link loses what a ring can bear; one loses more."""
UNIFORM_MAX = 0.15
ORDINARY_MAX = 0.05
"""At an ordinary loss of up to so much nobody is ever left out."""
LINK_MAX = 0.40
"""One link that loses up to so much one way is one that a ring lives with."""
PER_MINUTE = 1.0
"""At a loss of all links above ``ORDINARY_MAX`` a ring of up to twelve may change so often in a minute."""
PER_UNITS = 20
"""Or in so many units, where these are longer: rings with long timeouts do everything more seldom."""
_WHOLE = 2**62
"""More records than any log has."""
STRETCH_UNITS = 100
"""So many units of ``settings.unit_s`` a stretch has, at least, where its steps allow it."""
FEW = 2
"""So many changes a stretch of so many units with that loss may have, and in proportion a shorter one; with a bad link
any stretch: one member out, and in again."""
BAD_LOSS = 0.80
AGAIN_INTERVALS = 64
"""Behind a link that loses more than ``BAD_LOSS`` beacons still say now and then that it is good, and a ring may form
in vain: a configuration more in so many ``merge_detect_s`` (departure 8 in docs/protocol.md)."""
LEAST_PART = 0.25
"""A lost token is sent again after so much of ``token_retransmit_min_s`` at the earliest (departure 20)."""
DEVIATIONS = 4
"""What happens so many times in the mean may happen so many standard deviations more often in one stretch."""


@dataclasses.dataclass(frozen=True, slots=True)
class LastingLoss:
    """What is lost from now on, of all datagrams (``uniform``) or of those on one link."""

    kind: str
    """One of ``KINDS``, or empty: nothing is lost."""
    loss: float = 0.0
    """From 0 to 1."""
    source: int = 0
    destination: int = 0
    """The two ends of the one link."""

    @classmethod
    def draw(cls, random: random_module.Random, core: Collection[int], kinds: Collection[str] = KINDS) -> LastingLoss:
        """Any of these kinds that so many processors can have; nothing for one alone."""
        nodes = sorted(core)
        if len(nodes) < 2:
            return cls("")
        kind = random.choice(tuple(kinds))
        if kind == "uniform":
            most = ORDINARY_MAX if random.random() < 0.5 else UNIFORM_MAX
            return cls(kind, random.uniform(0.0, most))
        source, destination = random.sample(nodes, 2)
        loss = random.uniform(0.05, LINK_MAX) if kind == "one link" else random.uniform(LINK_MAX, 1.0)
        return cls(kind, loss, source, destination)

    def __str__(self) -> str:
        if self.kind == "uniform":
            return f"{100 * self.loss:.1f} % of all datagrams are lost"
        if self.kind:
            return f"{100 * self.loss:.1f} % of what {self.source} sends to {self.destination} is lost"
        return "nothing is lost"

    def begin(self, cluster: Cluster) -> None:
        """From now on so much is lost."""
        network = cluster.network
        if self.kind == "uniform":
            network.clear = dataclasses.replace(network.clear, loss=self.loss)
            network.weather = dataclasses.replace(network.weather, loss=self.loss)
        elif self.kind:
            network.link(self.source, self.destination).loss = self.loss
        if self.kind:
            cluster._say(f"from now on {self}")

    def end(self, cluster: Cluster) -> None:
        """Nothing of it is lost any more."""
        network = cluster.network
        if self.kind == "uniform":
            network.clear = dataclasses.replace(network.clear, loss=0.0)
            network.weather = dataclasses.replace(network.weather, loss=0.0)
        elif self.kind:
            network.link(self.source, self.destination).loss = 0.0
        if self.kind:
            cluster._say("the links are mended")

    def holds(self, asked: Callable[[Collection[int]], bool], core: Collection[int]) -> tuple[int, ...]:
        """Those of the core of whom ``asked`` is true, as many as must be there: all, or all but one end of a bad link.
        Empty if there are none."""
        everybody = tuple(sorted(core))
        if asked(everybody):
            return everybody
        if self.kind == "bad link":
            for end in (self.source, self.destination):
                rest = tuple(node for node in everybody if node != end)
                if asked(rest):
                    return rest
        return ()

    def ends(self) -> frozenset[int]:
        """Who may be left out: one end of a bad link."""
        return frozenset((self.source, self.destination) if self.kind == "bad link" else ())

    def steady(self) -> bool:
        """Whether it is so ordinary that nothing changes."""
        return not self.kind or self.kind == "one link" or (self.kind == "uniform" and self.loss <= ORDINARY_MAX)

    def stretch(
        self,
        before: dict[tuple[int, int], int],
        after: dict[tuple[int, int], int],
        seconds: float,
        config: Config,
        *,
        late: bool,
    ) -> Stretch:
        """What the judge is to ask of the processors whose logs grew from ``before`` to ``after`` in this time; who is
        not in ``after`` has stopped. ``late``: copies came late all the time."""
        most = changes_max(self.kind, self.loss, len(before), seconds, config)
        return Stretch(
            {who: (first, after.get(who, _WHOLE)) for who, first in before.items()},
            kept=frozenset(node for node, _ in before) - self.ends(),
            changes_max=most,
            left_out_max=math.ceil(most / 2) if self.kind == "uniform" else 0,
            what=f"{self}{' and copies come late' if late else ''} for {seconds:.1f} s, and nothing else is wrong",
        )


def in_vain_max(loss: float, seconds: float, config: Config) -> int:
    """How many configurations may come in so many seconds because somebody behind a link with this loss is on the ring:
    it breaks, or is formed in vain."""
    if loss <= BAD_LOSS:
        return 0
    return math.ceil(seconds / (AGAIN_INTERVALS * config.merge_detect_s)) + breaks_max(loss, seconds, config)


def breaks_max(loss: float, seconds: float, config: Config) -> int:
    """How often a ring breaks because a link of it loses every copy of a token within the token timeout, and forms with
    the same members, since the joins of a whole consensus timeout are more than that: the lesser of two numbers.

    The first is how many tokens are lost so in this time. The second is how many gathers pass until an end of the link
    was left out twice, from when on it is put off. On a dead link there is no token to be lost, and so no break.
    """
    least_s = config.token_retransmit_min_s * LEAST_PART
    copies, wait_s, left_s = 1, config.retransmit_s, config.token_timeout_s
    while left_s >= wait_s:
        copies, wait_s, left_s = copies + 1, max(least_s, wait_s / 2), left_s - wait_s
    hops = seconds * (1 - loss) / least_s  # each needs 1 / (1 - loss) copies in the mean
    lost = hops * loss**copies
    unheard = loss ** (1 + math.ceil(config.consensus_timeout_s / config.join_timeout_s))
    twice, deviation = 2 / unheard, math.sqrt(2 * (1 - unheard)) / unheard
    return math.ceil(min(lost + DEVIATIONS * math.sqrt(lost), twice + DEVIATIONS * deviation))


def changes_max(kind: str, loss: float, members: int, seconds: float, config: Config) -> int:
    """How many configurations a member may install in so many seconds while this loss stays, and nothing else is."""
    if LastingLoss(kind, loss).steady():
        return 0
    if kind == "bad link":
        return FEW + in_vain_max(loss, seconds, config)
    few = min(FEW, math.ceil(FEW * seconds / (STRETCH_UNITS * unit_s(config))))
    interval_s = max(60.0, PER_UNITS * unit_s(config))
    return few + math.floor(PER_MINUTE * max(1.0, members / 12) * seconds / interval_s)
