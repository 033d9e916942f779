"""``make mutants``: is every known mistake found, by the simulator and its judge, or by the tests of its floor?

Each mutant runs in a process of its own. On the core, seeds go one after another until one fails: the one that is known
to kill goes first; if that kills no more, or with ``--search``, the seeds are tried in a fixed order, ``SEEDS_MAX`` at
most, and what none of them kills is left to the tests of the core. The service and the transports have their tests. In
the end every seed and every test that killed a mutant is run without any, and must hold. The exit code is 0 only if all
mutants were killed and all these hold.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import TypeVar

from mutants import seeds as mutant_seeds
from mutants.catalogue import MUTANTS
from mutants.mutation import FLOORS, SEEDS_MAX, Mutant, Seed, Test, search_order
from mutants.runs import Killer, MutantVerdict, failing_seeds, failing_tests, kill_workers, try_mutant
from mutants.seeds import KILLED_BY
from ringproto._processes.failures import RunFailedError, UsageError
from ringproto.cli._common import OneLineParser, whole
from ringproto.cli.streams import heed_terminate

__all__ = ["build_parser", "in_threads", "main", "run", "table"]

PARTS_MAX = 100
_KILL_EVERY_S = 0.02
"""A thread may start one more process while those that run are killed."""
Found = TypeVar("Found")


def table(killed_by: dict[str, Killer]) -> str:
    """The source of ``tests/mutants/seeds.py`` with these, in the order of the mutants."""
    head, _, _ = Path(mutant_seeds.__file__).read_text(encoding="utf-8").partition("KILLED_BY: ")
    lines = [f'    "{name}": {_source(killed_by[name])},\n' for name in MUTANTS if name in killed_by]
    body = "KILLED_BY: dict[str, Seed | Test] = {\n" + "".join(lines) + "}\n"
    return f'{head}{body}"""The first seed of the search that killed it, or the test if none did."""\n'


def _source(killer: Killer) -> str:
    if isinstance(killer, Test):
        return f'Test("{killer.file}")'  # its file: which test of it is first may change
    return f"Seed(light={killer.light}, number={killer.number})"


def part_of(text: str) -> tuple[int, int]:
    """A type for argparse: ``K/N``, the K-th of N parts."""
    first, slash, second = text.partition("/")
    try:
        number, parts = int(first), int(second)
    except ValueError:
        number = parts = 0
    if not slash or not 1 <= number <= parts <= PARTS_MAX:
        raise argparse.ArgumentTypeError(f"must be K/N with 1 <= K <= N <= {PARTS_MAX}, such as 2/5, not {text!r}")
    return number, parts


def build_parser() -> argparse.ArgumentParser:
    """The parser of this command."""
    parser = OneLineParser(
        prog="mutants",
        description=(
            "Runs seeds on changed cores, each with one mistake in the protocol, until a seed fails, and the tests of "
            f"the core if none of {SEEDS_MAX} seeds does; the service and the transports are run by their tests. Exit "
            "code 0: every mutant was killed, by seeds and tests that hold without it."
        ),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="run these mutants, of whichever floor")
    parser.add_argument("--floor", choices=tuple(FLOORS), help="run the mutants of this floor (default: core)")
    parser.add_argument(
        "--part", type=part_of, metavar="K/N", help="run only the K-th of N parts of them, each taken evenly from all"
    )
    parser.add_argument("--list", action="store_true", help="say what each mutant is, and run none")
    parser.add_argument(
        "--jobs",
        type=whole(1, 256),
        metavar="N",
        default=None,
        help="processes to run in (default: one for each core)",
    )
    parser.add_argument("--search", action="store_true", help="do not begin with the seeds that are known to kill")
    parser.add_argument(
        "--write", action="store_true", help="write the seeds that killed into the table of known seeds"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. The exit code is that of :func:`run`, 2 if it was called wrongly, 130 if it was interrupted."""
    try:
        return run(build_parser().parse_args(argv))
    except UsageError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    except RunFailedError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mutants: interrupted", file=sys.stderr)
        return 130


