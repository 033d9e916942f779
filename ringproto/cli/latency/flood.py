"""``ringproto latency --flood``: what a flood of ``LOW`` from every processor does to the latency of ``HIGH``.

Three loads take turns on one ring, several times over, so that the machine's drift touches all alike: ``HIGH`` probes
on an idle ring, the flood alone, and both. The supervisor starts each at one time and lets it drain before the next
one; flood_worker.py is what each processor does.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from ringproto._processes.failures import RunFailedError, UsageError
from ringproto._processes.parent import Children
from ringproto.cli._common import console
from ringproto.cli.histogram import add_encoded, new_histogram, summary_ms
from ringproto.cli.latency.flood_worker import FloodMember
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

__all__ = ["run_flood"]

_ROUNDS = 3
_QUIET_S = 1.5
"""Before the flood alone, so long without ``HIGH`` that the ring counts it as not in use."""
_LOADS = ({"high": True, "low": False}, {"high": False, "low": True}, {"high": True, "low": True})


def run_flood(args: argparse.Namespace) -> int:
    """Run the command with the parsed flags of ``ringproto latency``; returns the exit code."""
    if args.plot:
        raise UsageError("--plot draws one load, and --flood measures three: leave one of them out")
    if not args.json:
        print(
            f"measuring {args.nodes} processors, {args.transport}, {args.rate:g} HIGH messages/s of {args.size} bytes, "
            f"{args.guarantee}: idle and in a flood of LOW from every processor, for {args.duration:g} s each",
            flush=True,
        )
    phases = conduct(args, _measure)
    result = _result(args, phases)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)
    if not result["held"]:
        raise RunFailedError(result["failure"])
    return 0


async def _measure(args: argparse.Namespace, children: Children) -> list[list[dict[str, Any]]]:
    """What the processors report of each phase."""
    setup = {**common_setup(args), "duration_s": args.duration / _ROUNDS}
    heard: dict[int, dict[str, Any]] = {node: {} for node in setup["nodes"]}
    members = await start_members(args.transport, children, setup, heard, FloodMember)
    await until_said(children, heard, "ready", FORM_TIMEOUT_S)
    limit_s = args.warmup + args.duration + 2 * DRAIN_S + FORM_TIMEOUT_S
    phases = []
    for _ in range(_ROUNDS):
        for load in _LOADS:
            for said in heard.values():
                said.clear()
            start_ns = time.monotonic_ns() + round((START_AHEAD_S if load["high"] else _QUIET_S) * 1e9)
            for member in members:
                await member.send({"start_ns": start_ns, **load})
            await until_said(children, heard, "sent", limit_s)
            sent = {node: said["sent"] for node, said in heard.items()}
            for member in members:
                await member.send({"sent": sent})
            await until_said(children, heard, "report", limit_s)
            phases.append([said["report"] for said in heard.values()])
    for member in members:
        await member.dismiss()
    return phases


def _result(args: argparse.Namespace, phases: list[list[dict[str, Any]]]) -> dict[str, Any]:
    every = [report for reports in phases for report in reports]
    counts = {what: sum(report[what] for report in every) for what in ("lost", "extra", "disordered", "unsent")}
    idle, flood = (_high(phases[load :: len(_LOADS)]) for load in (0, 2))
    alone, beside = (_low_per_s(phases[load :: len(_LOADS)]) for load in (1, 2))
    failure = failure_of(counts, measured=bool(idle["count"] and flood["count"] and alone))
    return {
        "command": "latency",
        "held": failure is None,
        "failure": failure,
        "settings": {
            name: getattr(args, name)
            for name in ("flood", "transport", "nodes", "rate", "size", "guarantee", "duration", "warmup")
        },
        "high_idle_ms": idle,
        "high_in_flood_ms": flood,
        "high_p50_ratio": None if failure else round(flood["p50"] / idle["p50"], 3),
        "low_alone_per_s": round(alone, 3),
        "low_beside_high_per_s": round(beside, 3),
        "low_ratio": None if failure else round(beside / alone, 4),
        "configuration_changes": max(report["changes"] for report in every),
        **counts,
    }


def _high(phases: list[list[dict[str, Any]]]) -> dict[str, float | int]:
    merged = new_histogram()
    for reports in phases:
        for report in reports:
            add_encoded(merged, report["histogram"])
    return summary_ms(merged)


def _low_per_s(phases: list[list[dict[str, Any]]]) -> float:
    """Messages a second at the slowest processor of each phase, on average over the phases."""
    slowest: list[float] = [min(report["low_per_s"] for report in reports) for reports in phases]
    return sum(slowest) / len(slowest)


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    out = console()
    table = Table(title="Latency of HIGH", title_justify="left")
    for column in ("from due to delivery", "idle, ms", "in the flood, ms"):
        table.add_column(column, justify="left" if column.startswith("from") else "right")
    idle, flood = result["high_idle_ms"], result["high_in_flood_ms"]
    for name in flood:
        if name != "count" and name in idle:
            table.add_row(name, f"{idle[name]:.3f}", f"{flood[name]:.3f}")
    out.print(table)
    low = (
        f"LOW {result['low_alone_per_s']:,.0f} messages/s alone and {result['low_beside_high_per_s']:,.0f} beside HIGH"
    )
    if result["held"]:
        low += (
            f" ({result['low_ratio']:.0%}); HIGH in the flood takes {result['high_p50_ratio']:.1f} times as long (p50)"
        )
    out.print(f"{low}; {result['configuration_changes']} changes of configuration", soft_wrap=True)
