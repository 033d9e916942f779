"""``ringproto chaos``: rounds in which real processes are killed, stopped, started again and cut off, then judged.

Each round has a seed of its own, and the seed is the script: chaos/script.py draws it, chaos/supervisor.py plays it,
and chaos/verdict.py judges the logs. chaos/jobs.py has several rounds beside each other. The logs of a round that did
not hold are kept, with the command that repeats its script; the timing of real processes cannot be repeated, so what
failed once in twenty may need twenty rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from ringproto._processes.failures import RunFailedError, UsageError
from ringproto.chaos.jobs import side_by_side
from ringproto.chaos.script import NODES_GREATEST, NODES_LEAST, TRANSPORTS, draw_script, draw_stalls
from ringproto.chaos.supervisor import RoundResult, play
from ringproto.chaos.verdict import RoundVerdict, judge_beside, judge_round
from ringproto.cli._common import whole

__all__ = ["add_parser", "repeat_command", "run"]

_SEED_MAX = 2**32
_JOBS_MAX = 32
"""A round has up to five processes, with four file descriptors each in this one, and 1,024 are a usual limit."""
_WRONG_SHOWN_MAX = 10
_ACTIONS = {
    "kill": "SIGKILL",
    "stop": "SIGSTOP",
    "go on": "SIGCONT",
    "start": "started again",
    "leave": "left",
    "links": "links changed",
}


def add_parser(subparsers: Any) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "chaos",
        help="rounds of faults on real processes, and their logs before the judge",
        description="Starts processors as processes of this host, under load, and kills, stops, restarts and cuts them "
        "off, most of the time in the middle of a recovery barrier. Then all is mended, the living must come together "
        "and deliver everything, and the logs of all are held against every rule. Exit code 0: all of them held.",
    )
    parser.add_argument("--rounds", type=whole(1, 1_000_000), default=20, help="how many (default: 20)")
    parser.add_argument(
        "--seed",
        type=whole(0, _SEED_MAX),
        help="of the first round; the next ones follow (default: drawn, and reported)",
    )
    parser.add_argument(
        "--nodes",
        type=whole(NODES_LEAST, NODES_GREATEST),
        help=f"processors (default: {NODES_LEAST} to {NODES_GREATEST}, drawn for each round)",
    )
    parser.add_argument("--transport", choices=TRANSPORTS, help="UDP transport (default: drawn for each round)")
    parser.add_argument(
        "--stalls",
        action="store_true",
        help="with Config.lan() as it is, stop one processor for 0.3 to 3 s, again and again, and do nothing else",
    )
    parser.add_argument(
        "--jobs", type=whole(1, _JOBS_MAX), metavar="N", default=1, help="rounds beside each other (default: 1)"
    )
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep the logs of all rounds there, held or not")
    parser.add_argument("--judge", metavar="DIR", type=Path, help="play nothing: judge the logs of a kept round again")
    parser.set_defaults(run=run)


def repeat_command(seed: int, nodes: int | None, transport: str | None, *, stalls: bool = False) -> str:
    """The command that repeats the script of a round."""
    chosen = (
        (" --stalls" if stalls else "")
        + (f" --nodes {nodes}" if nodes else "")
        + (f" --transport {transport}" if transport else "")
    )
    return f"ringproto chaos --rounds 1 --seed {seed}{chosen}"


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        UsageError: a folder cannot be used.
        RunFailedError: it was interrupted, or the system refused something.
    """
    if args.judge is not None:
        return _judge_again(args.judge)
    first = secrets.randbelow(_SEED_MAX) if args.seed is None else args.seed
    total = _RoundTotals(args.rounds)
    with contextlib.closing(_Folders(args.keep)) as folders:

        async def play_one(seed: int) -> None:
            folder = folders.make(seed)
            draw = draw_stalls if args.stalls else draw_script
            played = await play(draw(seed, nodes=args.nodes, transport=args.transport), folder)
            # A round that was played gets its verdict, whatever comes meanwhile.
            with trio.CancelScope(shield=True):
                verdict = await judge_beside(folder)
            # From here on nothing waits, so that what is told of one round is told in one piece.
            total.add(played, verdict)
            if verdict.wrong:
                _show_failure(played, verdict, repeat_command(seed, args.nodes, args.transport, stalls=args.stalls))
                folders.keep()
            else:
                folders.forget(folder)

        print(f"{args.rounds} rounds from seed {first}", flush=True)
        try:
            trio.run(side_by_side, range(first, first + args.rounds), min(args.jobs, args.rounds), play_one)
        except OSError as error:
            raise RunFailedError(f"cannot go on: {error}") from error
        finally:
            total.summarize()
    return 1 if total.failed else 0


