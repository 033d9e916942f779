"""Named counters: what happened, and what was dropped for which reason."""

from __future__ import annotations


class Counters:
    """A dictionary of numbers that only rise. The names are this code's own, so there is a bounded number of them."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def add(self, name: str, count: int = 1) -> None:
        self.values[name] = self.values.get(name, 0) + count
