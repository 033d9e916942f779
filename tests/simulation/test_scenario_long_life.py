"""Rings that have gone round for years: their numbers are high, pass a power of two, come to their end."""

from __future__ import annotations

import pytest

from ringproto import Guarantee, Priority
from ringproto._core import NUMBER_END
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import kind_of

NODES = (1, 2, 3)
POWERS = (2**31 - 20, 2**32 - 20)


def ring(origin: int, nodes: tuple[int, ...] = NODES) -> Cluster:
    cluster = Cluster(1)
    cluster.origin = origin
    cluster.start(*nodes)
    assert cluster.run_until_settled(nodes)
    return cluster


def say(cluster: Cluster, count: int, nodes: tuple[int, ...] = NODES) -> None:
    for node in nodes:
        for number in range(count):
            guarantee = Guarantee.SAFE if number % 2 else Guarantee.AGREED
            cluster.submit(node, cluster.application(node).payload(300), Priority.HIGH, guarantee)


def highest(cluster: Cluster) -> list[int]:
    """The highest numbers of tokens, packets and messages that came up."""
    entries = [entry for audit in cluster.audits() for entry in audit]
    tokens = [entry for entry in entries if entry[0] == "TOKEN"]
    messages = [entry[1].seq for entry in entries if entry[0] == "DELV"]
    return [max(entry[2] for entry in tokens), max(entry[3] for entry in tokens), max(messages)]


def exhausted(cluster: Cluster) -> int:
    return sum(int(cluster.processor(node).statistics().get("rings_worn_out", 0)) for node in NODES)


@pytest.mark.parametrize("origin", [10**7, *POWERS])
def test_ring_goes_on_after_millions_of_rotations(origin: int) -> None:
    cluster = ring(origin)
    before = cluster.configuration(1).ring_id
    for _ in range(10):
        say(cluster, 5)
        cluster.run(0.05)
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(1).ring_id == before
    assert all(number > origin + 20 for number in highest(cluster)), "they passed the power of two"
    assert len(cluster.messages(1)) == 150
    assert cluster.judge(complete=NODES) == []


@pytest.mark.parametrize("origin", POWERS)
def test_what_is_lost_and_late_is_told_apart_where_numbers_pass_a_power_of_two(origin: int) -> None:
    cluster = ring(origin)
    before = cluster.configuration(1).ring_id
    sent: list[tuple[int, int, bytes]] = []

    def lose_every_seventh(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) not in ("token", "data"):
            return True
        sent.append((source, destination, datagram))
        return len(sent) % 7 != 0

    cluster.filter = lose_every_seventh
    for _ in range(10):
        say(cluster, 5)
        cluster.run(0.1)
    cluster.filter = None
    for source, destination, datagram in sent[:-1]:
        cluster.network.send(source, destination, datagram)
    cluster.run(0.1)
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(1).ring_id == before
    assert all(number > origin + 20 for number in highest(cluster))
    assert len(cluster.messages(1)) == 150
    assert cluster.judge(complete=NODES) == []


@pytest.mark.parametrize("left", [300, 600, 1000])
def test_ring_whose_numbers_come_to_their_end_gives_way_to_another(left: int) -> None:
    """Again and again, because the next ring counts from the same number: nothing is lost on the way."""
    cluster = ring(NUMBER_END - left)
    before = cluster.configuration(1).ring_id
    for _ in range(10):
        say(cluster, 5)
        cluster.run(0.3)
    assert exhausted(cluster) > 0
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(1).ring_id > before
    assert len(cluster.messages(1)) == 150
    assert cluster.judge(complete=NODES) == []


def test_ring_of_one_whose_numbers_come_to_their_end_gives_way_to_another() -> None:
    cluster = ring(NUMBER_END - 200, (1,))
    before = cluster.configuration(1).ring_id
    for _ in range(10):
        say(cluster, 40, (1,))
        cluster.run(0.1)
    assert cluster.run_until_settled((1,))
    assert cluster.configuration(1).ring_id > before
    assert len(cluster.messages(1)) == 400
    assert cluster.judge(complete=(1,)) == []


@pytest.mark.parametrize("origin", [-1, NUMBER_END, True, 1.0])
def test_origin_that_no_ring_can_have_is_refused(origin: object) -> None:
    cluster = Cluster(1)
    cluster.origin = origin  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"origin must be a whole number from 0 to 2\*\*62 - 1"):
        cluster.start(1)
