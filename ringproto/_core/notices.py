"""What an operator would want to know: the core says it, the service writes it to the log.

The core has no logger and no clock. It appends a notice when something happened that somebody who runs the program
should hear of, with the cause that was measured. The list is bounded; what is not taken in time is counted, and of each
kind the last one is kept, which says what is so now. How often one kind may stand in a log is decided by the service.
"""

from __future__ import annotations

from typing import NamedTuple

_MAX = 64
"""Most notices that wait to be taken."""


class Notice(NamedTuple):
    """One thing that happened."""

    kind: str
    """A short constant name of what happened, by which the service bounds how often it is logged."""
    text: str
    """One line for a person, with the numbers that were measured."""
    warning: bool = True
    """Whether somebody should look at it; otherwise it is information."""
    fields: tuple[tuple[str, object], ...] = ()
    """The same numbers and names for a program, each with the name that it has there."""


class Notices:
    """The notices of one processor that were not taken yet."""

    __slots__ = ("_missed", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Notice] = []
        """All that were not taken yet, oldest first."""
        self._missed = 0

    def add(self, kind: str, text: str, *, warning: bool = True, **fields: object) -> None:
        self.waiting.append(Notice(kind, text, warning, tuple(fields.items())))
        if len(self.waiting) > _MAX:
            last = {notice.kind: place for place, notice in enumerate(self.waiting)}
            # The oldest of those that another of their kind followed. There are fewer kinds than places.
            del self.waiting[next(place for place, notice in enumerate(self.waiting) if last[notice.kind] > place)]
            self._missed += 1

    def take(self) -> list[Notice]:
        """All that wait, oldest first; then how many did not fit."""
        waiting = self.waiting
        self.waiting = []
        if self._missed:
            waiting.append(Notice("notices_missed", f"{self._missed} more things happened than could be kept"))
            self._missed = 0
        return waiting
