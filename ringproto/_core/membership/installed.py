"""The ring that this processor installed last, and what it owes to that ring."""

from __future__ import annotations

from collections.abc import Iterable

from ringproto._core.ring.ring import RingState
from ringproto._core.wire.membership import Entry


class InstalledRing:
    """While another ring forms, this one stays as it was.

    Args:
        ring: the ring of one that a processor begins with.
        node: its id.
        incarnation: the number of its present life.
    """

    __slots__ = ("ever_joined", "incarnations", "obligations", "ring")

    def __init__(self, ring: RingState, node: int, incarnation: int) -> None:
        self.ring = ring
        self.incarnations: dict[int, int] = {node: incarnation}
        """Of each member."""
        self.obligations: frozenset[int] = frozenset()
        """Whose messages of this ring are to be delivered behind a hole, because a recovery of it had come so far."""
        self.ever_joined = False
        """Whether this processor ever was on a ring with others."""

    def install(self, ring: RingState, entries: Iterable[Entry]) -> None:
        """Another ring takes its place. Nothing is owed to the former one."""
        self.ring = ring
        self.incarnations = {entry.node: entry.incarnation for entry in entries}
        self.obligations = frozenset()
        self.ever_joined = self.ever_joined or len(ring.members) > 1
