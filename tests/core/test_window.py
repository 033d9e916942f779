"""The window: what arrived, what is missing, what may be forgotten."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_samples import OLD

from ringproto._core.packets.window import Window
from ringproto._core.wire.regular import Packet


def packet(seq: int) -> Packet:
    return Packet(b"", 1, OLD, seq, 0, False, b"", 0, 52)


def filled(capacity: int, *seqs: int) -> Window:
    window = Window(capacity)
    for seq in seqs:
        assert window.insert(packet(seq))
    return window


@pytest.mark.parametrize(("asked", "given_"), [(1, 1), (2, 2), (3, 4), (8, 8), (9, 16), (2048, 2048)])
def test_capacity_is_the_power_of_two_that_is_enough(asked: int, given_: int) -> None:
    assert Window(asked).capacity == given_


def test_new_window_is_empty() -> None:
    window = Window(8)
    assert (window.released, window.aru, window.high) == (0, 0, 0)
    assert window.get(1) is None
    assert window.missing(0, 10) == []
    assert window.release(5) is False


def test_packets_in_order_raise_the_aru() -> None:
    window = filled(8, 1, 2, 3)
    assert (window.aru, window.high) == (3, 3)


def test_packet_after_a_gap_raises_high_and_not_the_aru() -> None:
    window = filled(8, 1, 4)
    assert (window.aru, window.high) == (1, 4)


def test_packet_that_fills_the_gap_raises_the_aru_over_all_that_follow() -> None:
    window = filled(8, 1, 3, 4, 6, 2)
    assert (window.aru, window.high) == (4, 6)


def test_packet_that_is_here_is_not_taken_again() -> None:
    window = filled(8, 1, 3)
    assert not window.insert(packet(1))
    assert not window.insert(packet(3))
    assert (window.aru, window.high) == (1, 3)


def test_first_copy_of_a_packet_is_kept() -> None:
    window = Window(8)
    first, second = packet(2), packet(2)
    assert window.insert(first)
    assert not window.insert(second)
    assert window.get(2) is first


def test_packet_too_far_ahead_is_not_taken() -> None:
    window = Window(8)
    assert not window.insert(packet(9))
    assert not window.insert(packet(2**63 - 1))
    assert window.insert(packet(8))
    assert window.high == 8


def test_released_packets_make_room_ahead() -> None:
    window = filled(8, *range(1, 9))
    assert not window.insert(packet(9))
    assert window.release(3)
    assert window.insert(packet(11))
    assert not window.insert(packet(12))
    assert window.get(11) is not None


def test_released_packet_is_gone_and_does_not_come_back() -> None:
    window = filled(8, 1, 2, 3)
    assert window.release(2)
    assert window.get(1) is None and window.get(2) is None
    assert window.get(3) is not None
    assert not window.insert(packet(1))
    assert window.get(1) is None


def test_nothing_after_the_aru_is_released() -> None:
    window = filled(8, 1, 2, 4)
    assert window.release(4)
    assert window.released == 2
    assert window.get(4) is not None


def test_release_says_whether_there_was_something_to_forget() -> None:
    window = filled(8, 1, 2)
    assert window.release(2) is True
    assert window.release(2) is False
    assert window.release(1) is False
    assert window.released == 2


def test_get_finds_nothing_outside_of_what_is_kept() -> None:
    window = filled(8, *range(1, 9))
    window.release(4)
    window.insert(packet(9))  # at the slot that packet 1 had
    assert window.get(1) is None
    assert window.get(0) is None
    assert window.get(17) is None
    kept = window.get(9)
    assert kept is not None and kept.seq == 9


def test_missing_are_the_gaps_and_what_never_came_oldest_first() -> None:
    window = filled(16, 1, 3, 6)
    assert window.missing(8, 10) == [2, 4, 5, 7, 8]
    assert window.missing(6, 10) == [2, 4, 5]
    assert window.missing(5, 10) == [2, 4, 5]
    assert window.missing(1, 10) == []


def test_missing_is_bounded_by_the_limit_and_by_what_could_be_kept() -> None:
    window = filled(8, 1)
    assert window.missing(8, 3) == [2, 3, 4]
    assert window.missing(8, 0) == []
    assert window.missing(2**63 - 1, 1000) == [2, 3, 4, 5, 6, 7, 8]


def test_ring_buffer_goes_round_a_thousand_times() -> None:
    window = Window(4)
    for seq in range(1, 5000):
        assert window.insert(packet(seq))
        assert window.release(seq)
    assert (window.released, window.aru, window.high) == (4999, 4999, 4999)


@given(capacity=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_window_is_a_set_with_a_beginning(capacity: int, seed: int) -> None:
    """Against a model: a set of numbers, of which those up to ``released`` are forgotten."""
    source = random.Random(seed)
    window = Window(capacity)
    have: set[int] = set()
    released = 0
    for _ in range(120):
        if source.random() < 0.8:
            seq = source.randint(max(1, released - 3), released + window.capacity + 3)
            fits = released < seq <= released + window.capacity and seq not in have
            assert window.insert(packet(seq)) == fits
            if fits:
                have.add(seq)
        else:
            wanted = source.randint(0, released + window.capacity)
            aru = released
            while aru + 1 in have:
                aru += 1
            last = min(wanted, aru)
            assert window.release(wanted) == (last > released)
            released = max(released, last)
            have = {seq for seq in have if seq > released}
        aru = released
        while aru + 1 in have:
            aru += 1
        assert (window.released, window.aru) == (released, aru)
        assert window.high == max(have, default=window.high) and window.high >= window.aru
        for seq in range(max(0, released - 2), released + window.capacity + 3):
            found = window.get(seq)
            assert (found is not None) == (seq in have)
            assert found is None or found.seq == seq
        last = released + source.randint(0, window.capacity)
        assert window.missing(last, 1000) == [seq for seq in range(released + 1, last + 1) if seq not in have]
