"""Plots of a run's results, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.suite.statistics import spread
from bench.suite.tables import NETWORKS, pick

__all__ = ["draw_all"]

Record = dict[str, Any]

_COLOURS = ("#1f5fa8", "#d1730a", "#3c8d40", "#a83232", "#6b4fa0", "#7a6a53", "#c44f93", "#5c6670")


def draw_all(records: Sequence[Record], folder: Path) -> list[Path]:
    """Draw what the records give into ``folder``; returns the files."""
    files = []
    throughput = pick(records, part="throughput")
    for network in NETWORKS:
        if here := pick(throughput, network=network):
            files.append(_throughput(here, network, folder / f"throughput-{network}.png"))
    if ping := [record for record in pick(records, part="ping") if record.get("own_latency_curve_ns")]:
        title = "one message in flight, at the sender"
        files.append(_curves(ping, "own_latency_curve_ns", title, folder / "latency-one-in-flight.png"))
    for share in sorted({record["share"] for record in pick(records, part="paced")}):
        paced = [record for record in pick(records, part="paced", share=share) if record["latency_curve_ns"]]
        if paced:
            title = f"at {share:.0%} of the saturated rate, everywhere"
            files.append(_curves(paced, "latency_curve_ns", title, folder / f"latency-{share * 100:.0f}-percent.png"))
    return files


def _figure(columns: int) -> tuple[Any, Any]:
    # Figure without pyplot: no display, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5 * columns, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _throughput(records: Sequence[Record], network: str, file: Path) -> Path:
    """Median, with a bar from minimum to maximum, by size; both axes logarithmic."""
    figure, axes = _figure(2)
    systems = list(dict.fromkeys(record["system"] for record in records))
    for place, senders in enumerate(("one", "all")):
        for number, system in enumerate(systems):
            # What delivered nothing has no place on this axis.
            here = [record for record in pick(records, senders=senders, system=system) if record["messages_per_s"]]
            sizes = sorted({record["size"] for record in here})
            if not sizes:
                continue
            found = [spread([r["messages_per_s"] for r in pick(here, size=size)]) for size in sizes]
            medians = [one.median for one in found]
            below = [one.median - one.least for one in found]
            above = [one.greatest - one.median for one in found]
            colour = _COLOURS[number % len(_COLOURS)]
            axes[place].errorbar(sizes, medians, yerr=[below, above], marker="o", capsize=3, color=colour, label=system)
        _logarithmic(axes[place], f"{network}, {'one sender' if senders == 'one' else 'all send'}")
        _ticks(axes[place].xaxis, sorted({record["size"] for record in records}))
        axes[place].set_xlabel("payload, bytes")
    axes[0].set_ylabel("messages/s at the slowest receiver")
    for one in axes:
        if one.has_data():
            one.legend(fontsize=8)
    figure.savefig(file)
    return file


def _curves(records: Sequence[Record], which: str, title: str, file: Path) -> Path:
    """Latency against how rare it is; one line for each repetition."""
    figure, (axes,) = _figure(1)
    systems = list(dict.fromkeys((record["system"], record["network"]) for record in records))
    for number, (system, network) in enumerate(systems):
        label: str | None = f"{system}, {network}"
        for record in pick(records, system=system, network=network):
            rarity, latency = zip(*record[which], strict=True)
            colour = _COLOURS[number % len(_COLOURS)]
            axes.plot(rarity, [value / 1e3 for value in latency], color=colour, label=label, alpha=0.8)
            label = None
    _logarithmic(axes, f"Latency of {records[0]['size']} bytes, {title}")
    axes.set_xlabel("one in so many is slower")
    axes.set_ylabel("µs")
    axes.legend(fontsize=8)
    figure.savefig(file)
    return file


def _logarithmic(axes: Any, title: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())
    # A short range has few powers of ten in it.
    axes.yaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0))
    axes.grid(True, which="major", alpha=0.4)
    axes.set_title(title, fontsize=10)


def _ticks(axis: Any, places: Sequence[int]) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter([f"{place:,}" for place in places]))
    axis.set_minor_locator(NullLocator())
