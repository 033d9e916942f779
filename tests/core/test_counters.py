"""Named counters."""

from __future__ import annotations

from ringproto._core.counters import Counters


def test_counter_appears_with_its_first_count_and_rises() -> None:
    counters = Counters()
    assert counters.values == {}
    counters.add("joins_sent")
    counters.add("joins_sent")
    counters.add("recovered", 40)
    assert counters.values == {"joins_sent": 2, "recovered": 40}


def test_counting_nothing_makes_the_counter_visible() -> None:
    counters = Counters()
    counters.add("recovered", 0)
    assert counters.values == {"recovered": 0}
