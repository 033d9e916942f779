"""Mutants: the program with one mistake in it each, by which the simulator, the judge and the tests are judged.

A mutant is a small change of the text of one or more modules of a floor, with a name and the reason why somebody could
make that mistake; many did. The floors know nothing of them: :func:`apply` makes changed sources, and whoever runs them
puts these in the place of the files (``make mutants`` does, in processes of their own). A simulator that lets a
mutant of the core through every seed that it tries is too kind, and tests that let one of their floor through are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

__all__ = ["FLOORS", "LIGHT_IN", "SEEDS_MAX", "Edit", "Floor", "Mutant", "Seed", "Test", "apply", "search_order"]

SEEDS_MAX = 500
"""A mutant must be killed within so many seeds."""
LIGHT_IN = 5
"""Of so many seeds of a search all but the last are light ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """``old``, which stands once in the source of the module of the floor, becomes ``new``."""

    module: str
    """Its path in the package of the floor, without ``.py``."""
    old: str
    new: str


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake."""

    name: str
    why: str
    """What is wrong with it, and where such a mistake was made."""
    changes: tuple[Edit, ...]
    floor: str = "core"
    """One of ``FLOORS``."""
    tests: tuple[str, ...] = ()
    """The tests that are to kill it, as pytest names them; none: all of its floor. The core's come after the seeds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Floor:
    """A part of the house that has mutants of its own."""

    package: str
    """What its modules are in."""
    tests: str
    """The folder of its tests."""
    seeds: bool
    """Whether the simulator runs it, so that seeds can kill its mutants."""


FLOORS: dict[str, Floor] = {
    "core": Floor("ringproto._core", "tests/core", seeds=True),
    "service": Floor("ringproto._service", "tests/service", seeds=False),
    "transports": Floor("ringproto.transports", "tests/transports", seeds=False),
}


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Test:
    """A test that kills, or a file with one, as pytest names it."""

    __test__ = False  # nor does pytest take this class for one

    name: str

    @property
    def file(self) -> str:
        """The file that it is in."""
        return self.name.partition("::")[0]

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Seed:
    """A seed of the simulator, light or full."""

    light: bool
    number: int

    def __str__(self) -> str:
        return f"{'light' if self.light else 'full'} seed {self.number}"


def apply(mutant: Mutant, source_of: Callable[[str], str]) -> dict[str, str]:
    """The changed sources, by module; ``source_of(module)`` gives the text of an unchanged one.

    Raises:
        ValueError: the text to change does not stand exactly once in its module, or the change is none: whoever rewrote
            that text has to rewrite the mutant.
    """
    sources: dict[str, str] = {}
    for change in mutant.changes:
        text = sources.get(change.module)
        if text is None:
            text = source_of(change.module)
        found = text.count(change.old)
        if found != 1 or change.old == change.new:
            raise ValueError(
                f"mutant {mutant.name}: the text to change must stand once in {change.module} and become another; "
                f"it stands there {found} times:\n{change.old}"
            )
        sources[change.module] = text.replace(change.old, change.new)
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
