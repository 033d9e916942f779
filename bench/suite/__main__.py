"""The command: ``python -m bench.suite``."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bench.suite import machine
from bench.suite.document import markdown, write_between_markers
from bench.suite.goals import goals_table
from bench.suite.measure import Timing
from bench.suite.plan import PARTS, PLANS, SuitePlan, all_systems
from bench.suite.processes import ROOT
from bench.suite.runner import Runner
from bench.suite.tables import Table, results_tables
from bench.suite.terminal import line, show
from bench.suite.traffic import HEADER_SIZE

OUT = ROOT / "build" / "bench"
DOCUMENT = ROOT / "docs" / "performance.md"


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m bench.suite",
        description="Measures ringproto and its peers: throughput, latency, cost, and the crash of a member. Every "
        "system in the same run and beside each other, three repetitions, every message checked. The exit code is 0 "
        "only if ringproto lost, doubled and reordered nothing.",
    )
    add = made.add_argument
    size = made.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_const", const="quick", dest="plan", help="about a minute")
    size.add_argument("--full", action="store_const", const="full", dest="plan", help="every system, 12 minutes")
    made.set_defaults(plan="usual")
    add(
        "--systems",
        metavar="WISHES",
        help="apart by commas, each some words of name and network: 'corosync,zeromq ipc'",
    )
    add("--parts", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    add("--sizes", metavar="BYTES", help="payloads, apart by commas")
    add("--nodes", type=int, default=3, choices=range(2, 10), metavar="N", help="processors (default: 3)")
    add("--repetitions", type=int, metavar="N", help="how often all is done")
    add("--seconds", type=float, metavar="S", help="how long each run is measured, after 0.3 s that are not")
    add("--out", type=Path, default=OUT, help="folder for results.json and plots (default: build/bench)")
    add("--from-json", type=Path, metavar="FILE", help="measure nothing; show the results in this file")
    add("--no-plots", action="store_true", help="draw nothing")
    add("--write-docs", action="store_true", help="put the results into docs/performance.md")
    add("--list", action="store_true", help="say what can be measured here, and what not and why")
    return made


def chosen_plan(args: argparse.Namespace) -> SuitePlan:
    """The plan that the options ask for.

    Raises:
        ValueError: an option asks for what cannot be.
    """
    plan = PLANS[args.plan]
    parts = tuple(part for part in args.parts.split(",") if part)
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"--parts: there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    plan = dataclasses.replace(plan, nodes=args.nodes, parts=parts)
    if args.sizes:
        sizes = tuple(int(size) for size in args.sizes.split(","))
        if min(sizes) < HEADER_SIZE or max(sizes) > 2**20:
            raise ValueError(f"--sizes: from {HEADER_SIZE} to {2**20}, not {args.sizes}")
        plan = dataclasses.replace(plan, sizes=sizes)
    if args.repetitions is not None:
        if args.repetitions < 1:
            raise ValueError("--repetitions: at least 1")
        plan = dataclasses.replace(plan, repetitions=args.repetitions)
    if args.seconds is not None:
        if not 0.05 <= args.seconds <= 600:
            raise ValueError("--seconds: from 0.05 to 600")
        plan = dataclasses.replace(plan, timing=Timing(plan.timing.warmup_s, args.seconds))
    if args.systems:
        plan = plan.only(args.systems.split(","))
        if not plan.of(parts):
            there = ", ".join(f"{system.name} {system.network}" for system in PLANS[args.plan].of(parts))
            more = "" if args.plan == "full" else "; --full has more"
            raise ValueError(f"--systems: nothing here is {args.systems}; there are {there}{more}")
    return plan


def carry_out(plan: SuitePlan, out: Path, command: str) -> dict[str, Any]:
    """Measure, and write all raw results to ``results.json`` in ``out``."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    about = machine.about(command, f"{plan.name}, {plan.repetitions} repetitions, {plan.nodes} processors")
    runner = Runner(plan, lambda record: say(line(record)), lambda failure: say(f"failed: {failure}"))
    runner.run()
    about["measured for"] = f"{time.monotonic() - began:.0f} s"
    results = {
        "about": about,
        "absent": runner.absent,
        "failures": runner.failures,
        "records": runner.records,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results) + "\n")
    return results


def held(results: dict[str, Any]) -> bool:
    """Whether ringproto did everything it was asked to, and kept every promise meanwhile.

    When a member was left out during a run, because the machine let it stand still for too long, it may lack what the
    others delivered without it: that is what virtual synchrony says, and is shown, but is no broken promise.
    """
    ours = [record for record in results["records"] if record["family"] == "ringproto"]
    failed = [failure for failure in results["failures"] if failure["family"] == "ringproto"]
    return not failed and not any(any(r.get("faults", {}).values()) for r in ours if not r.get("changes"))


def tables(results: dict[str, Any]) -> list[Table]:
    """Everything to be shown."""
    return [goals_table(results["records"]), *results_tables(results["records"])]


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    options = parser()
    args = options.parse_args(arguments)
    if args.list:
        for system in all_systems():
            print(f"{system.name}, {system.network}: {system.missing() or 'here'}")
        return 0
    try:
        plan = chosen_plan(args)
    except ValueError as error:
        options.error(str(error))
    # Ended in whatever way that leaves a choice, it ends all that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    command = shlex.join(["make", "bench", *([f"BENCH_ARGS={shlex.join(arguments)}"] if arguments else [])])
    if args.from_json:
        results = json.loads(args.from_json.read_text())
    else:
        print(f"measuring {plan.name}: {len(plan.systems)} systems, {plan.repetitions} repetitions, about", end=" ")
        print(f"{plan.seconds() / 60:.1f} minutes; results go to {args.out}", flush=True)
        args.out.mkdir(parents=True, exist_ok=True)
        with (args.out / "lock").open("w") as lock:
            # Two runs beside each other would measure each other.
            fcntl.flock(lock, fcntl.LOCK_EX)
            results = carry_out(plan, args.out, command)
    found = tables(results)
    show(found, results["absent"])
    if not args.no_plots:
        from bench.suite.plots import draw_all

        for file in draw_all(results["records"], args.out):
            print(f"plot: {file}")
    if args.write_docs:
        failures = [f"{one['system']}, {one['part']}: {one['reason']}" for one in results["failures"]]
        write_between_markers(DOCUMENT, markdown(found, results["about"], results["absent"], failures))
    if not held(results):
        print("ringproto did not keep its promises in every run: see the faults above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
