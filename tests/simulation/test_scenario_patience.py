"""A member whose process stands still for longer than the token timeout whenever it recovers."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import pytest

from ringproto.config import Config
from ringproto.events import RegularConfiguration
from ringproto.testing.application import Habits
from ringproto.testing.cluster import Cluster
from ringproto.testing.network import Weather

NODES = (1, 2, 3)
LAN = Config.lan()


def start(cluster: Cluster, nodes: Collection[int], stands_still_s: dict[int, float]) -> None:
    for node in nodes:
        cluster.start(node, habits=Habits(stands_still_s=stands_still_s.get(node, 0.0)))


def configurations(cluster: Cluster, node: int) -> int:
    return sum(isinstance(event, RegularConfiguration) for event in cluster.events(node))


def bound_s(stands_still_s: float) -> float:
    """What the documentation says: it recovers five times at most, and what the bound of liveness is comes on top."""
    return 5 * stands_still_s + 20 * (LAN.token_timeout_s + LAN.consensus_timeout_s)


@pytest.mark.parametrize("stands_still_s", [0.7, 2.0, 8.0])
@pytest.mark.parametrize("quorum", [1, 2])
@pytest.mark.parametrize("standing", [(1,), (2,), (3,), (1, 2), NODES])
def test_members_come_together(standing: tuple[int, ...], quorum: int, stands_still_s: float) -> None:
    for seed in range(3):
        cluster = Cluster(seed, LAN.replace(quorum=quorum))
        start(cluster, NODES, dict.fromkeys(standing, stands_still_s))
        assert cluster.run_until_settled(NODES, bound_s(stands_still_s)), seed
        assert cluster.judge(NODES) == []
