"""A processor whose address changes while it runs: it comes back, and nothing that it sent is lost or doubled."""

from __future__ import annotations

import pytest

from ringproto import Guarantee, Priority
from ringproto.testing.campaign.addresses import change_address
from ringproto.testing.simulator.cluster import Cluster

NODES = (1, 2, 3)


def ring() -> Cluster:
    cluster = Cluster(3)
    cluster.start(*NODES)
    assert cluster.run_until_settled(NODES)
    return cluster


def load(cluster: Cluster) -> None:
    for node in NODES:
        for _ in range(4):
            cluster.submit(node, cluster.application(node).payload(300), Priority.LOW, Guarantee.SAFE)


def test_address_that_all_know_at_once_costs_what_was_on_its_way_and_no_configuration() -> None:
    cluster = ring()
    before = cluster.configuration(1).ring_id
    sent_to: set[int] = set()

    def see(time: float, source: int, destination: int, datagram: bytes) -> bool:
        sent_to.add(destination)
        return True

    cluster.filter = see
    load(cluster)
    assert cluster.run_until(lambda: 2 in sent_to)
    lost = cluster.network.lost
    change_address(cluster, 2, {})
    assert cluster.network.lost > lost, "something was on its way"
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(1).ring_id == before
    assert sorted(cluster.messages(1)) == sorted(cluster.messages(2)) and len(cluster.messages(2)) == 12
    assert cluster.judge(NODES) == []


@pytest.mark.parametrize("known", [{1: 0.5}, {3: 0.5}, {1: 0.1, 3: 1.0}])
def test_address_that_some_learn_late_costs_configurations_and_no_message(known: dict[int, float]) -> None:
    cluster = ring()
    before = cluster.configuration(1).ring_id
    life = cluster.hosts[2].lives
    load(cluster)
    change_address(cluster, 2, known)
    cluster.run(0.05)
    load(cluster)
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(1).ring_id != before
    assert cluster.hosts[2].lives == life, "it lives on"
    for node in NODES:
        own = [payload for payload in cluster.messages(node) if payload.startswith(b"%d.1." % node)]
        assert len(own) == len(set(own)) == 8, "what it sent came back to it, each message once"
    assert cluster.judge(NODES) == []


def test_nobody_sends_to_the_new_address_before_it_is_known() -> None:
    cluster = ring()
    arrived = []
    change_address(cluster, 2, {1: 0.2, 3: 0.0})
    began = cluster.now
    link = cluster.network.link(1, 2)
    arrive = link.arrive
    link.arrive = lambda source, datagram: (arrived.append(cluster.now), arrive(source, datagram))
    cluster.run(1.0)
    assert arrived and min(arrived) >= began + 0.2


def test_address_of_nobody_is_refused() -> None:
    cluster = ring()
    with pytest.raises(ValueError, match="never started"):
        change_address(cluster, 2, {9: 1.0})
    with pytest.raises(ValueError, match="never started"):
        change_address(cluster, 9, {})
