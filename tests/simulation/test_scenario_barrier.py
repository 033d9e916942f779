"""The recovery barrier in scripted histories, with the two faults of 2004 as regression tests."""

from __future__ import annotations

import pytest

from ringproto.errors import RingError
from ringproto.events import Event, Message, RecoveryComplete, RegularConfiguration
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import kind_of
from ringproto.types import Guarantee, Priority


def since_last_configuration(cluster: Cluster, node: int) -> list[Event]:
    events = cluster.events(node)
    start = max(place for place, event in enumerate(events) if isinstance(event, RegularConfiguration))
    return events[start + 1 :]


def completions(cluster: Cluster, node: int) -> list[RecoveryComplete]:
    return [event for event in cluster.events(node) if isinstance(event, RecoveryComplete)]


def audit_tags(cluster: Cluster, node: int) -> list[str]:
    return [entry[0] for entry in cluster.hosts[node].audit]


def join_with_held_barrier(cluster: Cluster, newcomer: int, *holders: int) -> None:
    """``newcomer`` joins; ``holders`` do not unblock in the configuration that comes of it."""
    everybody = {node for node in cluster.hosts if cluster.alive(node)} | {newcomer}
    cluster.hold(*(node for node in holders if node in cluster.hosts))
    cluster.start(newcomer)
    if newcomer in holders:
        cluster.hold(newcomer)
    members = tuple(sorted(everybody))
    assert cluster.run_until(
        lambda: all(
            cluster.configuration(node).members == members and cluster.state(node) == "operational" for node in members
        ),
        3.0,
    )
    cluster.run(0.1)


def test_high_and_low_wait_for_the_last_unblock(ring):
    join_with_held_barrier(ring, 4, 3)
    for node in (1, 2, 4):
        assert ring.submit(node, b"%d.1.1|" % node, Priority.HIGH)
        assert ring.submit(node, b"%d.1.2|" % node, Priority.LOW)
    ring.run(0.5)
    for node in (1, 2, 3, 4):
        assert ring.processor(node).waiting_for == {3}
        assert ring.messages(node) == []
    ring.release(3)
    assert ring.run_until_settled({1, 2, 3, 4})
    for node in (1, 2, 3, 4):
        events = since_last_configuration(ring, node)
        assert isinstance(events[0], RecoveryComplete)
        assert len([event for event in events if isinstance(event, Message)]) == 6


def test_recovery_messages_pass_while_the_barrier_is_down(ring):
    join_with_held_barrier(ring, 4, 1)
    assert ring.submit(2, b"2.1.1|must wait", Priority.HIGH)
    for counter in range(30):
        assert ring.submit_recovery(1, b"1.1.%d|%s" % (counter, b"r" * 2000), Guarantee(counter % 2))
    assert ring.run_until(lambda: len(ring.messages(4)) == 30, 3.0)
    ring.run(0.1)
    assert all(event.priority is Priority.RECOVERY for event in since_last_configuration(ring, 4))
    ring.release(1)
    assert ring.run_until_settled({1, 2, 3, 4})
    events = since_last_configuration(ring, 4)
    assert isinstance(events[30], RecoveryComplete)
    assert [event.payload for event in events[31:] if isinstance(event, Message)] == [b"2.1.1|must wait"]


def test_recovery_message_after_the_unblock_is_misuse(ring):
    with pytest.raises(RingError):
        ring.submit_recovery(1, b"1.1.1|")


def test_crash_before_the_unblock_aborts_the_round_and_the_next_one_completes(ring):
    join_with_held_barrier(ring, 4, 4)
    ring.submit(1, b"1.1.1|", Priority.HIGH)
    held = ring.configuration(1).ring_id
    ring.crash(4)
    assert ring.run_until_settled({1, 2, 3}, 3.0)
    for node in (1, 2, 3):
        assert [entry for entry in ring.hosts[node].audit if entry[0] == "ABORT"][-1] == ("ABORT", held)
        assert held not in {completion.ring_id for completion in completions(ring, node)}
    assert ring.messages(2) == [b"1.1.1|"]


