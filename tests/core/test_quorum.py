"""Without the quorum no barrier completes: HIGH and LOW wait, RECOVERY and unblocks do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rings import CONFIG, DATAGRAM_SIZE, make_ring

from ringproto._core import Processor
from ringproto.events import Message, RecoveryComplete, RegularConfiguration
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import Guarantee, Priority


@pytest.fixture
def five() -> Iterator[Cluster]:
    """A ring of five that needs three."""
    cluster, _ = make_ring(1, 2, 3, 4, 5, quorum=3)
    cluster.filter = None
    yield cluster
    assert cluster.judge() == []


def primary(cluster: Cluster, node: int) -> list[tuple[tuple[int, ...], bool]]:
    return [(event.members, event.primary) for event in cluster.events(node) if isinstance(event, RegularConfiguration)]


def completed(cluster: Cluster, node: int) -> list[tuple[int, ...]]:
    return [event.members for event in cluster.events(node) if isinstance(event, RecoveryComplete)]


def part(cluster: Cluster, *groups: set[int]) -> None:
    """Part the network and wait until each group has its ring and all unblocks have come."""
    cluster.partition(*groups)
    assert cluster.run_until(lambda: all(cluster.settled(group) for group in groups), 5.0)


@pytest.mark.parametrize(("quorum", "is_primary"), [(1, True), (2, False)])
def test_first_configuration_is_primary_only_if_one_is_enough(quorum: int, is_primary: bool) -> None:
    processor = Processor(1, CONFIG.replace(quorum=quorum), datagram_size=DATAGRAM_SIZE, seed=bytes(16), now=0.0)
    (first,) = processor.take_events(10)
    assert isinstance(first, RegularConfiguration)
    assert first.primary is is_primary


def test_larger_part_goes_on_and_the_smaller_waits(five: Cluster) -> None:
    part(five, {1, 4}, {2, 3, 5})
    assert primary(five, 2)[-1] == ((2, 3, 5), True)
    assert primary(five, 4)[-1] == ((1, 4), False)
    assert five.submit(4, b"4.1.1|", Priority.HIGH)
    assert five.submit(4, b"4.1.2|", Priority.LOW, Guarantee.SAFE)
    assert five.submit(5, b"5.1.1|", Priority.HIGH)
    five.run(1.0)
    assert five.messages(2) == [b"5.1.1|"]
    assert five.messages(1) == five.messages(4) == []
    assert completed(five, 2)[-1] == (2, 3, 5)
    assert (1, 4) not in completed(five, 1) + completed(five, 4)
    assert five.processor(4).statistics()["queue_high"] == 1
    assert not five.processor(4).complete


def test_no_more_than_one_part_ever_goes_on(five: Cluster) -> None:
    part(five, {1, 2}, {3, 4}, {5})
    for node in (1, 2, 3, 4, 5):
        five.submit(node, b"%d.1.1|" % node)
    five.run(0.5)
    assert all(five.messages(node) == [] for node in (1, 2, 3, 4, 5))
    assert not any(five.processor(node).complete for node in (1, 2, 3, 4, 5))


def test_members_without_quorum_unblock_and_wait_for_nobody(five: Cluster) -> None:
    part(five, {1, 4}, {2, 3, 5})
    five.run(0.2)
    assert five.processor(1).waiting_for == five.processor(4).waiting_for == frozenset()
    assert not five.processor(1).complete


def test_recovery_messages_are_exchanged_without_quorum(five: Cluster) -> None:
    five.partition({1, 4}, {2, 3, 5})
    five.hold(1)
    assert five.run_until(lambda: five.configuration(1).members == five.configuration(4).members == (1, 4))
    assert five.submit_recovery(1, b"1.1.1|state")
    five.run(0.2)
    got = [event for event in five.events(4) if isinstance(event, Message)]
    assert [(event.payload, event.priority) for event in got] == [(b"1.1.1|state", Priority.RECOVERY)]
    five.release(1)


def test_what_was_accepted_without_quorum_is_sent_in_the_configuration_that_has_it(five: Cluster) -> None:
    part(five, {1, 4}, {2, 3, 5})
    for number in range(5):
        assert five.submit(4, b"4.1.%d|" % number, Priority.HIGH)
    five.run(0.3)
    five.heal()
    assert five.run_until_settled({1, 2, 3, 4, 5})
    for node in (1, 2, 3, 4, 5):
        assert five.messages(node)[-5:] == [b"4.1.%d|" % number for number in range(5)]
        events = five.events(node)
        done = max(place for place, event in enumerate(events) if isinstance(event, RecoveryComplete))
        assert [event.payload for event in events[done + 1 :] if isinstance(event, Message)] == five.messages(node)[-5:]


def test_quorum_that_is_lost_by_a_crash_stops_the_rest(five: Cluster) -> None:
    five.crash(1, 2, 3)
    assert five.run_until(lambda: five.configuration(4).members == five.configuration(5).members == (4, 5), 5.0)
    five.submit(4, b"4.1.1|")
    five.run(0.5)
    assert primary(five, 5)[-1] == ((4, 5), False)
    assert five.messages(5) == []
    five.restart(1)
    assert five.run_until_settled({1, 4, 5})
    assert five.messages(5) == five.messages(1) == [b"4.1.1|"]


def test_leaving_without_quorum_ends_with_the_timeout_and_not_later(five: Cluster) -> None:
    """What waits can never be sent; it is given up when ``leave_timeout_s`` is over."""
    part(five, {1, 4}, {2, 3, 5})
    five.submit(4, b"4.1.1|")
    began = five.now
    five.leave(4)
    assert five.run_until(lambda: not five.alive(4), 5.0)
    assert five.now - began <= CONFIG.leave_timeout_s + 0.01
    assert five.run_until(lambda: five.configuration(1).members == (1,), 5.0)
