"""How much may be sent at one visit of the token."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import TOKEN

from ringproto._core.ring.flow_control import FlowControl
from ringproto._core.wire.regular import Token

U32_MAX = 2**32 - 1


def token(fcc: int = 0, backlog: int = 0, seq: int = 0, aru: int = 0) -> Token:
    return TOKEN._replace(fcc=fcc, backlog=backlog, seq=seq, aru=aru)


def test_quiet_ring_lets_one_visit_send_its_most() -> None:
    assert FlowControl(100, 30).allowed(token(), 0, 1000) == 30
    assert FlowControl(20, 30).allowed(token(), 0, 1000) == 20


def test_what_others_sent_in_the_last_rotation_is_taken_off_the_window() -> None:
    assert FlowControl(100, 100).allowed(token(fcc=70), 0, 1000) == 30
    assert FlowControl(100, 100).allowed(token(fcc=99), 0, 1000) == 1
    assert FlowControl(100, 100).allowed(token(fcc=100), 0, 1000) == 0


def test_what_this_processor_sent_itself_is_not_taken_off() -> None:
    flow = FlowControl(100, 100)
    assert flow.settle(token(fcc=10), 60, 0, 0) == (70, 0)
    assert flow.allowed(token(fcc=70), 0, 1000) == 90


def test_own_share_leaves_the_token_when_the_next_goes_in() -> None:
    flow = FlowControl(100, 100)
    assert flow.settle(token(fcc=10, backlog=5), 60, 0, 40) == (70, 45)
    assert flow.settle(token(fcc=70, backlog=45), 0, 0, 0) == (10, 5)
    assert flow.settle(token(fcc=10, backlog=5), 1, 0, 2) == (11, 7)


def test_packets_held_back_for_a_slow_application_narrow_the_window_of_all() -> None:
    slow, other = FlowControl(100, 100), FlowControl(100, 100)
    assert slow.allowed(token(), 80, 1000) == 20
    fcc, _ = slow.settle(token(), 0, 80, 0)
    assert fcc == 80
    assert other.allowed(token(fcc=fcc), 0, 1000) == 20
    # They are this processor's own share: it takes them out again when its application has read.
    assert slow.allowed(token(fcc=fcc), 0, 1000) == 100
    assert slow.settle(token(fcc=fcc), 5, 0, 0) == (5, 0)


def test_window_is_shared_by_what_waits() -> None:
    assert FlowControl(100, 100).allowed(token(backlog=300), 0, 100) == 25
    assert FlowControl(100, 100).allowed(token(backlog=20), 0, 60) == 75
    assert FlowControl(100, 100).allowed(token(), 0, 100) == 100


def test_own_backlog_of_the_last_visit_is_not_counted_against_oneself() -> None:
    flow = FlowControl(100, 100)
    flow.settle(token(backlog=20), 0, 0, 60)
    assert flow.allowed(token(backlog=80), 0, 60) == 75


def test_small_backlog_has_one_packet_always() -> None:
    assert FlowControl(100, 100).allowed(token(backlog=U32_MAX), 0, 1) == 1


def test_no_more_than_a_window_is_said_to_wait() -> None:
    flow = FlowControl(100, 100)
    assert flow.settle(token(backlog=5), 0, 0, 10**6) == (0, 105)
    assert flow.allowed(token(backlog=105), 0, 10**6) == 96  # 100 x 100 / 105, rounded up
    assert flow.settle(token(backlog=105), 0, 0, 99) == (0, 104)


def test_who_has_a_few_packets_beside_a_flood_gets_them_out_in_two_rotations() -> None:
    flood, other = FlowControl(60, 45), FlowControl(60, 45)
    fcc = backlog = 0

    def visit(flow: FlowControl, waiting: int) -> int:
        nonlocal fcc, backlog
        now = token(fcc=fcc, backlog=backlog)
        sent = min(waiting, flow.allowed(now, 0, waiting))
        fcc, backlog = flow.settle(now, sent, 0, waiting - sent)
        return sent

    for _ in range(5):
        assert visit(flood, 100_000) == 45
        assert visit(other, 0) == 0
    # What the flood leaves, a quarter of the window, is there at once, and the share by what waits is most of that.
    first = visit(other, 12)
    assert first == 10
    assert visit(flood, 100_000) == 45
    assert visit(other, 12 - first) == 2


def test_who_has_nothing_new_may_use_the_room_for_retransmissions() -> None:
    assert FlowControl(100, 50).allowed(token(backlog=10**6), 0, 0) == 50


@pytest.mark.parametrize("fcc", [101, 2**31 - 1, 2**31 + 1, U32_MAX])
def test_window_overdrawn_by_others_allows_nothing(fcc: int) -> None:
    assert FlowControl(100, 50).allowed(token(fcc=fcc), 0, 1000) == 0


def test_token_that_forgot_this_processor_does_not_make_counts_negative() -> None:
    flow = FlowControl(100, 100)
    flow.settle(token(), 60, 0, 70)
    assert flow.allowed(token(fcc=0, backlog=0), 0, 1000) == 100
    assert flow.settle(token(fcc=0, backlog=0), 5, 0, 6) == (5, 6)


def test_counts_stay_within_what_the_token_can_hold() -> None:
    flow = FlowControl(100, 100)
    assert flow.settle(token(fcc=U32_MAX, backlog=U32_MAX), 100, 100, 100) == (U32_MAX, U32_MAX)


@pytest.mark.parametrize(("by_chance", "windows"), [(False, 2), (True, 3)])
def test_new_packets_stop_while_some_windows_are_unconfirmed(by_chance: bool, windows: int) -> None:
    flow = FlowControl(100, 100)
    assert flow.new_allowed(0, 64, by_chance) == 64
    assert flow.new_allowed(100 * windows - 50, 64, by_chance) == 50
    assert flow.new_allowed(100 * windows, 64, by_chance) == 0
    assert flow.new_allowed(2**62, 64, by_chance) == 0
    assert flow.new_allowed(0, 0, by_chance) == 0
    assert flow.new_allowed(0, -3, by_chance) == 0


@settings(max_examples=50)
@given(
    members=st.integers(1, 9),
    window=st.integers(1, 200),
    visit_max=st.integers(1, 200),
    seed=st.integers(0, 2**32),
)
def test_no_rotation_carries_more_than_the_window(members: int, window: int, visit_max: int, seed: int) -> None:
    source = random.Random(seed)
    flows = [FlowControl(window, visit_max) for _ in range(members)]
    waiting = [0] * members
    last_visits = [0] * members
    fcc = backlog = 0
    for _ in range(30):
        for member, flow in enumerate(flows):
            waiting[member] += source.choice((0, 0, 1, 10, 500))
            now = token(fcc=fcc, backlog=backlog)
            allowed = flow.allowed(now, 0, waiting[member])
            assert 0 <= allowed <= visit_max
            sent = min(waiting[member], allowed)
            waiting[member] -= sent
            last_visits[member] = sent
            fcc, backlog = flow.settle(now, sent, 0, waiting[member])
            assert sum(last_visits) <= window
            assert fcc == sum(last_visits)
    # The token's backlog is the sum of what each member had after its last visit, up to a window of each.
    assert backlog == sum(min(count, window) for count in waiting)


def test_members_with_much_to_send_share_the_window_about_evenly() -> None:
    flows = [FlowControl(60, 60) for _ in range(3)]
    sent = [0] * 3
    fcc = backlog = 0
    for _ in range(40):
        for member, flow in enumerate(flows):
            now = token(fcc=fcc, backlog=backlog)
            count = flow.allowed(now, 0, 1000)
            sent[member] += count
            fcc, backlog = flow.settle(now, count, 0, 1000)
    assert min(sent) > 0.5 * max(sent)
    assert sum(sent) > 0.8 * 40 * 60
