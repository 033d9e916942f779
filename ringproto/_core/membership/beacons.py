"""Beacons: what a processor on an installed ring tells other rings, and when (departure 8 in docs/protocol.md).

The representative says that the ring is there. While a processor that was left out is put off, all members say whom
they hear, so that it is known when all hear all.
"""

from __future__ import annotations

import math

from ringproto._core.context import Context
from ringproto._core.membership.admission import Admission
from ringproto._core.membership.connectivity import Connectivity
from ringproto._core.ring.ring import RingState
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Beacon, put_off_that_fit

_QUICK = 6
"""How many beacons follow each other twice as fast when another ring begins to be put off, and when the own ring's
recovery has ended meanwhile: as many as evidence takes where some are lost."""
_MET_MAX = 64
"""Most other rings for which that is so on one ring: what others say must not make a processor send for ever."""


class Beacons:
    """The beacons of one processor, on one ring after the other."""

    def __init__(self, context: Context, admission: Admission, connectivity: Connectivity) -> None:
        self._context = context
        self._admission = admission
        self._connectivity = connectivity
        self._count = 0
        self._put_off_at = -math.inf
        # The own ring, the others that it has put off, how many quick beacons are left, and whether the last one said
        # that members recover.
        self._ring = b""
        self._met: set[bytes] = set()
        self._quick = 0
        self._was_busy = False
        self.due_at = math.inf
        """From when on a beacon is to go with the token of the installed ring, in seconds."""

    def end_ring(self) -> None:
        """The ring has ended, and nothing is due before the next one is installed."""
        self._quick = 0
        self._was_busy = False
        self._clear()

    def _clear(self) -> None:
        self.due_at = math.inf
        self._context.timers.clear(Timer.MERGE_DETECT)

    def wait(self) -> None:
        """The next beacon is due after ``merge_detect_s``, or after half of it."""
        now = self._context.now
        self.due_at = now + self._shortest_s()
        self._context.timers.set(Timer.MERGE_DETECT, now + self._interval_s())

    def put_off(self, ring: RingState, other: bytes = b"") -> None:
        """A processor that was left out is there, on this other ring. Until it is welcome or gone, all members say
        whom they hear."""
        self._put_off_at = self._context.now
        if self._ring != ring.name:
            self._ring = ring.name
            self._met.clear()
        if other not in self._met and len(self._met) < _MET_MAX:
            self._met.add(other)
            self._quick = _QUICK
        if not self._context.timers.is_set(Timer.MERGE_DETECT):
            self._say(ring)
        else:
            self.due_at = min(self.due_at, self._context.now + self._shortest_s())
            self._context.timers.set(Timer.MERGE_DETECT, self.due_at)

    def _puts_off(self) -> bool:
        """Whether a processor that was left out was put off of late."""
        return self._context.now - self._put_off_at < self._connectivity.memory_s

    def come_due(self, ring: RingState) -> None:
        """The representative tells other rings that this one is there; the others, while somebody is put off."""
        self._clear()
        if ring.representative == self._context.node or self._puts_off():
            self._say(ring)

    def _say(self, ring: RingState) -> None:
        context = self._context
        self._count = (self._count + 1) % 2**32
        members, busy = ring.members, context.is_busy()
        if self._was_busy and not busy:
            self._quick = _QUICK
        self._was_busy = busy
        self._quick = max(0, self._quick - 1)
        heard = self._connectivity.heard(context.now, without=members, busy=busy)
        room = put_off_that_fit(len(members), len(heard), context.config.members_max)
        beacon = Beacon(
            self._admission.identity(),
            ring.name,
            self._count,
            math.ceil(1000 * self._interval_s()),
            members,
            heard,
            self._connectivity.put_off(room, context.now),
            busy,
        )
        context.transmit(0, context.membership_codec.encode_beacon(beacon), "beacons_sent")
        self.wait()

    def _interval_s(self) -> float:
        """The longest time to the next beacon. It goes with the token, so that nobody is woken by each of the two, if
        that comes in time; where somebody waits for it, it does not wait for the token."""
        return self._shortest_s() + (0.0 if self._puts_off() else self._context.config.hold_s)

    def _shortest_s(self) -> float:
        """The time to the next beacon, in seconds, if it need not wait for the token."""
        merge_detect_s = self._context.config.merge_detect_s
        return merge_detect_s / 2 if self._quick and self._puts_off() else merge_detect_s
