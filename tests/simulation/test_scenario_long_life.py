"""Rings that have gone round for years: the number of the token is high, passes a power of two, comes to its end."""

from __future__ import annotations

import pytest

from ringproto import Guarantee, Priority
from ringproto.testing.cluster import Cluster
from ringproto.testing.long_life import AGES, HOPS_MAX, age, hops_of
from ringproto.testing.network import kind_of

NODES = (1, 2, 3)
THE_END = [hops for hops in AGES if hops > 2**62]


def ring(seed: int = 1) -> Cluster:
    cluster = Cluster(seed)
    cluster.start(*NODES)
    assert cluster.run_until_settled(NODES)
    return cluster


def say(cluster: Cluster, count: int) -> None:
    for node in NODES:
        for number in range(count):
            guarantee = Guarantee.SAFE if number % 2 else Guarantee.AGREED
            cluster.submit(node, cluster.application(node).payload(300), Priority.HIGH, guarantee)


def highest(cluster: Cluster) -> int:
    return max(entry[2] for audit in cluster.audits() for entry in audit if entry[0] == "TOKEN")


@pytest.mark.parametrize("hops", [hops for hops in AGES if hops not in THE_END])
def test_ring_goes_on_after_millions_of_rotations(hops: int) -> None:
    cluster = ring()
    before = cluster.configuration(1).ring_id
    age(cluster, hops)
    for _ in range(10):
        say(cluster, 5)
        cluster.run(0.05)
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(1).ring_id == before
    assert highest(cluster) > hops + 20, "it passed the number"
    assert len(cluster.messages(1)) == 150
    assert cluster.judge(complete=NODES) == []


@pytest.mark.parametrize("hops", [2**31 - 20, 2**32 - 20])
def test_lost_and_late_tokens_are_told_apart_where_their_numbers_pass_a_power_of_two(hops: int) -> None:
    cluster = ring()
    before = cluster.configuration(1).ring_id
    age(cluster, hops)
    cluster.run(0.02)
    tokens: list[tuple[int, int, bytes]] = []

    def lose_every_seventh(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) != "token":
            return True
        tokens.append((source, destination, datagram))
        return len(tokens) % 7 != 0

    cluster.filter = lose_every_seventh
    for _ in range(10):
        say(cluster, 5)
        cluster.run(0.1)
    cluster.filter = None
    assert hops_of(tokens[0][2]) < hops + 20 < hops_of(tokens[-1][2])
    for source, destination, datagram in tokens[:-1]:
        cluster.network.send(source, destination, datagram)
    cluster.run(0.1)
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(1).ring_id == before
    assert len(cluster.messages(1)) == 150
    assert cluster.judge(complete=NODES) == []


@pytest.mark.parametrize("hops", [*THE_END, HOPS_MAX - 1, HOPS_MAX])
def test_ring_whose_token_can_have_no_further_number_forms_again(hops: int) -> None:
    cluster = ring()
    before = cluster.configuration(1).ring_id
    age(cluster, hops)
    for _ in range(10):
        say(cluster, 5)
        cluster.run(0.1)
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(1).ring_id > before
    assert len(cluster.messages(1)) == 150
    assert cluster.judge(complete=NODES) == []


@pytest.mark.parametrize("hops", [0, HOPS_MAX + 1])
def test_number_that_no_token_can_have_is_refused(hops: int) -> None:
    with pytest.raises(ValueError, match="number is from 1 to"):
        age(ring(), hops)


def test_filter_that_was_there_stays_and_is_asked_first() -> None:
    cluster = ring()
    seen = []

    def watch(time: float, source: int, destination: int, datagram: bytes) -> bool:
        seen.append(kind_of(datagram))
        return True

    cluster.filter = watch
    age(cluster, 10**7)
    cluster.run(0.1)
    assert cluster.filter is watch
    assert "token" in seen
    assert highest(cluster) > 10**7
