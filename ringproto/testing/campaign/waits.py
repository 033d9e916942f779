"""How long processors wait for the token, held against who really stood still while it recovered.

A processor waits for longer than the token timeout only for a member that asked for it, and a member asks for what it
measured (departure 22 in docs/protocol.md). What each really did the simulator knows, so it takes no processor's word.
"""

from __future__ import annotations

import math

from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.host import PATIENCE_MAX
from ringproto.types import RingId

__all__ = ["Waits"]


class Waits:
    """The waits of the processors of a cluster; ask from time to time, so that what explains them is seen."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # Of each processor its configuration, and for how long each member has stood still that explains its wait. The
        # members may leave that configuration and forget, while one that is cut off, or stands still, has it still.
        self._stood_s: dict[int, tuple[RingId, dict[int, float]]] = {}

    def of(self, node: int) -> tuple[float, str]:
        """How long this processor waits for the token now, in seconds; and what is wrong with that, if anything is.

        It may be only as long as is explained by a member whose unblock it waits for (rule B20 of the judge says that
        it does) and that really stood still between a configuration and its completion. While a ring forms, it waits
        for the members of that ring; nothing here says who they are, so each processor may explain it.
        """
        hosts, processor = self._cluster.hosts, self._cluster.processor(node)
        timeout_s = self._cluster.config.token_timeout_s
        waits_s = float(processor.statistics()["token_patience_s"])
        ring_id = processor.configuration.ring_id
        known, stood = self._stood_s.get(node, (ring_id, {}))
        if known != ring_id:
            stood = {}
        for one in processor.waiting_for:
            stood[one] = max(stood.get(one, 0.0), hosts[one].explained_s())
        self._stood_s[node] = ring_id, stood
        stood_s = max((stood[one] for one in processor.waiting_for), default=0.0)
        if processor.state == "recovery":
            stood_s = max(stood_s, *(host.explained_s() for host in hosts.values()))
        # Who stands still was idle before, for a token timeout at most.
        times = math.ceil(1.0 + 1.5 * (stood_s / timeout_s + 1.0)) if stood_s else 1
        if waits_s <= 1.001 * timeout_s * min(PATIENCE_MAX, times):  # clocks differ
            return waits_s, ""
        text = f"of {sorted(processor.waiting_for)} nobody stood still for more than {stood_s:.2f} s in recovery"
        return waits_s, f"node {node} waits {waits_s:.2f} s for the token, and {text}"
