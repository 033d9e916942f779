"""When a token that was passed on is sent again, and what is known of the way to the successor.

A commit token is acknowledged always, a regular token while its ``acknowledge`` field is above 0, which it is for some
rotations after a token was lost anywhere on the ring (departure 20 in docs/protocol.md). An acknowledgement says which
copy it answers, so the round trip is measured without doubt also where half of the copies are lost. The first copy is
sent when the round trip is over, by the estimate of TCP (Jacobson and Karels, 1988: mean and deviation), and each
further wait is half of the one before, down to a bound.

An answer that takes longer than the longest wait says that the successor's process stood still, and nothing of the way
to it. It would make the next waits long when loss must be noticed soon. So such a round trip is not measured, unless it
takes as long with several tokens in a row.
"""

from __future__ import annotations

import math

_COPIES_MAX = 255
"""The number of a copy has eight bits: later copies have the last one, and their round trip is not measured."""
_GAIN = 0.125
_DEVIATION_GAIN = 0.25
_DEVIATIONS = 4
_MARGIN = 0.25
"""The wait is longer than the mean round trip by at least this part of it: a constant round trip has no deviation."""
_LATE_MAX = 3
"""With as many tokens in a row a round trip longer than the longest wait is measured all the same."""


class Retransmission:
    """One hop: the token on its way from this processor to its successor.

    Args:
        first_s: seconds to wait for an acknowledgement while the round trip is not known.
        least_s: the shortest wait, in seconds.
    """

    __slots__ = (
        "_deviation_s",
        "_first_s",
        "_is_late",
        "_late",
        "_least_s",
        "_longest_s",
        "_round_trip_s",
        "_sent_at",
        "_successor",
        "copy",
        "wait_s",
    )

    def __init__(self, first_s: float, least_s: float) -> None:
        self._first_s = first_s
        self._least_s = least_s
        self._successor = 0
        self._round_trip_s = 0.0
        self._deviation_s = 0.0
        self._longest_s = math.inf
        # Whether this token was answered late, and with how many in a row that was so.
        self._is_late = False
        self._late = 0
        # When each copy was sent: the first one, then those that were sent again.
        self._sent_at: list[float] = []
        self.copy = 0
        """The number of the last copy that was sent; 0 is the token as it was passed on."""
        self.wait_s = 0.0
        """How long to wait for a sign of it before it is sent again."""

    def begin(self, successor: int, now: float, wait_s: float) -> None:
        """The token is passed on to this successor, and is sent again after ``wait_s`` without a sign."""
        if successor != self._successor:
            self._successor = successor
            self._round_trip_s = 0.0
            self._late = 0
        self._is_late = False
        self._sent_at = [now]
        self.copy = 0
        self.wait_s = wait_s

    def begin_acknowledged(self, successor: int, now: float, longest_s: float) -> None:
        """As :meth:`begin`, of a token that the successor acknowledges."""
        self.begin(successor, now, longest_s)
        self._longest_s = longest_s
        if self._round_trip_s > 0.0:
            margin_s = max(_DEVIATIONS * self._deviation_s, _MARGIN * self._round_trip_s)
            self.wait_s = min(longest_s, max(self._least_s, self._round_trip_s + margin_s))
        else:
            self.wait_s = min(longest_s, self._first_s)

    def repeat(self, now: float, least_s: float) -> None:
        """It is sent once more; the next wait is half of the last one, but at least ``least_s``."""
        self.wait_s = max(least_s, self.wait_s / 2)
        self.copy = min(self.copy + 1, _COPIES_MAX)
        if self.copy < _COPIES_MAX:
            self._sent_at.append(now)

    def arrived(self, wait_s: float) -> None:
        """The successor has it: it is sent again after ``wait_s``, if nothing shows until then that it went on."""
        self.wait_s = wait_s

    def acknowledged(self, copy: int, now: float) -> None:
        """The successor has this copy: measure the round trip."""
        if not 0 <= copy < len(self._sent_at):
            return
        round_trip_s = now - self._sent_at[copy]
        if not self._is_late:
            self._is_late = round_trip_s > self._longest_s
            self._late = self._late + 1 if self._is_late else 0
        if self._is_late and self._late < _LATE_MAX:
            return
        if self._round_trip_s > 0.0:
            self._deviation_s += (abs(round_trip_s - self._round_trip_s) - self._deviation_s) * _DEVIATION_GAIN
            self._round_trip_s += (round_trip_s - self._round_trip_s) * _GAIN
        else:
            self._round_trip_s = round_trip_s
            self._deviation_s = round_trip_s / 2
