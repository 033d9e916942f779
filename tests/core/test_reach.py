"""How far other processors' words may move the ring sequence."""

from __future__ import annotations

from ringproto._core.membership.sequence_limits import AHEAD, BEHIND, LEAP_MAX, STEP_MAX, SequenceLimits

JOIN_S = 0.02
MEMORY_S = 1.0
KNOWN = 100


def make(max_: int = 8) -> SequenceLimits:
    return SequenceLimits(JOIN_S, MEMORY_S, max_)


def test_a_step_is_admitted_at_once_and_no_more() -> None:
    reach = make()
    assert reach.admits(1, 11, KNOWN + STEP_MAX, KNOWN, 0.0)
    assert reach.admits(1, 11, 0, KNOWN, 0.0)
    assert not reach.admits(1, 11, KNOWN + STEP_MAX + 1, KNOWN, 0.0)


def test_three_joins_of_one_incarnation_a_join_timeout_apart_are_a_leap() -> None:
    reach = make()
    far = KNOWN + LEAP_MAX
    assert [reach.admits(1, 11, far, KNOWN, 10.0 + turn * JOIN_S) for turn in range(3)] == [False, False, True]
    reach.note_leap(10.0 + 2 * JOIN_S)
    # The next leap needs three others, and time in which those that hear this processor can follow.
    assert not any(reach.admits(1, 11, far, KNOWN, 10.05 + turn * 0.01) for turn in range(7))
    assert [reach.admits(1, 11, far, KNOWN, 10.2 + turn * JOIN_S) for turn in range(3)] == [False, False, True]


def test_joins_that_follow_each_other_at_once_count_as_one() -> None:
    reach = make()
    assert not any(reach.admits(1, 11, KNOWN + LEAP_MAX, KNOWN, 10.0 + turn * 0.0001) for turn in range(100))
    assert not reach.admits(1, 11, KNOWN + LEAP_MAX, KNOWN, 10.03)
    assert reach.admits(1, 11, KNOWN + LEAP_MAX, KNOWN, 10.05)


def test_more_than_a_leap_is_never_admitted() -> None:
    reach = make()
    assert not any(reach.admits(1, 11, KNOWN + LEAP_MAX + 1, KNOWN, turn * JOIN_S) for turn in range(100))


def test_another_incarnation_begins_anew() -> None:
    reach = make()
    far = KNOWN + LEAP_MAX
    words = [(11, 0.0), (11, 0.02), (12, 0.04), (12, 0.06), (11, 0.08), (11, 0.10), (11, 0.12)]
    assert [reach.admits(1, life, far, KNOWN, now) for life, now in words] == [False] * 6 + [True]


def test_what_is_said_of_both_directions_is_not_added_up() -> None:
    reach = make()
    assert not reach.proves(1, 11, BEHIND, 0.0)
    assert not reach.proves(1, 11, BEHIND, 0.1)
    assert not reach.proves(1, 11, AHEAD, 0.2)
    assert not reach.proves(1, 11, BEHIND, 0.3)


def test_a_claim_is_forgotten_after_its_time() -> None:
    reach = make()
    assert not reach.proves(1, 11, AHEAD, 0.0)
    assert not reach.proves(1, 11, AHEAD, 0.9)
    assert not reach.proves(1, 11, AHEAD, 2.0)
    assert not reach.proves(1, 11, AHEAD, 2.9)
    assert reach.proves(1, 11, AHEAD, 3.8)


def test_memory_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    reach = make(4)
    for node in range(1, 6):
        assert not reach.proves(node, 11, AHEAD, 0.0)
        assert not reach.proves(node, 11, AHEAD, 0.1)
    assert reach.proves(2, 11, AHEAD, 0.2)
    assert not reach.proves(1, 11, AHEAD, 0.2)


def test_two_processors_ahead_at_the_same_time_are_both_reached() -> None:
    reach = make()
    known = KNOWN
    for turn in range(12):
        for node, far in ((1, KNOWN + 2**20), (2, KNOWN + 2**25)):
            if reach.admits(node, 11, far, known, turn * JOIN_S):
                known = max(known, far)
    assert known == KNOWN + 2**25
