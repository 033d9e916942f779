"""What is remembered of other processors: which of their datagrams are late copies, and who must wait to come back.

The network keeps copies for seconds. A join or a beacon of a ring that is gone must not break the ring that is there,
so every datagram of membership carries the sender's incarnation and a rising serial.

Memory of a pair that cannot hear each other while others hear both keeps the memberships from flapping: who is left
out although it was heard may come back at once the first time, and then after a time that doubles (departure 8 in
docs/protocol.md).
"""

from __future__ import annotations

from ringproto._core.wire import Identity


class Peers:
    """The latest word of each processor, for a bounded number of them, and of some lives before this one."""

    __slots__ = ("_earlier", "_known", "_max")

    def __init__(self, max_: int) -> None:
        self._known: dict[int, tuple[int, int]] = {}
        # Incarnations that were followed by another one of the same node: whatever comes of them comes late.
        self._earlier: dict[tuple[int, int], None] = {}
        self._max = max_

    def news(self, node: int, identity: Identity) -> bool:
        """Whether this comes later than all that was heard of this processor; if so it is remembered."""
        known = self._known.get(node)
        if known is not None and known[0] == identity.incarnation and identity.serial <= known[1]:
            return False
        if (node, identity.incarnation) in self._earlier:
            return False
        if known is not None and known[0] != identity.incarnation:
            self._earlier[node, known[0]] = None
            if len(self._earlier) > self._max:
                del self._earlier[next(iter(self._earlier))]
        self._known.pop(node, None)
        self._known[node] = (identity.incarnation, identity.serial)
        if len(self._known) > self._max:
            del self._known[next(iter(self._known))]
        return True

    def incarnation(self, node: int) -> int | None:
        """The incarnation that was heard last."""
        known = self._known.get(node)
        return None if known is None else known[0]


class _Mark:
    """What is remembered of a processor that was left out."""

    __slots__ = ("beacon_after", "incarnation", "join_after", "last", "level")

    def __init__(self, incarnation: int | None) -> None:
        self.incarnation = incarnation
        self.level = 0
        self.last = 0.0
        self.join_after = 0.0
        self.beacon_after = 0.0


class Backoff:
    """Who was left out although it was there, and until when it is not let in again.

    Who said joins and was left out all the same has a bad link to somebody; its joins and its beacons are put off. Who
    was only seen by its beacon and did not answer may be putting off this processor: only its beacons are, so that its
    join is welcome as soon as it comes. A join is put off for a quarter of the time that a beacon is, so that two that
    put each other off meet: the attempt that a beacon begins finds the other one listening again.
    """

    __slots__ = ("_base_s", "_marks", "_max")

    def __init__(self, base_s: float, max_: int) -> None:
        self._marks: dict[int, _Mark] = {}
        self._base_s = base_s
        self._max = max_

    def mark(self, node: int, now: float, *, answered: bool, incarnation: int | None = None) -> None:
        """It was left out, and had or had not ``answered`` with a join. The first time in a while costs nothing, and
        so does the first time of a new incarnation: who was started anew is not who had the bad link."""
        mark = self._marks.pop(node, None)
        if mark is None or mark.incarnation != incarnation or now - mark.last >= 64 * self._base_s:
            mark = _Mark(incarnation)
        mark.level += 1
        mark.last = now
        wait = 0.0 if mark.level == 1 else self._base_s * 2 ** min(mark.level - 2, 2)
        mark.beacon_after = now + wait
        if answered:
            mark.join_after = now + wait / 4
        self._marks[node] = mark
        if len(self._marks) > self._max:
            del self._marks[next(iter(self._marks))]

    def puts_off_join(self, node: int, now: float, incarnation: int | None = None) -> bool:
        """Whether a join of this processor is not to be answered yet."""
        mark = self._marks.get(node)
        return mark is not None and mark.incarnation == incarnation and now < mark.join_after

    def puts_off_beacon(self, node: int, now: float, incarnation: int | None = None) -> bool:
        """Whether a beacon of this processor is no reason yet to gather."""
        mark = self._marks.get(node)
        return mark is not None and mark.incarnation == incarnation and now < mark.beacon_after
