"""The table of deadlines."""

from __future__ import annotations

import math

from ringproto._core.timers import Timer, Timers


def test_nothing_is_due_at_first() -> None:
    timers = Timers()
    assert timers.next == math.inf
    assert timers.pop_due(1e300) is None
    assert timers.pop_due(math.inf) is None
    assert not any(timers.is_set(timer) for timer in Timer)


def test_next_is_the_earliest() -> None:
    timers = Timers()
    timers.set(Timer.JOIN, 5.0)
    timers.set(Timer.CONSENSUS, 3.0)
    assert timers.next == 3.0
    timers.clear(Timer.CONSENSUS)
    assert timers.next == 5.0
    assert not timers.is_set(Timer.CONSENSUS)


def test_setting_again_moves_the_deadline() -> None:
    timers = Timers()
    timers.set(Timer.TOKEN_LOSS, 5.0)
    timers.set(Timer.TOKEN_LOSS, 9.0)
    assert timers.deadline(Timer.TOKEN_LOSS) == 9.0
    assert timers.pop_due(8.9) is None
    timers.set(Timer.TOKEN_LOSS, 2.0)
    assert timers.pop_due(2.0) is Timer.TOKEN_LOSS


def test_due_timers_come_out_in_the_order_of_their_deadlines_and_once() -> None:
    timers = Timers()
    timers.set(Timer.MERGE_DETECT, 1.0)
    timers.set(Timer.LEAVE, 3.0)
    timers.set(Timer.TOKEN_RETRANSMIT, 2.0)
    assert timers.pop_due(0.5) is None
    assert [timers.pop_due(2.0) for _ in range(3)] == [Timer.MERGE_DETECT, Timer.TOKEN_RETRANSMIT, None]
    assert timers.is_set(Timer.LEAVE)
    assert timers.next == 3.0


def test_timer_is_due_at_its_deadline_exactly() -> None:
    timers = Timers()
    timers.set(Timer.SLOW_CONSUMER, 4.0)
    assert timers.pop_due(math.nextafter(4.0, 0.0)) is None
    assert timers.pop_due(4.0) is Timer.SLOW_CONSUMER


def test_every_timer_has_a_deadline_of_its_own() -> None:
    timers = Timers()
    for timer in Timer:
        timers.set(timer, 10.0 - timer)
    order = []
    while (due := timers.pop_due(10.0)) is not None:
        order.append(due)
    assert order == sorted(Timer, reverse=True)
