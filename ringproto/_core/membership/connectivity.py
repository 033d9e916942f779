"""Who hears whom, as beacons tell it, and who was left out of a ring.

Two processors that do not hear each other while others hear both would make memberships flap for ever: each beacon of
the one that was left out is a reason to gather, and the gather leaves one of the two out. So who was left out is
*marked*. The first mark costs nothing, because a join that was lost says nothing about a link, unless another processor
was left out just before. From the second mark on a processor is put off: a ring with it is formed only when the beacons
since then show that all of one ring hear all of the other. Beacons say who is put off, so that those who are know that
a ring with the sender would be tried in vain, and ask for the same evidence (departure 8 in docs/protocol.md).

Where two rings of several members are apart and a link between them is bad for good, all cannot hear all. Then, some
time later, a ring is formed without those who must be left out, if it has more members than each of the two.

What is remembered has bounds. The evidence is what came of the last beacons that the other side really said, which it
numbers, and is forgotten when none came for as long as so many take. A mark is forgotten some time after it was made,
unless somebody is known, from fresh evidence, not to hear the processor.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ringproto._core.wire.membership import Beacon

_WINDOW = 8
"""Beacons of one processor that are looked back on."""
_ENOUGH = 3
"""Who is heard has had so many of them received: at a loss of 15 % a link misses that in one of 4,100 windows, at 40 %
in one of 20, and at 95 % it reaches it in one of 170."""
_DEAD = 2 * _WINDOW
"""Who was not heard all the time while so many beacons came is left out by a plan: at a loss of 40 % a live link is
taken for a dead one once in 700 times, where one window is not enough in one of 20."""
_FREE = 1
"""So often somebody may be left out and come back without evidence."""
_BUSY = 3
"""Who was left out more often does not end a recovery of others by coming back soon."""
_BUSY_WAIT = 16
"""For so many beacon intervals after it was left out, and for twice as many with each further time."""
_DOUBLED = 4
"""So often they are doubled: until they are as many as those after which a mark is forgotten."""
_FORGIVEN = 256
"""A mark is forgotten after so many beacon intervals without a further one and without evidence of a bad link."""
_STRETCH_MAX = 16
"""The interval that another processor says is believed up to so many of one's own."""


class _LastBeacon:
    """What came of the beacons of one incarnation."""

    __slots__ = ("at", "beacon", "fresh_s", "heard_at", "incarnation", "received", "said", "since")

    def __init__(self, beacon: Beacon, now: float, fresh_s: float) -> None:
        self.incarnation = beacon.identity.incarnation
        self.beacon = beacon
        self.since = now
        """When the first of them came."""
        self.at = now
        self.fresh_s = fresh_s
        self.received = 1
        """One bit for each of the last beacons that it said, the lowest for the last: whether that one came."""
        self.heard_at = -math.inf
        """When enough of them had come last."""
        self.said = deque(((now, (beacon.members, beacon.heard)),), _DEAD)
        """When the last of them came, and whom they showed to be heard: the members of the ring, and others."""


class _Exclusion:
    """A processor that was left out."""

    __slots__ = ("denied_at", "incarnation", "left_out_at", "level", "lifted")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.level = 0
        self.left_out_at = -math.inf
        self.denied_at = -math.inf
        """When fresh evidence showed that somebody does not hear it, or is not heard by it."""
        self.lifted = False
        """Whether it was on a ring with this processor since."""


