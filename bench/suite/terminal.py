"""The tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.suite.tables import Table, number

__all__ = ["line", "show"]

Record = dict[str, Any]


def show(tables: Sequence[Table], absent: Mapping[str, str]) -> None:
    """Print all tables, as wide as they need to be."""
    from rich.console import Console
    from rich.table import Table as RichTable

    width = None if Console().is_terminal else 200
    console = Console(width=width)
    for table in tables:
        shown = RichTable(title=table.title, title_justify="left")
        for place, name in enumerate(table.head):
            shown.add_column(name, justify="right" if place else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*(text.replace("**", "") for text in row))
        console.print(shown)
    for name, reason in absent.items():
        console.print(f"not measured: {name}: {reason}", soft_wrap=True, highlight=False)


def line(record: Record) -> str:
    """One run, for who watches."""
    what = f"{record['part']:10} {record['system']}, {record['network']}"
    if record["part"] == "throughput":
        figure = f"{record['size']:,} B, {record['senders']}: {number(record['messages_per_s'])} messages/s"
    elif record["part"] == "idle":
        figure = "idle: " + ", ".join(f"{100 * cores:.2f} %" for cores in record["cores"].values()) + " of a core"
    elif record["part"] == "crash":
        figure = f"crash: {record['slowest_ms']:.0f} ms"
    else:
        load = f"{record['share']:.0%} of saturated" if "share" in record else "one in flight"
        latency = record["latency_ns"]
        shown = ", ".join(f"{name} {number(latency[name] / 1e3)}" for name in ("p50", "p99", "max") if name in latency)
        figure = f"{load}: {shown} µs"
    wrong = {name: count for name, count in record.get("faults", {}).items() if count}
    trouble = f"  {wrong}" if wrong else ""
    return f"{what}  {figure}{trouble}"
