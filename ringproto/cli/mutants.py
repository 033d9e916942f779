"""``ringproto mutants``: is every known mistake in the protocol found by the simulator and its judge?

Each mutant runs in a process of its own, one seed after another, until a seed fails. The seed that is known to kill it
goes first; if that kills no more, or with ``--search``, the seeds are tried in a fixed order, ``SEEDS_MAX`` at most.
In the end every seed that killed a mutant is run without any mutant, in the same kind of process, and must hold: so it
was the mistake that failed. The exit code is 0 only if all were killed and all these seeds hold.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import ringproto
from ringproto.cli import mutant_worker
from ringproto.cli._common import RunFailedError, UsageError, whole
from ringproto.cli.streams import heed_terminate
from ringproto.testing import mutant_seeds
from ringproto.testing.mutant_seeds import KILLED_BY
from ringproto.testing.mutants import MUTANTS
from ringproto.testing.mutation import SEEDS_MAX, Mutant, Seed, apply, search_order

__all__ = ["Verdict", "Worker", "add_parser", "in_threads", "run", "source_of", "table", "try_mutant"]

_CORE = Path(ringproto.__file__).parent / "_core"
Found = TypeVar("Found")

_BROKEN = ("NameError", "AttributeError", "UnboundLocalError", "ImportError", "SyntaxError", "TypeError")
"""An exception of these says that the changed text is no working program: then nothing was shown."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one mutant."""

    name: str
    killed_by: Seed | None
    """``None``: it survived."""
    seeds: int
    """How many were run."""
    rules: tuple[str, ...] = ()
    """Those that the last seed broke."""
    text: str = ""
    """What was seen first, or why the mutant is none."""
    known_failed: Seed | None = None
    """The known seed, if it kills no more."""


_KILL_EVERY_S = 0.02
"""A thread may start one more process while those that run are killed."""
_running: set[Worker] = set()
"""The processes of this one."""


