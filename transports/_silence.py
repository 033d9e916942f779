"""Whether a processor still hears the group.

Switches that read IGMP and MLD (snooping) forget who listens when nobody asks for it (a querier is missing). Then
multicasts no longer reach a host while unicasts do, and the host learns nothing of that. All it can see is that nothing
multicast comes any more; joining the group again makes the switch learn anew.

On an idle ring, who says the beacons hears no multicast of others although all is well. So a processor that hears
unicasts and no multicasts asks the one from whom the last unicast came for a multicast (a notice, see
``_segments.py``), well before it takes the silence for a fault.
"""

from __future__ import annotations

import enum

__all__ = ["Hearing", "Silence"]

_ASK_AFTER = 0.5
_ASK_EVERY = 0.125
"""When others are asked, in parts of the time after which the group is joined again: four times, at four moments."""
_QUIET_AFTER = 0.25
"""A silence is said to have begun after this part of it: before that, one may have nothing to hear for a moment."""
_GAP_MAX = 0.25
"""No more than this part of it counts between two looks: what was not looked at cannot be called silent."""


class Hearing(enum.Enum):
    """What is to be done."""

    WELL = enum.auto()
    ASK = enum.auto()
    """Ask for a multicast."""
    JOIN = enum.auto()
    """Join the group again."""
    QUIET = enum.auto()
    """Nothing yet: it is silent for a while now."""
    AGAIN = enum.auto()
    """Nothing: what was silent is heard again after the group was joined again."""


class Silence:
    """How long nothing multicast was heard.

    Args:
        silence_s: after so long a time without multicasts the group is joined again, in seconds; and again each time
            that it passes.
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
        """For how long nothing multicast was heard, in seconds."""
        self.joins = 0
        """How often the group was joined again in this silence."""
        self.unicasts_heard = False
        """Whether a unicast was heard in this silence, since the group was joined again last."""

    @property
    def ever(self) -> bool:
        """Whether anything was heard at all, ever."""
        return bool(self._multicasts or self._unicasts)

    def judge(self, now: float, multicasts: int, unicasts: int) -> Hearing:
        """What is to be done at the time ``now``, when so many datagrams of others had come by each of the ways."""
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
        """The group was joined again for another reason, so its silence begins anew."""
        self._since_join_s = self._asked_at_s = 0.0
