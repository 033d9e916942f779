"""The shares of a visit: what ``LOW`` takes follows the time of a rotation, and what all takes follows loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringproto._core.ring.congestion import Congestion, sendings

TARGET_S = 0.001
UNIT = 1352


def turn(
    congestion: Congestion, rotations: int, took_s: float, *, lost: float = 0.0, packets: int = 100, first: int = 100
) -> int:
    """Rotations of one length in which ``LOW`` takes all it may and wants more; how much was taken in the last."""
    taken = 0
    for rotation in range(first, first + rotations):
        congestion.note_rotation(rotation, took_s, round(packets * (1 - lost)), packets, 0)
        congestion.begin_visit(rotation)
        taken = 0
        while congestion.low_room():
            congestion.spent_low(UNIT)
            taken += 1
    return taken


def giving_way(visit_max: int = 64, target_s: float | None = TARGET_S) -> Congestion:
    congestion = Congestion(visit_max, UNIT, target_s, 3)
    congestion.note_high()
    return congestion


def low(congestion: Congestion) -> int:
    """The share of ``LOW`` in packets of one unit."""
    return congestion.low_share() // UNIT


def test_low_has_the_whole_visit_until_high_is_in_use() -> None:
    congestion = Congestion(64, UNIT, TARGET_S, 3)
    turn(congestion, 50, 10 * TARGET_S)
    assert low(congestion) == 64
    congestion.note_high()
    assert low(congestion) == 8


def test_low_has_the_whole_visit_again_a_second_after_the_last_high() -> None:
    congestion = giving_way()
    congestion.now = 0.99
    assert low(congestion) == 8
    congestion.now = 1.01
    assert low(congestion) == 64


def test_without_a_target_low_never_gives_way() -> None:
    congestion = giving_way(target_s=None)
    turn(congestion, 200, 1.0)
    assert low(congestion) == 64


def test_long_rotations_leave_low_one_unit_of_a_visit() -> None:
    congestion = giving_way()
    turn(congestion, 100, 10 * TARGET_S)
    assert low(congestion) == 1
    congestion.begin_visit(300)
    assert congestion.low_room() == UNIT
    congestion.spent_low(UNIT - 10)
    assert not congestion.low_room()


def test_short_rotations_give_low_all() -> None:
    congestion = giving_way()
    turn(congestion, 200, TARGET_S / 10)
    assert low(congestion) == 64


def test_share_grows_only_when_it_was_used_up() -> None:
    congestion = giving_way()
    for rotation in range(100, 200):
        congestion.note_rotation(rotation, TARGET_S / 100, 10, 10, 0)
        congestion.begin_visit(rotation)
        assert congestion.low_room()
    assert low(congestion) <= 8


def test_rotation_of_a_flood_settles_near_the_target() -> None:
    """Five members, 20 us a packet and 100 us for nothing."""
    members = [giving_way() for _ in range(5)]
    took_s = 0.0001
    for rotation in range(100, 500):
        packets = sum(turn(congestion, 1, took_s, first=rotation) for congestion in members)
        took_s = 0.0001 + 0.00002 * packets
    assert 0.5 * TARGET_S < took_s < 1.5 * TARGET_S
    assert max(low(congestion) for congestion in members) - min(low(congestion) for congestion in members) <= 1


def test_who_measures_a_little_less_does_not_push_the_others_out() -> None:
    one, other = giving_way(), giving_way()
    took_s = 0.0001
    for rotation in range(100, 1000):
        taken = turn(one, 1, 0.95 * took_s, first=rotation) + turn(other, 1, 1.05 * took_s, first=rotation)
        took_s = 0.0001 + 0.00005 * taken
    assert low(one) < 2 * low(other)


def test_slow_network_is_measured_and_not_left_unused() -> None:
    congestion = giving_way()
    for rotation in range(8):
        congestion.note_rotation(rotation, 0.2, 0, 0, 0)  # the ring forms
    turn(congestion, 400, 0.3, first=20)
    assert low(congestion) > 32


def test_light_rotations_measure_what_a_rotation_takes_without_low() -> None:
    """At first it took next to nothing; then the network became slow, which a flood alone does not show."""
    congestion = giving_way()
    congestion.note_rotation(1, TARGET_S / 100, 0, 0, 0)
    light = 0
    for rotation in range(2, 5000):
        congestion.note_rotation(rotation, 0.02 if low(congestion) > 1 else 0.019, 100, 100, 0)
        congestion.begin_visit(rotation)
        taken = 0
        while congestion.low_room():
            congestion.spent_low(UNIT)
            taken += 1
        light += taken == 1 < low(congestion)
    assert low(congestion) > 16
    assert light >= 40  # four of each 256


def test_pause_of_one_process_counts_as_one_long_rotation() -> None:
    congestion = giving_way()
    turn(congestion, 200, TARGET_S / 2)
    before = low(congestion)
    turn(congestion, 1, 100.0)
    turn(congestion, 20, TARGET_S / 2)
    assert low(congestion) >= before // 4


@pytest.mark.parametrize(("lost", "least", "most"), [(0.0, 64, 64), (0.01, 64, 64), (0.2, 10, 40), (0.9, 8, 12)])
def test_share_of_who_sends_little_follows_loss(lost: float, least: int, most: int) -> None:
    """What others lose cannot be told from chance by sending less: it is taken for congestion."""
    congestion = Congestion(64, UNIT, None, 3)
    turn(congestion, 310, TARGET_S, lost=lost)  # the last is no narrow one
    assert least <= congestion.share() <= most
    turn(congestion, 100, TARGET_S)
    assert congestion.share() == 64


class Flood:
    """Members that send all they may, over something that loses; what was lost is sent again a rotation later."""

    def __init__(self, members: int, lose: Callable[[int], float], visit_max: int = 128) -> None:
        self.paces = [Congestion(visit_max, UNIT, None, members) for _ in range(members)]
        self.lose = lose
        """Packets that are lost of so many in a rotation."""
        self.rotation = 0
        self.waiting = 0.0
        self.broadcast = self.lost = 0.0

    def turn(self, rotations: int) -> Flood:
        self.broadcast = self.lost = 0.0
        for _ in range(rotations):
            self.rotation += 1
            shares = [congestion.share() for congestion in self.paces]
            total = sum(shares)
            again = min(float(total), self.waiting)
            lost = self.lose(total)
            behind = round(self.waiting)
            self.waiting += lost - again
            self.broadcast += total
            self.lost += lost
            for congestion, share in zip(self.paces, shares, strict=True):
                congestion.note_sent(share)
                congestion.note_rotation(self.rotation, 0.0, round(total - again), total, behind)
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
    assert all(congestion.by_chance() for congestion in flood.paces)


@pytest.mark.parametrize("members", [3, 12])
@pytest.mark.parametrize("room", [10, 40, 100])
def test_queue_that_overflows_is_left_alone(members: int, room: int) -> None:
    flood = Flood(members, lambda total: max(0.0, total - room * members))
    flood.turn(100)
    visit, lost = flood.measure(300)
    # Where share x lost part is four packets the share settles, and it grows by one in a rotation.
    assert visit < room + 5
    assert visit * lost < 5
    assert not any(congestion.by_chance() for congestion in flood.paces)


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
    assert all(congestion.by_chance() for congestion in flood.paces)
    flood.lose = lambda total: 0.0
    flood.turn(128)
    assert not any(congestion.by_chance() for congestion in flood.paces)
    flood.lose = lambda total: max(0.0, total - 120.0)
    flood.turn(100)
    assert flood.measure(300)[0] < 44


def test_comparison_that_does_not_end_is_given_up() -> None:
    """Somebody lacks a packet all the time: what is sent again is not what was lost in the narrow rotations."""
    congestion = Congestion(128, UNIT, None, 3)
    narrow = 0
    for rotation in range(1, 400):
        share = congestion.share()
        congestion.note_sent(share)
        congestion.note_rotation(rotation, 0.0, round(2.4 * share), 3 * share, 100_000)
        narrow += congestion.share() < share
    assert not congestion.by_chance()


def test_sendings_of_a_packet() -> None:
    assert sendings(0.0, 5) == 1.0
    assert sendings(0.5, 1) == pytest.approx(2.0)
    assert sendings(0.05, 5) == pytest.approx(1.239, abs=0.001)


def test_loss_never_takes_the_last_packet_of_a_small_visit() -> None:
    congestion = Congestion(1, UNIT, None, 3)
    turn(congestion, 100, TARGET_S, lost=1.0)
    assert congestion.share() == 1


def test_time_bounds_the_bytes_of_low_whatever_a_datagram_has() -> None:
    """Five members, 15 us for a kilobyte: a full datagram of each would take twice the target."""
    shares = []
    for datagram_size in (UNIT, 32_000):
        members = [Congestion(64, datagram_size, TARGET_S, 3) for _ in range(5)]
        for congestion in members:
            congestion.note_high()
        took_s = 0.0001
        for rotation in range(100, 500):
            units = sum(turn(congestion, 1, took_s, first=rotation) for congestion in members)
            took_s = 0.0001 + 0.000015 * UNIT / 1000 * units
        assert 0.5 * TARGET_S < took_s < 1.5 * TARGET_S
        shares.append(members[0].low_share())
    assert shares[0] == shares[1] < 32_000


def test_unit_of_small_datagrams_is_one_of_them() -> None:
    congestion = Congestion(8, 512, TARGET_S, 3)
    congestion.note_high()
    turn(congestion, 100, 10 * TARGET_S)
    assert congestion.low_share() == 512


def test_rotation_in_which_the_token_may_have_rested_says_nothing_of_time() -> None:
    congestion = giving_way()
    before = congestion.low_share()
    turn(congestion, 100, 0.0)
    assert congestion.low_share() == before
