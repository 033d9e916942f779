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


class Timers:
    """A table of deadlines, in seconds on the caller's clock; ``math.inf`` means that a timer is off."""

    __slots__ = ("_deadlines",)

    def __init__(self) -> None:
        self._deadlines = [math.inf] * len(Timer)

    def set(self, timer: int, deadline: float) -> None:
        self._deadlines[timer] = deadline

    def clear(self, timer: int) -> None:
        self._deadlines[timer] = math.inf

    def deadline(self, timer: int) -> float:
        return self._deadlines[timer]

    def is_set(self, timer: int) -> bool:
        return self._deadlines[timer] != math.inf

    @property
    def next(self) -> float:
        """The earliest deadline, ``math.inf`` if there is none."""
        return min(self._deadlines)

    def pop_due(self, now: float) -> Timer | None:
        """The timer that is due first, switched off; ``None`` if nothing is due."""
        first = min(self._deadlines)
        if first > now or first == math.inf:
            return None
        timer = Timer(self._deadlines.index(first))
        self._deadlines[timer] = math.inf
        return timer
