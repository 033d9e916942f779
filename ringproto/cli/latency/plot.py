"""The percentile curve: latency against how rare it is.

The horizontal axis is stretched towards its end, so that each step from 99 % to 99.9 % to 99.99 % has the same width:
what matters of a latency is its tail, and on an even axis the tail is a vertical line. The curve ends where there is no
more than one measurement left.
"""

from __future__ import annotations

from typing import Any

from ringproto._processes.failures import UsageError
from ringproto.cli.histogram import PERCENTILES

__all__ = ["curve", "draw"]

_POINTS_PER_DECADE = 40


def curve(histogram: Any) -> tuple[list[float], list[float]]:
    """Points of the curve: one in how many is slower, and the latency in ms."""
    count = histogram.get_total_count()
    one_in: list[float] = []
    latency_ms: list[float] = []
    step = 0
    while count and (rarity := 10 ** (step / _POINTS_PER_DECADE)) <= count:
        one_in.append(rarity)
        latency_ms.append(histogram.get_value_at_percentile(100.0 * (1.0 - 1.0 / rarity)) / 1e6)
        step += 1
    return one_in, latency_ms


def draw(file: str, histogram: Any, title: str) -> None:
    """Write the curve of a histogram that is not empty to a PNG file.

    Raises:
        UsageError: the file cannot be written.
    """
    # Figure without pyplot: no display, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

    one_in, latency_ms = curve(histogram)
    figure = Figure(figsize=(9, 5.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(one_in, latency_ms, color="#1f5fa8", linewidth=2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    last = max(one_in, default=1.0)
    ticks = [(1.0, "0 %"), (2.0, "50 %")]
    ticks += [(10.0**digits, _percent(digits)) for digits in range(1, 10) if 10.0**digits <= last * 1.001]
    axes.xaxis.set_major_locator(FixedLocator([place for place, _ in ticks]))
    axes.xaxis.set_major_formatter(FixedFormatter([text for _, text in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlim(1.0, max(last, 10.0) * 1.3)
    axes.grid(True, which="major", alpha=0.4)
    axes.grid(True, which="minor", axis="y", alpha=0.12)
    for percentile in PERCENTILES:
        place = 1.0 / (1.0 - percentile / 100.0)
        if one_in and place <= last * 1.001:
            value_ms = histogram.get_value_at_percentile(percentile) / 1e6
            axes.plot([place], [value_ms], "o", color="#1f5fa8", markersize=5)
            axes.annotate(
                f"p{percentile:g}: {value_ms:.3g} ms",
                (place, value_ms),
                textcoords="offset points",
                xytext=(8, -13),
                ha="left",
                fontsize=9,
            )
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("part of all deliveries that is at least as fast")
    axes.set_ylabel("latency from due to delivery, ms")
    try:
        figure.savefig(file, format="png")
    except OSError as error:
        raise UsageError(f"--plot cannot write {file}: {error.strerror or error}") from error


def _percent(digits: int) -> str:
    return f"{100 - 10 ** (2 - digits):.{max(0, digits - 2)}f} %"
