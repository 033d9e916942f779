"""The core's flow control on processors where everything has a price: rotation, latency and throughput, in numbers.

The prices are near those of the machine that docs/performance.md speaks of; the same run gives the same numbers
everywhere, so the bounds are close.
"""

from __future__ import annotations

import functools
import statistics

import pytest
from priced_ring import Outcome, PricedRing, Prices

from ringproto import Config

STARTS_S = (0.2, 0.23, 0.27)
"""``HIGH`` begins at three moments: the p99 of one story of 400 messages moves by 4 % with nothing but the moment."""


@functools.cache
def flooded(count: int, cores: int, target_s: float | None) -> tuple[Outcome, Outcome, Outcome]:
    """``HIGH`` on an idle ring, ``LOW`` alone before it, and both: of three stories together."""
    stories = []
    for start_s in STARTS_S:
        ring = PricedRing(count, Config.lan(send_queue_max=1024, rotation_target_s=target_s), cores=cores)
        alone = ring.run(start_s, flood=True, high_every=1.0)
        ring.run(0.05, flood=False, high_every=1.0)
        stories.append((ring.run(0.2, flood=False), alone, ring.run(0.3, flood=True)))
    idle, alone, both = (together(outcomes) for outcomes in zip(*stories, strict=True))
    return idle, alone, both


def together(outcomes: tuple[Outcome, ...]) -> Outcome:
    return Outcome(
        low=sum(one.low for one in outcomes),
        seconds=sum(one.seconds for one in outcomes),
        high=[latency for one in outcomes for latency in one.high],
        rotations=sum(one.rotations for one in outcomes),
        retransmissions=sum(one.retransmissions for one in outcomes),
    )


@pytest.mark.slow
@pytest.mark.parametrize("cores", [2, 3])
def test_high_is_not_kept_waiting_by_a_flood_of_low(cores: int) -> None:
    idle, alone, both = flooded(3, cores, Config.lan().rotation_target_s)
    without = flooded(3, cores, None)[2]
    assert both.high_s(99) < 0.002 < without.high_s(99)
    assert both.high_s(50) < without.high_s(50)
    assert both.low_per_s > 0.8 * alone.low_per_s
    assert idle.high_s(50) < 0.0002


@pytest.mark.slow
def test_low_alone_is_not_slowed_down() -> None:
    """Nobody uses ``HIGH``, so the target is no matter."""
    _, alone, _ = flooded(3, 3, Config.lan().rotation_target_s)
    assert alone.rotation_s > 0.001


def lossy(loss: float, seed: int = 1, **changes: float) -> Outcome:
    config = Config.lan(send_queue_max=1024, **changes)
    return PricedRing(3, config, loss=loss, seed=seed).run(1.0, flood=True, high_every=1.0)


@pytest.mark.slow
def test_throughput_does_not_collapse_under_loss() -> None:
    """In the mean of four runs: which packets are lost changes the figure of one by a fifth."""
    lossless = lossy(0.0)
    for loss, least in ((0.01, 0.75), (0.05, 0.35), (0.2, 0.06)):
        outcomes = [lossy(loss, seed) for seed in range(1, 5)]
        mean = statistics.fmean(outcome.low_per_s for outcome in outcomes)
        assert mean > least * lossless.low_per_s, f"at a loss of {loss:.0%}"
        assert all(outcome.retransmissions > 0 for outcome in outcomes)


@pytest.mark.slow
def test_accelerated_ring_goes_faster_where_the_way_is_long() -> None:
    """The way takes ten times what the prices of one host say: the token does not wait for the packets before it."""
    rates = [
        PricedRing(3, Config.lan(accelerated_window=window, send_queue_max=1024), size=1300, prices=Prices(wire=1e-4))
        .run(0.2, flood=True, high_every=1.0)
        .low_per_s
        for window in (0, 256)
    ]
    assert rates[1] > 1.1 * rates[0]
