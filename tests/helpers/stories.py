"""Histories on the simulator that more than one test tells."""

from __future__ import annotations

from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import kind_of
from ringproto.types import Guarantee, Priority


def promise_behind_a_hole(cluster: Cluster) -> None:
    """Processor 2 of (1, 2, 3, 4) promises to deliver a safe message of 3 behind a hole of 4, which dies; then it loses
    the others before it sees the end of that recovery. It ends as (1, 3) and (2), settled."""
    cluster.run(0.05)
    old = cluster.configuration(1).ring_id
    lost = []

    def lose_what_4_sends(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if source == 4 and kind_of(datagram) == "data":
            lost.append(datagram)
            return False
        return not (lost and source == 4 and kind_of(datagram) != "token")

    def cut_2_off_when_1_has_installed(time: float, source: int, destination: int, datagram: bytes) -> bool:
        return cluster.configuration(1).ring_id == old or 2 not in (source, destination)

    def sent_by_3() -> int:
        return [entry[0] for entry in cluster.hosts[3].audit].count("SEND")

    cluster.filter = lose_what_4_sends
    cluster.submit(4, b"4.1.1|nobody else will ever have this")
    assert cluster.run_until(lambda: bool(lost) and cluster.state(4) == "operational", 1.0)
    # The token goes on from 4, and what 3 sends now stands behind the hole.
    sent = sent_by_3()
    assert cluster.submit(3, b"3.1.1|promised", Priority.HIGH, Guarantee.SAFE)
    assert cluster.run_until(lambda: sent_by_3() > sent, 1.0)
    cluster.crash(4)
    cluster.filter = cut_2_off_when_1_has_installed
    assert cluster.run_until(lambda: cluster.settled({1, 3}) and cluster.settled({2}), 5.0)
