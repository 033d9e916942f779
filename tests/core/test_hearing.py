"""Who was left out, and what it takes to come back (departure 8 in docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from wire_samples import LIMITS, OLD

from ringproto._core.hearing import Hearing
from ringproto._core.wire_membership import Beacon, Identity

ME = 1
INTERVAL_S = 1.0
MEMBERS_MAX = 8


def hearing() -> Hearing:
    return Hearing(ME, INTERVAL_S, MEMBERS_MAX)


def beacon(members: Collection[int], heard: Collection[int], incarnation: int = 0) -> Beacon:
    return Beacon(Identity(incarnation, 1, LIMITS), OLD, tuple(sorted(members)), tuple(sorted(heard)))


def all_speak(mine: Hearing, rings: Collection[Collection[int]], now: float) -> None:
    """All processors but this one say that they hear everybody."""
    everybody = {node for ring in rings for node in ring}
    for ring in rings:
        for node in ring:
            if node != ME:
                mine.hear_beacon(node, beacon(ring, everybody - {node}), now)


def left_out(mine: Hearing, node: int, times: int = 2, now: float = 0.0) -> None:
    for _ in range(times):
        mine.hear(node, 0, now)
        mine.mark({node: 0}, now)


def test_who_was_never_left_out_is_not_put_off() -> None:
    mine = hearing()
    assert not mine.puts_off_beacon((ME,), 2, 0.0)
    assert not mine.puts_off_join((ME,), 2, 0.0)


def test_first_time_costs_nothing() -> None:
    mine = hearing()
    left_out(mine, 2, 1)
    assert not mine.puts_off_beacon((ME,), 2, 0.0)
    assert not mine.puts_off_join((ME,), 2, 0.0)


def test_who_was_silent_is_marked_too() -> None:
    """A member that receives no data may be left out by a gather in which nothing came of it."""
    mine = hearing()
    for _ in range(2):
        mine.mark({2: 5}, 0.0)
    assert mine.puts_off_join((ME,), 2, 0.0)


def test_who_is_not_known_is_not_marked() -> None:
    mine = hearing()
    for _ in range(2):
        mine.mark({2: None}, 0.0)
    assert not mine.puts_off_join((ME,), 2, 0.0)


def test_who_was_left_out_is_put_off_until_all_hear_all() -> None:
    mine = hearing()
    left_out(mine, 3)
    assert mine.puts_off_join((ME, 2), 3, 0.0)
    assert mine.puts_off_beacon((ME, 2), 3, 0.0)
    all_speak(mine, ((ME, 2), (3,)), 1.0)
    assert not mine.puts_off_beacon((ME, 2), 3, 1.0)
    assert not mine.puts_off_join((ME, 2), 3, 1.0)


@pytest.mark.parametrize(("deaf", "to"), [(2, 3), (3, 2), (3, ME), (2, 4), (4, 2), (4, ME), (3, 4)])
def test_each_link_counts(deaf: int, to: int) -> None:
    """Between the members of both rings, in both directions, and within each of them."""
    mine = hearing()
    left_out(mine, 3)
    all_speak(mine, ((ME, 2), (3, 4)), 1.0)
    ring = (ME, 2) if deaf == 2 else (3, 4)
    mine.hear_beacon(deaf, beacon(ring, {1, 2, 3, 4} - {deaf, to}), 1.0)
    assert mine.puts_off_beacon((ME, 2), 3, 1.0)
    assert mine.puts_off_join((ME, 2), 3, 1.0)


def test_what_this_processor_hears_counts_too() -> None:
    mine = hearing()
    left_out(mine, 3)
    mine.hear_beacon(3, beacon((3, 4), (1, 2, 4)), 1.0)
    mine.hear_beacon(2, beacon((1, 2), (1, 3, 4)), 1.0)
    assert mine.puts_off_beacon((ME, 2), 3, 1.0), "nothing came of 4"


def test_ring_with_a_marked_member_is_put_off_whoever_speaks_for_it() -> None:
    mine = hearing()
    left_out(mine, 4)
    mine.hear_beacon(3, beacon((3, 4), ()), 1.0)
    assert mine.puts_off_beacon((ME,), 3, 1.0)


def test_word_that_is_old_does_not_count() -> None:
    mine = hearing()
    left_out(mine, 3)
    all_speak(mine, ((ME, 2), (3,)), 1.0)
    mine.hear_beacon(3, beacon((3,), (1, 2)), 1.0 + mine.fresh_s)
    assert mine.puts_off_beacon((ME, 2), 3, 1.0 + mine.fresh_s), "nothing came of 2 for too long"


def waits_after(times: int) -> int:
    """After how many intervals somebody is let in that was left out so many times, while all hear all."""
    mine = hearing()
    left_out(mine, 3, times)
    intervals = 0
    while True:
        all_speak(mine, ((ME, 2), (3,)), intervals * INTERVAL_S)
        if not mine.puts_off_beacon((ME, 2), 3, intervals * INTERVAL_S):
            return intervals
        intervals += 1


def test_all_must_hear_all_for_longer_each_time_but_not_for_ever_longer() -> None:
    assert [waits_after(times) for times in range(1, 8)] == [0, 0, 13, 15, 19, 19, 19]


def test_time_begins_anew_when_a_link_fails() -> None:
    mine = hearing()
    for at in range(20):
        all_speak(mine, ((ME, 2), (3,)), at)
    left_out(mine, 3, 3, now=20.0)
    all_speak(mine, ((ME, 2), (3,)), 20.0)
    assert mine.puts_off_beacon((ME, 2), 3, 20.0)
    mine.hear_beacon(2, beacon((1, 2), (1,)), 20.5)
    assert mine.puts_off_beacon((ME, 2), 3, 20.5)
    all_speak(mine, ((ME, 2), (3,)), 21.0)
    assert mine.puts_off_beacon((ME, 2), 3, 21.0)
    all_speak(mine, ((ME, 2), (3,)), 22.0)
    assert not mine.puts_off_beacon((ME, 2), 3, 22.0)


def heard_of(mine: Hearing, node: int, kept: str) -> list[bool]:
    """Whether it counts as heard after each interval, of whose beacons only those marked "x" come."""
    heard = []
    for at, came in enumerate(kept):
        if came == "x":
            mine.hear_beacon(node, beacon((node,), ()), at * INTERVAL_S)
        heard.append(node in mine.heard(at * INTERVAL_S))
    return heard


@pytest.mark.parametrize(("kept", "steady"), [("x", True), ("xxxxxxx-", True), ("xx-", False), ("x-", False)])
def test_who_was_left_out_time_and_again_is_heard_while_its_beacons_come_steadily(kept: str, steady: bool) -> None:
    mine = hearing()
    left_out(mine, 3, 3)
    late = heard_of(mine, 3, 40 * kept)[-16:]
    assert late == [steady] * 16


def test_who_was_left_out_less_often_is_heard_by_any_word() -> None:
    mine = hearing()
    left_out(mine, 3, 2)
    assert all(heard_of(mine, 3, 10 * "x--"))


def test_beacons_between_two_that_are_due_make_no_bad_link_a_good_one() -> None:
    mine = hearing()
    left_out(mine, 3, 3)
    for at in range(100):
        if at // 10 % 2:
            mine.hear_beacon(3, beacon((3,), ()), at * INTERVAL_S / 10)
            assert mine.heard(at * INTERVAL_S / 10) == ()
    for at in range(100, 250):
        mine.hear_beacon(3, beacon((3,), ()), at * INTERVAL_S / 10)
    assert mine.heard(25.0) == (3,)


def test_silence_is_a_link_that_failed() -> None:
    mine = hearing()
    left_out(mine, 3, 3)
    all_speak(mine, ((ME, 2), (3,)), 0.0)
    assert mine.puts_off_beacon((ME, 2), 3, 0.0)
    all_speak(mine, ((ME, 2), (3,)), 10.0)
    assert mine.puts_off_beacon((ME, 2), 3, 10.0)


def test_join_is_welcome_as_soon_as_all_hear_all() -> None:
    """Who waits less long begins, and the others follow."""
    mine = hearing()
    left_out(mine, 3, 8)
    for at in range(13):
        assert mine.puts_off_join((ME, 2), 3, at)
        all_speak(mine, ((ME, 2), (3,)), at)
    assert mine.puts_off_beacon((ME, 2), 3, 12.0)
    assert not mine.puts_off_join((ME, 2), 3, 12.0)


def test_mark_is_lifted_on_a_common_ring_and_remembered() -> None:
    mine = hearing()
    left_out(mine, 3, 2)
    mine.lift((ME, 2, 3))
    assert not mine.puts_off_join((ME,), 3, 0.0)
    left_out(mine, 3, 1)
    for at in range(13):
        all_speak(mine, ((ME,), (3,)), at)
        assert mine.puts_off_beacon((ME,), 3, at), "it was the third time"
    all_speak(mine, ((ME,), (3,)), 13.0)
    assert not mine.puts_off_beacon((ME,), 3, 13.0)


def test_long_peace_is_forgiven() -> None:
    mine = hearing()
    left_out(mine, 3, 5)
    left_out(mine, 3, 1, now=256.0)
    assert not mine.puts_off_beacon((ME,), 3, 256.0)


def test_who_was_started_anew_is_not_who_had_the_bad_link() -> None:
    mine = hearing()
    left_out(mine, 3, 5)
    mine.hear(3, 77, 1.0)
    assert not mine.puts_off_join((ME,), 3, 1.0)
    mine.mark({3: 77}, 1.0)
    assert not mine.puts_off_beacon((ME,), 3, 1.0), "its first time"


def test_heard_are_those_of_late_and_no_more_than_fit_into_a_ring() -> None:
    mine = hearing()
    for node in range(2, 40):
        mine.hear(node, 0, float(node))
    assert mine.heard(39.5) == (36, 37, 38, 39)
    for node in range(2, 40):
        mine.hear(node, 0, 40.0)
    assert mine.heard(40.0) == tuple(range(40 - MEMBERS_MAX, 40))


def test_memory_is_bounded() -> None:
    mine = hearing()
    for node in range(2, 500):
        left_out(mine, node)
    assert sum(mine.puts_off_join((ME,), node, 0.0) for node in range(2, 500)) == 4 * MEMBERS_MAX
