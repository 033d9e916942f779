"""Which seeds a submission runs (.ci/fresh.py): fresh ones for each tree, and always the same for one tree."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / ".ci" / "fresh.py"
TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
OTHER = TREE[:-1] + "5"
CHOSEN_BY_PEOPLE = 100_000
"""No seed above this stands in the tests, in the table of the mutants or in the documents."""


@pytest.fixture(scope="module")
def fresh():
    spec = importlib.util.spec_from_file_location("fresh", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(*arguments: str) -> str:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=True).stdout


def test_one_tree_has_one_answer_for_ever():
    assert answer("light", "3000", "--tree", TREE) == "521671000-521673999\n"
    assert answer("full", "300", "--tree", TREE) == "107802400-107802699\n"
    assert answer("parser", "--tree", TREE) == "4139010608\n"


def test_another_tree_has_other_seeds(fresh):
    for kind in ("light", "full"):
        assert not set(fresh.seeds(TREE, kind, 300)) & set(fresh.seeds(OTHER, kind, 300))
    assert fresh.fuzz_seed(TREE, "parser") != fresh.fuzz_seed(OTHER, "parser")
    assert fresh.fuzz_seed(TREE, "parser") != fresh.fuzz_seed(TREE, "sequences")


def test_ranges_of_many_trees_hardly_meet(fresh):
    trees = [f"{tree:040x}" for tree in range(1000)]
    ranges = {fresh.seeds(tree, "light", 3000)[0] for tree in trees}
    assert len(ranges) > 990
    assert all((first - fresh.FIRST) % 3000 == 0 for first in ranges), "two ranges are the same or do not overlap"


def test_range_is_as_long_as_asked_for_and_away_from_seeds_that_people_chose(fresh):
    for count in (1, 300, 3000):
        seeds = fresh.seeds(TREE, "full", count)
        assert len(seeds) == count
        assert seeds[0] > CHOSEN_BY_PEOPLE


def test_trees_run_every_part_about_as_often(fresh):
    assert re.fullmatch("[1-5]/5\n", answer("part", "5", "--tree", TREE))
    turns = [fresh.part(f"{tree:040x}", 5) for tree in range(1000)]
    assert set(turns) == {1, 2, 3, 4, 5}
    assert all(150 < turns.count(turn) < 250 for turn in range(1, 6))


def test_seed_of_the_fuzzer_is_never_the_one_that_means_random(fresh):
    assert all(0 < fresh.fuzz_seed(f"{tree:040x}", "parser") < 2**32 for tree in range(1000))


def test_tree_is_that_of_head():
    if not (ROOT / ".git").exists():
        pytest.skip("these sources are not in a git repository")
    tree = subprocess.run(
        ["git", "rev-parse", "HEAD^{tree}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    here = subprocess.run(
        [sys.executable, SCRIPT, "full", "300"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert here == answer("full", "300", "--tree", tree.strip())


@pytest.mark.parametrize(
    "arguments",
    [
        ("light",),
        ("full", "0"),
        ("part",),
        ("part", "0"),
        ("parser", "7"),
        ("dark", "3"),
        ("full", "3", "--tree", "HEAD"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments):
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error" in done.stderr


def test_what_every_submission_runs_is_fresh():
    """The long runs in .ci/run take their seeds from the script, and the fuzzers run so often and no longer."""
    text = (ROOT / ".ci" / "run").read_text()
    assert dict(re.findall(r"^(\w+)=\$\(\.ci/fresh\.py (.+)\)$", text, re.MULTILINE)) == {
        "light": "light 1200",
        "full": "full 200",
        "part": "part 5",
        "parser": "parser",
        "sequences": "sequences",
    }
    assert re.search(r"^\.venv/bin/ringproto simulate --light --seeds \"\$light\"$", text, re.MULTILINE)
    assert re.search(r"^\.venv/bin/ringproto simulate --seeds \"\$full\" --probes --probes-min 95$", text, re.MULTILINE)
    assert re.search(r"^  make mutants MUTANTS=\"--floor \$floor --part \$part\"$", text, re.MULTILINE)
    started = re.findall(r"make fuzz-(\w+) FUZZ_S=0 FUZZ_RUNS=\d+ FUZZ_SEED=\$(\w+)", text)
    assert set(started) == {("parser", "parser"), ("sequences", "sequences")}
    assert len(started) == text.count("make fuzz-")
