"""In how large a part of the runs each class of faults happened.

A class that never happens judges nothing, and one that happens seldom judges little; so the shares are printed, and a
long run must have enough of each. What one run in many has by plan, and one kind out of many that a run draws once,
has a smaller share that is asked for. The rows are those of docs/testing.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ringproto.testing.campaign import foreign_processors, lasting_loss, permanent_faults, single_faults
from ringproto.testing.campaign.random_faults import CLASSES
from ringproto.testing.campaign.run import BIG
from ringproto.testing.campaign.settings import PRESETS

__all__ = ["LEAST", "ROWS", "Shares"]

_STANDING = tuple("standing fault: " + kind for kind in (*permanent_faults.KINDS, "stuck recover"))
_TRIALS = tuple("trial: " + name for name in single_faults.TRIALS)

ROWS: dict[str, frozenset[str]] = {
    **{
        name: frozenset((name,))
        for name in (
            *CLASSES,
            "stands still",
            "several stand still",
            "long life",
            "rare limits",
            "idle",
            *("settings: " + name for name in (*PRESETS, "random", "scaled")),
            *("loss that stays: " + kind for kind in lasting_loss.KINDS),
            *("stranger: " + kind for kind in foreign_processors.KINDS),
            "huge",
            "flood",
            "crowd",
            *_STANDING,
            *_TRIALS,
        )
    },
    "many processors": frozenset(f"{count} processors" for count in BIG),
    "standing faults": frozenset(_STANDING),
    "trials": frozenset(_TRIALS),
}
"""The rows, and the names in ``Result.classes`` that count as each."""
LEAST: dict[str, float] = {
    "flood": 0.2,
    "many processors": 0.2,
    "crowd": 1.0,
    "several stand still": 1.0,
    **dict.fromkeys(_STANDING, 0.2),
    **dict.fromkeys(_TRIALS, 1.0),
}
"""Rows that need no more than so many percent, whatever is asked for."""


class Shares:
    """How many runs had each row, of so many."""

    def __init__(self, runs: int = 0, counts: dict[str, int] | None = None) -> None:
        self.runs = runs
        self.counts = Counter(counts or {})

    def add(self, classes: Iterable[str]) -> None:
        """One more run, in which these classes happened."""
        self.runs += 1
        happened = frozenset(classes)
        self.counts.update(row for row, names in ROWS.items() if names & happened)

    def percent(self, row: str) -> float:
        """In how many percent of the runs this row happened."""
        return 100.0 * self.counts[row] / self.runs if self.runs else 0.0

    def fewer(self, percent: float) -> list[str]:
        """The rows that happened in fewer percent of the runs, or than ``LEAST`` says if that is less."""
        return [row for row in ROWS if self.percent(row) < min(percent, LEAST.get(row, percent))]

    def lines(self) -> list[str]:
        """A line for each row."""
        return [f"{self.percent(row):5.1f} %  {row}" for row in ROWS]
