"""Minimum, median and maximum of repetitions; percentiles of latencies; ratios within one run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["PERCENTILES", "Spread", "best_ratio", "curve", "percentiles", "spread"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Spread(NamedTuple):
    """What some repetitions gave."""

    least: float
    median: float
    greatest: float


def spread(values: Sequence[float]) -> Spread:
    """Minimum, median and maximum.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no repetition gave a value")
    return Spread(min(values), statistics.median(values), max(values))


def percentiles(ordered: Sequence[int], wanted: Sequence[float] = PERCENTILES) -> dict[str, int]:
    """Percentiles (nearest rank) of sorted values, by name such as ``"p99.9"``, and ``"max"``.

    A percentile that no value lies beyond is left out: it would be the maximum by another name.
    """
    if not ordered:
        return {}
    count = len(ordered)
    found = {}
    for percentile in wanted:
        # In whole thousandths of a percent: 0.1 % of 1000 is 1, and not 0.99999.
        beyond = count * (100_000 - round(1000 * percentile)) // 100_000
        if beyond:
            found[f"p{percentile:g}"] = ordered[count - beyond - 1]
    return {**found, "max": ordered[-1]}


def curve(ordered: Sequence[int], per_decade: int = 20) -> list[tuple[float, int]]:
    """Points (one in how many is slower, value) of sorted values, evenly in the logarithm of the first."""
    points: list[tuple[float, int]] = []
    step = 0
    while ordered and (rarity := 10 ** (step / per_decade)) <= len(ordered):
        points.append((rarity, ordered[max(0, len(ordered) - int(len(ordered) / rarity) - 1)]))
        step += 1
    return points


def best_ratio(ours: Mapping[int, Sequence[float]], theirs: Mapping[int, Sequence[float]]) -> Spread | None:
    """Our best over their best, repetition by repetition; ``None`` if no repetition has both.

    Args:
        ours: by repetition, the values of all our ways of doing it.
        theirs: the same of a peer's.
    """
    shared = [one for one in ours if ours[one] and max(theirs.get(one, []), default=0.0) > 0]
    return spread([max(ours[one]) / max(theirs[one]) for one in shared]) if shared else None
