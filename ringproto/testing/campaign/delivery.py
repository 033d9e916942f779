"""How long a ring may take to complete its barrier and to deliver what its members have accepted.

The bounds of liveness say when members are together. What they have to send then takes as many rotations as the window
and the priorities let it take, so the time for it follows from how much there is.
"""

from __future__ import annotations

from collections.abc import Collection

from ringproto.testing.simulator.cluster import Cluster

__all__ = ["DELIVERY_UNITS", "ROTATIONS", "STEADY_ROTATIONS", "STEADY_UNITS", "delivery_s", "standstills_s"]

DELIVERY_UNITS = 20
"""So many times (token timeout + consensus timeout) there are, whatever there is to send, where the ring may form anew
meanwhile."""
STEADY_UNITS = 3
"""The same where it may not: nobody is to be missed and no consensus to be waited for, and an application unblocks late
by up to one of these."""
ROTATIONS = 4
"""So many rotations there are for each packet that waits: one for it, the others for what is lost."""
STEADY_ROTATIONS = 2
"""The same where little is lost."""
RECOVERIES = 5
"""So often a member that stands still while it recovers does so until all are together (departure 22)."""


def delivery_s(cluster: Cluster, nodes: Collection[int], *, steady: bool = False) -> float:
    """Within so many seconds these processors, which are together, must have delivered all that they have now.

    ``steady``: nothing is wrong for which they might form a ring anew.
    """
    config = cluster.config
    messages = total = 0
    replies = 0.0
    for node in nodes:
        host = cluster.hosts[node]
        replies = max(replies, host.habits.replies)
        if host.application is not None:
            count, size = host.application.outstanding()
            messages += count
            total += size
    # Half of a datagram is filled, at least, where messages are cut and packed.
    packets = messages * (1 + replies * len(nodes)) + 2 * total // cluster.datagram_size
    rotation_s = len(nodes) * (2 * cluster.network.clear.latency_s[1] + config.token_retransmit_min_s)
    unit_s = config.token_timeout_s + config.consensus_timeout_s
    units, rotations = (STEADY_UNITS, STEADY_ROTATIONS) if steady else (DELIVERY_UNITS, ROTATIONS)
    return units * unit_s + standstills_s(cluster, nodes) + rotations * packets * rotation_s


def standstills_s(cluster: Cluster, nodes: Collection[int]) -> float:
    """For how many seconds, at most, one of these processors stands still until all are together and complete."""
    return RECOVERIES * max(cluster.hosts[node].habits.stands_still_s for node in nodes)
