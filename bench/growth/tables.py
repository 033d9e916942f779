"""What ``python -m bench.growth`` measured, as tables in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Result = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells are text or numbers that are shown as they are."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _of(results: Sequence[Result], case: str) -> dict[int, Result]:
    """The results of one case, by members."""
    return {result["members"]: result for result in results if result["case"] == case}


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def _kib(size: float) -> str:
    return f"{size / 2**10:,.0f} KiB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def members_table(results: Sequence[Result]) -> list[str]:
    """Whole rings in one process."""
    rest = _of(results, "rings.at_rest")
    rows = [
        (
            members,
            f"{busy['us_per_delivery']:.2f} µs",
            f"{busy['messages_per_s']:,.0f}/s",
            _ms(busy["rotation_s"]),
            _kib(busy["bytes_per_processor"]),
            f"{100 * rest[members]['idle_cpu']:.2f} %",
            _ms(rest[members]["latency_s"]),
        )
        for members, busy in _of(results, "rings.saturated").items()
    ]
    head = ("members", "CPU per delivery", "messages", "rotation", "memory each", "idle CPU each", "one in flight, p50")
    return [table(head, rows)]


def simulated_table(results: Sequence[Result]) -> list[str]:
    """The core alone, and formation in the simulator."""
    idle = _of(results, "core.idle")
    busy = [
        (
            members,
            f"{one['us_per_delivery']:.2f} µs",
            f"{one['messages_per_rotation']:,.0f}",
            _ms(one["rotation_s"]),
            f"{idle[members]['us_per_hop']:.1f} µs",
            _kib(one["bytes_per_processor"]),
        )
        for members, one in _of(results, "core.saturated").items()
    ]
    forming = [
        (
            members,
            *(
                f"{one[what]['virtual_s'] * 1e3:.0f} ms, {one[what]['copies']:,}" if what in one else ""
                for what in ("formation", "crash", "partition", "merge")
            ),
            f"{one['joins'] / members:.1f}",
            f"{one['formation']['cpu_s'] * 1e3 / members:.1f} ms",
        )
        for members, one in _of(results, "core.formation").items()
    ]
    return [
        table(
            (
                "members",
                "CPU of the core per delivery",
                "messages per rotation",
                "rotation at 0.1 ms a hop",
                "CPU per idle hop",
                "memory each",
            ),
            busy,
        ),
        table(
            ("members", "formation", "a crash", "partition", "merge", "joins each", "CPU each to form"),
            forming,
        ),
    ]


def memory_table(results: Sequence[Result]) -> list[str]:
    """Memory over a long run."""
    rows = []
    for result in results:
        used = result["bytes"]
        half = len(used) // 2
        rows.append(
            (
                "allocated by Python (tracemalloc)" if result["traced"] else "resident",
                f"{result['seconds']:.0f} s",
                f"{result['messages']:,}",
                _mib(used[0]),
                _mib(statistics.mean(used[:half])),
                _mib(statistics.mean(used[half:])),
                _mib(max(used)),
                _mib(used[-1]),
            )
        )
    head = ("memory", "for", "messages", "first sample", "mean of the first half", "of the second", "most", "last")
    return [table(head, rows)]


def loss_table(results: Sequence[Result]) -> list[str]:
    """Throughput under loss, as medians, and as the median of the ratios to no loss in the same turn."""
    tables = []
    for virtual in (True, False):
        of = [result for result in results if result["arguments"].get("virtual", False) == virtual]
        losses = sorted({result["loss"] for result in of})
        turns = [of[at : at + len(losses)] for at in range(0, len(of), len(losses))]
        rows = []
        for index, loss in enumerate(losses):
            here = [turn[index] for turn in turns]
            ratios = [turn[index]["messages_per_s"] / turn[0]["messages_per_s"] for turn in turns]
            rows.append(
                (
                    f"{100 * loss:g} %",
                    f"{statistics.median(one['messages_per_s'] for one in here):,.0f}/s",
                    f"{100 * statistics.median(ratios):.0f} %",
                    _ms(statistics.median(one["rotation_s"] for one in here)),
                    f"{statistics.median(one['us_per_delivery'] for one in here):.1f} µs",
                    f"{100 * statistics.median(one['retransmissions'] / one['packets_sent'] for one in here):.1f} %",
                    f"{sum(one['token_losses'] for one in here):.0f}",
                )
            )
        head = (
            "loss, virtual time, 0.1 ms latency" if virtual else "loss, real time, no latency",
            "messages",
            "of lossless",
            "rotation",
            "CPU per delivery",
            "packets sent again",
            "token losses",
        )
        tables.append(table(head, rows))
    return tables


def ideal_table(results: Sequence[Result]) -> list[str]:
    """What is left of the ideal at each rate of loss, by members and latency."""
    columns = sorted({(one["latency_s"], one["members"]) for one in results})
    rows = []
    for loss in sorted({one["loss"] for one in results}):
        of = {(one["latency_s"], one["members"]): one for one in results if one["loss"] == loss}
        cells = [
            f"{one['of_ideal']:.0%} ({one['messages_per_s']:,.0f}/s{', broke' if one['changes'] else ''})"
            for one in (of[column] for column in columns)
        ]
        rows.append((f"{100 * loss:g} %", *cells))
    head = ("loss", *(f"{members} at {latency_s * 1e3:g} ms" for latency_s, members in columns))
    return [table(head, rows)]


def congestion_table(results: Sequence[Result]) -> list[str]:
    """What a queue that overflows drops."""
    rows = [
        (
            one["members"],
            "each" if one["slow"] == one["members"] else one["slow"],
            f"{one['rate']:.0%}",
            one["queue"],
            f"{one['dropped']:.1%}",
            f"{one['messages_per_s']:,.0f}/s",
            one["changes"],
        )
        for one in results
    ]
    head = (
        "members",
        "slow receivers",
        "passed in a rotation, of the window",
        "queue, packets",
        "dropped there",
        "messages",
        "changes",
    )
    return [table(head, rows)]


def large_table(results: Sequence[Result]) -> list[str]:
    """Messages of many datagrams."""
    rows = [
        (
            f"{result['count']} of {result['size'] / 2**20:.0f} MiB",
            f"{result['bytes_per_s'] / 1e6:.0f} MB/s",
            f"{result['cpu_s_per_message'] * 1e3:.0f} ms",
            _mib(result["peak_bytes"]),
        )
        for result in results
    ]
    return [table(("messages", "throughput", "CPU per message, three members", "peak above an idle ring"), rows)]


TABLES: dict[str, Callable[[Sequence[Result]], list[str]]] = {
    "members": members_table,
    "simulated": simulated_table,
    "memory": memory_table,
    "loss": loss_table,
    "ideal": ideal_table,
    "congestion": congestion_table,
    "large": large_table,
}
