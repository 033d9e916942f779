"""A formed ring of three, and what the scenarios ask of every history at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ringproto.config import Config
from ringproto.testing.simulator.cluster import Cluster

MakeRing = Callable[..., Cluster]


@pytest.fixture
def make_ring() -> Iterator[MakeRing]:
    """Makes rings that have formed; the logs of each are judged when the test is over."""
    clusters: list[Cluster] = []

    def make(*nodes: int, form: bool = True, datagram_size: int = 1400, **changes: object) -> Cluster:
        cluster = Cluster(1, Config.testing(**changes), datagram_size=datagram_size)
        clusters.append(cluster)
        cluster.start(*nodes)
        if form:
            assert cluster.run_until_settled(nodes, 3.0), "the ring did not form"
        return cluster

    yield make
    for cluster in clusters:
        assert cluster.judge() == []


@pytest.fixture
def ring(make_ring: MakeRing) -> Cluster:
    """Processors 1, 2 and 3 in one configuration, barrier complete."""
    return make_ring(1, 2, 3)
