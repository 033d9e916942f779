"""The goals for throughput under random loss and on congested links, in part. All of them: ``python -m bench.growth``.

It takes ten minutes.
"""

from __future__ import annotations

import pytest

from bench.growth.loss import LEFT_OF_IDEAL, under_congestion, under_loss

DROPPED_BEFORE = {
    (0.5, 128, 1): 0.070,
    (0.5, 128, 3): 0.050,
    (0.25, 64, 1): 0.146,
    (0.25, 64, 3): 0.171,
    (0.1, 32, 1): 0.280,
    (0.1, 32, 3): 0.196,
    (0.5, 16, 1): 0.329,
    (0.5, 16, 3): 0.662,
}
"""The part that a full queue dropped at commit 78e5c05, before loss was told from congestion (three members, 1 ms).

The keys: the part of a window that the port passes in a rotation, its queue in packets, how many receivers have one."""


@pytest.mark.parametrize("loss", LEFT_OF_IDEAL)
@pytest.mark.parametrize(("members", "latency_s"), [(3, 0.001), (3, 0.01), (6, 0.001)])
def test_random_loss_leaves_a_good_part_of_the_ideal(members: int, latency_s: float, loss: float) -> None:
    result = under_loss(members, latency_s, loss, 300)
    assert result["of_ideal"] >= LEFT_OF_IDEAL[loss]
    assert result["changes"] == 0


@pytest.mark.parametrize(("rate", "queue", "slow"), DROPPED_BEFORE)
def test_congested_link_is_left_alone_as_much_as_before(rate: float, queue: int, slow: int) -> None:
    result = under_congestion(3, 0.001, rate, queue, 400, slow=slow)
    assert result["dropped"] <= DROPPED_BEFORE[rate, queue, slow] + 0.01
    assert result["changes"] == 0
