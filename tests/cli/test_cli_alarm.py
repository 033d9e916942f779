"""The alarm: a sender that keeps time more finely than trio does."""

from __future__ import annotations

import sys
import time

import pytest
import trio

from ringproto.cli.latency.timerfd import Alarm


@pytest.mark.skipif(sys.platform != "linux", reason="there is no timerfd")
def test_an_alarm_is_finer_than_the_millisecond_of_epoll_and_never_early() -> None:
    async def late_ns(ahead_ns: int) -> int:
        with Alarm() as alarm:
            time_ns = time.monotonic_ns() + ahead_ns
            await alarm.until(time_ns)
            return time.monotonic_ns() - time_ns

    found = [trio.run(late_ns, 200_000) for _ in range(30)]
    assert min(found) >= 0
    # One of thirty finds the machine free.
    assert min(found) < 500_000


def test_an_alarm_for_a_time_that_has_passed_rings_at_once() -> None:
    async def ring() -> None:
        with Alarm() as alarm, trio.fail_after(5):
            await alarm.until(0)
            await alarm.until(time.monotonic_ns() - 1)

    trio.run(ring)
