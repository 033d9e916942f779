"""Two living processes with one node id: who keeps it (departure 21 in docs/protocol.md).

A processor that was started again has the id of one that is dead, and is welcome. A second process with the id of one
that lives would take the ring apart again and again. Both have proven that they live, so the one on the ring is asked,
and keeps its id if it answers.
"""

from __future__ import annotations

_PATIENCE = 3
"""A member is asked for so many join timeouts before its id goes to another incarnation; a lost answer is asked for
again with each join of the other one."""


class _Rivalry:
    """One id, and who claims it beside the member of this ring."""

    __slots__ = ("answered_at", "incarnation", "seen_at", "since")

    def __init__(self, incarnation: int, now: float) -> None:
        self.incarnation = incarnation
        self.since = now
        self.seen_at = now
        self.answered_at = 0.0
        """When the member answered last; before ``since``: not yet."""


class DuplicateIds:
    """The ids that are claimed by two; a bounded number of them.

    Args:
        join_timeout_s: as in ``Config``.
        memory_s: seconds after which an answer of the member, or a claim that was not repeated, counts no more.
        max_: most ids that are remembered.
    """

    __slots__ = ("_max", "_memory_s", "_patience_s", "_rivalries")

    def __init__(self, join_timeout_s: float, memory_s: float, max_: int) -> None:
        self._patience_s = _PATIENCE * join_timeout_s
        self._memory_s = max(memory_s, 2 * self._patience_s)
        self._max = max_
        self._rivalries: dict[int, _Rivalry] = {}

    def gives_way(self, node: int, incarnation: int, now: float) -> bool:
        """Another incarnation of a member has proven that it lives: whether the member is taken to be gone.

        The member is to be asked each time that this is.
        """
        rivalry = self._rivalries.get(node)
        if (
            rivalry is None
            or rivalry.incarnation != incarnation
            or now - max(rivalry.seen_at, rivalry.answered_at) >= self._memory_s
            or (self.both_live(node) and now - rivalry.answered_at >= self._memory_s)
        ):
            rivalry = self._rivalries[node] = _Rivalry(incarnation, now)
            if len(self._rivalries) > self._max:
                del self._rivalries[next(iter(self._rivalries))]
        rivalry.seen_at = now
        if self.both_live(node) or now - rivalry.since < self._patience_s:
            return False
        del self._rivalries[node]
        return True

    def answered(self, node: int, now: float) -> None:
        """The member has proven that it lives."""
        rivalry = self._rivalries.get(node)
        if rivalry is not None:
            rivalry.answered_at = now

    def both_live(self, node: int) -> bool:
        """Whether the member has answered since another one claimed its id."""
        rivalry = self._rivalries.get(node)
        return rivalry is not None and rivalry.answered_at >= rivalry.since
