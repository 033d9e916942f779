"""``ringproto latency``: how long a message takes from when it was due to its delivery, under a steady load.

One process for each processor, or all in one on the loopback transport; steady_worker.py is what each of them does.
The supervisor brings them together, starts them at one time, tells each how much all have sent, and merges their
histograms, so every message counts once at every processor, its sender included.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from ringproto._processes.failures import RunFailedError, UsageError
from ringproto._processes.parent import Children
from ringproto.cli._common import NODES_MAX, console, need_extra, positive, whole
from ringproto.cli.histogram import add_encoded, new_histogram, summary_ms
from ringproto.cli.latency.flood import run_flood
from ringproto.cli.latency.open_loop import HEADER_SIZE
from ringproto.cli.latency.steady_worker import LatencyMember
from ringproto.cli.latency.supervisor import (
    DRAIN_S,
    FORM_TIMEOUT_S,
    START_AHEAD_S,
    common_setup,
    conduct,
    failure_of,
    start_members,
    until_said,
)

__all__ = ["add_parser", "run"]

_SIZE_MAX = 2**20


def add_parser(subparsers: Any) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "latency",
        help="measure latency under a steady load",
        description="Measures the time from when a message was due to its delivery at every processor, under an "
        "open-loop load. The exit code is 0 only if every message was sent and delivered everywhere, once and in "
        "order.",
    )
    add = parser.add_argument
    add("--transport", choices=("loopback", "unicast", "multicast"), default="unicast", help="default: unicast")
    add("--nodes", type=whole(1, NODES_MAX), default=3, help="processors (default: 3)")
    add("--rate", type=positive(1e7), default=1000.0, help="messages a second, of all together (default: 1000)")
    add("--size", type=whole(HEADER_SIZE, _SIZE_MAX), default=200, help="bytes of a payload (default: 200)")
    add("--guarantee", choices=("agreed", "safe"), default="agreed", help="default: agreed")
    add("--priority", choices=("high", "low"), default="high", help="default: high")
    add("--duration", type=positive(86_400.0), default=10.0, help="seconds that are measured (default: 10)")
    add("--warmup", type=positive(3600.0), default=1.0, help="seconds of load before that (default: 1)")
    add(
        "--flood",
        action="store_true",
        help="measure HIGH at this rate, without and with a flood of LOW from every processor, and what LOW then loses",
    )
    add("--plot", metavar="FILE.png", help="draw the percentile curve")
    add("--json", action="store_true", help="print one JSON document and nothing else")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    need_extra("hdrh", *([] if args.json else ["rich"]), *(["matplotlib"] if args.plot else []))
    if args.plot:
        _check_plot(args.plot)
    if args.flood:
        return run_flood(args)
    if not args.json:
        print(f"measuring {_title(args)}, for {args.warmup:g} + {args.duration:g} s", flush=True)
    reports, sent, due = conduct(args, _measure)
    merged = new_histogram()
    for report in reports:
        add_encoded(merged, report["histogram"])
    result = _result(args, reports, sent, due, merged)
    if args.plot and result["latency_ms"]["count"]:
        from ringproto.cli.latency.plot import draw

        draw(args.plot, merged, _title(args))
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)
    if not result["held"]:
        raise RunFailedError(result["failure"])
    return 0


def _check_plot(file: str) -> None:
    path = Path(file)
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot draws a PNG file, and {file!r} does not end in .png")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--plot cannot write {file}: there is no folder {path.absolute().parent}")


def _title(args: argparse.Namespace) -> str:
    return (
        f"{args.nodes} processors, {args.transport}, {args.rate:g} messages/s of {args.size} bytes, "
        f"{args.priority.upper()}, {args.guarantee}"
    )


async def _measure(args: argparse.Namespace, children: Children) -> tuple[list[dict[str, Any]], int, int]:
    """The members' reports, how many messages were sent, and how many were due."""
    setup = {**common_setup(args), "priority": args.priority.upper(), "duration_s": args.duration}
    nodes = setup["nodes"]
    heard: dict[int, dict[str, Any]] = {node: {} for node in nodes}
    members = await start_members(args.transport, children, setup, heard, LatencyMember)

    await until_said(children, heard, "ready", FORM_TIMEOUT_S)
    start_ns = time.monotonic_ns() + round(START_AHEAD_S * 1e9)
    for member in members:
        await member.send({"start_ns": start_ns})
    await until_said(children, heard, "sent", args.warmup + args.duration + DRAIN_S + FORM_TIMEOUT_S)
    sent = {node: heard[node]["sent"] for node in nodes}
    for member in members:
        await member.send({"sent": sent})
    # A member waits as long as something comes; what is queued at the end of an overload may take as long again.
    await until_said(children, heard, "report", args.warmup + args.duration + 2 * DRAIN_S + FORM_TIMEOUT_S)
    for member in members:
        await member.dismiss()
    due = len(nodes) * int((args.warmup + args.duration) * args.rate / args.nodes)
    return [heard[node]["report"] for node in nodes], sum(sent.values()), due


def _result(
    args: argparse.Namespace, reports: list[dict[str, Any]], sent: int, due: int, merged: Any
) -> dict[str, Any]:
    counts = {what: sum(report[what] for report in reports) for what in ("lost", "extra", "disordered")}
    counts["unsent"] = due - sent
    summary = summary_ms(merged)
    slowest_s = max(report["measured_s"] for report in reports)
    messages = summary["count"] / len(reports)
    failure = failure_of(counts, measured=summary["count"] > 0)
    return {
        "command": "latency",
        "held": failure is None,
        "failure": failure,
        "settings": {
            name: getattr(args, name)
            for name in (
                "transport",
                "nodes",
                "rate",
                "size",
                "guarantee",
                "priority",
                "duration",
                "warmup",
            )
        },
        "offered_per_s": args.rate,
        "achieved_per_s": round(messages / max(slowest_s, args.duration), 3),
        "achieved_mb_per_s": round(messages * args.size / max(slowest_s, args.duration) / 1e6, 6),
        "latency_ms": summary,
        "configuration_changes": max(report["changes"] for report in reports),
        **counts,
    }


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    table = Table(title="Latency", title_justify="left")
    table.add_column("from due to delivery")
    table.add_column("ms", justify="right")
    for name, value in result["latency_ms"].items():
        if name != "count":
            table.add_row(name, f"{value:.3f}")
    out.print(table)
    out.print(
        f"{result['latency_ms']['count']:,} deliveries measured, at every processor; "
        f"offered {result['offered_per_s']:,.0f} messages/s, achieved {result['achieved_per_s']:,.0f} "
        f"({result['achieved_mb_per_s']:.2f} MB/s); lost {result['lost']}; "
        f"{result['configuration_changes']} changes of configuration",
        soft_wrap=True,
    )
