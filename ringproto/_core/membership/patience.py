"""How long the token is waited for while a member recovers that is known to stand still (departure 22 in
docs/protocol.md).

A ``recover`` that encodes a large state in one piece keeps the whole process from running, with either driver. Where
that takes longer than the token timeout the member loses its place, comes back, and encodes once more in the round that
follows; so it would go on for ever. So each processor measures how long it stood still while it recovered, and asks in
its entry of the next commit token for so many token timeouts. All members of the ring wait for the token as long as the
most patient of those that have not unblocked asks for.

Only who has really stood still asks, until it has finished a recovery without, and for a bounded time: where nobody
does, and whenever a barrier is complete, a crash is noticed as soon as ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ringproto._core.wire.membership import PATIENCE_MAX, Entry
from ringproto.config import Config

_MARGIN = 1.5
"""It may stand still for so many times as long as the last time."""


def stall_s(config: Config) -> float:
    """For how many seconds a processor is not asked for anything if it may have stood still."""
    return config.token_timeout_s / 2


class Patience:
    """What this processor asks for, and what the members of its configuration have asked for.

    Args:
        token_timeout_s: in seconds.
    """

    __slots__ = ("_others", "_stood_s", "_token_timeout_s", "asks")

    def __init__(self, token_timeout_s: float) -> None:
        self._token_timeout_s = token_timeout_s
        self._stood_s = 0.0
        self._others: dict[int, int] = {}
        self.asks = 1
        """For how many token timeouts this processor asks in its next round."""

    def note_standstill(self, seconds: float) -> None:
        """This processor did not run for so long while it recovered. Until a recovery has come to its end it asks for
        no less than before: what takes long may be still to come."""
        self._stood_s = max(self._stood_s, seconds)
        self.asks = max(self.asks, self._needed())

    def _needed(self) -> int:
        """What the standstill of this round asks for."""
        return min(PATIENCE_MAX, math.ceil(1 + _MARGIN * self._stood_s / self._token_timeout_s))

    def end_recovery(self) -> None:
        """This processor has unblocked. Nothing is remembered of the rounds before this one."""
        self.asks = self._needed()

    def begin(self, entries: Iterable[Entry]) -> None:
        """A configuration of these members is installed."""
        self._stood_s = 0.0
        self._others = {entry.node: entry.patience for entry in entries if entry.patience > 1}

    def times(self, waiting_for: frozenset[int]) -> int:
        """For how many token timeouts the token is waited for while these members have not unblocked."""
        return max((times for node, times in self._others.items() if node in waiting_for), default=1)

    @property
    def asked_for(self) -> dict[int, int]:
        """The members that ask for more than one token timeout, and for how many."""
        return self._others
