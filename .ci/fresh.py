#!/usr/bin/env python3
"""Which seeds a submission runs: others for each tree, and the same ones whenever that tree is tested.

    .ci/fresh.py light 3000         prints the range A-B of so many light seeds
    .ci/fresh.py full 300           of so many full seeds
    .ci/fresh.py part 5             prints K/5, the part of five that is this tree's turn
    .ci/fresh.py parser             the seed of libFuzzer for this target

The tree of HEAD is hashed and not the commit, so that what was green before a rebase, a squash or a merge that changes
no file is green after it. ``--tree`` gives another one, to do again what a submission did.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys

FIRST = 1_000_000
"""Below are the seeds that people choose: of the tests, of the mutants, of the long campaigns."""
BLOCKS = 1_000_000
"""So many ranges there are to choose from; they do not overlap."""
FUZZ_SEEDS = 2**32 - 1
"""libFuzzer's seed has 32 bits, and 0 lets it choose one itself."""


def number(tree: str, purpose: str) -> int:
    """A large number that follows from a tree and from what it is for."""
    return int.from_bytes(hashlib.blake2b(f"{tree} {purpose}".encode(), digest_size=16).digest(), "big")


def seeds(tree: str, kind: str, count: int) -> range:
    """A range of ``count`` seeds; ``kind`` is ``light`` or ``full``."""
    first = FIRST + number(tree, kind) % BLOCKS * count
    return range(first, first + count)


def part(tree: str, parts: int) -> int:
    """From 1 to ``parts``: which of so many parts of something this tree runs."""
    return 1 + number(tree, "part") % parts


def fuzz_seed(tree: str, target: str) -> int:
    """From 1 to 2^32 - 1."""
    return 1 + number(tree, target) % FUZZ_SEEDS


def tree_of_head() -> str:
    """The id of the tree that is checked out. Raises subprocess.CalledProcessError outside of a repository."""
    command = ["git", "rev-parse", "--verify", "HEAD^{tree}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="which seeds a submission runs")
    parser.add_argument("purpose", choices=("light", "full", "part", "parser", "sequences"))
    parser.add_argument("count", nargs="?", type=int, help="how many, for light, full and part")
    parser.add_argument("--tree", help="the id of a tree (default: that of HEAD)")
    options = parser.parse_args(arguments)
    ranged = options.purpose in ("light", "full", "part")
    if ranged != (options.count is not None) or (ranged and options.count < 1):
        parser.error("light and full take how many seeds, part how many parts, at least 1; the others take no number")
    tree = options.tree or tree_of_head()
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", tree):
        parser.error(f"a tree has 40 or 64 hexadecimal digits, not {tree!r}")
    if options.purpose == "part":
        print(f"{part(tree, options.count)}/{options.count}")
    elif ranged:
        chosen = seeds(tree, options.purpose, options.count)
        print(f"{chosen[0]}-{chosen[-1]}")
    else:
        print(fuzz_seed(tree, options.purpose))


if __name__ == "__main__":
    main(sys.argv[1:])
