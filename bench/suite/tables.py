"""The tables of a run's results, as plain values: the terminal and the documentation show the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from bench.suite.statistics import Spread, best_ratio, spread

__all__ = ["Table", "cell", "ratio_rows", "results_tables"]

Record = dict[str, Any]
OURS = "ringproto"
NETWORKS = ("loopback", "bridge")


class Table(NamedTuple):
    """Rows of text below a head."""

    title: str
    head: list[str]
    rows: list[list[str]]


def number(value: float) -> str:
    """Three digits that count, and thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.2g}"


def cell(values: Sequence[float], *, suffix: str = "") -> str:
    """Median, with minimum and maximum where they differ."""
    if not values:
        return ""
    return spread_text(spread(values), suffix)


def spread_text(found: Spread, suffix: str = "") -> str:
    """The same of values that were put together already."""
    text = number(found.median) + suffix
    one = found.least == found.greatest
    return text if one else f"{text} ({number(found.least)} to {number(found.greatest)})"


def pick(records: Iterable[Record], **values: Any) -> list[Record]:
    """The records that have these values."""
    return [record for record in records if all(record.get(name) == value for name, value in values.items())]


def _distinct(records: Iterable[Record], *names: str) -> list[tuple[Any, ...]]:
    return list(dict.fromkeys(tuple(record[name] for name in names) for record in records))


def _by_load(load: tuple[Any, ...]) -> tuple[bool, int]:
    senders, size = load
    return senders != "one", size


def _loads(records: Sequence[Record]) -> list[tuple[Any, ...]]:
    return sorted(_distinct(records, "senders", "size"), key=_by_load)


def _faulty(records: Iterable[Record]) -> bool:
    return any(any(record["faults"].values()) and not record["forgiven"] for record in records)


def _pivot(title: str, records: Sequence[Record], value: Callable[[Record], float]) -> Table:
    systems = [system for (system,) in _distinct(records, "system")]
    rows = []
    for senders, size in _loads(records):
        row = [f"{size:,} B, {senders}"]
        for system in systems:
            found = pick(records, senders=senders, size=size, system=system)
            row.append(cell([value(record) for record in found]) + (" (!)" if _faulty(found) else ""))
        rows.append(row)
    return Table(title, ["payload, senders", *systems], rows)


