"""How ringproto grows: with processors, with time, with loss, with the size of messages.

    python -m bench.growth                  # all of it, some ten minutes
    python -m bench.growth --quick          # a look at all of it
    python -m bench.growth loss large       # these parts

Each figure comes from a process of its own, one after another, so that memory is that of one case. Writes tables, and
all that was measured to ``build/bench/growth.json``. Compare the rows of one table and not runs of different days.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.growth import core, loss, rings
from bench.growth.tables import TABLES

Case = tuple[str, dict[str, Any]]
Result = dict[str, Any]

CASES: dict[str, Callable[..., Result]] = {
    "rings.saturated": rings.saturated,
    "rings.at_rest": rings.at_rest,
    "rings.memory": rings.memory_over_time,
    "rings.large": rings.large_messages,
    "core.saturated": core.saturated,
    "core.idle": core.idle,
    "core.formation": core.formation,
    "loss.ideal": loss.under_loss,
    "loss.congestion": loss.under_congestion,
}
OUT = Path("build/bench/growth.json")
CASE_TIMEOUT_S = 300
LOSSES = (0.0, 0.01, 0.05, 0.2)
IDEAL_LOSSES = (0.0, 0.01, 0.05, 0.15)
QUEUES = ((0.5, 128), (0.25, 64), (0.1, 32), (0.5, 16))
"""Of a bottleneck: what it passes in a rotation, as a part of the window, and packets that wait before it."""


def plan(quick: bool) -> dict[str, list[Case]]:
    """The cases of each part."""
    in_one_process = (2, 3, 9, 32) if quick else (2, 3, 5, 9, 17, 32)
    simulated = (2, 8, 32) if quick else (2, 4, 8, 16, 32, 64, 128)
    seconds = 1.0 if quick else 4.0
    repeats = 1 if quick else 3
    return {
        "members": [
            case
            for members in in_one_process
            for case in (
                ("rings.saturated", {"members": members, "seconds": seconds, "payload_size": 200}),
                ("rings.at_rest", {"members": members, "seconds": seconds / 2}),
            )
        ],
        "simulated": [
            case
            for members in simulated
            for case in (
                ("core.saturated", {"members": members, "rotations": 20, "payload_size": 200}),
                ("core.idle", {"members": members, "rotations": 50}),
                ("core.formation", {"members": members}),
            )
        ],
        "memory": [
            (
                "rings.memory",
                {"seconds": 6.0 if quick else 60.0, "samples": 12, "payload_size": 200, "traced": traced},
            )
            for traced in (False, True)
        ],
        # Rows to be compared are measured in turn, so that what the machine does meanwhile falls on all of them.
        "loss": [
            (
                "rings.saturated",
                {"members": 3, "payload_size": 1300, "loss": loss, **times},
            )
            for times in (
                {"seconds": 0.1 if quick else 0.4, "latency_s": 0.0001, "virtual": True},
                *({"seconds": seconds, "latency_s": 0.0} for _ in range(repeats)),
            )
            for loss in LOSSES
        ],
        "ideal": [
            (
                "loss.ideal",
                {"members": members, "latency_s": latency_s, "loss": loss, "rotations": 60 if quick else 300},
            )
            for loss in IDEAL_LOSSES
            for latency_s in (0.001, 0.01)
            for members in (3, 6, 12)
        ],
        "congestion": [
            (
                "loss.congestion",
                {
                    "members": members,
                    "latency_s": 0.001,
                    "rate": rate,
                    "queue": queue,
                    "slow": slow,
                    "rotations": 60 if quick else 400,
                },
            )
            for members in (3, 6, 12)
            for slow in (members, 1)
            for rate, queue in QUEUES
        ],
        "large": [
            ("rings.large", {"count": count, "size": 16 * 2**20}) for count in ((2, 4) if quick else (2, 4, 8, 16, 32))
        ],
    }


def run_case(case: Case) -> Result:
    """Measure one case in a process of its own. Raises RuntimeError with what it said if it fails."""
    name, arguments = case
    done = subprocess.run(
        [sys.executable, "-m", "bench.growth", "--case", json.dumps(case)],
        capture_output=True,
        text=True,
        timeout=CASE_TIMEOUT_S,
    )
    if done.returncode:
        raise RuntimeError(f"{name} {arguments} failed:\n{done.stderr}")
    return {"case": name, "arguments": arguments, **json.loads(done.stdout)}


def machine() -> str:
    """Where and when this was measured."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, {now:%Y-%m-%d}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(TABLES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="shorter, with fewer members")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        name, arguments = json.loads(options.case)
        print(json.dumps(CASES[name](**arguments)))
        return
    unknown = set(options.parts) - set(TABLES)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    cases = plan(options.quick)
    results: dict[str, list[Result]] = {}
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    for part in options.parts or TABLES:
        results[part] = []
        for case in cases[part]:
            print(f"  {part}: {case[0]} {case[1]}", file=sys.stderr)
            results[part].append(run_case(case))
        print("\n\n".join(TABLES[part](results[part])) + "\n", flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))
    print(f"all figures: {OUT}", file=sys.stderr)


if __name__ == "__main__":
    main()
