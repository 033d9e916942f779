"""In how large a part of the runs each class of faults happened, by the rows of the table of fault classes.

A class that never happens judges nothing, and one that happens seldom judges little; so the shares are printed, and a
long run must have enough of each. The rows are those of docs/testing.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ringproto.testing import lasting, repeats, standing, strangers
from ringproto.testing.settings import PRESETS

__all__ = ["ROWS", "Shares"]

ROWS: dict[str, frozenset[str]] = {
    "loss": frozenset(("loss", "kind loss", "tokens", "burst")),
    "by size": frozenset(("big",)),
    "duplication, reordering": frozenset(("duplication", "reordering", "latency", "flooding")),
    "late copies": frozenset(("late copies",)),
    "replay": frozenset(("replay",)),
    "corruption": frozenset(("corruption", "forgery")),
    "one way": frozenset(("one way",)),
    "clogging": frozenset(("clog",)),
    "partition, merge": frozenset(("partition",)),
    "crash, restart": frozenset(("crash", "trap", "resurrect", "broken promise")),
    "start and stop": frozenset(("storm",)),
    "storage": frozenset(("storage",)),
    "pause": frozenset(("pause",)),
    "clock": frozenset(("clock jump", "drift", "early timers")),
    "again and again": frozenset(repeats.KINDS),
    "slow consumer": frozenset(("slow consumer", "never reads")),
    "system calls": frozenset(("send refused", "interface", "small buffers", "address")),
    "application": frozenset(("leave", "recover raises", "stuck recover", "answers")),
    "mixed": frozenset(("crowd", *("stranger: " + kind for kind in strangers.KINDS))),
    "long life": frozenset(("long life",)),
    "huge recovery": frozenset(("huge", "flood")),
    "forced rarity": frozenset(("rare limits",)),
    "idle for minutes": frozenset(("idle",)),
    "loss that stays": frozenset("loss that stays: " + kind for kind in lasting.KINDS),
    "standing faults": frozenset("standing fault: " + kind for kind in (*standing.KINDS, "stuck recover")),
    "shipped settings": frozenset("settings: " + name for name in PRESETS),
    "random settings": frozenset(("settings: random",)),
}
"""The rows, and the names in ``Result.classes`` that count as each."""


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
        """The rows that happened in fewer percent of the runs."""
        return [row for row in ROWS if self.percent(row) < percent]

    def lines(self) -> list[str]:
        """A line for each row."""
        return [f"{self.percent(row):5.1f} %  {row}" for row in ROWS]
