"""Who hears whom by beacons, who is put off, and that nothing of it is remembered for longer than its bound."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import LIMITS, OLD

from ringproto._core.membership.connectivity import Connectivity
from ringproto._core.wire.membership import Beacon, Identity

ME = 1
INTERVAL_S = 1.0
MEMBERS_MAX = 8


def make() -> Connectivity:
    return Connectivity(ME, INTERVAL_S, MEMBERS_MAX)


def beacon(
    number: int,
    members: Iterable[int] = (),
    heard: Iterable[int] = (),
    incarnation: int = 77,
    interval_ms: int = 1000,
    put_off: tuple[int, ...] = (),
    busy: bool = False,
) -> Beacon:
    identity = Identity(incarnation, number, LIMITS)
    return Beacon(identity, OLD, number, interval_ms, tuple(sorted(members)), tuple(sorted(heard)), put_off, busy)


def all_speak(mine: Connectivity, rings: Collection[Collection[int]], now: float, times: int = 3) -> float:
    """Everybody says so many beacons that all hear all; the time of the last."""
    everybody = {node for ring in rings for node in ring}
    for number in range(1, times + 1):
        for ring in rings:
            for node in ring:
                if node != ME:
                    mine.hear_beacon(node, beacon(int(now) + number, ring, everybody - {node}), now + number)
    return now + times


def left_out(mine: Connectivity, node: int, times: int, now: float) -> None:
    for _ in range(times):
        mine.mark({node: 77}, now)


def test_who_was_never_left_out_is_not_put_off() -> None:
    assert not make().puts_off((1, 2), 3, 0.0)


def test_first_time_that_somebody_is_left_out_costs_nothing() -> None:
    mine = make()
    left_out(mine, 3, 1, 0.0)
    assert not mine.puts_off((1, 2), 3, 0.0)


@pytest.mark.parametrize(
    ("at_once", "apart_s", "put_off"),
    [(False, 0.0, True), (False, 7.9, True), (False, 8.0, False), (True, 0.0, False)],
    ids=["just after", "within a window", "later", "together"],
)
def test_who_is_left_out_soon_after_another_one_is_put_off_at_once(
    at_once: bool, apart_s: float, put_off: bool
) -> None:
    """The two ends of a bad link leave each other out in turn; those whom a partition takes away go together."""
    mine = make()
    if at_once:
        mine.mark({3: 77, 4: 77}, 0.0)
    else:
        mine.mark({3: 77}, 0.0)
        mine.mark({4: 77}, apart_s)
    assert mine.puts_off((1, 2), 4, apart_s) is put_off
    assert not mine.puts_off((1, 2), 3, apart_s)


def test_who_was_left_out_twice_is_put_off_until_all_hear_all() -> None:
    mine = make()
    left_out(mine, 3, 2, 0.0)
    assert mine.puts_off((1, 2), 3, 5.0)
    now = all_speak(mine, [(1, 2), (3,)], 5.0)
    assert not mine.puts_off((1, 2), 3, now)


def test_while_others_recover_nothing_is_evidence_for_who_was_left_out_often() -> None:
    """Beacons do not show that data comes: a member without data would end each recovery (full seed 193562729)."""
    mine = make()
    left_out(mine, 3, 4, 0.0)
    now = all_speak(mine, [(ME, 2), (3,)], 0.0)
    assert not mine.puts_off((ME, 2), 3, now)
    assert mine.puts_off((ME, 2), 3, now, busy=True)
    assert mine.puts_off((ME, 2), 3, now, gathers=77, busy=True)
    assert not mine.puts_off((ME, 2), 3, now, gathers=78, busy=True), "another incarnation"
    # And nobody says that it is heard, so that it does not come in vain.
    assert mine.heard(now, (ME, 2)) == (3,)
    assert mine.heard(now, (ME, 2), busy=True) == ()


def test_while_others_recover_nobody_says_that_it_hears_the_ring_of_who_was_left_out_often() -> None:
    """The whole ring is put off. If only one of it seemed not to be heard, the others would come in vain without it."""
    mine = make()
    left_out(mine, 4, 4, 0.0)
    now = all_speak(mine, [(ME, 2), (3, 4), (5,)], 8.0)
    assert mine.puts_off((ME, 2), 3, now, busy=True)
    assert mine.heard(now, (ME, 2)) == (3, 4, 5)
    assert mine.heard(now, (ME, 2), busy=True) == (5,)


@pytest.mark.parametrize(("times", "wait"), [(4, 16), (5, 32), (6, 64), (7, 128), (8, 256), (2000, 256)])
def test_who_was_left_out_often_waits_for_others_that_recover_twice_as_long_each_time(times: int, wait: int) -> None:
    """At most until its mark is forgotten. It waited so long each time: for 256 intervals although it was whole."""
    mine = make()
    left_out(mine, 3, times, 0.0)
    last = wait - 1.0
    all_speak(mine, [(ME, 2), (3,)], last - 3)
    assert mine.puts_off((ME, 2), 3, last, busy=True)
    assert mine.heard(last, (ME, 2), busy=True) == ()
    all_speak(mine, [(ME, 2), (3,)], last - 2)
    assert not mine.puts_off((ME, 2), 3, float(wait), busy=True)
    assert mine.heard(float(wait), (ME, 2), busy=True) == (3,)


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_others_may_come_while_members_recover(times: int) -> None:
    mine = make()
    left_out(mine, 3, times, 0.0)
    now = all_speak(mine, [(ME, 2), (3,)], 0.0)
    assert not mine.puts_off((ME, 2), 3, now, busy=True)
    assert mine.heard(now, (ME, 2), busy=True) == (3,)


def test_who_does_not_hear_us_is_put_off_although_we_hear_it() -> None:
    mine = make()
    left_out(mine, 3, 2, 0.0)
    now = all_speak(mine, [(1, 2), (3,)], 5.0)
    assert not mine.puts_off((1, 2), 3, now)
    mine.hear_beacon(3, beacon(9, (3,), (1,)), now)
    assert mine.puts_off((1, 2), 3, now), "3 does not hear 2"


def test_one_word_that_somebody_does_not_hear_it_puts_it_off() -> None:
    mine = make()
    left_out(mine, 3, 2, 4.0)
    now = all_speak(mine, [(1, 2), (3, 4)], 5.0)
    assert not mine.puts_off((1, 2), 3, now)
    mine.hear_beacon(2, beacon(20, (1, 2), (1, 3)), now)
    assert mine.puts_off((1, 2), 3, now), "2 does not hear 4"
    mine.hear_beacon(2, beacon(21, (1, 2), (1, 3, 4)), now)
    assert not mine.puts_off((1, 2), 3, now)
    mine.hear_beacon(4, beacon(22, (3, 4), (1, 3)), now)
    assert mine.puts_off((1, 2), 3, now), "4 does not hear 2"


@pytest.mark.parametrize(("put_off", "waits"), [((), False), ((2,), True), ((9,), False)])
def test_who_puts_somebody_of_mine_off_is_put_off_as_well(put_off: tuple[int, ...], waits: bool) -> None:
    """A ring with it would be tried in vain: it does not come."""
    mine = make()
    mine.hear_beacon(3, beacon(1, (3,), put_off=put_off), 0.0)
    assert mine.puts_off((1, 2), 3, 0.0) is waits
    assert not mine.puts_off((1, 2), 3, 0.0, gathers=77), "its join says that it follows"
    assert not mine.puts_off((1,), 3, 0.0), "1 alone it would follow"


@pytest.mark.parametrize("ahead", [(1, 2), (2, 3)])
def test_what_a_member_of_its_ring_says_of_putting_off_counts_as_well(ahead: tuple[int, ...]) -> None:
    mine = make()
    mine.hear_beacon(3, beacon(1, (3, 4)), 0.0)
    mine.hear_beacon(4, beacon(1, (3, 4), put_off=ahead), 0.0)
    assert mine.puts_off((1, 2), 3, 0.0)


def test_who_puts_somebody_off_is_welcome_when_all_hear_all_or_when_it_says_so_no_more() -> None:
    mine = make()
    now = all_speak(mine, [(1, 2), (3,)], 0.0)
    mine.hear_beacon(3, beacon(4, (3,), (1, 2), put_off=(1, 2)), now)
    assert not mine.puts_off((1, 2), 3, now)
    mine.hear_beacon(3, beacon(5, (3,), (1,), put_off=(1, 2)), now)
    assert mine.puts_off((1, 2), 3, now)
    mine.hear_beacon(3, beacon(6, (3,), (1,)), now)
    assert not mine.puts_off((1, 2), 3, now)


def test_beacon_that_puts_off_is_forgotten_with_the_evidence() -> None:
    mine = make()
    mine.hear_beacon(3, beacon(1, (3,), put_off=(1, 2)), 0.0)
    assert mine.puts_off((1, 2), 3, 7.9)
    assert not mine.puts_off((1, 2), 3, 8.0)


def test_who_is_put_off_is_said_and_of_too_many_those_who_were_left_out_last() -> None:
    mine = make()
    for number, node in enumerate((9, 5, 7)):
        left_out(mine, node, 2, float(number))
    left_out(mine, 8, 1, 10.0)
    assert mine.put_off(4, 10.0) == (5, 7, 9), "8 may come back once without evidence"
    assert mine.put_off(2, 10.0) == (5, 7)
    assert mine.put_off(0, 10.0) == ()
    mine.lift((7,))
    assert mine.put_off(4, 10.0) == (5, 9)
    assert mine.put_off(4, 10.0 + 256 * INTERVAL_S) == ()


def test_links_within_one_ring_do_not_matter() -> None:
    """It turns as it is, and who comes cannot mend it."""
    mine = make()
    left_out(mine, 4, 2, 0.0)
    now = all_speak(mine, [(1, 2, 3), (4,)], 5.0)
    mine.hear_beacon(2, beacon(20, (1, 2, 3), (1, 4)), now)
    assert not mine.puts_off((1, 2, 3), 4, now)


def test_ring_of_the_stranger_counts_as_a_whole() -> None:
    mine = make()
    left_out(mine, 4, 2, 4.0)
    now = all_speak(mine, [(1, 2), (3, 4)], 5.0)
    mine.hear_beacon(4, beacon(30, (3, 4), (3,)), now)
    assert mine.puts_off((1, 2), 3, now)


def hearing(
    rings: Collection[Collection[int]],
    dead: Collection[tuple[int, int]],
    apart_s: float,
    times: int = 2,
    *,
    heard_s: int = 24,
) -> Connectivity:
    """What 1 knows when all have been left out so often, and for so long, and beacons, which came for so many seconds,
    say that these links are dead."""
    mine = make()
    everybody = {node for ring in rings for node in ring}
    for node in everybody - set(rings[0]):
        left_out(mine, node, times, 10.0 - apart_s)
    for number in range(heard_s + 1):
        for ring in rings:
            for node in ring:
                if node != ME and (node, ME) not in dead:
                    hears = {other for other in everybody - {node} if (other, node) not in dead}
                    mine.hear_beacon(node, beacon(number, ring, hears), 10.0 - heard_s + number)
    return mine


ALL_OF_4 = [(4, 2), (4, 3), (4, 1)]


@pytest.mark.parametrize(
    ("rings", "dead", "apart_s", "out"),
    [
        ([(1, 2, 3), (4, 5)], [(2, 4)], 16.0, {2}),
        ([(1, 2, 3), (4, 5)], [(2, 4)], 15.9, None),
        ([(1, 2, 3), (4, 5)], [(4, 2), (2, 4)], 16.0, {2}),
        ([(1, 2, 3), (4,)], [(2, 4)], 250.0, None),
        ([(1,), (4, 5, 6)], [(4, 1)], 250.0, None),
        ([(1, 2, 3), (4, 5)], [(2, 4), (3, 4)], 16.0, {4}),
        ([(1, 2, 3), (4, 5)], ALL_OF_4, 23.9, None),
        ([(1, 2, 3), (4, 5)], ALL_OF_4, 24.0, {4}),
        ([(1, 2, 3), (4, 5)], [(1, 4)], 250.0, None),
        ([(1, 2, 3), (4, 5)], [(2, 4), (3, 5)], 250.0, None),
        ([(1, 2, 3), (4, 5, 6)], [(2, 4), (3, 5)], 16.0, {2, 3}),
        ([(1, 2, 3), (4, 5)], [(2, 4), (2, 5), (1, 4), (1, 5)], 250.0, None),
    ],
    ids=[
        "one link",
        "one link, too soon",
        "one link, both ways",
        "the other ring is one",
        "this ring is one",
        "two links of one",
        "one that is not heard here, too soon",
        "one that is not heard here",
        "no place for this processor",
        "as many bad ends as the smaller ring has",
        "fewer",
        "a bridge",
    ],
)
def test_plan_leaves_out_who_must_be_if_all_others_are_more_than_each_ring(
    rings: list[tuple[int, ...]], dead: list[tuple[int, int]], apart_s: float, out: set[int] | None
) -> None:
    """All will never hear all: they would be apart for ever. A ring of one has nothing to gain but the bad end."""
    mine = hearing(rings, dead, apart_s)
    sender = 5 if len(rings[1]) > 1 else 4
    assert mine.puts_off(rings[0], sender, 10.0)
    everybody = {node for ring in rings for node in ring}
    assert mine.plan(rings[0], sender, 10.0) == (None if out is None else (everybody, out))


@pytest.mark.parametrize(("dead", "least_s"), [([(2, 4)], 16), (ALL_OF_4, 24)], ids=["all known", "one not known"])
def test_there_is_no_plan_before_beacons_came_for_long(dead: list[tuple[int, int]], least_s: int) -> None:
    """However long the rings were apart: when a network has just healed, not all have had the beacons of all."""
    rings = [(1, 2, 3), (4, 5)]
    assert hearing(rings, dead, 250.0, heard_s=least_s - 1).plan(rings[0], 5, 10.0) is None
    assert hearing(rings, dead, 250.0, heard_s=least_s).plan(rings[0], 5, 10.0)


HALVES = [(1, 2, 3), (4, 5, 6)]


def lossy(last: int, *, here: bool) -> Connectivity:
    """What 1 knows when beacons 0 to ``last`` came, one a second. From the 17th on 2 says that it does not hear 4; or,
    ``here``, only one of four beacons of 4 comes."""
    mine = make()
    for node in HALVES[1]:
        left_out(mine, node, 2, -100.0)
    for number in range(last + 1):
        for ring in HALVES:
            for node in set(ring) - {ME}:
                deaf = number > 16 and node == 2 and not here
                if not (here and node == 4 and number > 16 and number % 4):
                    hears = set(range(1, 7)) - {node} - ({4} if deaf else set())
                    mine.hear_beacon(node, beacon(number, ring, hears), float(number))
    return mine


def test_who_was_heard_of_late_is_not_left_out() -> None:
    """A link that loses much is not dead, though its last beacons are not enough for evidence."""
    everybody = frozenset(range(1, 7))
    assert lossy(31, here=False).plan(HALVES[0], 5, 31.0) == (everybody, frozenset())
    assert lossy(32, here=False).plan(HALVES[0], 5, 32.0) == (everybody, {2})
    # The last beacon with which enough of 4 had come is the 20th; then 1, who would be left out, has no plan.
    assert lossy(35, here=True).puts_off(HALVES[0], 5, 35.0)
    assert lossy(35, here=True).plan(HALVES[0], 5, 35.0) == (everybody, frozenset())
    assert lossy(36, here=True).plan(HALVES[0], 5, 36.0) is None


def test_who_was_heard_before_it_was_left_out_last_is_left_out_by_a_plan() -> None:
    mine = lossy(20, here=False)
    left_out(mine, 4, 1, 20.0)
    for number in range(21, 37):
        for node in (2, 3, 4, 5, 6):
            hears = set(range(1, 7)) - {node} - ({4} if node == 2 else set())
            mine.hear_beacon(node, beacon(number, HALVES[node > 3], hears), float(number))
    assert mine.plan(HALVES[0], 5, 36.0) == (frozenset(range(1, 7)), {2})


def test_ring_of_one_does_not_come_back_for_what_was_heard_of_late() -> None:
    """It has nothing to gain from a plan, so it waits until all hear all."""
    mine = hearing([(1, 2, 3), (4,)], [], 250.0)
    mine.hear_beacon(2, beacon(25, (1, 2, 3), (1, 3)), 10.0)
    assert mine.puts_off((1, 2, 3), 4, 10.0)
    assert mine.plan((1, 2, 3), 4, 10.0) is None


def test_there_is_no_plan_for_a_ring_of_which_nobody_was_left_out() -> None:
    assert make().plan((1, 2, 3), 5, 10.0) is None


def test_there_is_no_plan_while_members_of_the_other_ring_recover_nor_until_enough_beacons_came_since() -> None:
    """They do not say of who was left out often that they hear it, and would be left out themselves for that."""
    rings = [(1, 2, 3), (4, 5)]
    mine = hearing(rings, [(2, 4)], 100.0)
    assert mine.plan(rings[0], 5, 10.0) is not None
    mine.hear_beacon(4, beacon(25, (4, 5), (1, 3), busy=True), 10.0)
    assert mine.plan(rings[0], 5, 10.0) is None
    for number in range(26, 45):
        now = number - 15.0
        for ring in rings:
            for node in set(ring) - {ME}:
                hears = set(range(1, 6)) - {node, {2: 4, 4: 2}.get(node, node)}
                mine.hear_beacon(node, beacon(number, ring, hears), now)
        assert (mine.plan(rings[0], 5, now) is None) is (now < 26.0)


def test_link_between_members_that_were_on_one_ring_until_now_is_not_dead() -> None:
    """Their beacons name each other as members, not as heard."""
    mine = make()
    both = (1, 2, 3, 4, 5)
    for number in range(1, 17):
        for node in both[1:]:
            mine.hear_beacon(node, beacon(number, both, ()), float(number))
    left_out(mine, 4, 2, 0.0)
    for number in range(17, 20):
        for node, ring in ((2, (1, 2, 3)), (3, (1, 2, 3)), (4, (4, 5)), (5, (4, 5))):
            mine.hear_beacon(
                node, beacon(number, ring, set(both) - set(ring) - {5} if node < 4 else {1, 2, 3}), float(number)
            )
    assert mine.plan((1, 2, 3), 4, 19.0) == (frozenset(both), frozenset())


def test_it_is_not_free_for_whom_a_plan_left_out() -> None:
    mine = make()
    mine.mark({2: 77, 3: 77}, 0.0, planned={3})
    assert not mine.puts_off((1,), 2, 0.0)
    assert mine.puts_off((1,), 3, 0.0)


def test_heard_is_who_had_three_of_its_last_eight_beacons_received() -> None:
    mine = make()
    for number, came in enumerate("1010001", 1):
        if came == "1":
            mine.hear_beacon(2, beacon(number), float(number))
    assert mine.heard(7.0) == (2,)
    mine.hear_beacon(2, beacon(11), 11.0)
    assert mine.heard(11.0) == (), "of 4 to 11 only 7 and 11 came"
    mine.hear_beacon(2, beacon(12), 12.0)
    assert mine.heard(12.0) == (2,), "7, 11 and 12"


def test_beacons_are_counted_as_they_were_said_however_far_apart() -> None:
    """An idle ring says them less often than this processor would; that says nothing about the link."""
    mine = make()
    for number in (1, 2, 3):
        mine.hear_beacon(2, beacon(number, interval_ms=2500), 2.5 * number)
    assert mine.heard(7.5) == (2,)


def test_numbers_of_beacons_may_wrap() -> None:
    mine = make()
    for place, number in enumerate((2**32 - 2, 2**32 - 1, 0)):
        mine.hear_beacon(2, beacon(number), float(place))
    assert mine.heard(2.0) == (2,)


def test_loss_of_fifteen_in_a_hundred_leaves_nearly_every_pair_heard_and_a_dead_link_none() -> None:
    chance = random.Random(7)
    mine = make()
    for number in range(1, 9):
        for node in range(2, 9):
            if chance.random() >= 0.15:
                mine.hear_beacon(node, beacon(number), float(number))
    assert len(mine.heard(8.0)) == 7


def test_evidence_is_forgotten_when_no_beacon_came_for_as_long_as_the_window_takes() -> None:
    mine = make()
    for number in range(1, 9):
        mine.hear_beacon(2, beacon(number), float(number))
    assert mine.heard(15.9) == (2,)
    assert mine.heard(16.0) == ()
    mine.hear_beacon(2, beacon(9), 16.5)
    assert mine.heard(16.5) == (), "what came before the silence says nothing of the link of now"


def test_interval_that_another_says_is_believed_within_bounds() -> None:
    mine = make()
    for number in (1, 2, 3):
        mine.hear_beacon(2, beacon(number, interval_ms=2**32 - 1), float(number))
    assert mine.heard(3.0 + 8 * 16 * INTERVAL_S - 0.1) == (2,)
    assert mine.heard(3.0 + 8 * 16 * INTERVAL_S) == ()


def test_another_incarnation_begins_with_nothing() -> None:
    mine = make()
    for number in (1, 2, 3):
        mine.hear_beacon(2, beacon(number), float(number))
    mine.hear_beacon(2, beacon(4, incarnation=78), 4.0)
    assert mine.heard(4.0) == ()


@pytest.mark.parametrize("times", [2, 3, 9])
def test_what_was_heard_before_it_was_left_out_says_nothing_of_the_link_however_often_it_was(times: int) -> None:
    """The ring that failed was formed with that evidence. It takes three beacons, not longer and longer waits."""
    mine = make()
    now = all_speak(mine, [(1, 2), (3,)], 0.0, times=8)
    left_out(mine, 3, times, now)
    for number in (1, 2):
        all_speak(mine, [(1, 2), (3,)], now + number - 1, times=1)
        assert mine.heard(now + number) == (2,)
        assert mine.puts_off((1, 2), 3, now + number)
    all_speak(mine, [(1, 2), (3,)], now + 2, times=1)
    assert not mine.puts_off((1, 2), 3, now + 3)


def test_what_others_said_before_it_was_left_out_says_nothing_of_their_links_with_it() -> None:
    """The last beacon of 2 names 3 among those it hears, or among the members of its ring."""
    mine = make()
    mine.hear_beacon(2, beacon(1, (1, 2, 3)), 4.9)
    left_out(mine, 3, 2, 5.0)
    for number in (1, 2, 3):
        mine.hear_beacon(3, beacon(number, (3,), (1, 2)), 5.0 + number)
    assert mine.puts_off((1, 2), 3, 8.0), "whether 2 hears 3 was not said since"
    mine.hear_beacon(2, beacon(2, (1, 2), (3,)), 8.1)
    assert not mine.puts_off((1, 2), 3, 8.1)


def test_mark_is_forgotten_after_its_bound_without_another_one_being_made() -> None:
    mine = make()
    left_out(mine, 3, 5, 0.0)
    assert mine._counts(mine._marks[3], 3, 255.9)
    assert not mine.puts_off((1, 2), 3, 256.0)
    left_out(mine, 3, 1, 300.0)
    assert not mine.puts_off((1, 2), 3, 300.0), "it begins anew"


def test_bad_link_that_is_seen_keeps_the_mark_and_a_good_one_does_not() -> None:
    mine = make()
    left_out(mine, 3, 2, 0.0)
    for second in range(0, 1000, 100):
        mine.hear_beacon(2, beacon(second + 1, (1, 2), ()), float(second))
        assert mine.puts_off((1, 2), 3, float(second)), "2 says that it does not hear 3"
    now = all_speak(mine, [(1, 2), (3,)], 1000.0)
    assert not mine.puts_off((1, 2), 3, now)


def test_who_is_silent_while_others_of_its_ring_speak_is_not_heard_and_its_mark_stays() -> None:
    """A dead link in both directions: no beacon ever says of the other end that it hears nothing."""
    mine = make()
    left_out(mine, 3, 2, 0.0)
    for number in range(1, 1001):
        mine.hear_beacon(4, beacon(number, (3, 4), (1, 3)), number)
        assert mine.puts_off((1,), 4, number)
    all_speak(mine, [(ME,), (3, 4)], 1001.0)
    assert not mine.puts_off((1,), 4, 1004.0)


def test_evidence_that_is_missing_is_no_evidence_of_a_bad_link() -> None:
    mine = make()
    left_out(mine, 3, 2, 0.0)
    assert mine.puts_off((1, 2), 3, 200.0), "no beacon came"
    assert not mine.puts_off((1, 2), 3, 256 * INTERVAL_S)


def test_own_ring_is_left_out_of_whom_a_beacon_names_and_needs_not_be_heard() -> None:
    """So many rings may be there that a beacon cannot name all whom its sender hears."""
    mine = make()
    for number in range(3):
        for node in (*range(2, MEMBERS_MAX + 1), 40):
            mine.hear_beacon(node, beacon(number + 1), float(number))
    others = tuple(range(2, MEMBERS_MAX + 1))
    assert len(mine.heard(2.0)) == MEMBERS_MAX
    assert mine.heard(2.0, without=(1, *others)) == (40,)


def test_join_of_another_incarnation_is_not_put_off_for_what_the_last_one_was() -> None:
    mine = make()
    left_out(mine, 3, 2, 0.0)
    assert mine.puts_off((1, 2), 3, 1.0, gathers=77)
    assert not mine.puts_off((1, 2), 3, 1.0, gathers=78)


def test_mark_is_lifted_while_the_two_are_on_one_ring_and_counts_again_after_that() -> None:
    mine = make()
    left_out(mine, 3, 2, 0.0)
    mine.lift((1, 2, 3))
    assert not mine.puts_off((1, 2), 3, 1.0)
    left_out(mine, 3, 1, 2.0)
    assert mine.puts_off((1, 2), 3, 2.0)


def test_mark_belongs_to_an_incarnation() -> None:
    mine = make()
    left_out(mine, 3, 2, 0.0)
    mine.hear_beacon(3, beacon(1, (3,), incarnation=78), 1.0)
    assert not mine.puts_off((1, 2), 3, 1.0)


def test_beacon_of_the_life_before_does_not_hide_the_mark_of_this_one() -> None:
    mine = make()
    mine.hear_beacon(3, beacon(1, (3,), incarnation=66), 0.0)
    left_out(mine, 3, 2, 1.0)
    assert mine.puts_off((1, 2), 3, 1.0, gathers=77)
    assert mine.put_off(4, 1.0) == (3,)


def test_nothing_is_remembered_of_who_was_never_known() -> None:
    mine = make()
    mine.mark({3: None}, 0.0)
    mine.mark({3: None}, 0.0)
    assert not mine.puts_off((1, 2), 3, 0.0)


def test_memory_is_bounded() -> None:
    mine = make()
    for node in range(2, 1000):
        left_out(mine, node, 2, 1.0)
        for number in (1, 2, 3):
            mine.hear_beacon(node, beacon(number), 1.0)
    assert len(mine._words) <= 4 * MEMBERS_MAX and len(mine._marks) <= 4 * MEMBERS_MAX
    assert len(mine.heard(1.0)) == MEMBERS_MAX


def test_who_is_on_both_rings_by_an_old_beacon_is_no_pair_with_itself() -> None:
    """What 3 said before it was left out is no evidence; of itself that raised ``KeyError`` (full seed 594)."""
    mine = make()
    left_out(mine, 2, 1, 0.0)
    mine.hear_beacon(3, beacon(1, (3,), interval_ms=9000), 0.0)
    mine.mark({2: 77, 3: 77}, 0.0)
    mine.hear_beacon(2, beacon(2, (ME, 2, 3)), 8.0)
    mine.puts_off((ME, 2, 3), 2, 8.0)


NODES = st.integers(1, 6)
SETS = st.sets(NODES, max_size=6)
MOMENTS = st.lists(
    st.tuples(
        st.sampled_from((0.0, 0.5, 1.0, 8.0)),
        NODES,
        SETS,
        SETS,
        SETS,
        st.sampled_from((77, 78)),
        st.sampled_from((1000, 9000)),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(moments=MOMENTS)
def test_whatever_beacons_say_and_whoever_is_left_out_nothing_raises(moments: list[tuple[Any, ...]]) -> None:
    """Rings may overlap, a beacon may name its receiver, and an old one comes after a newer one."""
    mine = make()
    now = 0.0
    for number, (later, node, members, heard, others, incarnation, interval_ms, flag) in enumerate(moments):
        now += later
        if node != ME:
            said = beacon(number, members | {node}, heard, incarnation, interval_ms, tuple(others))
            mine.hear_beacon(node, said, now)
        if flag:
            mine.mark(dict.fromkeys(others - {ME}, incarnation), now)
        else:
            mine.lift(heard)
        ring = members | {ME}
        put_off = mine.puts_off(ring, node, now, gathers=incarnation if flag else None, busy=len(heard) > 4)
        assert put_off in (True, False)
        assert mine.is_shown(ring, node, now) in (True, False)
        plan = mine.plan(ring, node, now)
        if plan is not None:
            everybody, out = plan
            assert ring < everybody and out <= everybody and ME not in out and len(everybody) - len(out) > len(ring)
        assert len(mine.heard(now, others, busy=flag)) <= MEMBERS_MAX
        assert len(mine.put_off(4, now)) <= 4


def test_what_many_beacons_say_alike_is_kept_once() -> None:
    """Whole beacons took 12 MB of memory with 256 processors that each hear 64."""
    mine = make()
    for number in range(1, 40):
        mine.hear_beacon(3, beacon(number, (3,), (ME, 2)), float(number))
    said = mine._words[3].said
    assert len(said) == 16 and {shown for _, shown in said} == {((3,), (ME, 2))}
    assert len({id(shown) for _, shown in said}) == 1
    mine.hear_beacon(3, beacon(40, (3,), (2,)), 40.0)
    assert [shown for _, shown in said][-2:] == [((3,), (ME, 2)), ((3,), (2,))]
