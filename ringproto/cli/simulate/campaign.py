"""Long runs of the simulator that go on where they were interrupted: ``ringproto simulate --campaign FILE``.

What was done is in one JSON document, which is written anew after each portion of seeds: the commit, the ranges of
seeds, how many simulated seconds they had, how often each class of faults happened, and each seed that failed with the
command that shows it again. A file belongs to one commit: the same seed is another history after a change of the code.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ringproto
from ringproto._processes.failures import RunFailedError, UsageError, one_line
from ringproto._processes.files import read_regular
from ringproto.testing.campaign.run import Result, replay_command
from ringproto.testing.campaign.shares import Shares

__all__ = ["commit", "run_campaign"]

_CODE = ("ringproto", "transports")
"""What belongs to the code that runs, within the repository; the second is where a link in the first leads."""
PORTION = {"full": 40, "light": 400}
"""After so many seeds the file is written."""
FULL_MEAN_S = 85.0
"""Full seeds have so many simulated seconds in the mean, at least."""
SHARES_MIN = 5.0
"""Each row of the shares happens in so many percent of the full seeds, or in as many as ``shares.LEAST`` says."""
JUDGED_MIN = 400
"""Of fewer full seeds neither says anything."""
RULES_SHOWN_MAX = 5
FAILED_MAX = 1000
"""Of more failed seeds only the number is kept."""
_BYTES_MAX = 2**24
"""A record has some kilobytes, and a megabyte with all failures that it keeps."""
Simulate = Callable[[Sequence[int], bool], Iterator[Result]]
"""Runs these seeds, light ones or full ones, and gives what came of each."""


def commit() -> str:
    """The commit of the code that runs, with a digest of the changes if there are any; the version if it is no working
    tree.

    The directory is asked for the commit of its own repository, not of one that it happens to lie in.
    """
    here = Path(ringproto.__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, errors="surrogateescape", check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != here:
            return "version " + ringproto.__version__
        changed = git("status", "--porcelain", "--untracked-files=all", "-z", "--", *_CODE)
        if not changed:
            return git("rev-parse", "HEAD")
        digest = hashlib.sha256(os.fsencode(f"{changed}\n{git('diff', 'HEAD', '--binary', '--', *_CODE)}"))
        for name in sorted(git("ls-files", "--others", "--exclude-standard", "-z", "--", *_CODE).split("\0")):
            if name:
                digest.update(os.fsencode(f"{name}\n") + (here / name).read_bytes())
        return f"{git('rev-parse', 'HEAD')} and changes {digest.hexdigest()[:16]}"
    except (OSError, subprocess.CalledProcessError):
        return "version " + ringproto.__version__


def run_campaign(file: Path, wanted: dict[str, range], simulate: Simulate, *, code: str | None = None) -> int:
    """Run what is missing of these ranges ("full", "light"); 0 if no seed failed, else 1.

    Interrupted, it has lost at most one portion of each kind; the same call goes on. ``code`` is the commit, if that is
    known already.

    Raises:
        UsageError: the file is of another commit, of ranges that begin elsewhere, or it is no such file.
        RunFailedError: it cannot be written.
    """
    code = commit() if code is None else code
    record = _read(file, code, wanted)
    for kind, seeds in wanted.items():
        done = record[kind]
        while done["next"] < seeds.stop:
            portion = range(done["next"], min(seeds.stop, done["next"] + PORTION[kind]))
            began = time.perf_counter()
            for result in sorted(simulate(portion, kind == "light"), key=lambda result: result.seed):
                _add(done, result, light=kind == "light")
            done["next"] = portion.stop
            done["seconds"] = round(done["seconds"] + time.perf_counter() - began, 1)
            _write(file, record)
            print(
                f"{kind} seeds {done['first']}-{portion.stop - 1}: {done['failed']} failed", file=sys.stderr, flush=True
            )
    return _report(record)


def _new(first: int) -> dict[str, Any]:
    return {
        "first": first,
        "next": first,
        "failed": 0,
        "seconds": 0.0,
        "simulated_s": 0.0,
        "simulated_s_of_random_settings": 0.0,
        "runs_with_random_settings": 0,
        "steps": 0,
        "configurations": 0,
        "deliveries": 0,
        "classes": {},
        "failures": [],
    }


def _check(done: Any) -> None:
    """Refuse what is not what :func:`_new` makes and :func:`_add` changes.

    Raises:
        LookupError, TypeError: it has not all parts, or they are of other types.
    """
    for name, value in _new(0).items():
        kinds = (int, float) if isinstance(value, float) else (type(value),)
        if type(done[name]) not in kinds:
            raise TypeError(f"{name} must be {kinds[-1].__name__}, not {type(done[name]).__name__}")
    if not all(type(count) is int for count in done["classes"].values()):
        raise TypeError("the counts of classes must be int")
    for failure in done["failures"]:
        if not isinstance(failure["again"], str) or not isinstance(failure["violations"][0], str):
            raise TypeError("a failure must have its command and what was violated as str")


def _add(done: dict[str, Any], result: Result, *, light: bool) -> None:
    done["simulated_s"] += result.simulated_s
    if "settings: random" in result.classes:
        done["simulated_s_of_random_settings"] += result.simulated_s
        done["runs_with_random_settings"] += 1
    done["steps"] += result.steps
    done["configurations"] += result.configurations
    done["deliveries"] += result.deliveries
    shares = Shares(0, done["classes"])
    shares.add(result.classes)
    done["classes"] = dict(shares.counts)
    if result.ok:
        return
    done["failed"] += 1
    if len(done["failures"]) < FAILED_MAX:
        rules = [f"{one.rule}: {one_line(one.text)[:400]}" for one in result.violations[:RULES_SHOWN_MAX]]
        again = replay_command(result.seed, light=light)
        done["failures"].append({"seed": result.seed, "kind": result.kind, "violations": rules, "again": again})
        print(f"{again}\n  {rules[0]}", flush=True)


def _read(file: Path, code: str, wanted: dict[str, range]) -> dict[str, Any]:
    record: dict[str, Any] = {"commit": code}
    known: dict[str, int] = {}
    theirs = code
    if os.path.lexists(file):
        text = read_regular(str(file), _BYTES_MAX)
        try:
            record = json.loads(text)
            for kind in PORTION:
                if kind in record:
                    _check(record[kind])
            known = {kind: record[kind]["first"] for kind in PORTION if kind in record}
            theirs = record["commit"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise UsageError(f"{file} is no record of a campaign; give another file ({one_line(error)})") from None
    if theirs != code:
        raise UsageError(f"{file} is a record of commit {theirs}, and this is {code}; give another file")
    for kind, seeds in wanted.items():
        if known.get(kind, seeds.start) != seeds.start:
            raise UsageError(f"the {kind} seeds in {file} begin with {known[kind]}; say --first {known[kind]}")
        record.setdefault(kind, _new(seeds.start))
    return record


def _write(file: Path, record: dict[str, Any]) -> None:
    """The whole record or the one before, whenever this is interrupted."""
    new = file.with_name(file.name + ".new")
    try:
        new.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(new, file)
    except OSError as error:
        raise RunFailedError(f"the record {file} cannot be written: {one_line(error)}") from None


def _report(record: dict[str, Any]) -> int:
    print(f"commit {record['commit']}")
    failed = 0
    for kind in PORTION:
        if kind not in record or record[kind]["next"] == record[kind]["first"]:
            continue
        done = record[kind]
        seeds = done["next"] - done["first"]
        failed += done["failed"]
        others = seeds - done["runs_with_random_settings"]
        simulated_s = done["simulated_s"] - done["simulated_s_of_random_settings"]
        mean = f", {simulated_s / others:.1f} in the mean without random settings" if others else ""
        print(
            f"{kind} seeds {done['first']}-{done['next'] - 1}: {done['failed']} failed; {done['simulated_s']:.0f} "
            f"simulated seconds, {done['simulated_s'] / seeds:.1f} in the mean{mean}; {done['configurations']} "
            f"configurations, {done['deliveries']} deliveries, in {done['seconds']:.0f} s"
        )
        shares = Shares(seeds, done["classes"])
        for line in shares.lines():
            print("  " + line)
        if kind == "full" and seeds >= JUDGED_MIN:
            wanting = [f"fewer than {SHARES_MIN:g} % have {row}" for row in shares.fewer(SHARES_MIN)]
            if done["simulated_s"] < FULL_MEAN_S * seeds:
                wanting.append(f"fewer than {FULL_MEAN_S:g} simulated seconds in the mean")
            if wanting:
                print(f"wanting: {'; '.join(wanting)}")
                failed += 1
        for failure in done["failures"]:
            print(f"  failed: {failure['again']}\n    {failure['violations'][0]}")
    return 1 if failed else 0
