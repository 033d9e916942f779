"""Large rings: they form, in few datagrams, and what they deliver is judged as that of small ones."""

from __future__ import annotations

import pytest

from ringproto import Config
from ringproto._core.wire.regular import Kind
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import Guarantee, Priority


def datagrams_by_kind(cluster: Cluster, count: dict[Kind, int]) -> None:
    """Count the copies that go over the network from now on."""

    def see(now: float, source: int, destination: int, datagram: bytes) -> bool:
        kind = Kind(datagram[1])
        count[kind] = count.get(kind, 0) + 1
        return True

    cluster.filter = see


@pytest.mark.parametrize("members", [32, pytest.param(128, marks=pytest.mark.slow)])
def test_large_ring_forms_in_few_datagrams_and_delivers(members: int) -> None:
    nodes = set(range(1, members + 1))
    cluster = Cluster(1, Config.lan(members_max=members))
    copies: dict[Kind, int] = {}
    datagrams_by_kind(cluster, copies)
    cluster.start(*nodes)
    assert cluster.run_until_settled(nodes)
    # One join each would be the least, were all heard of at once. Nobody waited for a timeout, so nobody said it often.
    assert copies[Kind.JOIN] <= 4 * members * (members - 1)
    # Two rotations of the commit token, of which a datagram holds 20 entries and more.
    assert copies[Kind.COMMIT] <= 2 * members * (members // 20 + 1)
    assert copies[Kind.DATA] <= 2 * members * (members - 1)
    assert all(cluster.processor(node).statistics()["configurations"] == 1 for node in nodes)
    for node in (1, members // 2, members):
        assert cluster.submit(node, b"%d.1.1|of many" % node, Priority.HIGH, Guarantee.SAFE)
    assert cluster.run_until_settled(nodes)
    assert len(cluster.messages(members)) == 3
    assert not cluster.judge(complete=nodes)


def test_large_ring_goes_on_without_one_that_crashed() -> None:
    members = 32
    nodes = set(range(1, members + 1))
    cluster = Cluster(1, Config.lan(members_max=members))
    cluster.start(*nodes)
    assert cluster.run_until_settled(nodes)
    cluster.crash(7)
    nodes.discard(7)
    assert cluster.run_until_settled(nodes)
    assert all(cluster.processor(node).statistics()["configurations"] == 2 for node in nodes)
    assert not cluster.judge(complete=nodes)
