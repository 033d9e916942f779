"""Latency histograms and the curve that is drawn of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringproto._processes.failures import UsageError
from ringproto.cli.histogram import add_encoded, encode, new_histogram, record_ns, record_s, summary_ms
from ringproto.cli.latency.plot import curve, draw


def test_percentiles_are_within_three_digits() -> None:
    histogram = new_histogram()
    for microseconds in range(1, 100_001):
        record_ns(histogram, microseconds * 1000)
    summary = summary_ms(histogram)
    assert summary["count"] == 100_000
    for name, expected in {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "p99.99": 99.99, "max": 100.0}.items():
        assert summary[name] == pytest.approx(expected, rel=0.002)


def test_an_empty_histogram_has_a_count_alone() -> None:
    assert summary_ms(new_histogram()) == {"count": 0}
    assert curve(new_histogram()) == ([], [])


def test_what_is_out_of_range_counts_as_the_nearest_end() -> None:
    histogram = new_histogram()
    for value_s in (-1.0, 0.0, 1e9):
        record_s(histogram, value_s)
    summary = summary_ms(histogram)
    assert summary["count"] == 3
    assert summary["p50"] == pytest.approx(0.001, rel=0.05)
    assert summary["max"] == pytest.approx(3600e3, rel=0.002)


def test_merged_histograms_are_as_if_recorded_in_one() -> None:
    whole, merged = new_histogram(), new_histogram()
    for part in range(3):
        histogram = new_histogram()
        for i in range(500):
            value = 10_000 + i * 7919 * (part + 1)
            record_ns(histogram, value)
            record_ns(whole, value)
        add_encoded(merged, encode(histogram))
    add_encoded(merged, encode(new_histogram()))
    assert summary_ms(merged) == summary_ms(whole)


def test_the_curve_rises_and_ends_with_the_measurements() -> None:
    histogram = new_histogram()
    for i in range(1000):
        record_ns(histogram, 10_000 + i * 1000)
    one_in, latency_ms = curve(histogram)
    assert one_in[0] == 1.0 and 900 < one_in[-1] <= 1000
    assert latency_ms == sorted(latency_ms)


def test_a_plot_is_a_png_file(tmp_path: Path) -> None:
    histogram = new_histogram()
    for i in range(1000):
        record_ns(histogram, 10_000 + i * 1000)
    file = tmp_path / "curve.png"
    draw(str(file), histogram, "a title")
    assert file.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="cannot write"):
        draw(str(tmp_path), histogram, "a title")
