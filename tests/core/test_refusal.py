"""Processors with other limits are refused with a reason and never half joined; other clusters are not even heard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rings import CONFIG, DATAGRAM_SIZE, Seen, Wire, counted, make_ring

from ringproto._core.wire.regular import Kind
from ringproto.config import MUST_BE_EQUAL
from ringproto.errors import RefusedError
from ringproto.events import RegularConfiguration
from ringproto.testing.simulator.cluster import Cluster

OTHER: dict[str, int] = {
    "quorum": 2,
    "members_max": 63,
    "message_size_max": 2**20 - 1,
    "window_size": 31,
    "datagram_size": 1399,
}
HERE: dict[str, int] = {field: getattr(CONFIG, field) or DATAGRAM_SIZE for field in MUST_BE_EQUAL}


def test_every_limit_that_must_be_equal_is_tried() -> None:
    assert set(OTHER) == set(MUST_BE_EQUAL)
    assert all(OTHER[field] != HERE[field] for field in MUST_BE_EQUAL)


class Leavers:
    """Catches the reasons of processors that stop: they are gone from the cluster at once."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.failures: dict[int, BaseException | None] = {}

    def run_until_one_stops(self, *watched: int) -> int:
        processors = {node: self.cluster.processor(node) for node in watched}
        assert self.cluster.run_until(lambda: any(processor.left for processor in processors.values()), 3.0)
        (gone,) = [node for node, processor in processors.items() if processor.left]
        self.failures[gone] = processors[gone].failure
        return gone


def between(group: set[int]) -> Callable[[Seen], bool]:
    """Loses what goes from some processors to the others, or comes from them."""
    return lambda seen: (seen.source in group) != (seen.destination in group)


def members_seen(cluster: Cluster, node: int) -> set[tuple[int, ...]]:
    """The members of every regular configuration that a processor ever had."""
    seen = set()
    for log in (cluster.hosts[node].audit, *cluster.hosts[node].finished):
        for entry in log:
            if entry[0] == "CONF" and isinstance(entry[1], RegularConfiguration):
                seen.add(entry[1].members)
    return seen


@pytest.mark.parametrize("newcomer", [1, 9])
@pytest.mark.parametrize("field", MUST_BE_EQUAL)
def test_newcomer_with_another_limit_is_refused_by_the_ring(field: str, newcomer: int) -> None:
    cluster, _ = make_ring(3, 5)
    before = cluster.configuration(3).ring_id
    cluster.start(newcomer, config=CONFIG.replace(**{field: OTHER[field]}))
    leavers = Leavers(cluster)
    assert leavers.run_until_one_stops(newcomer, 3, 5) == newcomer
    failure = leavers.failures[newcomer]
    assert isinstance(failure, RefusedError)
    assert f"{field} is {HERE[field]} there and {OTHER[field]} here" in str(failure)
    for other in MUST_BE_EQUAL:
        assert (f"{other} is" in str(failure)) == (other == field)
    # Not half joined: nobody ever had a configuration with it, and the ring is as it was.
    cluster.run(1.0)
    assert members_seen(cluster, newcomer) <= {(newcomer,)}
    for node in (3, 5):
        assert cluster.configuration(node).ring_id == before
        assert not any(newcomer in members for members in members_seen(cluster, node))
        assert counted(cluster, node, "dropped_other_limits") > 0
    assert cluster.settled({3, 5})


def test_refused_processor_says_so_in_its_log_and_takes_nothing_more() -> None:
    cluster, _ = make_ring(3, 5)
    cluster.start(9, config=CONFIG.replace(window_size=31))
    processor = cluster.processor(9)
    assert cluster.run_until(lambda: not cluster.alive(9), 3.0)
    assert cluster.hosts[9].finished[-1][-1] == ("STOP", "refused")
    assert processor.left and isinstance(processor.failure, RefusedError)
    assert processor.state == "left"


@pytest.mark.parametrize("field", MUST_BE_EQUAL)
def test_of_two_that_start_together_the_one_with_the_larger_id_stops(field: str) -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    cluster.start(7)
    cluster.start(4, config=CONFIG.replace(**{field: OTHER[field]}))
    leavers = Leavers(cluster)
    assert leavers.run_until_one_stops(4, 7) == 7
    assert isinstance(leavers.failures[7], RefusedError)
    cluster.run(1.0)
    assert cluster.alive(4)
    assert cluster.configuration(4).members == (4,)
    assert members_seen(cluster, 7) == {(7,)}


