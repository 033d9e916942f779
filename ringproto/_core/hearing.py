"""Who hears whom, as joins and beacons tell it, and who was left out.

Two processors that do not hear each other while others hear both would make memberships flap for ever: each beacon of
the one that was left out is a reason to gather, and the gather leaves one of the two out. So who was left out is
marked, and from the second mark on a ring with it breaks an installed ring only when the beacons of all
members of both rings show that everybody hears everybody (departure 8 in docs/protocol.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ringproto._core.wire_membership import Beacon

_FRESH = 4
"""So many ``merge_detect_s`` a word counts as heard: one or two lost beacons do not make a link a bad one."""
_FREE = 1
"""So often somebody may be left out and come back at once: a join that was lost says nothing about a link."""
_FORGIVEN = 256
"""A mark that nothing was added to in so many ``merge_detect_s`` is forgotten."""
_HOLD_MAX = 3
"""Who is left out again must be heard by all for a time that doubles so often: 7 ``merge_detect_s`` at most."""
_DOUBTFUL = 3
"""Who was left out so often counts as heard only while nearly all of its beacons come."""
_MEMORY = 8
"""The share of the beacons that come is a mean over about so many of them."""
_STEADY = 0.8
"""The least share: of a link that loses more a token ring with a timeout of some retransmissions breaks again."""
_MISSED_MAX = 32
"""Of more beacons that did not come it makes no difference how many they were."""


class _Word:
    """What was heard of a processor last."""

    __slots__ = ("at", "incarnation", "share", "told")

    def __init__(self, at: float, incarnation: int) -> None:
        self.at = at
        self.incarnation = incarnation
        self.told: tuple[float, Beacon] | None = None
        """When its last beacon came, and the beacon."""
        self.share = 0.0
        """Of the beacons that it says one per interval, how many came of late: a smoothed share."""

    def tell(self, beacon: Beacon, now: float, interval_s: float) -> None:
        """A beacon came. One that was said between two that were due says nothing of those that were lost."""
        due = 1 if self.told is None else round((now - self.told[0]) / interval_s)
        if due > 0:
            kept = 1 - 1 / _MEMORY
            self.share = self.share * kept ** min(due, _MISSED_MAX) + 1 / _MEMORY
            self.told = (now, beacon)
        else:
            assert self.told is not None
            self.told = (self.told[0], beacon)


class _Mark:
    """A processor that was left out."""

    __slots__ = ("incarnation", "last", "level", "lifted")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.level = 0
        self.last = -math.inf
        self.lifted = False


class Hearing:
    """What one processor knows of the links between all; bounded, and the oldest is forgotten first."""

    __slots__ = ("_interval_s", "_marks", "_max", "_members_max", "_node", "_whole", "_words", "fresh_s")

    def __init__(self, node: int, interval_s: float, members_max: int) -> None:
        self._node = node
        self._interval_s = interval_s
        self.fresh_s = _FRESH * interval_s
        """How long a word counts as heard, in seconds."""
        self._members_max = members_max
        self._max = 4 * members_max
        self._words: dict[int, _Word] = {}
        self._marks: dict[int, _Mark] = {}
        # Of whom a beacon was put off: since when all hear all, and when that was seen last.
        self._whole: dict[int, tuple[float, float]] = {}

    def hear(self, node: int, incarnation: int, now: float) -> None:
        """A join or a beacon of this processor came."""
        word = self._words.pop(node, None)
        if word is None or word.incarnation != incarnation:
            word = _Word(now, incarnation)
        word.at = now
        self._words[node] = word
        _bound(self._words, self._max)

    def hear_beacon(self, node: int, beacon: Beacon, now: float) -> None:
        """A beacon of this processor came."""
        self.hear(node, beacon.identity.incarnation, now)
        self._words[node].tell(beacon, now, self._interval_s)

    def heard(self, now: float) -> tuple[int, ...]:
        """Who was heard of late, sorted; of more than fit into a ring, those that were heard last.

        Who was left out time and again is heard if its beacons come steadily: a link that loses half of all is good
        for a ring now and then, and never for long.
        """
        fresh = [
            node
            for node, word in self._words.items()
            if now - word.at < self.fresh_s and (word.share >= _STEADY or self._level(node) < _DOUBTFUL)
        ]
        return tuple(sorted(fresh[-self._members_max :]))

    def mark(self, left_out: Mapping[int, int | None], now: float) -> None:
        """These incarnations were left out (``None``: nothing is known of that processor, and nothing remembered).

        Who was there and who was not cannot be told apart: a member that receives no data is silent in a gather whose
        other members agree at once. For who was away the mark costs nothing the first time, and little later.
        """
        for node, incarnation in left_out.items():
            if incarnation is None:
                continue
            mark = self._marks.pop(node, None)
            if mark is None or mark.incarnation != incarnation or now - mark.last >= _FORGIVEN * self._interval_s:
                mark = _Mark(incarnation)
            mark.level += 1
            mark.last = now
            mark.lifted = False
            self._marks[node] = mark
            _bound(self._marks, self._max)

    def lift(self, nodes: Iterable[int]) -> None:
        """They are on a ring with this processor. How often they were left out is remembered for a while."""
        for node in nodes:
            if node in self._marks:
                self._marks[node].lifted = True

    def puts_off_join(self, mine: Iterable[int], sender: int, now: float) -> bool:
        """Whether a join of this stranger is no reason to leave my ring: it was left out, and not all hear all."""
        return self._level(sender) > _FREE and not self._all_hear_all({*mine, *self._ring_of(sender)}, now)

    def puts_off_beacon(self, mine: Iterable[int], sender: int, now: float) -> bool:
        """Whether a beacon of this stranger is no reason to leave my ring: somebody on its ring was left out, and not
        all hear all, or not for long enough."""
        theirs = self._ring_of(sender)
        level = max(map(self._level, theirs))
        if level <= _FREE:
            return False
        if not self._all_hear_all({*mine, *theirs}, now):
            self._whole.pop(sender, None)
            return True
        since, last = self._whole.pop(sender, (now, now))
        if now - last >= self.fresh_s:
            since = now
        self._whole[sender] = (since, now)
        _bound(self._whole, self._max)
        intervals = (1 << min(level - _FREE - 1, _HOLD_MAX)) - 1
        return now - since < intervals * self._interval_s

    def _ring_of(self, node: int) -> tuple[int, ...]:
        """Who is on the ring of a processor by its last beacon; itself alone, if none came."""
        word = self._words.get(node)
        return (node,) if word is None or word.told is None else (node, *word.told[1].members)

    def _level(self, node: int) -> int:
        """How often this incarnation was left out; 0 also if it was on a ring with this processor since."""
        mark = self._marks.get(node)
        word = self._words.get(node)
        if mark is None or mark.lifted or (word is not None and word.incarnation != mark.incarnation):
            return 0
        return mark.level

    def _all_hear_all(self, nodes: set[int], now: float) -> bool:
        for node in nodes:
            if node == self._node:
                heard = self.heard(now)
            else:
                word = self._words.get(node)
                if word is None or word.told is None or now - word.told[0] >= self.fresh_s:
                    return False
                heard = word.told[1].heard
            if not nodes <= {node, *heard}:
                return False
        return True


def _bound(known: dict[int, Any], most: int) -> None:
    if len(known) > most:
        del known[next(iter(known))]
