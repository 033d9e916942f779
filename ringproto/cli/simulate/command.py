"""``ringproto simulate``: many histories of a simulated ring, or one of them step by step.

Seeds are independent, so they are spread over processes. What is printed of a failing seed is enough to act on: each
violation, and the command that shows that history again. The exit code is 0 only if every rule held in every seed.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import multiprocessing.pool
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path

from ringproto._processes.failures import shown
from ringproto.cli._common import whole
from ringproto.cli.simulate.campaign import run_campaign
from ringproto.cli.streams import heed_terminate
from ringproto.testing.campaign.coverage import PROBES
from ringproto.testing.campaign.run import Result, check_seed, replay_command, run_seed
from ringproto.testing.campaign.shares import Shares

__all__ = ["add_parser", "run"]

VIOLATIONS_SHOWN_MAX = 10
CHUNK_MAX = 16
JOBS_MAX = 256
LIVE_EVERY_S = 0.2
LINE_EVERY_S = 60.0
"""How often progress is told on a terminal, and elsewhere."""
_DIGITS_MAX = 18
"""Of a seed: so that there is no range of them whose length Python cannot say."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``ringproto``; the parsed arguments carry ``run``."""
    parser = subparsers.add_parser(
        "simulate",
        help="run seeds of the simulated ring and judge their logs",
        description=(
            "Runs whole rings on virtual time, with faults drawn from each seed, and holds the logs against the rules "
            "of extended virtual synchrony and of the recovery barrier. Exit code 0: all of them held."
        ),
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seed", type=_seed, metavar="N", help="run one seed")
    which.add_argument("--seeds", type=_seeds, metavar="A-B", help="run the seeds from A to B (default: 1-100)")
    parser.add_argument(
        "--light",
        type=_seed,
        nargs="?",
        const=0,
        default=None,
        metavar="N",
        help="three processors and few kinds of faults: ten times faster (N: how many, with --campaign)",
    )
    parser.add_argument("--trace", action="store_true", help="print all that happens, step by step (with --seed)")
    parser.add_argument(
        "--jobs",
        type=whole(1, JOBS_MAX),
        metavar="N",
        default=None,
        help="processes to run in (default: one for each core)",
    )
    parser.add_argument("--keep-going", action="store_true", help="do not stop after ten seeds that failed")
    parser.add_argument(
        "--probes", action="store_true", help="report which rare paths of the protocol were reached, and how often"
    )
    parser.add_argument(
        "--probes-min",
        type=_percent,
        metavar="PERCENT",
        default=None,
        help="with --probes: exit code 1 if fewer of the probes fired",
    )
    parser.add_argument("--shares", action="store_true", help="report how often each class of faults happened")
    parser.add_argument(
        "--shares-min",
        type=_percent,
        metavar="PERCENT",
        default=None,
        help="with --shares: exit code 1 if a class happened in fewer of the seeds",
    )
    long = parser.add_argument_group("a long run, which goes on where it was interrupted")
    long.add_argument("--campaign", type=Path, metavar="FILE", help="keep the record of what was done in this file")
    long.add_argument("--full", type=_seed, metavar="N", default=0, help="run so many full seeds")
    long.add_argument("--first", type=_seed, metavar="N", default=1, help="begin with this seed (default: 1)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run what the arguments ask for; 0 if every rule held, 1 if not, 2 if the arguments do not fit together."""
    if args.probes_min is not None and not args.probes:
        print("ringproto simulate: --probes-min says how many must fire; give --probes as well", file=sys.stderr)
        return 2
    if args.shares_min is not None and not args.shares:
        print("ringproto simulate: --shares-min says how many must have each; give --shares as well", file=sys.stderr)
        return 2
    if args.campaign is not None:
        return _run_campaign(args)
    if args.full or args.light:
        print("ringproto simulate: --full N and --light N are of a long run; give --campaign FILE", file=sys.stderr)
        return 2
    seeds: Sequence[int] = [args.seed] if args.seed is not None else args.seeds or range(1, 101)
    if args.trace:
        if len(seeds) != 1:
            print("ringproto simulate: --trace shows one history; say which with --seed N", file=sys.stderr)
            return 2
        result = run_seed(seeds[0], light=args.light is not None, trace=print, probes=args.probes)
        _show(result)
        report = _ProbeReport()
        report.add(result)
        enough = not args.probes or report.show(args.probes_min)
        return 0 if result.ok and enough else 1
    began = time.perf_counter()
    total = _SeedTotals(len(seeds))
    report = _ProbeReport()
    shares = Shares()
    with (
        heed_terminate(),
        contextlib.closing(
            _results(seeds, light=args.light is not None, jobs=args.jobs, probes=args.probes)
        ) as results,
    ):
        for result in results:
            total.add(result)
            report.add(result)
            shares.add(result.classes)
            if not result.ok:
                total.clear()
                _show(result)
                if total.failed >= 10 and not args.keep_going:
                    print("ten seeds failed; stopped (--keep-going runs all)")
                    break
            total.show(time.perf_counter() - began)
    total.clear()
    total.summarize(time.perf_counter() - began)
    enough = not args.probes or report.show(args.probes_min)
    if args.shares:
        enough = _show_shares(shares, args.shares_min) and enough
    return 1 if total.failed or not enough else 0


def _run_campaign(args: argparse.Namespace) -> int:
    if not (args.full or args.light):
        print("ringproto simulate: --campaign needs --full N, --light N or both", file=sys.stderr)
        return 2
    if args.seed is not None or args.seeds or args.trace or args.probes or args.shares:
        print("ringproto simulate: --campaign goes with --full, --light, --first and --jobs only", file=sys.stderr)
        return 2
    counts = {"full": args.full, "light": args.light or 0}
    wanted = {kind: range(args.first, args.first + count) for kind, count in counts.items() if count}

    def simulate(seeds: Sequence[int], light: bool) -> Generator[Result, None, None]:
        return _results(seeds, light=light, jobs=args.jobs, probes=False)

    with heed_terminate():
        return run_campaign(args.campaign, wanted, simulate)


def _show_shares(shares: Shares, least_percent: float | None) -> bool:
    """Print the share of every class; whether each has as large a one as was asked for."""
    print(f"classes of faults, and in how many of {shares.runs} seeds each happened:")
    for line in shares.lines():
        print("  " + line)
    fewer = shares.fewer(least_percent or 0.0)
    if fewer:
        print(f"fewer than the {least_percent:g} % that were asked for: {', '.join(fewer)}")
    return not fewer


def _results(seeds: Sequence[int], *, light: bool, jobs: int | None, probes: bool) -> Generator[Result, None, None]:
    jobs = min(jobs or os.cpu_count() or 1, len(seeds))
    one = partial(check_seed, light=light, probes=True) if probes else partial(check_seed, light=light)
    if jobs == 1:
        yield from map(one, seeds)
        return
    chunk = max(1, min(CHUNK_MAX, len(seeds) // (jobs * 8)))
    with _pool(jobs) as pool:
        yield from pool.imap_unordered(one, seeds, chunk)


def _pool(jobs: int) -> multiprocessing.pool.Pool:
    """Processes that Ctrl-C in a terminal does not reach: it is for the command, which then ends them.

    A process inherits which signals are blocked, so it does not notice them while it still starts either.
    """
    # This one unblocks SIGINT when it starts, so it starts first.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return multiprocessing.get_context("spawn").Pool(jobs)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _show(result: Result) -> None:
    if result.ok:
        print(
            f"seed {result.seed}: all rules hold. {result.simulated_s:.1f} simulated seconds, {result.steps} steps, "
            f"{result.incarnations} incarnations, {result.configurations} configurations, "
            f"{result.deliveries} deliveries, log hash {result.log_hash} ({result.kind})"
        )
        return
    print(f"seed {result.seed} FAILED after {result.simulated_s:.3f} simulated seconds ({result.kind})")
    for violation in result.violations[:VIOLATIONS_SHOWN_MAX]:
        print(f"  {violation.rule}: {violation.text}")
    if len(result.violations) > VIOLATIONS_SHOWN_MAX:
        print(f"  and {len(result.violations) - VIOLATIONS_SHOWN_MAX} more")
    print(f"  again: {replay_command(result.seed, light=result.light)}")


class _SeedTotals:
    """What the seeds came to, and lines of progress: one that changes on a terminal, one a minute elsewhere."""

    def __init__(self, seeds: int) -> None:
        self.seeds = seeds
        self.done = 0
        self.failed = 0
        self.simulated_s = 0.0
        self.steps = 0
        self.deliveries = 0
        self.configurations = 0
        self._live = sys.stderr.isatty()
        self._shown_at = 0.0

    def add(self, result: Result) -> None:
        self.done += 1
        self.failed += not result.ok
        self.simulated_s += result.simulated_s
        self.steps += result.steps
        self.deliveries += result.deliveries
        self.configurations += result.configurations

    def show(self, elapsed_s: float) -> None:
        if elapsed_s - self._shown_at < (LIVE_EVERY_S if self._live else LINE_EVERY_S):
            return
        self._shown_at = elapsed_s
        line = (
            f"{self.done}/{self.seeds} seeds, {self.failed} failed, {self.done / elapsed_s:.1f} seeds/s, "
            f"{self.simulated_s:.0f} simulated seconds"
        )
        if self._live:
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def summarize(self, elapsed_s: float) -> None:
        print(
            f"{self.done} seeds, {self.failed} failed, in {elapsed_s:.1f} s ({self.done / elapsed_s:.1f} seeds/s): "
            f"{self.simulated_s:.0f} simulated seconds ({self.simulated_s / elapsed_s:.0f} for each real one), "
            f"{self.steps} steps, {self.configurations} configurations, {self.deliveries} deliveries"
        )


class _ProbeReport:
    """In how many seeds each probe fired."""

    def __init__(self) -> None:
        self.seeds = 0
        self.fired: Counter[str] = Counter()

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.fired.update(result.probes)

    def show(self, least_percent: float | None) -> bool:
        """Print every probe; whether as many of them fired as were asked for."""
        width = len(str(self.seeds))
        print(f"probes, and in how many of {self.seeds} seeds each fired:")
        for name in PROBES:
            if self.fired[name]:
                print(f"  {self.fired[name]:{width}d}  {name}")
        never = [name for name in PROBES if not self.fired[name]]
        for name in never:
            print(f"  never: {name}")
        percent = 100.0 * (len(PROBES) - len(never)) / len(PROBES)
        print(f"{len(PROBES) - len(never)} of {len(PROBES)} probes fired ({percent:.1f} %)")
        if least_percent is not None and percent < least_percent:
            print(f"fewer than the {least_percent:g} % that were asked for")
            return False
        return True


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0.0 <= percent <= 100.0:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 100, not {shown(text)}")
    return percent


def _seed(text: str) -> int:
    if not _is_number(text):
        raise argparse.ArgumentTypeError(
            f"must be a whole number of at least 0 and at most {_DIGITS_MAX} digits, not {shown(text)}"
        )
    return int(text)


def _seeds(text: str) -> Sequence[int]:
    first, dash, last = text.partition("-")
    if not (dash and _is_number(first) and _is_number(last) and int(first) <= int(last)):
        raise argparse.ArgumentTypeError(
            f"must be two whole numbers, the lower first, as in 1-100, of at most {_DIGITS_MAX} digits, "
            f"not {shown(text)}"
        )
    return range(int(first), int(last) + 1)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
