"""A processor that gets another address and lives on: same node id, same incarnation, new socket.

What was on its way to the old address or waited in the old socket is lost. The processor sends from its new address at
once and is heard; but the others send to the old one until they learn of the new one, each at its own time. So for a
while it hears some and not others, and nobody can see that from what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringproto.testing.simulator.cluster import Cluster

__all__ = ["change_address"]


def change_address(cluster: Cluster, node: int, learned_s: Mapping[int, float]) -> None:
    """From now on ``node`` has another address. ``learned_s`` says after how many seconds each of the others sends to
    the new one; who is not named knows it already.

    Raises:
        ValueError: a node was never started.
    """
    for source in (node, *learned_s):
        cluster.alive(source)
    cluster._host(node).queue.clear()
    cluster.network.lose_in_flight(node)
    cluster.note("another address")
    cluster._say(f"{node} has another address, known to the others after {dict(learned_s)} s")
    for source, delay_s in learned_s.items():
        if source != node:
            link = cluster.network.link(source, node)
            link.stale_until = cluster.now + delay_s
