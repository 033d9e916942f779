"""When a token is sent again: by the measured round trip where it is acknowledged, and always sooner after that."""

from __future__ import annotations

import pytest

from ringproto._core.ring.retransmission import Retransmission

FIRST_S, LEAST_S, LONGEST_S = 0.004, 0.001, 0.167


def make() -> Retransmission:
    return Retransmission(FIRST_S, LEAST_S)


def rounds(hop: Retransmission, round_trip_s: float, count: int = 30, now: float = 0.0) -> float:
    """So many tokens that are acknowledged at the first copy; the wait after them."""
    for _ in range(count):
        hop.begin_acknowledged(2, now, LONGEST_S)
        hop.acknowledged(0, now + round_trip_s)
        now += 1.0
    hop.begin_acknowledged(2, now, LONGEST_S)
    return hop.wait_s


def test_round_trip_that_is_not_known_is_waited_for_as_long_as_is_said() -> None:
    hop = make()
    hop.begin_acknowledged(2, 0.0, LONGEST_S)
    assert hop.wait_s == FIRST_S
    hop.begin_acknowledged(2, 0.0, FIRST_S / 2)
    assert hop.wait_s == FIRST_S / 2


@pytest.mark.parametrize("round_trip_s", [0.002, 0.02, 0.1])
def test_wait_is_the_round_trip_and_a_margin(round_trip_s: float) -> None:
    assert round_trip_s * 1.2 < rounds(make(), round_trip_s) < round_trip_s * 1.4


def test_wait_has_a_least_and_a_longest() -> None:
    assert rounds(make(), 0.0001) == LEAST_S
    assert rounds(make(), 10.0) == LONGEST_S


def test_round_trip_is_measured_from_the_copy_that_came() -> None:
    """Half of the copies are lost; from the first copy each measurement would be longer than the one before."""
    hop = make()
    now = 0.0
    for _ in range(50):
        hop.begin_acknowledged(2, now, LONGEST_S)
        for _ in range(3):
            now += hop.wait_s
            hop.repeat(now, LEAST_S)
        now += 0.002
        hop.acknowledged(hop.copy, now)
    hop.begin_acknowledged(2, now, LONGEST_S)
    assert hop.wait_s < 0.003


def test_each_further_wait_is_half_of_the_one_before_down_to_a_bound() -> None:
    hop = make()
    hop.begin(2, 0.0, 0.016)
    waits = []
    for _ in range(6):
        hop.repeat(0.0, LEAST_S)
        waits.append(hop.wait_s)
    assert waits == [0.008, 0.004, 0.002, 0.001, 0.001, 0.001]


def test_another_successor_has_another_round_trip() -> None:
    hop = make()
    rounds(hop, 0.02)
    hop.begin_acknowledged(3, 0.0, LONGEST_S)
    assert hop.wait_s == FIRST_S


def test_number_of_a_copy_has_eight_bits_and_what_is_said_of_none_is_ignored() -> None:
    hop = make()
    hop.begin(2, 0.0, 0.01)
    for _ in range(1000):
        hop.repeat(0.0, LEAST_S)
    assert hop.copy == 255
    hop.acknowledged(255, 5.0)
    hop.acknowledged(-1, 5.0)
    hop.begin_acknowledged(2, 0.0, LONGEST_S)
    assert hop.wait_s == FIRST_S


def test_successor_that_stood_still_is_not_far_away() -> None:
    """Its answers say how long it stood still, whichever copies came: the way to it is as short as before."""
    hop = make()
    before_s = rounds(hop, 0.002)
    for now in (100.0, 200.0):
        hop.begin_acknowledged(2, now, LONGEST_S)
        for after_s in (0.01, 0.5, 0.69):
            hop.repeat(now + after_s, LEAST_S)
        for copy in range(hop.copy + 1):
            hop.acknowledged(copy, now + 0.7)
        hop.begin_acknowledged(2, now + 1.0, LONGEST_S)
        assert hop.wait_s == pytest.approx(before_s)


def test_way_that_has_become_long_is_measured_after_some_tokens() -> None:
    hop = make()
    rounds(hop, 0.002)
    assert rounds(hop, 0.4, count=2) < 0.004
    assert rounds(hop, 0.4) == LONGEST_S
    assert rounds(hop, 0.002, count=60) < 0.004
