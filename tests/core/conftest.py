"""Property tests are not timed: a machine that is busy is no reason to fail. And rings whose histories are judged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from papers import Three

from ringproto.testing.simulator.cluster import Cluster

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def judged() -> Iterator[list[Cluster]]:
    """Clusters put in here are judged when the test is over."""
    clusters: list[Cluster] = []
    yield clusters
    for cluster in clusters:
        cluster.filter = None
        assert cluster.judge() == []


@pytest.fixture
def ring(judged: list[Cluster]) -> Three:
    return Three(judged)
