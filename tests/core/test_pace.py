"""The shares of a visit: what ``LOW`` takes follows the time of a rotation, and what all takes follows loss."""

from __future__ import annotations

import pytest

from ringproto._core.pace import Pace

TARGET_S = 0.001
UNIT = 1352


def turn(pace: Pace, rotations: int, took_s: float, *, lost: float = 0.0, packets: int = 100, first: int = 100) -> int:
    """Rotations of one length in which ``LOW`` takes all it may and wants more; how much was taken in the last."""
    taken = 0
    for rotation in range(first, first + rotations):
        pace.note_rotation(rotation, took_s, round(packets * (1 - lost)), packets)
        pace.begin_visit(rotation)
        taken = 0
        while pace.low_room():
            pace.took_low(UNIT)
            taken += 1
    return taken


def giving_way(visit_max: int = 64, target_s: float | None = TARGET_S) -> Pace:
    pace = Pace(visit_max, UNIT, target_s)
    pace.note_high()
    return pace


def low(pace: Pace) -> int:
    """The share of ``LOW`` in packets of one unit."""
    return pace.low_share() // UNIT


def test_low_has_the_whole_visit_until_high_is_in_use() -> None:
    pace = Pace(64, UNIT, TARGET_S)
    turn(pace, 50, 10 * TARGET_S)
    assert low(pace) == 64
    pace.note_high()
    assert low(pace) == 8


def test_low_has_the_whole_visit_again_a_second_after_the_last_high() -> None:
    pace = giving_way()
    pace.now = 0.99
    assert low(pace) == 8
    pace.now = 1.01
    assert low(pace) == 64


def test_without_a_target_low_never_gives_way() -> None:
    pace = giving_way(target_s=None)
    turn(pace, 200, 1.0)
    assert low(pace) == 64


def test_long_rotations_leave_low_one_unit_of_a_visit() -> None:
    pace = giving_way()
    turn(pace, 100, 10 * TARGET_S)
    assert low(pace) == 1
    pace.begin_visit(300)
    assert pace.low_room() == UNIT
    pace.took_low(UNIT - 10)
    assert not pace.low_room()


def test_short_rotations_give_low_all() -> None:
    pace = giving_way()
    turn(pace, 200, TARGET_S / 10)
    assert low(pace) == 64


def test_share_grows_only_when_it_was_used_up() -> None:
    pace = giving_way()
    for rotation in range(100, 200):
        pace.note_rotation(rotation, TARGET_S / 100, 10, 10)
        pace.begin_visit(rotation)
        assert pace.low_room()
    assert low(pace) <= 8


def test_rotation_of_a_flood_settles_near_the_target() -> None:
    """Five members, 20 us a packet and 100 us for nothing."""
    members = [giving_way() for _ in range(5)]
    took_s = 0.0001
    for rotation in range(100, 500):
        packets = sum(turn(pace, 1, took_s, first=rotation) for pace in members)
        took_s = 0.0001 + 0.00002 * packets
    assert 0.5 * TARGET_S < took_s < 1.5 * TARGET_S
    assert max(low(pace) for pace in members) - min(low(pace) for pace in members) <= 1


def test_who_measures_a_little_less_does_not_push_the_others_out() -> None:
    one, other = giving_way(), giving_way()
    took_s = 0.0001
    for rotation in range(100, 1000):
        taken = turn(one, 1, 0.95 * took_s, first=rotation) + turn(other, 1, 1.05 * took_s, first=rotation)
        took_s = 0.0001 + 0.00005 * taken
    assert low(one) < 2 * low(other)


def test_slow_network_is_measured_and_not_left_unused() -> None:
    pace = giving_way()
    for rotation in range(8):
        pace.note_rotation(rotation, 0.2, 0, 0)  # the ring forms
    turn(pace, 400, 0.3, first=20)
    assert low(pace) > 32


def test_light_rotations_measure_what_a_rotation_takes_without_low() -> None:
    """At first it took next to nothing; then the network became slow, which a flood alone does not show."""
    pace = giving_way()
    pace.note_rotation(1, TARGET_S / 100, 0, 0)
    light = 0
    for rotation in range(2, 5000):
        pace.note_rotation(rotation, 0.02 if low(pace) > 1 else 0.019, 100, 100)
        pace.begin_visit(rotation)
        taken = 0
        while pace.low_room():
            pace.took_low(UNIT)
            taken += 1
        light += taken == 1 < low(pace)
    assert low(pace) > 16
    assert light >= 40  # four of each 256


def test_pause_of_one_process_counts_as_one_long_rotation() -> None:
    pace = giving_way()
    turn(pace, 200, TARGET_S / 2)
    before = low(pace)
    turn(pace, 1, 100.0)
    turn(pace, 20, TARGET_S / 2)
    assert low(pace) >= before // 4


@pytest.mark.parametrize(("lost", "least", "most"), [(0.0, 64, 64), (0.01, 64, 64), (0.2, 10, 40), (0.9, 8, 12)])
def test_share_of_all_follows_loss(lost: float, least: int, most: int) -> None:
    pace = Pace(64, UNIT, None)
    turn(pace, 300, TARGET_S, lost=lost)
    assert least <= pace.share() <= most
    turn(pace, 100, TARGET_S)
    assert pace.share() == 64


def test_loss_never_takes_the_last_packet_of_a_small_visit() -> None:
    pace = Pace(1, UNIT, None)
    turn(pace, 100, TARGET_S, lost=1.0)
    assert pace.share() == 1


def test_time_bounds_the_bytes_of_low_whatever_a_datagram_has() -> None:
    """Five members, 15 us for a kilobyte: a full datagram of each would take twice the target."""
    shares = []
    for datagram_size in (UNIT, 32_000):
        members = [Pace(64, datagram_size, TARGET_S) for _ in range(5)]
        for pace in members:
            pace.note_high()
        took_s = 0.0001
        for rotation in range(100, 500):
            units = sum(turn(pace, 1, took_s, first=rotation) for pace in members)
            took_s = 0.0001 + 0.000015 * UNIT / 1000 * units
        assert 0.5 * TARGET_S < took_s < 1.5 * TARGET_S
        shares.append(members[0].low_share())
    assert shares[0] == shares[1] < 32_000


def test_unit_of_small_datagrams_is_one_of_them() -> None:
    pace = Pace(8, 512, TARGET_S)
    pace.note_high()
    turn(pace, 100, 10 * TARGET_S)
    assert pace.low_share() == 512


def test_rotation_in_which_the_token_may_have_rested_says_nothing_of_time() -> None:
    pace = giving_way()
    before = pace.low_share()
    turn(pace, 100, 0.0)
    assert pace.low_share() == before
