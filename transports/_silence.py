"""Detection of lost multicast reception.

Switches that read IGMP and MLD (snooping) forget the listeners of a group if no querier asks for them. Then multicasts
no longer reach a host while unicasts do, and the host is not notified. It only observes that no multicast arrives any
more. If the host joins the group again, the switch learns of it again.

On an idle ring, the sender of the beacons hears no multicast of others although nothing is wrong. So a processor that
hears unicasts but no multicasts asks the sender of the last unicast for a multicast (a notice, see ``_segments.py``),
well before it treats the silence as a fault.
"""

from __future__ import annotations

import enum

__all__ = ["Hearing", "Silence"]

_ASK_AFTER = 0.5
_ASK_EVERY = 0.125
"""The times at which others are asked, as fractions of the time after which the group is joined again. They make four
different moments."""
_QUIET_AFTER = 0.25
"""The fraction of that time after which a silence is reported as ``QUIET``: shorter silences may be normal."""
_GAP_MAX = 0.25
"""The maximum fraction of that time that is counted between two looks: a time without looks is not known to be
silent."""


class Hearing(enum.Enum):
    """The action to take."""

    WELL = enum.auto()
    ASK = enum.auto()
    """Ask the sender of the last unicast for a multicast."""
    JOIN = enum.auto()
    """Join the group again."""
    QUIET = enum.auto()
    """No action yet: nothing multicast has been heard for a while."""
    AGAIN = enum.auto()
    """No action: multicasts are heard again after the group was joined again."""


class Silence:
    """Measures how long no multicast was heard.

    Args:
        silence_s: seconds without multicasts after which the group is joined again, and between repeated joins.
    """

    def __init__(self, silence_s: float) -> None:
        self.silence_s = silence_s
        """May be changed at any time."""
        self._looked_at: float | None = None
        self._multicasts = 0
        self._unicasts = 0
        self._since_join_s = 0.0
        self._asked_at_s = 0.0
        self.quiet_s = 0.0
        """Seconds without a multicast of others, as far as they were counted."""
        self.joins = 0
        """The number of joins in this silence."""
        self.unicasts_heard = False
        """Whether a unicast was heard in this silence, since the last join."""

    @property
    def ever(self) -> bool:
        """Whether anything was ever heard."""
        return bool(self._multicasts or self._unicasts)

    def judge(self, now: float, multicasts: int, unicasts: int) -> Hearing:
        """Return the action at the time ``now`` in seconds, given the numbers of multicasts and unicasts of others that
        have arrived so far."""
        gap_s = 0.0 if self._looked_at is None else min(now - self._looked_at, _GAP_MAX * self.silence_s)
        self._looked_at = now
        if unicasts != self._unicasts:
            self._unicasts = unicasts
            self.unicasts_heard = True
        if multicasts != self._multicasts:
            self._multicasts = multicasts
            again = self.joins > 0
            self.quiet_s = self._since_join_s = self._asked_at_s = 0.0
            self.joins = 0
            self.unicasts_heard = False
            return Hearing.AGAIN if again else Hearing.WELL
        began = self.quiet_s < _QUIET_AFTER * self.silence_s
        self.quiet_s += gap_s
        self._since_join_s += gap_s
        if self._since_join_s >= self.silence_s:
            self._since_join_s = self._asked_at_s = 0.0
            self.joins += 1
            return Hearing.JOIN
        ask_at_s = max(_ASK_AFTER * self.silence_s, self._asked_at_s + _ASK_EVERY * self.silence_s)
        if self.unicasts_heard and self._since_join_s >= ask_at_s:
            self._asked_at_s = self._since_join_s
            return Hearing.ASK
        return Hearing.QUIET if began and self.quiet_s >= _QUIET_AFTER * self.silence_s else Hearing.WELL

    def joined(self) -> None:
        """Note that the group was joined again for another reason, so the time since the last join restarts at zero."""
        self._since_join_s = self._asked_at_s = 0.0
