"""What is remembered of others: late copies, and who must wait to come back."""

from __future__ import annotations

from wire_samples import LIMITS

from ringproto._core.peers import Backoff, Peers
from ringproto._core.wire import Identity


def identity(incarnation: int, serial: int) -> Identity:
    return Identity(incarnation, serial, LIMITS)


def test_first_word_of_a_processor_is_news() -> None:
    peers = Peers(8)
    assert peers.incarnation(1) is None
    assert peers.news(1, identity(100, 5))
    assert peers.incarnation(1) == 100


def test_copy_is_no_news() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 5))
    assert not peers.news(1, identity(100, 5))


def test_late_copy_is_no_news() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 5))
    assert peers.news(1, identity(100, 7))
    for serial in (0, 1, 5, 6, 7):
        assert not peers.news(1, identity(100, serial))
    assert peers.news(1, identity(100, 8))


def test_new_incarnation_is_news_whatever_its_serial() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 50))
    assert peers.news(1, identity(200, 1))
    assert peers.incarnation(1) == 200
    assert not peers.news(1, identity(200, 1))


def test_processors_are_remembered_apart() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 5))
    assert peers.news(2, identity(100, 5))
    assert not peers.news(1, identity(100, 4))
    assert peers.incarnation(2) == 100


def test_memory_is_bounded_and_forgets_who_was_silent_longest() -> None:
    peers = Peers(3)
    for node in (1, 2, 3):
        assert peers.news(node, identity(node, 9))
    assert peers.news(1, identity(1, 10))
    assert peers.news(4, identity(4, 1))
    assert [peers.incarnation(node) for node in (1, 2, 3, 4)] == [1, None, 3, 4]
    for node in range(5, 500):
        peers.news(node, identity(node, 1))
    assert sum(peers.incarnation(node) is not None for node in range(500)) == 3


def test_who_was_never_left_out_does_not_wait() -> None:
    assert not Backoff(1.0, 8).puts_off_beacon(1, 0.0)


def test_first_time_left_out_costs_nothing() -> None:
    for now in (0.0, 3.0, 100.0):  # a clock may begin anywhere
        backoff = Backoff(1.0, 8)
        backoff.mark(1, now, answered=True)
        assert not backoff.puts_off_beacon(1, now)


def waits_after(times: int) -> float:
    """How long somebody waits who was left out so many times in a row, to a hundredth."""
    backoff = Backoff(1.0, 8)
    now = 100.0
    for _ in range(times):
        now += 20.0
        backoff.mark(1, now, answered=True)
    hundredths = 0
    while backoff.puts_off_beacon(1, now + hundredths / 100):
        hundredths += 1
    return hundredths / 100


def test_wait_doubles_each_time_up_to_fourfold() -> None:
    assert [waits_after(times) for times in range(1, 9)] == [0.0, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0]


def test_long_peace_is_forgiven() -> None:
    backoff = Backoff(1.0, 8)
    for now in (100.0, 101.0, 102.0):
        backoff.mark(1, now, answered=True)
    assert backoff.puts_off_beacon(1, 103.0)
    backoff.mark(1, 102.0 + 64.0, answered=True)
    assert not backoff.puts_off_beacon(1, 102.0 + 64.0)


def test_waits_belong_to_one_processor() -> None:
    backoff = Backoff(1.0, 8)
    for now in (100.0, 101.0):
        backoff.mark(1, now, answered=True)
    assert backoff.puts_off_beacon(1, 101.5)
    assert not backoff.puts_off_beacon(2, 101.5)


def test_as_many_as_may_be_are_remembered_as_left_out() -> None:
    backoff = Backoff(1.0, 2)
    for now in (100.0, 101.0):
        for node in (1, 2):
            backoff.mark(node, now, answered=True)
    assert backoff.puts_off_beacon(1, 101.5) and backoff.puts_off_beacon(2, 101.5)


def test_memory_of_who_was_left_out_is_bounded() -> None:
    backoff = Backoff(1.0, 2)
    for now in (100.0, 101.0):
        for node in (1, 2, 3):
            backoff.mark(node, now, answered=True)
    assert sum(backoff.puts_off_beacon(node, 101.5) for node in (1, 2, 3)) <= 2
    for node in (8, 9):
        backoff.mark(node, 101.0, answered=True)
    assert not any(backoff.puts_off_beacon(node, 101.5) for node in (1, 2, 3))


def test_who_was_only_seen_is_put_off_by_its_beacons_and_welcome_by_its_join() -> None:
    backoff = Backoff(1.0, 8)
    for now in (100.0, 101.0, 102.0):
        backoff.mark(1, now, answered=False)
    assert backoff.puts_off_beacon(1, 103.0)
    assert not backoff.puts_off_join(1, 102.0)


def test_silence_does_not_prolong_how_long_a_join_is_put_off() -> None:
    backoff = Backoff(1.0, 8)
    backoff.mark(1, 100.0, answered=True)
    backoff.mark(1, 101.0, answered=True)
    backoff.mark(1, 101.5, answered=False)
    assert backoff.puts_off_join(1, 101.2)
    assert not backoff.puts_off_join(1, 101.25)
    assert backoff.puts_off_beacon(1, 102.0)
