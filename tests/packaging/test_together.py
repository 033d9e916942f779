"""``make test`` runs everything, in three parts."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1]


def together() -> ModuleType:
    spec = importlib.util.spec_from_file_location("together", TESTS / "together.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_of_tests_is_in_exactly_one_part() -> None:
    parts = together().parts()
    covered = []
    for part in itertools.chain(*parts):
        path = Path(part)
        covered += sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
    assert sorted(covered) == sorted(TESTS.rglob("test_*.py"))
    assert len(parts) == 3 and all(parts)


def test_a_part_that_fails_fails_the_whole() -> None:
    """An option that pytest does not know makes it end at once, with exit code 4."""
    assert together().main(["-q", "--no-such-option"]) != 0