def test_who_is_on_a_ring_with_others_is_never_stopped_by_a_refusal() -> None:
    cluster, wire = make_ring(3, 5)
    wire.lose = between({3, 5})
    cluster.start(1, 2, 4, config=CONFIG.replace(window_size=31))
    assert cluster.run_until(lambda: cluster.formed({1, 2, 4}), 3.0)
    wire.lose = None
    cluster.run(2.0)
    assert cluster.settled({3, 5}) and cluster.settled({1, 2, 4})
    assert all(cluster.alive(node) for node in (1, 2, 3, 4, 5))


def test_refusals_are_few() -> None:
    """Two rings that cannot have each other answer each beacon at most once in a consensus timeout."""
    cluster, wire = make_ring(3, 5)
    wire.lose = between({3, 5})
    cluster.start(1, 2, config=CONFIG.replace(window_size=31))
    assert cluster.run_until(lambda: cluster.formed({1, 2}), 3.0)
    wire.lose = None
    wire.log.clear()
    cluster.run(2.0)
    refusals = [seen for seen in wire.log if seen.kind is Kind.REFUSE]
    assert 0 < len(refusals) <= 4 * (2.0 / CONFIG.consensus_timeout_s + 1)


@pytest.mark.parametrize(
    "change", [{"token_timeout_s": 0.2}, {"visit_max": 3}, {"low_every": 4}, {"send_queue_max": 9}]
)
def test_what_need_not_be_equal_may_differ(change: dict[str, Any]) -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    cluster.start(1, 2)
    cluster.start(3, config=CONFIG.replace(**change))
    assert cluster.run_until_settled({1, 2, 3})


def test_datagram_size_is_compared_as_it_is_in_use() -> None:
    """Whether it comes from the transport or from the configuration does not matter."""
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    cluster.start(1)
    cluster.start(2, config=CONFIG.replace(datagram_size=DATAGRAM_SIZE))
    assert cluster.run_until_settled({1, 2})


# Other clusters


def test_rings_of_another_cluster_are_ignored() -> None:
    cluster, wire = make_ring(3, 5)
    before = cluster.configuration(3).ring_id
    wire.log.clear()
    cluster.start(1, 2, 4, config=CONFIG.replace(cluster="another"))
    assert cluster.run_until(lambda: cluster.formed({1, 2, 4}), 3.0)
    cluster.submit(1, b"1.1.1|there")
    cluster.submit(3, b"3.1.1|here")
    cluster.run(1.0)
    assert cluster.settled({3, 5}) and cluster.settled({1, 2, 4})
    assert cluster.configuration(3).ring_id == before
    assert cluster.messages(5) == [b"3.1.1|here"]
    assert cluster.messages(2) == [b"1.1.1|there"]
    for node in (1, 2, 3, 4, 5):
        assert counted(cluster, node, "dropped_other_cluster") > 0
    assert not [seen for seen in wire.log if seen.datagram[1] == Kind.REFUSE]


def test_another_cluster_with_other_limits_is_ignored_and_not_refused() -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    wire = Wire(cluster)
    cluster.start(1)
    cluster.start(2, config=CONFIG.replace(cluster="another", quorum=2))
    cluster.run(1.0)
    assert cluster.alive(1) and cluster.alive(2)
    assert cluster.configuration(1).members == (1,) and cluster.configuration(2).members == (2,)
    assert not [seen for seen in wire.log if seen.datagram[1] == Kind.REFUSE]


def test_one_id_in_two_clusters_is_two_processors() -> None:
    """Datagrams of the own id from another cluster are the other cluster's."""
    cluster, _ = make_ring(3, 5)
    other = Cluster(2, CONFIG.replace(cluster="another"), datagram_size=DATAGRAM_SIZE)
    other_wire = Wire(other)
    other.start(3, 5)
    assert other.run_until_settled({3, 5})
    for seen in other_wire.log:
        cluster.network.send(3 if seen.destination == 5 else 5, seen.destination, seen.datagram)
    cluster.run(0.5)
    assert cluster.settled({3, 5})
    assert counted(cluster, 3, "dropped_own_id") == 0
    assert counted(cluster, 3, "dropped_other_cluster") > 0