def test_recovery_data_of_an_aborted_round_is_not_sent_in_the_next(ring):
    """The ghost of 2026: a member dies after its recovery data and before its unblock."""
    join_with_held_barrier(ring, 4, 1, 4)
    ring.filter = lambda time, source, destination, datagram: not (kind_of(datagram) == "token" and source == 3)
    for counter in range(200):
        ring.submit_recovery(1, b"1.1.%d|%s" % (counter, b"g" * 1000))
    ring.run(0.03)
    ring.crash(4)
    ring.filter = None
    ring.hosts[1].habits.hold = False
    assert ring.run_until_settled({1, 2, 3}, 5.0)
    assert since_last_configuration(ring, 2) == completions(ring, 2)[-1:]


def test_late_unblock_of_a_round_that_is_over_says_nothing(ring):
    join_with_held_barrier(ring, 4, 2)
    old = ring.configuration(2).ring_id
    ring.crash(4)
    assert ring.run_until(lambda: all(ring.configuration(node).members == (1, 2, 3) for node in (1, 2, 3)), 3.0)
    ring.run(0.1)
    ring.processor(2).unblock(old, ring.hosts[2].local_now())
    ring.hosts[2].flush()
    ring.run(0.5)
    assert ring.processor(1).waiting_for == {2}
    ring.release(2)
    assert ring.run_until_settled({1, 2, 3})


def test_late_unblock_holds_the_barrier_however_long(ring):
    join_with_held_barrier(ring, 4, 4)
    before = ring.configuration(1)
    ring.submit(1, b"1.1.1|")
    ring.run(30.0)
    assert ring.messages(2) == []
    assert ring.configuration(1) == before
    ring.release(4)
    assert ring.run_until_settled({1, 2, 3, 4})
    assert ring.messages(4) == [b"1.1.1|"]


def test_without_quorum_the_barrier_never_completes(make_ring):
    cluster = make_ring(1, 2, 3, quorum=2)
    cluster.partition({1, 2}, {3})
    assert cluster.run_until(lambda: cluster.settled({1, 2}) and cluster.configuration(3).members == (3,), 3.0)
    assert cluster.submit(3, b"3.1.1|waits", Priority.HIGH)
    assert cluster.submit(1, b"1.1.1|goes", Priority.HIGH)
    cluster.run(1.0)
    assert not cluster.configuration(3).primary
    assert cluster.messages(3) == []
    assert cluster.messages(2) == [b"1.1.1|goes"]
    cluster.heal()
    assert cluster.run_until_settled({1, 2, 3}, 3.0)
    assert cluster.messages(1) == [b"1.1.1|goes", b"3.1.1|waits"]
    assert cluster.messages(3) == [b"3.1.1|waits"]


def test_recovery_messages_are_exchanged_without_quorum(make_ring):
    cluster = make_ring(1, 2, form=False, quorum=3)
    cluster.hold(1, 2)
    assert cluster.run_until(
        lambda: all(
            cluster.configuration(node).members == (1, 2) and cluster.state(node) == "operational" for node in (1, 2)
        ),
        3.0,
    )
    cluster.run(0.05)
    cluster.submit_recovery(1, b"1.1.1|state")
    assert cluster.run_until(lambda: cluster.messages(2) == [b"1.1.1|state"], 3.0)
    cluster.release(1, 2)
    cluster.run(1.0)
    assert completions(cluster, 1) == completions(cluster, 2) == []


def test_without_quorum_it_is_settled_only_when_the_last_unblock_is_delivered(make_ring):
    cluster = make_ring(1, 2, 3, form=False, quorum=4)
    cluster.hold(3)
    assert cluster.run_until_settled({1, 2, 3})
    assert cluster.processor(1).waiting_for == {3}
    cluster.release(3)
    assert not cluster.settled({1, 2, 3})
    assert cluster.run_until_settled({1, 2, 3})
    assert [cluster.processor(node).waiting_for for node in (1, 2, 3)] == [set()] * 3
    assert cluster.judge(complete={1, 2, 3}) == []