class Worker:
    """A process in which seeds run on a core with changed sources; a context manager, which ends it.

    ``sources`` are the changed sources by room. The rooms that are not changed are interpreted too, because compiled
    ones know the layout of each other's objects.
    """

    def __init__(self, sources: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, mutant_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C in a terminal is for the command, which then ends its processes.
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name != "RINGPROTO_INTERPRETED"},
        )
        rooms = {path.stem: path.read_text(encoding="utf-8") for path in _CORE.glob("[!_]*.py")}
        self._say({"path": [str(_CORE.parents[1]), *sys.path], "sources": rooms | sources})

    def _say(self, what: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why it ended is read with the answer
            print(json.dumps(what), file=self._process.stdin, flush=True)

    def violations(self, seed: Seed) -> list[tuple[str, str]]:
        """The rules that this seed breaks, with what was seen.

        Raises:
            RunFailedError: the process ended.
        """
        self._say((seed.number, seed.light))
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            _, errors = self._process.communicate()
            raise RunFailedError(f"the process of {seed} ended: {errors.strip()[-2000:] or self._process.returncode}")
        return [(rule, text) for rule, text in json.loads(answer)]

    def kill(self) -> None:
        """End the process; who waits for its answer is told that it ended."""
        self._process.kill()

    def __enter__(self) -> Worker:
        _running.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _running.discard(self)
        self.kill()
        self._process.communicate()


def source_of(room: str) -> str:
    """The source of a room of the core. Raises OSError if there is none."""
    return (_CORE / f"{room}.py").read_text(encoding="utf-8")


def try_mutant(mutant: Mutant, known: Seed | None, seeds: Sequence[Seed]) -> Verdict:
    """Run ``known`` and then ``seeds``, until one of them kills the mutant."""
    count = 0
    with Worker(apply(mutant, source_of)) as worker:
        for seed in seeds if known is None else (known, *seeds):
            count += 1
            violations = worker.violations(seed)
            if not violations:
                continue
            rules = tuple(dict.fromkeys(rule for rule, _ in violations))
            text = violations[0][1].strip().splitlines()[-1]
            if rules == ("exception",) and text.startswith(_BROKEN):
                return Verdict(mutant.name, None, count, rules, f"it is no program that runs: {text}")
            return Verdict(mutant.name, seed, count, rules, text, known if seed != known else None)
    return Verdict(mutant.name, None, count, known_failed=known)


def _baseline(seeds: Sequence[Seed]) -> list[tuple[Seed, str]]:
    """Those of the seeds that fail without any mutant, and how."""
    failed = []
    with Worker({}) as worker:
        for seed in seeds:
            violations = worker.violations(seed)
            if violations:
                failed.append((seed, f"{violations[0][0]}: {violations[0][1]}"))
    return failed


def table(killed_by: dict[str, Seed]) -> str:
    """The source of ``ringproto/testing/mutant_seeds.py`` with these seeds, in the order of the mutants."""
    head, _, _ = Path(mutant_seeds.__file__).read_text(encoding="utf-8").partition("KILLED_BY: ")
    lines = [
        f'    "{name}": Seed(light={killed_by[name].light}, number={killed_by[name].number}),\n'
        for name in MUTANTS
        if name in killed_by
    ]
    body = "KILLED_BY: dict[str, Seed] = {\n" + "".join(lines) + "}\n"
    return f'{head}{body}"""The first seed of the search that killed it."""\n'


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``ringproto``; the parsed arguments carry ``run``."""
    parser = subparsers.add_parser(
        "mutants",
        help="run the simulator on protocols with a mistake in each",
        description=(
            "Runs seeds on changed cores, each with one mistake in the protocol, until a seed fails. Exit code 0: "
            f"every mutant was killed within {SEEDS_MAX} seeds, by seeds that hold without it."
        ),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="run these mutants (default: all)")
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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run what the arguments ask for; 0 if all mutants were killed by seeds that hold without them, else 1.

    Raises:
        UsageError: there is no mutant of a name.
    """
    unknown = [name for name in args.names if name not in MUTANTS]
    if unknown:
        raise UsageError(f"there is no mutant {', '.join(unknown)}; ringproto mutants --list has their names")
    mutants = [MUTANTS[name] for name in dict.fromkeys(args.names)] or list(MUTANTS.values())
    if args.list:
        for mutant in mutants:
            print(f"{mutant.name}: {mutant.why}")
        return 0
    began = time.perf_counter()
    jobs = args.jobs or os.cpu_count() or 1
    verdicts = []
    with heed_terminate():
        with contextlib.closing(_verdicts(mutants, jobs, search=args.search)) as found:
            for verdict in found:
                verdicts.append(verdict)
                print(_line(verdict), flush=True)
        killers = sorted({verdict.killed_by for verdict in verdicts if verdict.killed_by is not None})
        failed = _run_baseline(killers, jobs)
    for seed, text in failed:
        print(f"{seed} FAILED without any mutant, so it shows nothing: {text}")
    if args.write:
        _write({verdict.name: verdict.killed_by for verdict in verdicts if verdict.killed_by is not None})
    killed = sum(verdict.killed_by is not None for verdict in verdicts)
    print(
        f"{len(verdicts)} mutants, {killed} killed, {len(verdicts) - killed} not; {len(killers)} seeds killed them, of "
        f"which {len(killers) - len(failed)} hold without a mutant; in {time.perf_counter() - began:.1f} s"
    )
    return 0 if killed == len(verdicts) and not failed else 1


def _verdicts(mutants: Sequence[Mutant], jobs: int, *, search: bool) -> Generator[Verdict, None, None]:
    """Those of all mutants, as they come."""
    order = search_order()
    return in_threads(
        jobs, [partial(try_mutant, mutant, None if search else KILLED_BY.get(mutant.name), order) for mutant in mutants]
    )


def _run_baseline(seeds: Sequence[Seed], jobs: int) -> list[tuple[Seed, str]]:
    parts = in_threads(jobs, [partial(_baseline, seeds[job::jobs]) for job in range(min(jobs, len(seeds)))])
    with contextlib.closing(parts):
        return sorted(failed for part in parts for failed in part)


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
                for worker in list(_running):
                    worker.kill()
                time.sleep(_KILL_EVERY_S)


def _line(verdict: Verdict) -> str:
    stale = f"; {verdict.known_failed} kills it no more" if verdict.known_failed is not None else ""
    count = f"{verdict.seeds} {'seed' if verdict.seeds == 1 else 'seeds'}"
    if verdict.killed_by is None:
        return f"{verdict.name}: NOT KILLED in {count}{stale}{'. ' + verdict.text if verdict.text else ''}"
    return f"{verdict.name}: killed by {verdict.killed_by} ({', '.join(verdict.rules)}), {count}{stale}"


def _write(killed_by: dict[str, Seed]) -> None:
    path = Path(mutant_seeds.__file__)
    try:
        path.write_text(table({**KILLED_BY, **killed_by}), encoding="utf-8")
    except OSError as error:
        raise RunFailedError(f"cannot write {path}: {error.strerror or error}") from error
    print(f"{path} has {len(killed_by)} of these seeds")
