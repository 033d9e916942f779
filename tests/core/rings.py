"""Simulated rings as the core's tests need them: with a look at every datagram, and a hand that throws some in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from wire_samples import decode

from ringproto._core.wire.membership import CommitPart, Join
from ringproto._core.wire.regular import Codec, Kind, Packet, Token
from ringproto.config import Config
from ringproto.events import Event, Message, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.simulator.cluster import Cluster

CONFIG = Config.testing()
DATAGRAM_SIZE = 1400


def cluster_codec(node: int) -> Codec:
    """That of a processor of these rings."""
    return Codec(CONFIG.cluster_hash, node)


def read(datagram: bytes) -> Any:
    """What a processor of these rings reads in a datagram; Malformed if nothing."""
    return decode(datagram, members_max=CONFIG.members_max, mine=cluster_codec(99))


def throw(cluster: Cluster, node: int, *datagrams: bytes) -> None:
    """Hand datagrams to a processor as if they had arrived."""
    assert cluster.alive(node)
    cluster.hosts[node].flush(datagrams)


class Seen(NamedTuple):
    """A copy of a datagram on its way."""

    time: float
    source: int
    destination: int
    datagram: bytes

    @property
    def kind(self) -> Kind:
        return Kind(self.datagram[1])


class Wire:
    """Remembers what went over the network of a cluster, and loses what it is told to lose."""

    def __init__(self, cluster: Cluster) -> None:
        self.log: list[Seen] = []
        self.got: dict[int, list[bytes]] = {}
        """What was on its way to each processor and was not lost."""
        self.lose: Callable[[Seen], bool] | None = None
        self.check: Callable[[bytes], object] | None = None
        cluster.filter = self._see

    def _see(self, time: float, source: int, destination: int, datagram: bytes) -> bool:
        seen = Seen(time, source, destination, datagram)
        if self.check is not None:
            self.check(datagram)
        if self.lose is not None and self.lose(seen):
            return False
        self.log.append(seen)
        self.got.setdefault(destination, []).append(datagram)
        return True

    def lose_once(self, which: Callable[[Seen], bool]) -> list[Seen]:
        """Lose the first datagram of which this is true; it is in what is returned from then on."""
        lost: list[Seen] = []

        def lose(seen: Seen) -> bool:
            if lost or not which(seen):
                return False
            lost.append(seen)
            return True

        self.lose = lose
        return lost

    def of(self, kind: Kind) -> Iterator[tuple[Seen, Any]]:
        """Datagrams of one type, each with what is in it."""
        for seen in self.log:
            if seen.datagram[1] == kind:
                yield seen, read(seen.datagram)

    def packets(self) -> Iterator[tuple[Seen, Packet]]:
        return self.of(Kind.DATA)

    def tokens(self) -> Iterator[tuple[Seen, Token]]:
        return self.of(Kind.TOKEN)

    def joins(self) -> Iterator[tuple[Seen, Join]]:
        return self.of(Kind.JOIN)

    def commits(self) -> Iterator[tuple[Seen, CommitPart]]:
        return self.of(Kind.COMMIT)


def make_ring(*nodes: int, **changes: Any) -> tuple[Cluster, Wire]:
    """A formed ring, of 1, 2 and 3 if no other nodes are named, and its wire."""
    cluster = Cluster(1, CONFIG.replace(**changes), datagram_size=DATAGRAM_SIZE)
    wire = Wire(cluster)
    nodes = nodes or (1, 2, 3)
    cluster.start(*nodes)
    assert cluster.run_until_settled(nodes, 5.0)
    wire.log.clear()
    wire.got.clear()
    return cluster, wire


def history(cluster: Cluster, node: int) -> list[bytes | tuple[str, tuple[int, ...]]]:
    """What the application of a processor read: payloads, and configurations as ("R" or "T", members)."""
    told: list[bytes | tuple[str, tuple[int, ...]]] = []
    for event in cluster.events(node):
        brief = _brief(event)
        if brief is not None:
            told.append(brief)
    return told


def _brief(event: Event) -> bytes | tuple[str, tuple[int, ...]] | None:
    if isinstance(event, Message):
        return event.payload
    if isinstance(event, RegularConfiguration):
        return ("R", event.members)
    if isinstance(event, TransitionalConfiguration):
        return ("T", event.members)
    return None


def counted(cluster: Cluster, node: int, name: str) -> float:
    """A counter of a living processor."""
    return cluster.processor(node).statistics().get(name, 0)
