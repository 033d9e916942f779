"""Consensus: who will be on the next ring (Totem, section 5.1).

A processor says in joins whom it knows (``proc_set``) and whom of those it has given up (``fail_set``). Sets only grow
while it gathers, and from when on they have no room it takes nobody in any more, so it ends. When all in ``proc_set``
without ``fail_set`` have said the same two sets there is consensus, and the one with the smallest id forms the ring.

Both sets have a bound, ``members_max`` for those that would be on the ring, and as many for those given up. These are
counted apart: where they shared a bound, processors that had given each other up had no room for anybody else.

Every member of a large ring says a join to every other one, so a join that says nothing new, which most do, is to cost
no more than the comparison of two tuples.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringproto._core.wire.membership import Join


class Consensus:
    """The sets of one attempt to agree."""

    __slots__ = (
        "_closed",
        "_members_max",
        "_silent",
        "alive",
        "fail_set",
        "fails",
        "informed",
        "node",
        "overfull",
        "planned",
        "proc_set",
    )

    def __init__(self, node: int, procs: Iterable[int], fails: Iterable[int], members_max: int) -> None:
        self.node = node
        self._members_max = members_max
        self._closed = False
        """Whether nobody is taken in any more, as some of those given up were forgotten."""
        procs = {node, *procs}
        self._set(procs, procs.intersection(fails) - {node})
        self.informed = False
        """Whether beacons were enough evidence for a ring with others, here or for who made this processor gather."""
        self.planned: set[int] = set()
        """Who was given up because beacons show that not all hear it."""
        self.overfull = False
        """Whether somebody was left out because the ring would have more members than ``Config.members_max``."""

    def _set(self, procs: set[int], fails: set[int]) -> None:
        """Have other sets than before: to these nobody else has agreed yet."""
        self.proc_set = procs
        self.fail_set = fails
        self.alive = tuple(sorted(procs - fails))
        """Who would be on the ring, as a join says them, sorted."""
        self.fails = tuple(sorted(fails))
        """``fail_set`` as a join says it, sorted."""
        self._silent = set(self.alive) - {self.node}

    def receive(self, sender: int, join: Join) -> bool:
        """Take a join in; ``True`` if the sets changed, so that a new join must be said."""
        changed = self._take(sender, join)
        if join.informed and self.node not in join.fail_set:
            self.planned.update(self.fail_set.intersection(join.fail_set))
        return changed

    def _take(self, sender: int, join: Join) -> bool:
        if sender in self.fail_set:
            return False
        if self.same(join):
            self._silent.discard(sender)
            return False
        fails = set(join.fail_set)
        procs = {sender, *join.alive} | fails
        if procs <= self.proc_set and fails <= self.fail_set:
            return False  # it will learn what I know
        if self.node in fails:
            changed = self._merge(procs, {sender})
        else:
            changed = self._merge(procs, fails)
        if self.same(join):
            self._silent.discard(sender)
        return changed

    def add(self, node: int) -> bool:
        """A processor was heard of that is not known yet."""
        return node not in self.fail_set and self._merge({node}, set())

    def fail(self, nodes: Iterable[int]) -> bool:
        """Give processors up. Where there is no room to say so, those given up before are forgotten.

        From then on nobody is taken in: two that have given each other up would tell each other again and again of
        those that both have forgotten.
        """
        nodes = self.proc_set.intersection(nodes) - {self.node}
        if len(self.fail_set | nodes) > self._members_max:
            self._closed = True
            self._set(self.proc_set - (self.fail_set - nodes), nodes)
            return True
        return self._merge(set(), nodes)

    def _merge(self, procs: set[int], fails: set[int]) -> bool:
        """Take these in, or, of too many, only who of those known is given up, or nothing at all."""
        procs = self.proc_set if self._closed else self.proc_set | procs
        fails = ((self.fail_set | fails) & procs) - {self.node}
        if not self._fit(procs, fails):
            self.overfull = True
            procs = self.proc_set
            fails = fails & procs
        if (procs == self.proc_set and fails == self.fail_set) or not self._fit(procs, fails):
            return False
        self._set(procs, fails)
        return True

    def _fit(self, procs: set[int], fails: set[int]) -> bool:
        return len(fails) <= self._members_max and len(procs) - len(fails) <= self._members_max

    def same(self, join: Join) -> bool:
        """Whether a join says the two sets that are said here."""
        return join.alive == self.alive and join.fail_set == self.fails

    @property
    def agreed(self) -> bool:
        return not self._silent

    def silent(self) -> set[int]:
        """Those who have not agreed."""
        return set(self._silent)
