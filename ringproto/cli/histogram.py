"""Latency histograms: merged between processes, read as percentiles.

A histogram of high dynamic range (``hdrhistogram``, from the extra ``cli``) records nanoseconds from one microsecond to
an hour with three significant digits in a bounded number of counters, travels between processes as text, and is merged
by adding, so a percentile over all processes is exact to those three digits.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PERCENTILES", "add_encoded", "encode", "new_histogram", "record_ns", "record_s", "summary_ms"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)

_LEAST_NS = 1_000
_GREATEST_NS = 3600 * 10**9


def new_histogram() -> Any:
    """An empty histogram."""
    from hdrh.histogram import HdrHistogram

    return HdrHistogram(_LEAST_NS, _GREATEST_NS, 3)


def record_ns(histogram: Any, value_ns: int) -> None:
    """Record one latency; one out of the histogram's range counts as its nearest end."""
    histogram.record_value(min(max(value_ns, _LEAST_NS), _GREATEST_NS))


def record_s(histogram: Any, value_s: float) -> None:
    """Record one latency given in seconds."""
    record_ns(histogram, round(value_s * 1e9))


def encode(histogram: Any) -> str:
    """The histogram as text, for another process."""
    text: bytes = histogram.encode()
    return text.decode("ascii")


def add_encoded(histogram: Any, text: str) -> None:
    """Add what :func:`encode` made to a histogram."""
    histogram.decode_and_add(text.encode("ascii"))


def summary_ms(histogram: Any) -> dict[str, float | int]:
    """Count, percentiles and maximum, in milliseconds; of an empty histogram the count alone."""
    count = histogram.get_total_count()
    if not count:
        return {"count": 0}
    values = {f"p{percentile:g}": histogram.get_value_at_percentile(percentile) for percentile in PERCENTILES}
    values["max"] = histogram.get_max_value()
    return {"count": count, **{name: round(value / 1e6, 6) for name, value in values.items()}}
