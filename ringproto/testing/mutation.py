"""Mutants: the protocol with one mistake in it each, by which the simulator and the judge are judged.

A mutant is a small change of the text of one or more rooms of the core, with a name and the reason why somebody could
make that mistake; many did. The core knows nothing of them: :func:`apply` makes changed sources, and whoever runs them
puts these in the place of the files (``ringproto mutants`` does, in processes of their own). A simulator that lets a
mutant through every seed that it tries is too kind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

__all__ = ["LIGHT_IN", "SEEDS_MAX", "Change", "Mutant", "Seed", "apply", "search_order"]

SEEDS_MAX = 500
"""A mutant must be killed within so many seeds."""
LIGHT_IN = 5
"""Of so many seeds of a search all but the last are light ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """``old``, which stands once in the source of the room ``room`` of the core, becomes ``new``."""

    room: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake."""

    name: str
    why: str
    """What is wrong with it, and where such a mistake was made."""
    changes: tuple[Change, ...]


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Seed:
    """A seed of the simulator, light or full."""

    light: bool
    number: int

    def __str__(self) -> str:
        return f"{'light' if self.light else 'full'} seed {self.number}"


def apply(mutant: Mutant, source_of: Callable[[str], str]) -> dict[str, str]:
    """The changed sources, by room; ``source_of(room)`` gives the text of an unchanged one.

    Raises:
        ValueError: the text to change does not stand exactly once in its room, or the change is none.
    """
    sources: dict[str, str] = {}
    for change in mutant.changes:
        text = sources.get(change.room)
        if text is None:
            text = source_of(change.room)
        found = text.count(change.old)
        if found != 1 or change.old == change.new:
            raise ValueError(
                f"mutant {mutant.name}: the text to change must stand once in {change.room} and become another; "
                f"it stands there {found} times:\n{change.old}"
            )
        sources[change.room] = text.replace(change.old, change.new)
    return sources


def search_order() -> list[Seed]:
    """The seeds by which a mutant is looked for: ``SEEDS_MAX``, four light ones and then a full one, in turn."""
    light = full = 0
    seeds = []
    for place in range(1, SEEDS_MAX + 1):
        if place % LIGHT_IN:
            light += 1
            seeds.append(Seed(True, light))
        else:
            full += 1
            seeds.append(Seed(False, full))
    return seeds