def _judge_again(folder: Path) -> int:
    verdict = judge_round(folder)
    for text in verdict.wrong:
        print(text)
    print(
        f"{verdict.lives} logs, {verdict.configurations} configurations, {verdict.deliveries} deliveries: "
        f"{f'{len(verdict.wrong)} things did not hold' if verdict.wrong else 'all rules hold'}"
    )
    return 1 if verdict.wrong else 0


def _show_failure(played: RoundResult, verdict: RoundVerdict, command: str) -> None:
    for line in [*played.record.script, *played.record.happened]:
        print(f"    {line}")
    for text in verdict.wrong[:_WRONG_SHOWN_MAX]:
        print(f"  {text}")
    if len(verdict.wrong) > _WRONG_SHOWN_MAX:
        print(f"  and {len(verdict.wrong) - _WRONG_SHOWN_MAX} more")
    print(f"  the logs: {played.folder}")
    print(f"  judge them again: ringproto chaos --judge {played.folder}")
    print(f"  the script again: {command}", flush=True)


class _Folders:
    """Where the logs go: into ``--keep``, or into a folder of our own that is left only if a round in it failed."""

    def __init__(self, keep: Path | None) -> None:
        self._keep = keep is not None
        self._failed = False
        try:
            self._base = Path(tempfile.mkdtemp(prefix="ringproto-chaos-")) if keep is None else keep
            self._base.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot keep logs in {keep or tempfile.gettempdir()}: {error.strerror}") from error

    def make(self, seed: int) -> Path:
        """A new folder for a round."""
        folder = self._base / f"round-{seed}"
        if folder.exists():
            raise UsageError(f"{folder} is there already; give --keep another folder")
        folder.mkdir()
        return folder

    def keep(self) -> None:
        """A round failed: its logs stay."""
        self._failed = True

    def forget(self, folder: Path) -> None:
        """The round in this folder held."""
        if not self._keep:
            shutil.rmtree(folder)

    def close(self) -> None:
        """Remove what nobody needs."""
        if not self._keep and not self._failed:
            shutil.rmtree(self._base)


class _RoundTotals:
    """What the rounds came to."""

    def __init__(self, rounds: int) -> None:
        self.failed = 0
        self._rounds = rounds
        self._done = 0
        self._began = time.monotonic()
        self._faults: Counter[str] = Counter()
        self._in_barrier = self._missed = self._lives = 0
        self._configurations = self._aborted = self._deliveries = 0
        self._slowest_s = 0.0

    def add(self, played: RoundResult, verdict: RoundVerdict) -> None:
        """Count a round and print its line."""
        script = played.script
        self._done += 1
        self.failed += bool(verdict.wrong)
        self._faults += played.faults
        self._in_barrier += played.in_barrier
        self._missed += played.missed
        self._lives += verdict.lives
        self._configurations += verdict.configurations
        self._aborted += verdict.aborted
        self._deliveries += verdict.deliveries
        self._slowest_s = max(self._slowest_s, played.together_s or 0.0)
        print(
            f"round {self._done}/{self._rounds}, seed {script.seed}: {len(script.nodes)} processors on "
            f"{script.transport}, {played.faults.total()} faults, {played.in_barrier} of them in mid-barrier, "
            f"{verdict.configurations} configurations, {verdict.deliveries} deliveries, {played.seconds:.1f} s: "
            f"{'DID NOT HOLD' if verdict.wrong else 'holds'}",
            flush=True,
        )

    def summarize(self) -> None:
        """Print what all came to."""
        faults = ", ".join(f"{self._faults[action]} {name}" for action, name in _ACTIONS.items())
        print(
            f"{self._done} rounds, {self.failed} failed, in {time.monotonic() - self._began:.0f} s: "
            f"{self._faults.total()} faults ({faults}), {self._in_barrier} in mid-barrier, {self._missed} at a moment "
            f"that did not come; {self._lives} lives, {self._configurations} configurations, {self._aborted} of them "
            f"left in mid-barrier, {self._deliveries} deliveries; together at most "
            f"{self._slowest_s:.1f} s after all was mended",
            flush=True,
        )
