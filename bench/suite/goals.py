"""The goals of the project, held against a run's results: each with what was found and whether it is met."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.suite.statistics import best_ratio, spread
from bench.suite.tables import OURS, Table, number, pick, ratio_rows, spread_text

__all__ = ["goals_table"]

Record = dict[str, Any]

_TIMES_COROSYNC = 10.0
_SHARE_OF_RAW = 1 / 3
_LARGE = 1350
_P50_US, _P99_US = 60.0, 250.0
_IDLE_CORES = 0.01
_HALF_P99_US = 1000.0
_CRASH_OVER_TOKEN_MS = 20.0


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def _throughput(records: Sequence[Record], goal: str, peer: str, network: str, least: float, size: int) -> list[str]:
    ratios = {load: ratio.median for load, ratio in ratio_rows(records, peer, network).items() if load[1] >= size}
    if not ratios:
        return [goal, "not measured", ""]
    met = [load for load, ratio in ratios.items() if ratio >= least]
    worst, best = min(ratios, key=lambda load: ratios[load]), max(ratios, key=lambda load: ratios[load])
    found = (
        f"{number(ratios[worst])} × ({worst[1]:,} B, {worst[0]}) to {number(ratios[best])} × ({best[1]:,} B, {best[0]})"
    )
    return [goal, f"{found}; {len(met)} of {len(ratios)} cells", _verdict(len(met) == len(ratios))]


def _against_corosync(records: Sequence[Record]) -> list[str]:
    goal = "latency p50, one in flight: at most half of corosync's"

    def inverse(family: str) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for record in pick(records, part="ping", family=family, network="bridge"):
            if "own_latency_ns" in record and "p50" in record["own_latency_ns"]:
                found.setdefault(record["repetition"], []).append(1e9 / record["own_latency_ns"]["p50"])
        return found

    faster = best_ratio(inverse(OURS), inverse("corosync"))
    if faster is None:
        return [goal, "not measured", ""]
    return [goal, f"{spread_text(faster, ' ×')} as fast", _verdict(faster.median >= 2)]


def _ours(records: Sequence[Record], part: str, **values: Any) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for record in pick(records, part=part, family=OURS, **values):
        found.setdefault((record["system"], record["network"]), []).append(record)
    return found


def _one_in_flight(records: Sequence[Record]) -> list[str]:
    goal = f"latency, one in flight: p50 at most {_P50_US:g} µs, p99 at most {_P99_US:g} µs"
    best: tuple[float, float, str] | None = None
    for (system, network), runs in _ours(records, "ping").items():
        whole = [run["own_latency_ns"] for run in runs if "p99" in run.get("own_latency_ns", {})]
        if whole:
            p50, p99 = (spread([one[name] / 1e3 for one in whole]).median for name in ("p50", "p99"))
            here = (p50, p99, f"{system}, {network}")
            best = here if best is None else min(best, here)
    if best is None:
        return [goal, "not measured", ""]
    return [
        goal,
        f"{number(best[0])} / {number(best[1])} ({best[2]})",
        _verdict(best[0] <= _P50_US and best[1] <= _P99_US),
    ]


def _at_half(records: Sequence[Record]) -> list[str]:
    goal = f"latency at half of the saturated rate: p99 below {_HALF_P99_US / 1000:g} ms"
    medians = {
        who: spread([run["latency_ns"]["p99"] / 1e3 for run in runs if "p99" in run["latency_ns"]]).median
        for who, runs in _ours(records, "paced", share=0.5).items()
        if any("p99" in run["latency_ns"] for run in runs)
    }
    if not medians:
        return [goal, "not measured", ""]
    found = "; ".join(f"{number(value / 1e3)} ms ({', '.join(who)})" for who, value in medians.items())
    return [goal, found, _verdict(max(medians.values()) < _HALF_P99_US)]


def _idle(records: Sequence[Record]) -> list[str]:
    goal = f"idle: below {_IDLE_CORES:.0%} of a core per processor"
    costs = [cores for record in pick(records, part="idle", family=OURS) for cores in record["cores"].values()]
    if not costs:
        return [goal, "not measured", ""]
    found = spread([100 * cost for cost in costs])
    return [goal, spread_text(found, " %"), _verdict(found.greatest < 100 * _IDLE_CORES)]


def _crash(records: Sequence[Record]) -> list[str]:
    goal = f"crash of a member to `RecoveryComplete`: token timeout + {_CRASH_OVER_TOKEN_MS:g} ms"
    over = []
    for record in pick(records, part="crash", family=OURS):
        over.append(record["slowest_ms"] - record["token_timeout_ms"])
    if not over:
        return [goal, "not measured", ""]
    found = spread(over)
    return [goal, f"token timeout + {spread_text(found)} ms", _verdict(found.median <= _CRASH_OVER_TOKEN_MS)]


def goals_table(records: Sequence[Record]) -> Table:
    """Goal, found, verdict."""
    throughput = pick(records, part="throughput")
    rows = [
        _throughput(
            throughput, "throughput: 10 × the better of corosync's transports", "corosync", "bridge", _TIMES_COROSYNC, 0
        ),
        _throughput(throughput, f"throughput: ZeroMQ's, from {_LARGE:,} B on", "ZeroMQ", "loopback", 1.0, _LARGE),
        _throughput(
            throughput, "throughput: one third of raw UDP with offload", "raw UDP", "loopback", _SHARE_OF_RAW, 0
        ),
        _against_corosync(records),
        _one_in_flight(records),
        _at_half(records),
        _idle(records),
        _crash(records),
    ]
    return Table("Goals", ["goal", "found (medians)", ""], rows)
