"""The deadlines of a processor: one line for each timer, and which is next."""

from __future__ import annotations

import enum
import math


class Timer(enum.IntEnum):
    """What can come due."""

    TOKEN_LOSS = 0
    """The token (regular, or commit token) did not come: the ring is broken."""
    TOKEN_RETRANSMIT = 1
    """Nothing was heard of the token since it was passed on: send it again."""
    TOKEN_HOLD = 2
    """The token of an idle ring has rested long enough."""
    JOIN = 3
    """Say the join again."""
    CONSENSUS = 4
    """Who has not agreed by now is left out."""
    MERGE_DETECT = 5
    """Tell other rings that this one is here."""
    LEAVE = 6
    """Leave now, whatever is still queued."""
    SLOW_CONSUMER = 7
    """The application has not read for too long."""
    STANDSTILL = 8
    """Nothing is due, but this process runs: by this a standstill is known while no other deadline is near."""


_TIMERS = tuple(Timer)
_OFF = math.inf


class Timers:
    """A table of deadlines, in seconds on the caller's clock; ``math.inf`` means that a timer is off.

    The earliest is asked for several times for each datagram and changes less often, so it is remembered, and looked
    for again only after the deadline that it was has been moved or switched off.
    """

    __slots__ = ("_deadlines", "_earliest", "_known")

    def __init__(self) -> None:
        self._deadlines = [_OFF] * len(Timer)
        self._earliest = _OFF
        self._known = True

    def set(self, timer: int, deadline: float) -> None:
        before = self._deadlines[timer]
        self._deadlines[timer] = deadline
        if deadline <= self._earliest:
            self._earliest = deadline
            self._known = True
        elif before == self._earliest:
            self._known = False

    def clear(self, timer: int) -> None:
        before = self._deadlines[timer]
        if before != _OFF:
            self._deadlines[timer] = _OFF
            if before == self._earliest:
                self._known = False

    def deadline(self, timer: int) -> float:
        return self._deadlines[timer]

    def is_set(self, timer: int) -> bool:
        return self._deadlines[timer] != _OFF

    @property
    def next(self) -> float:
        """The earliest deadline, ``math.inf`` if there is none."""
        return self.first()

    def first(self) -> float:
        """As :attr:`next`."""
        if not self._known:
            self._earliest = min(self._deadlines)
            self._known = True
        return self._earliest

    def pop_due(self, now: float) -> Timer | None:
        """The timer that is due first, switched off; ``None`` if nothing is due."""
        first = self.first()
        if first > now or first == _OFF:
            return None
        timer = _TIMERS[self._deadlines.index(first)]
        self.clear(timer)
        return timer
