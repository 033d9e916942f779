"""Processors on the same network that do not belong: of another cluster, with other limits, of another version.

They are started beside the processors of a run and stay connected to its end. A ring of another cluster and a processor
of another version must be as if they were not there; one whose limits differ is refused and leaves. None of them may
ever be in one configuration with the others.
"""

from __future__ import annotations

from collections.abc import Collection

from ringproto.config import Config
from ringproto.testing.judge import Violation
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.system_calls import SystemCalls
from ringproto.types import NODE_MAX

__all__ = ["KINDS", "Strangers"]

KINDS = {
    "another cluster": (2**32 - 4, 2**32 - 3),
    "another version": (2**32 - 2,),
    "other limits": (NODE_MAX,),
}
"""The kinds, with their node ids. Of two single processors that refuse each other the one with the greater id leaves,
and it must not be one of those who belong."""

ANOTHER_VERSION = 2


class Strangers:
    """The strangers of one run."""

    def __init__(self, cluster: Cluster, kinds: tuple[str, ...]) -> None:
        self.cluster = cluster
        self.kinds = kinds
        self.nodes = tuple(node for kind in kinds for node in KINDS[kind])

    @classmethod
    def draw(cls, cluster: Cluster) -> Strangers:
        """Each kind in one run of ten."""
        return cls(cluster, tuple(kind for kind in KINDS if cluster.random.random() < 0.1))

    def start(self, habits: Habits) -> None:
        """Start them."""
        cluster = self.cluster
        random = cluster.random
        for kind in self.kinds:
            config = cluster.config
            if kind == "another cluster":
                config = config.replace(cluster=config.cluster + " of somebody else")
            elif kind == "other limits":
                field = random.choice(("quorum", "members_max", "message_size_max", "window_size", "datagram_size"))
                value = cluster.datagram_size if field == "datagram_size" else getattr(config, field)
                config = _with_limit(config, field, value - 1 if value > 1 else 2)
            system_calls = SystemCalls(version=ANOTHER_VERSION) if kind == "another version" else None
            cluster.start(*KINDS[kind], config=config, habits=habits, system_calls=system_calls)

    def judge(self, belonging: Collection[int]) -> list[Violation]:
        """Whether somebody who does not belong was in a configuration with others than its own kind."""
        violations: list[Violation] = []
        own = {node: frozenset(KINDS[kind]) for kind in self.kinds for node in KINDS[kind]}
        own.update((node, frozenset(belonging)) for node in belonging)
        for audit in self.cluster.audits():
            _, node, incarnation = audit[0]
            for place, entry in enumerate(audit):
                if entry[0] == "CONF" and not own[node].issuperset(entry[1].members):
                    text = (
                        f"node {node} was in one configuration with {entry[1].members}, not all of which belong there"
                    )
                    violations.append(Violation("mixed", text, node, incarnation, place))
        return violations


def _with_limit(config: Config, field: str, value: int) -> Config:
    """The settings with one limit changed, and the quorum with it where it would be more than all members."""
    changes = {field: value}
    if field == "members_max":
        changes["quorum"] = min(config.quorum, value)
    return config.replace(**changes)