def run(args: argparse.Namespace) -> int:
    """Run what the arguments ask for; 0 if all mutants were killed by seeds that hold without them, else 1.

    Raises:
        UsageError: there is no mutant of a name.
    """
    unknown = [name for name in args.names if name not in MUTANTS]
    if unknown:
        raise UsageError(f"there is no mutant {', '.join(unknown)}; --list has their names")
    if args.names and (args.floor is not None or args.part is not None):
        raise UsageError("give the names of mutants, or --floor and --part, but not both")
    floors = [args.floor] if args.floor else list(FLOORS) if args.list else ["core"]
    mutants = [MUTANTS[name] for name in dict.fromkeys(args.names)] or [
        mutant for mutant in MUTANTS.values() if mutant.floor in floors
    ]
    if args.part is not None:
        number, parts = args.part
        mutants = mutants[number - 1 :: parts]
    if args.list:
        for mutant in mutants:
            print(f"{mutant.name} ({mutant.floor}): {mutant.why}")
        return 0
    began = time.perf_counter()
    jobs = args.jobs or os.cpu_count() or 1
    verdicts = []
    with heed_terminate():
        with contextlib.closing(_verdicts(mutants, jobs, search=args.search)) as found:
            for verdict in found:
                verdicts.append(verdict)
                print(_line(verdict), flush=True)
        failed = _run_baseline(verdicts, jobs)
    for killer, text in failed:
        print(f"{killer} FAILED without any mutant, so it shows nothing: {text}")
    if args.write:
        _write({v.name: v.killed_by for v in verdicts if v.killed_by is not None and FLOORS[v.floor].seeds})
    print(_summary(verdicts, len(failed), time.perf_counter() - began))
    return 0 if all(verdict.killed_by is not None for verdict in verdicts) and not failed else 1


def _summary(verdicts: Sequence[MutantVerdict], failed: int, seconds: float) -> str:
    killers = [verdict.killed_by for verdict in verdicts if verdict.killed_by is not None]
    by_seeds = sum(isinstance(killer, Seed) for killer in killers)
    return (
        f"{len(verdicts)} mutants, {len(killers)} killed ({by_seeds} by seeds, {len(killers) - by_seeds} by tests), "
        f"{len(verdicts) - len(killers)} not; of the {len(set(killers))} seeds and tests that killed "
        f"{len(set(killers)) - failed} hold without a mutant; in {seconds:.1f} s"
    )


def _verdicts(mutants: Sequence[Mutant], jobs: int, *, search: bool) -> Generator[MutantVerdict, None, None]:
    """Those of all mutants, as they come."""
    order = search_order()
    return in_threads(
        jobs, [partial(try_mutant, mutant, None if search else KILLED_BY.get(mutant.name), order) for mutant in mutants]
    )


def _run_baseline(verdicts: Sequence[MutantVerdict], jobs: int) -> list[tuple[Killer, str]]:
    """The seeds and tests that killed, and that fail without any mutant too."""
    killers = {verdict.killed_by for verdict in verdicts}
    seeds = sorted(killer for killer in killers if isinstance(killer, Seed))
    runs = [partial(failing_seeds, seeds[job::jobs]) for job in range(min(jobs, len(seeds)))]
    for compiled in (True, False):
        tests = {
            verdict.killed_by
            for verdict in verdicts
            if isinstance(verdict.killed_by, Test) and verdict.compiled is compiled
        }
        if tests:
            runs.append(partial(failing_tests, sorted(tests), compiled=compiled))
    with contextlib.closing(in_threads(jobs, runs)) as parts:
        return [failed for part in parts for failed in part]


def in_threads(jobs: int, calls: Sequence[Callable[[], Found]]) -> Generator[Found, None, None]:
    """What the calls return, as it comes. Closed early, it ends the processes that the calls wait for."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
            while not all(future.done() for future in futures):
                kill_workers()
                time.sleep(_KILL_EVERY_S)


def _line(verdict: MutantVerdict) -> str:
    stale = f"; {verdict.known_failed} kills it no more" if verdict.known_failed is not None else ""
    count = f"{verdict.seeds} {'seed' if verdict.seeds == 1 else 'seeds'}"
    tried = " and ".join(filter(None, (count if verdict.seeds else "", " ".join(verdict.tests))))
    if verdict.killed_by is None:
        return (
            f"{verdict.name}: NOT KILLED by {tried or 'anything'}{stale}{'. ' + verdict.text if verdict.text else ''}"
        )
    if isinstance(verdict.killed_by, Test):
        survived = f", after {count} had not" if verdict.seeds else ""
        return f"{verdict.name}: killed by the tests of the {verdict.floor}, {verdict.killed_by}{survived}{stale}"
    return f"{verdict.name}: killed by {verdict.killed_by} ({', '.join(verdict.rules)}), {count}{stale}"


def _write(killed_by: dict[str, Killer]) -> None:
    path = Path(mutant_seeds.__file__)
    try:
        path.write_text(table({**KILLED_BY, **killed_by}), encoding="utf-8")
    except OSError as error:
        raise RunFailedError(f"cannot write {path}: {error.strerror or error}") from error
    print(f"{path} has what killed {len(killed_by)} of these mutants")