def _by_repetition(records: Sequence[Record], value: Callable[[Record], float]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for record in records:
        found.setdefault(record["repetition"], []).append(value(record))
    return found


def _rate(record: Record) -> float:
    return float(record["messages_per_s"])


def _thrift(record: Record) -> float:
    """Deliveries for a microsecond of processor time."""
    return 1 / float(record["cpu_us_per_delivery"]) if "cpu_us_per_delivery" in record else 0.0


def ratio_rows(
    records: Sequence[Record], peer: str, network: str, value: Callable[[Record], float] = _rate
) -> dict[tuple[str, int], Spread]:
    """By senders and size: our best value over a family's best, on one network, repetition by repetition."""
    here = pick(records, part="throughput", network=network)
    found = {}
    for senders, size in _loads(here):
        load = pick(here, senders=senders, size=size)
        # Bare UDP without offload is shown, and is not the limit.
        theirs = [record for record in pick(load, family=peer) if record["system"] != "raw UDP"]
        ratio = best_ratio(
            _by_repetition(pick(load, family=OURS), value),
            _by_repetition([record for record in theirs if not _faulty([record])], value),
        )
        if ratio is not None:
            found[senders, size] = ratio
    return found


def _ratios(title: str, records: Sequence[Record], value: Callable[[Record], float]) -> Table | None:
    pairs = (("corosync", "bridge"), ("ZeroMQ", "loopback"), ("raw UDP", "loopback"), ("raw UDP", "bridge"))
    measured = {f"{peer}, {network}": ratio_rows(records, peer, network, value) for peer, network in pairs}
    columns = {name: ratios for name, ratios in measured.items() if ratios}
    loads = sorted({load for ratios in columns.values() for load in ratios}, key=_by_load)
    rows = [
        [f"{size:,} B, {senders}"]
        + [spread_text(c[senders, size], " ×") if (senders, size) in c else "" for c in columns.values()]
        for senders, size in loads
    ]
    return Table(title, ["payload, senders", *columns], rows) if rows else None


def _percentile(records: Sequence[Record], which: str, name: str) -> str:
    return cell([record[which][name] / 1e3 for record in records if name in record.get(which, {})])


def _ping(records: Sequence[Record]) -> Table:
    rows = []
    for system, network in _distinct(records, "system", "network"):
        found = pick(records, system=system, network=network)
        figures = [
            _percentile(found, which, name)
            for which, name in (
                ("own_latency_ns", "p50"),
                ("own_latency_ns", "p99"),
                ("latency_ns", "p50"),
                ("latency_ns", "p99"),
            )
        ]
        rows.append([f"{system}, {network}", *figures])
    size = records[0]["size"]
    head = ["", "at the sender, p50", "p99", "everywhere, p50", "p99"]
    return Table(f"Latency of {size} bytes with one message in flight, µs", head, rows)


def _paced(records: Sequence[Record]) -> Table:
    rows = []
    for system, network, share in _distinct(records, "system", "network", "share"):
        found = pick(records, system=system, network=network, share=share)
        figures = [_percentile(found, "latency_ns", name) for name in ("p50", "p99", "p99.9", "max")]
        rows.append([f"{system}, {network}", f"{share:.0%}", cell([record["rate"] for record in found]), *figures])
    head = ["", "of saturated", "messages/s", "p50", "p99", "p99.9", "max"]
    return Table(f"Latency of {records[0]['size']} bytes, all sending by the clock, everywhere, µs", head, rows)


def _idle(records: Sequence[Record]) -> Table:
    rows = []
    for system, network in _distinct(records, "system", "network"):
        found = pick(records, system=system, network=network)
        costs = [100 * cores for record in found for cores in record["cores"].values()]
        rows.append([f"{system}, {network}", cell(costs, suffix=" %")])
    return Table("Processor time of an idle processor", ["", "of a core"], rows)


def _crash(records: Sequence[Record]) -> Table:
    rows = [
        [f"{system}, {network}", cell([r["slowest_ms"] for r in pick(records, system=system, network=network)])]
        for system, network in _distinct(records, "system", "network")
    ]
    return Table("SIGKILL of a member until the survivors may send again, ms", ["", "at the slowest survivor"], rows)


def _foreign(records: Sequence[Record]) -> Table | None:
    others = [max(0.0, r["machine_busy_cores"] - sum(r["cores"].values())) for r in records if "cores" in r]
    if not others:
        return None
    row = ["cores that were busy beyond the measured processes (kernel threads, and other programs)", cell(others)]
    return Table("The machine beside the measurement", ["", "median, least and most of all runs"], [row])


def _disturbed(records: Sequence[Record]) -> Table | None:
    """The runs with faults, and those in which the group changed although nobody was killed."""
    rows = []
    for record in records:
        wrong = {name: count for name, count in record.get("faults", {}).items() if count}
        if wrong or record.get("changes"):
            what = (
                f"{record['part']}, {record['system']}, {record['network']}, {record['size']:,} B, {record['senders']}"
            )
            found = ", ".join(f"{name} {count:,}" for name, count in wrong.items())
            rows.append([what, str(record.get("changes", 0)), found])
    return Table("Runs with faults or with changes of the group", ["", "changes", "faults"], rows) if rows else None


def results_tables(records: Sequence[Record]) -> list[Table]:
    """All tables that the records give."""
    found: list[Table | None] = []
    throughput = pick(records, part="throughput")
    for network in NETWORKS:
        if here := pick(throughput, network=network):
            found.append(_pivot(f"Throughput on {network}, messages/s at the slowest receiver", here, _rate))
    best = "each by its best transport in the same repetition"
    found.append(_ratios(f"Throughput of ringproto over that of a peer, {best}", throughput, _rate))
    for network in NETWORKS:
        if here := [record for record in pick(throughput, network=network) if "cpu_us_per_delivery" in record]:
            title = f"Processor time per delivered message on {network}, µs"
            found.append(_pivot(title, here, lambda record: float(record["cpu_us_per_delivery"])))
    title = f"Deliveries for the same processor time, ringproto's over those of a peer, {best}"
    found.append(_ratios(title, throughput, _thrift))
    makers = (("ping", _ping), ("paced", _paced), ("idle", _idle), ("crash", _crash))
    found += [make(part) for name, make in makers if (part := pick(records, part=name))]
    found += [_disturbed(records), _foreign(records)]
    return [table for table in found if table is not None]
