"""What the tests that hold the papers' behaviours have in common: a formed ring of three whose history is judged.

Totem: Amir et al., ACM TOCS 13(4), 1995. EVS: Moser et al., ICDCS 1994. The tests (``test_papers_*.py``) take one
behaviour each, seen on the wire and in the logs of simulated rings. Where docs/protocol.md departs from the papers, the
behaviour is the one that is described there.
"""

from __future__ import annotations

from typing import Any

from rings import Seen, Wire, make_ring

from ringproto._core.wire.regular import Kind
from ringproto.config import Config
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import Guarantee, Priority

CONFIG = Config.testing()
AGREED, SAFE = Guarantee


class Three:
    """A formed ring of 1, 2 and 3."""

    def __init__(self, judged: list[Cluster], *nodes: int, **changes: Any) -> None:
        self.cluster, self.wire = make_ring(*nodes, **changes)
        judged.append(self.cluster)


def audit(cluster: Cluster, node: int, *tags: str) -> list[tuple[Any, ...]]:
    return [entry for entry in cluster.hosts[node].audit if entry[0] in tags]


def say(cluster: Cluster, node: int, number: int, guarantee: Guarantee = AGREED, size: int = 10) -> bytes:
    """Have a processor send a message; returns it."""
    payload = (b"%d.1.%d|" % (node, number)).ljust(size, b"x")
    assert cluster.submit(node, payload, Priority.HIGH, guarantee)
    return payload


def carries(seen: Seen, payload: bytes) -> bool:
    return seen.kind is Kind.DATA and payload in seen.datagram


def deaf_to_data(wire: Wire, node: int) -> None:
    wire.lose = lambda seen: seen.kind is Kind.DATA and seen.destination == node
