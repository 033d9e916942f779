"""Searches of the model of the recovery barrier, and what each must find (``docs/model.md``).

Three kinds. A *proof* visits every state and finds nothing. A *fault* is planted, and the search for the one rule that
it breaks finds it. A *probe* is a place that must be reached, or the proofs would say nothing about it.

``python tests/model/model_runs.py`` does them all, ``--deep`` larger proofs, ``--show NAME`` tells one counterexample
step by step. The exit code is 0 only if each search found what it should. Needs ``spin`` and ``gcc``, nothing else.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

MODEL = Path(__file__).with_name("barrier.pml")
_DEPTH_MAX = 10_000
"""Steps of one run; a search that would need more says that it is incomplete."""
_MEMORY_MAX_MIB = 3_000


class Search(NamedTuple):
    name: str
    flags: tuple[str, ...]
    """Definitions for the preprocessor, without ``-D``."""
    finds: bool
    """Whether the search must find an error; else it must visit every state and find none."""


class Found(NamedTuple):
    """What a search said at its end."""

    errors: int
    whole: bool
    """Whether every state that can be reached was visited, exactly and not by a hash."""
    states: int
    depth: int
    violated: str
    """The assertion that failed, empty if none did."""
    unreached: tuple[str, ...]
    """Statements that no run came to."""
    output: str

    def answers(self, search: Search) -> bool:
        """Whether it is what the search must find."""
        if search.finds:
            return self.errors == 1 and bool(self.violated)
        return self.errors == 0 and self.whole and self.states > 0


def _proof(name: str, *flags: str) -> Search:
    return Search(name, flags, finds=False)


def _fault(name: str, rule: str, *flags: str) -> Search:
    return Search(f"FAULT_{name}", (f"FAULT_{name}", f"ONLY={rule}", "CHANGES=1", "EVERY_DELIVERY", *flags), finds=True)


def _probe(name: str, *flags: str) -> Search:
    return Search(name, (f"PROBE={name}", "CHANGES=2", *flags), finds=True)


# Who writes and whose recover sends are masks: 1 is processor 0, 2 is processor 1, 4 is processor 2.
PROOFS = (
    _proof("2 processors, 3 changes, both write and recover", "N=2", "CHANGES=3", "WRITERS=3", "RECOVERERS=3"),
    _proof("2 processors, 2 changes, every delivery", "N=2", "WRITERS=3", "RECOVERERS=3", "EVERY_DELIVERY"),
    _proof("3 processors, 2 changes, one a crash", "WRITERS=1", "RECOVERERS=2", "CRASHES=1"),
    _proof("3 processors, 2 changes, two write", "WRITERS=3", "RECOVERERS=0"),
    _proof("3 processors, 2 changes, quorum 2", "WRITERS=1", "RECOVERERS=0", "QUORUM=2"),
    _proof("3 processors, 1 change, every delivery", "CHANGES=1", "WRITERS=1", "RECOVERERS=2", "EVERY_DELIVERY"),
)

LONG_PROOFS = (PROOFS[0], PROOFS[2], PROOFS[3])
"""Those that take a third of a minute each."""

FAULTS = (
    _fault("TOKEN_BIT", "B3"),
    _fault("CURSOR_KEPT", "ENDS"),
    _fault("SLIPPED_PAST", "B1"),
    _fault("NO_COMPLETION_IN_TRANSITIONAL", "B1"),
    _fault("BEHIND_THE_HOLE", "B1"),
    _fault("TABLE_KEPT", "B4"),
    _fault("QUORUM_IGNORED", "B4", "QUORUM=2"),
    _fault("STALE_UNBLOCK", "B4"),
    _fault("UNBLOCK_AGAIN", "B6"),
    _fault("ABORT_AT_TRANSITIONAL", "B9"),
    _fault("ABORT_BEFORE_UNBLOCK_ONLY", "B9"),
    _fault("NOT_REWOUND", "B12"),
    _fault("PIECES_MIXED", "B12"),
    _fault("NO_EXCHANGE", "B12"),
)

PROBES = (
    _probe("COMPLETE_IN_TRANSITIONAL"),
    _probe("DELIVERED_BEHIND_A_HOLE", "WRITERS=3", "RECOVERERS=0"),
    _probe("OBLIGATION_DELIVERED", "WRITERS=3", "RECOVERERS=0"),
    _probe("BEGUN_AGAIN"),
    _probe("CUT"),
    _probe("ABORTED_AFTER_UNBLOCKS"),
    _probe("TWO_COMPONENTS_COMPLETE"),
    _probe("TWO_IN_A_ROW"),
)

DEEP = (
    _proof("3 processors, 2 changes, two write, the third recovers", "WRITERS=3", "RECOVERERS=4"),
    _proof("3 processors, 2 changes, every delivery", "WRITERS=1", "RECOVERERS=2", "EVERY_DELIVERY"),
)


def missing_tools() -> list[str]:
    """Those of ``spin`` and ``gcc`` that are not installed."""
    return [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]


def _definitions(search: Search) -> list[str]:
    return [f"-D{flag}" for flag in search.flags]


def run(search: Search, directory: Path, *, memory_max_mib: int = _MEMORY_MAX_MIB) -> Found:
    """Search in a directory of its own.

    Raises:
        RuntimeError: spin or gcc refused the model, or the search stopped without saying what it found.
    """
    _call(["spin", "-a", *_definitions(search), str(MODEL)], directory)
    # Without -DBITSTATE and -DHC states are stored whole; without the reduction every order of steps is tried.
    options = ["-DSAFETY", "-DNOFAIR", "-DNOREDUCE", f"-DMEMLIM={memory_max_mib}", "-w"]
    _call(["gcc", "-O0" if search.finds else "-O1", *options, "-o", "pan", "pan.c"], directory)
    output = _call(["./pan", f"-m{_DEPTH_MAX}", "-w22"], directory)
    errors = re.search(r"errors: (\d+)", output)
    if errors is None:
        raise RuntimeError(f"the search says nothing of errors:\n{output}")
    violated = re.search(r"assertion violated (.*) \(at depth", output)
    incomplete = (
        "Search not completed",
        "max search depth too small",
        "reached -DMEMLIM",
        "out of memory",
        "Bit state",
    )
    depth = re.search(r"depth reached (\d+)", output)
    states = re.search(r"([\d.e+]+) states, stored", output)
    assert depth is not None and states is not None
    return Found(
        errors=int(errors[1]),
        whole=not any(sign in output for sign in incomplete),
        states=int(float(states[1])),
        depth=int(depth[1]),
        violated=violated[1] if violated else "",
        unreached=tuple(re.findall(r"^\t\S+:\d+, state \d+, \"(.*)\"$", output, re.MULTILINE)),
        output=output,
    )


def show(search: Search, directory: Path) -> str:
    """The counterexample of the search that was run in this directory, step by step."""
    told = _call(["spin", "-k", f"{MODEL.name}.trail", "-B", *_definitions(search), str(MODEL)], directory)
    return "\n".join(line.strip() for line in told.splitlines() if line.strip())


def _call(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode and command[0] != "./pan" and "-k" not in command:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description="Search the model of the recovery barrier.")
    parser.add_argument("--deep", action="store_true", help="the larger proofs, some minutes and gigabytes")
    parser.add_argument("--show", metavar="NAME", help="one fault or probe, with its counterexample step by step")
    arguments = parser.parse_args()
    if missing := missing_tools():
        parser.error(f"not installed: {', '.join(missing)}")
    searches: tuple[Search, ...] = DEEP if arguments.deep else PROOFS + FAULTS + PROBES
    if arguments.show:
        searches = tuple(search for search in FAULTS + PROBES if search.name == arguments.show)
        if not searches:
            parser.error(f"no fault and no probe has the name {arguments.show}")
    wrong = 0
    for search in searches:
        with tempfile.TemporaryDirectory() as place:
            began = time.monotonic()
            found = run(search, Path(place), memory_max_mib=16_000 if arguments.deep else _MEMORY_MAX_MIB)
            right = found.answers(search)
            wrong += not right
            what = "found" if found.errors else "proved" if found.whole else "NOT COMPLETE"
            verdict = what if right else f"WRONG: {what}"
            print(
                f"{search.name:55} {found.states:>10,} states {time.monotonic() - began:6.1f} s  {verdict}", flush=True
            )
            if arguments.show:
                print(show(search, Path(place)))
            elif not right:
                print(found.output)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
