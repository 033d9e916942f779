"""The shares of a visit: what ``LOW`` takes follows the time of a rotation, and what all takes follows loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringproto._core.pace import Pace, sendings

TARGET_S = 0.001
UNIT = 1352


def turn(pace: Pace, rotations: int, took_s: float, *, lost: float = 0.0, packets: int = 100, first: int = 100) -> int:
    """Rotations of one length in which ``LOW`` takes all it may and wants more; how much was taken in the last."""
    taken = 0
    for rotation in range(first, first + rotations):
        pace.note_rotation(rotation, took_s, round(packets * (1 - lost)), packets, 0)
        pace.begin_visit(rotation)
        taken = 0
        while pace.low_room():
            pace.took_low(UNIT)
            taken += 1
    return taken


def giving_way(visit_max: int = 64, target_s: float | None = TARGET_S) -> Pace:
    pace = Pace(visit_max, UNIT, target_s, 3)
    pace.note_high()
    return pace


def low(pace: Pace) -> int:
    """The share of ``LOW`` in packets of one unit."""
    return pace.low_share() // UNIT


def test_low_has_the_whole_visit_until_high_is_in_use() -> None:
    pace = Pace(64, UNIT, TARGET_S, 3)
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
        pace.note_rotation(rotation, TARGET_S / 100, 10, 10, 0)
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
        pace.note_rotation(rotation, 0.2, 0, 0, 0)  # the ring forms
    turn(pace, 400, 0.3, first=20)
    assert low(pace) > 32


def test_light_rotations_measure_what_a_rotation_takes_without_low() -> None:
    """At first it took next to nothing; then the network became slow, which a flood alone does not show."""
    pace = giving_way()
    pace.note_rotation(1, TARGET_S / 100, 0, 0, 0)
    light = 0
    for rotation in range(2, 5000):
        pace.note_rotation(rotation, 0.02 if low(pace) > 1 else 0.019, 100, 100, 0)
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
def test_share_of_who_sends_little_follows_loss(lost: float, least: int, most: int) -> None:
    """What others lose cannot be told from chance by sending less: it is taken for congestion."""
    pace = Pace(64, UNIT, None, 3)
    turn(pace, 310, TARGET_S, lost=lost)  # the last is no narrow one
    assert least <= pace.share() <= most
    turn(pace, 100, TARGET_S)
    assert pace.share() == 64


class Flood:
    """Members that send all they may, over something that loses; what was lost is sent again a rotation later."""

    def __init__(self, members: int, lose: Callable[[int], float], visit_max: int = 128) -> None:
        self.paces = [Pace(visit_max, UNIT, None, members) for _ in range(members)]
        self.lose = lose
        """Packets that are lost of so many in a rotation."""
        self.rotation = 0
        self.waiting = 0.0
        self.broadcast = self.lost = 0.0

    def turn(self, rotations: int) -> Flood:
        self.broadcast = self.lost = 0.0
        for _ in range(rotations):
            self.rotation += 1
            shares = [pace.share() for pace in self.paces]
            total = sum(shares)
            again = min(float(total), self.waiting)
            lost = self.lose(total)
            behind = round(self.waiting)
            self.waiting += lost - again
            self.broadcast += total
            self.lost += lost
            for pace, share in zip(self.paces, shares, strict=True):
                pace.note_sent(share)
                pace.note_rotation(self.rotation, 0.0, round(total - again), total, behind)
        return self

    def measure(self, rotations: int) -> tuple[float, float]:
        """The mean visit, in packets, and the part that was lost."""
        self.turn(rotations)
        return self.broadcast / rotations / len(self.paces), self.lost / self.broadcast


@pytest.mark.parametrize("members", [3, 6, 12])
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.15])
def test_loss_by_chance_narrows_no_visit_for_long(members: int, loss: float) -> None:
    part = 1.0 - 1.0 / sendings(loss, members - 1)
    flood = Flood(members, lambda total: part * total)
    flood.turn(64)  # until the first comparison is over and the share has grown again
    visit, _ = flood.measure(256)
    assert visit > 0.85 * 128
    assert all(pace.by_chance() for pace in flood.paces)


@pytest.mark.parametrize("members", [3, 12])
@pytest.mark.parametrize("room", [10, 40, 100])
def test_queue_that_overflows_is_left_alone(members: int, room: int) -> None:
    flood = Flood(members, lambda total: max(0.0, total - room * members))
    flood.turn(100)
    visit, lost = flood.measure(300)
    # Where share x lost part is four packets the share settles, and it grows by one in a rotation.
    assert visit < room + 5
    assert visit * lost < 5
    assert not any(pace.by_chance() for pace in flood.paces)


@pytest.mark.parametrize("members", [3, 12])
def test_queue_that_overflows_is_left_alone_on_a_link_that_loses_by_chance(members: int) -> None:
    part, room = 1.0 - 1.0 / sendings(0.05, members - 1), 40
    flood = Flood(members, lambda total: part * total + max(0.0, (1.0 - part) * total - room * members))
    flood.turn(100)
    visit, _ = flood.measure(300)
    assert visit * (1.0 - part) < 1.25 * room


def test_queue_that_loses_nearly_all_is_no_chance() -> None:
    """Half as much still loses nearly all of it, so that a comparison tells nothing."""
    flood = Flood(3, lambda total: max(0.0, total - 3.0))
    flood.turn(200)
    visit, _ = flood.measure(300)
    assert visit <= 12


def test_chance_is_forgotten_when_nothing_is_lost_any_more() -> None:
    flood = Flood(3, lambda total: 0.2 * total)
    flood.turn(200)
    assert all(pace.by_chance() for pace in flood.paces)
    flood.lose = lambda total: 0.0
    flood.turn(128)
    assert not any(pace.by_chance() for pace in flood.paces)
    flood.lose = lambda total: max(0.0, total - 120.0)
    flood.turn(100)
    assert flood.measure(300)[0] < 44


def test_comparison_that_does_not_end_is_given_up() -> None:
    """Somebody lacks a packet all the time: what is sent again is not what was lost in the narrow rotations."""
    pace = Pace(128, UNIT, None, 3)
    narrow = 0
    for rotation in range(1, 400):
        share = pace.share()
        pace.note_sent(share)
        pace.note_rotation(rotation, 0.0, round(2.4 * share), 3 * share, 100_000)
        narrow += pace.share() < share
    assert not pace.by_chance()


def test_sendings_of_a_packet() -> None:
    assert sendings(0.0, 5) == 1.0
    assert sendings(0.5, 1) == pytest.approx(2.0)
    assert sendings(0.05, 5) == pytest.approx(1.239, abs=0.001)


def test_loss_never_takes_the_last_packet_of_a_small_visit() -> None:
    pace = Pace(1, UNIT, None, 3)
    turn(pace, 100, TARGET_S, lost=1.0)
    assert pace.share() == 1


def test_time_bounds_the_bytes_of_low_whatever_a_datagram_has() -> None:
    """Five members, 15 us for a kilobyte: a full datagram of each would take twice the target."""
    shares = []
    for datagram_size in (UNIT, 32_000):
        members = [Pace(64, datagram_size, TARGET_S, 3) for _ in range(5)]
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
    pace = Pace(8, 512, TARGET_S, 3)
    pace.note_high()
    turn(pace, 100, 10 * TARGET_S)
    assert pace.low_share() == 512


def test_rotation_in_which_the_token_may_have_rested_says_nothing_of_time() -> None:
    pace = giving_way()
    before = pace.low_share()
    turn(pace, 100, 0.0)
    assert pace.low_share() == before