class Connectivity:
    """What one processor knows of the links between all; bounded, and the oldest is forgotten first.

    Args:
        node: this processor.
        interval_s: seconds from one of its beacons to the next while it says them.
        members_max: most members of a ring.
    """

    __slots__ = ("_interval_s", "_marks", "_max", "_members_max", "_node", "_words", "memory_s")

    def __init__(self, node: int, interval_s: float, members_max: int) -> None:
        self._node = node
        self._interval_s = interval_s
        self.memory_s = _WINDOW * interval_s
        """For how long beacons at this interval are looked back on, in seconds."""
        self._members_max = members_max
        self._max = 4 * members_max
        self._words: dict[int, _LastBeacon] = {}
        self._marks: dict[int, _Exclusion] = {}

    def hear_beacon(self, node: int, beacon: Beacon, now: float) -> None:
        """A beacon of this processor came; late copies do not come here."""
        fresh_s = _WINDOW * min(beacon.interval_s, _STRETCH_MAX * self._interval_s)
        word = self._words.pop(node, None)
        known = word is not None and word.incarnation == beacon.identity.incarnation and self._is_fresh(word, now)
        if word is None or not known:
            word = _LastBeacon(beacon, now, fresh_s)
        else:
            said = (beacon.number - word.beacon.number) % 2**32
            kept = word.received << said if 0 < said < _WINDOW else 0
            word.received = (kept | 1) & ((1 << _WINDOW) - 1)
            # Beacons usually say the same as the one before, and then share what they say.
            shown, before = (beacon.members, beacon.heard), word.said[-1][1]
            if beacon.busy:
                # It does not name all whom it hears, so nothing up to now shows that a link is dead.
                word.since = now
                word.said.clear()
            word.said.append((now, before if before == shown else shown))
            word.beacon = beacon
            word.at = now
            word.fresh_s = fresh_s
            if word.received.bit_count() >= _ENOUGH:
                word.heard_at = now
        self._words[node] = word
        _bound(self._words, self._max)

    @staticmethod
    def _is_fresh(word: _LastBeacon, now: float) -> bool:
        return now - word.at < word.fresh_s

    def heard(self, now: float, without: Collection[int] = (), *, busy: bool = False) -> tuple[int, ...]:
        """Whose beacons come, sorted, but for some; of more than fit into a ring, those that were heard last.

        ``busy``: as of :meth:`puts_off`. Those whose ring is put off whatever the evidence is are not among them: if
        only one of that ring were not, the others would come without it, in vain.
        """
        heard = [node for node in self._words if node not in without and self._hears(node, now)]
        if busy:
            heard = [
                node
                for node in heard
                if not self._disturbs(self._marks_of(self._ring_of(node, now), node, now, None), now)
            ]
        return tuple(sorted(heard[-self._members_max :]))

    def _hears(self, node: int, now: float) -> bool:
        return self._is_known(node, now) and self._words[node].received.bit_count() >= _ENOUGH

    def mark(self, left_out: Mapping[int, int | None], now: float, planned: Collection[int] = ()) -> None:
        """These incarnations were left out (``None``: nothing is known of that processor, and nothing remembered).

        Who was there and who was not cannot be told apart: a member that receives no data is silent in a gather whose
        other members agree at once.

        What came of their beacons before counts no more: with that evidence the ring was formed that has just failed.

        Nothing is free for whoever is left out soon after another one was: the two may be the ends of one bad link,
        which leave each other out in turn. Nor is it for ``planned``, whom beacons have shown not to hear all.
        """
        others = any(
            now - mark.left_out_at < self.memory_s for node, mark in self._marks.items() if node not in left_out
        )
        for node, incarnation in left_out.items():
            if incarnation is None:
                continue
            mark = self._marks.pop(node, None)
            if mark is None or mark.incarnation != incarnation or self._is_forgiven(mark, now):
                mark = _Exclusion(incarnation)
                mark.level = _FREE if others or node in planned else 0
            mark.level += 1
            mark.left_out_at = now
            mark.lifted = False
            self._marks[node] = mark
            _bound(self._marks, self._max)
            if node in self._words:
                self._words[node].received = 0
                self._words[node].heard_at = -math.inf

    def lift(self, nodes: Iterable[int]) -> None:
        """They are on a ring with this processor. How often they were left out is remembered for a while."""
        for node in nodes:
            if node in self._marks:
                self._marks[node].lifted = True

    def puts_off(
        self,
        mine: Collection[int],
        sender: int,
        now: float,
        *,
        gathers: int | None = None,
        informed: bool = False,
        busy: bool = False,
    ) -> bool:
        """Whether a word of this stranger is no reason to form a ring with it: it, or somebody on its ring, was left
        out, or puts somebody of mine off, and the evidence is not enough.

        ``gathers``: its word is a join of this incarnation, so it puts nobody off any more, whatever its last beacon
        said, and it is not put off for what another incarnation was.

        ``informed``: the join says that beacons were evidence enough for its sender. That is believed.

        ``busy``: members recover. Whatever the evidence is, who was left out often may not end that for a while:
        beacons do not show that data comes.
        """
        theirs = self._ring_of(sender, now)
        marks = self._marks_of(theirs, sender, now, gathers)
        if not marks and (gathers is not None or not self._is_put_off(mine, theirs, now)):
            return False
        if busy and self._disturbs(marks, now):
            return True
        if informed or self._all_hear_all(mine, theirs, now):
            return False
        if next(self._unheard(mine, theirs, now, known=True), None) is not None:
            for mark in marks:
                mark.denied_at = now
        return True

    def is_shown(self, mine: Collection[int], sender: int, now: float) -> bool:
        """Whether the last beacons of all show that all of mine and all of the sender's ring hear each other."""
        return self._all_hear_all(mine, self._ring_of(sender, now), now)

    def _all_hear_all(self, mine: Collection[int], theirs: Collection[int], now: float) -> bool:
        return next(self._unheard(mine, theirs, now), None) is None

    def plan(self, mine: Collection[int], sender: int, now: float) -> tuple[frozenset[int], frozenset[int]] | None:
        """The members of both rings, and those of them who must be left out of a ring of both, where beacons came for
        long and all do not hear all; ``None`` if there is none that has more members than each of the two, or if it
        has no place for this processor.

        For how long the rings were apart before says nothing: when a network has just healed, of some of them the
        third beacon comes later than of others.

        Who knows everybody's beacons plans first: others might leave out another end of a dead link. There is no plan
        while members of the other ring recover, who do not say of all whom they hear that they do.
        """
        theirs = self._ring_of(sender, now)
        marks = self._marks_of(theirs, sender, now, None)
        if not marks:
            return None
        both = frozenset(mine) | frozenset(theirs)
        others = both - {self._node}
        words = [self._words[node] for node in others if self._is_known(node, now)]
        if any(word.beacon.busy for word in words):
            return None
        left_out = (self._marks[node].left_out_at for node in both if node in self._marks)
        began = max(*left_out, *(word.since for word in words), -math.inf)
        wait_s = _DEAD * self._interval_s
        if now - began < (wait_s if len(words) == len(others) else wait_s + self.memory_s):
            return None
        dead = (pair for pair in self._unheard(mine, theirs, now) if not self._has_heard(*pair, now))
        out = _left_out(mine, theirs, dead)
        return None if out is None or self._node in out else (both, out)

    def _marks_of(self, theirs: Collection[int], sender: int, now: float, gathers: int | None) -> list[_Exclusion]:
        return [
            mark
            for node in theirs
            if (mark := self._marks.get(node)) is not None
            and self._counts(mark, node, now)
            and not (node == sender and gathers not in (None, mark.incarnation))
        ]

    def _disturbs(self, marks: Collection[_Exclusion], now: float) -> bool:
        """Whether one of them was left out too often, and too short a time ago, to end a recovery of others."""
        return any(
            mark.level > _BUSY
            and now - mark.left_out_at < (_BUSY_WAIT << min(mark.level - _BUSY - 1, _DOUBLED)) * self._interval_s
            for mark in marks
        )

    def put_off(self, most: int, now: float) -> tuple[int, ...]:
        """With whom no ring is formed without evidence, sorted; of more than ``most``, those left out last."""
        if not self._marks:
            return ()
        nodes = [node for node, mark in self._marks.items() if self._counts(mark, node, now)]
        return tuple(sorted(nodes[max(0, len(nodes) - most) :]))

    def _is_put_off(self, mine: Collection[int], theirs: Collection[int], now: float) -> bool:
        """Whether somebody of theirs said last that it puts somebody of mine off."""
        for node in theirs:
            word = self._words.get(node)
            if word is not None and self._is_fresh(word, now) and not set(word.beacon.put_off).isdisjoint(mine):
                return True
        return False

    def _ring_of(self, node: int, now: float) -> tuple[int, ...]:
        """Who is on the ring of a processor by its last beacon; itself alone, if none came of late."""
        word = self._words.get(node)
        if word is None or not self._is_fresh(word, now):
            return (node,)
        members = word.beacon.members
        return members if node in members else (node, *members)

    def _counts(self, mark: _Exclusion, node: int, now: float) -> bool:
        """Whether a mark speaks of the incarnation that is there now, and of more than was free."""
        word = self._words.get(node)
        # A beacon that came before the mark was made is of an incarnation before, if it is of another one.
        known = word is None or word.incarnation == mark.incarnation or word.at < mark.left_out_at
        return known and mark.level > _FREE and not mark.lifted and not self._is_forgiven(mark, now)

    def _is_forgiven(self, mark: _Exclusion, now: float) -> bool:
        return now - max(mark.left_out_at, mark.denied_at) >= _FORGIVEN * self._interval_s

    def _unheard(
        self, mine: Collection[int], theirs: Collection[int], now: float, *, known: bool = False
    ) -> Iterator[tuple[int, int]]:
        """Pairs of one of mine and one of theirs, or of theirs and mine, of which no fresh evidence shows that the
        first hears the second; ``known``: of which fresh evidence shows that it does not."""
        for node in mine:
            for other in self._missed(node, theirs, now, known):
                if other != node:  # by an old beacon somebody may be on both rings
                    yield node, other
        for node in theirs:
            for other in self._missed(node, mine, now, known):
                if other != node:
                    yield node, other

    def _missed(self, node: int, others: Collection[int], now: float, known: bool) -> Collection[int]:
        """Whom of others this processor is not shown to hear, or is shown not to hear."""
        if node == self._node:
            # Who says nothing is not heard, if somebody else of its ring says beacons: while one is put off all do.
            if known and not any(self._is_known(other, now) for other in others):
                return ()
            return [other for other in others if not self._hears(other, now)]
        if self._is_known(node, now):
            missed = set(others).difference(self._heard_by(node))
            return missed if known else missed.union(self._left_out_since(self._words[node].at, others))
        return () if known else others

    def _has_heard(self, node: int, other: int, now: float) -> bool:
        """Whether one of the last beacons showed that this processor heard the other, although the very last does not:
        a link that loses much is not dead."""
        if node == self._node:
            return other in self._words and now - self._words[other].heard_at < _DEAD * self._interval_s
        mark = self._marks.get(other)
        since = -math.inf if mark is None else mark.left_out_at
        return self._is_known(node, now) and any(
            at > since and (other in members or other in heard) for at, (members, heard) in self._words[node].said
        )

    def _left_out_since(self, at: float, nodes: Iterable[int]) -> Iterator[int]:
        """Of whom nothing that was said by then is evidence."""
        return (node for node in nodes if node in self._marks and self._marks[node].left_out_at >= at)

    def _is_known(self, node: int, now: float) -> bool:
        word = self._words.get(node)
        return word is not None and self._is_fresh(word, now)

    def _heard_by(self, node: int) -> set[int]:
        """Whom another processor hears, by its last beacon; the members of its ring among them."""
        beacon = self._words[node].beacon
        return {node, *beacon.members, *beacon.heard}


def _left_out(
    mine: Collection[int], theirs: Collection[int], unheard: Iterable[tuple[int, int]]
) -> frozenset[int] | None:
    """Who must be left out of a ring of both; ``None`` if the rest has not more members than each of the two.

    Of two that do not hear each other one is left out: again and again who has most of them, which is close to the
    least there is, and of equals the smallest, so that all who know the same come to the same.
    """
    spare = len({*mine, *theirs}) - max(len(mine), len(theirs)) - 1
    if spare < 1:
        return None
    misses: dict[int, set[int]] = {}
    apart: set[int] = set()
    for first, second in unheard:
        misses.setdefault(first, set()).add(second)
        misses.setdefault(second, set()).add(first)
        if first not in apart and second not in apart:
            apart |= {first, second}
            if len(apart) > 2 * spare:
                return None  # so many pairs have nobody in common: one of each is left out
    out: set[int] = set()
    while any(misses.values()):
        if len(out) == spare:
            return None
        worst = max(sorted(misses), key=lambda node: len(misses[node]))
        for other in misses.pop(worst):
            misses[other].discard(worst)
        out.add(worst)
    return frozenset(out)


def _bound(known: dict[int, Any], most: int) -> None:
    if len(known) > most:
        del known[next(iter(known))]
