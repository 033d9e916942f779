"""How far the words of others may move the ring sequence that this processor knows (departure 1 in docs/protocol.md).

Ring sequences rise by one with each formation, so honest ones are near each other, unless stable storage was lost or
torn. A datagram that says a much higher one may be forged or damaged, and what is believed once is said to all and
stored. So one datagram moves the sequence by a step, a processor that goes on saying so moves it by a leap, and who is
further away than a leap is never on a ring with this one.
"""

from __future__ import annotations

import math

STEP_MAX = 2**16
"""One datagram raises the known ring sequence by at most this."""
LEAP_MAX = 2**32
"""Three words of one incarnation, a join timeout apart, raise it by at most this."""
_PROOFS = 3
_APART = 0.75
"""Words that follow each other sooner than this part of a join timeout count as one; clocks and links differ."""
_FOLLOW = 4
"""The time between two leaps, in join timeouts: those that hear this processor need three to follow."""


LEAP = "leap"
"""What a processor goes on saying: its joins say a sequence that is higher by more than a step and at most a leap."""
AHEAD = "ahead"
"""That it is ahead by more than a leap."""
BEHIND = "behind"
"""That it is behind by more than a leap."""


class _ClaimedSequence:
    """What one incarnation goes on saying."""

    __slots__ = ("at", "incarnation", "what", "words")

    def __init__(self, incarnation: int, what: str, now: float) -> None:
        self.incarnation = incarnation
        self.what = what
        self.words = 1
        self.at = now


class SequenceLimits:
    """What processors whose ring sequence is far from this one's have said; for a bounded number of them and a bounded
    time.

    Args:
        join_timeout_s: how often a processor in gather says its join, in seconds.
        memory_s: a claim that nothing was added to for so long is forgotten, in seconds.
        max_: most processors that are remembered; the oldest is forgotten first.
    """

    __slots__ = ("_claims", "_join_timeout_s", "_leapt_at", "_max", "_memory_s")

    def __init__(self, join_timeout_s: float, memory_s: float, max_: int) -> None:
        self._join_timeout_s = join_timeout_s
        self._memory_s = memory_s
        self._max = max_
        self._claims: dict[int, _ClaimedSequence] = {}
        self._leapt_at = -math.inf

    def admits(self, node: int, incarnation: int, sequence: int, known: int, now: float) -> bool:
        """Whether a join may raise the known sequence to this one."""
        if sequence <= known + STEP_MAX:
            return True
        if sequence > known + LEAP_MAX or now - self._leapt_at < _FOLLOW * self._join_timeout_s:
            return False
        return self.proves(node, incarnation, LEAP, now)

    def note_leap(self, now: float) -> None:
        """A join that was admitted has moved the known sequence by a leap; the next one has to wait."""
        self._leapt_at = now

    def proves(self, node: int, incarnation: int, what: str, now: float) -> bool:
        """Whether this incarnation has said this often enough; then it begins anew."""
        claim = self._claims.pop(node, None)
        if claim is None or (claim.incarnation, claim.what) != (incarnation, what) or now - claim.at >= self._memory_s:
            claim = _ClaimedSequence(incarnation, what, now)
        elif now - claim.at >= _APART * self._join_timeout_s:
            claim.words += 1
            claim.at = now
        if claim.words >= _PROOFS:
            return True
        self._claims[node] = claim
        if len(self._claims) > self._max:
            del self._claims[next(iter(self._claims))]
        return False