def test_accepted_messages_survive_changes_in_order_and_once(ring):
    sent = [b"1.1.%d|" % counter for counter in range(60)]
    for turn in range(6):
        for payload in sent[turn * 10 : turn * 10 + 10]:
            assert ring.submit(1, payload, Priority.LOW)
        ring.run(0.003)
        if turn % 2:
            ring.restart(3)
            ring.run(0.05)
    assert ring.run_until_settled({1, 2, 3}, 5.0)
    assert ring.messages(1) == sent
    assert ring.messages(2) == sent


def test_full_high_and_low_queues_do_not_stop_the_unblock(ring):
    join_with_held_barrier(ring, 4, 2)
    for priority in (Priority.HIGH, Priority.LOW):
        counter = 0
        while ring.submit(2, b"2.1.%d.%d|" % (priority, counter), priority):
            counter += 1
    ring.release(2)
    assert ring.run_until_settled({1, 2, 3, 4}, 5.0)


# The two faults of openais, 2004


def test_fault_of_2004_completion_is_one_place_in_the_order_at_every_member(ring):
    """Completion was a bit in the token, so processors that had not delivered as far completed too early."""
    ring.hold(1, 2, 3)
    ring.start(4)
    ring.hold(4)
    assert ring.run_until(
        lambda: all(
            ring.configuration(node).members == (1, 2, 3, 4) and ring.state(node) == "operational"
            for node in (1, 2, 3, 4)
        ),
        3.0,
    )
    ring.run(0.05)
    # Tokens pass everywhere, but processor 3 gets no data for a while: it knows of the unblocks only that they exist.
    until = ring.now + 0.05
    ring.filter = lambda time, source, destination, datagram: (
        not (kind_of(datagram) == "data" and destination == 3 and time < until)
    )
    for counter in range(10):
        ring.submit_recovery(1, b"1.1.%d|" % counter)
    ring.release(1, 2, 3, 4)
    for node in (1, 2, 4):
        ring.submit(node, b"%d.1.100|at once" % node, Priority.HIGH)
    ring.run(0.02)
    assert completions(ring, 3)[-1].ring_id != ring.configuration(3).ring_id
    assert completions(ring, 1)[-1].ring_id == ring.configuration(1).ring_id
    assert ring.run_until_settled({1, 2, 3, 4})
    streams = [since_last_configuration(ring, node) for node in (1, 2, 3, 4)]
    assert all(stream == streams[0] for stream in streams)
    place = next(place for place, event in enumerate(streams[0]) if isinstance(event, RecoveryComplete))
    assert place == 10
    assert all(isinstance(event, Message) and event.priority is Priority.HIGH for event in streams[0][place + 1 :])


@pytest.mark.parametrize("packets", [1, 2, 5, 11])
def test_fault_of_2004_change_in_the_middle_of_a_fragmented_high_message_does_not_block_recovery(make_ring, packets):
    """The fragment cursor stayed on the queue of HIGH, so RECOVERY was never sent again: deadlock."""
    cluster = make_ring(1, 2, 3, visit_max=2)
    for node in (1, 2):
        cluster.hosts[node].habits.recovery_messages_max = 5
    payload = b"1.1.9000|" + b"fragmented" * 3000
    sent = 0

    def count(time: float, source: int, destination: int, datagram: bytes) -> bool:
        nonlocal sent
        sent += kind_of(datagram) == "data" and source == 1 and destination == 2 and len(datagram) > 1000
        return True

    cluster.filter = count
    assert cluster.submit(1, payload, Priority.HIGH)
    assert cluster.run_until(lambda: sent >= packets, 3.0)
    cluster.crash(3)
    assert cluster.run_until_settled({1, 2}, 5.0)
    for node in (1, 2):
        assert cluster.messages(node).count(payload) == 1
    assert completions(cluster, 1)[-1].ring_id == cluster.configuration(1).ring_id
