"""When the patience with a member that stands still while it recovers ends, and who it is charged to."""

from __future__ import annotations

import math

import pytest
from rings import read

from ringproto._core import Processor, Ready
from ringproto._core.wire.regular import Token
from ringproto.config import Config
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.wire_reader import kind_of
from ringproto.types import Guarantee

NODES = (1, 2, 3)


def patient_round(cluster: Cluster, nodes: tuple[int, ...], standing: int, *held: int) -> None:
    """A round of these in which one, whose application holds it up, is known to have stood still for long. Those that
    are ``held`` are held up as well, but run."""
    cluster.start(*nodes)
    assert cluster.run_until_settled(nodes, 5.0)
    cluster.hold(standing, *held)
    stranger = max(nodes) + 1
    cluster.start(stranger)
    assert cluster.run_until(lambda: cluster.configuration(nodes[0]).members == (*nodes, stranger), 5.0)
    cluster.leave(stranger)
    assert cluster.run_until(lambda: cluster.configuration(nodes[0]).members == nodes, 5.0)
    cluster.pause(standing, 40 * cluster.config.token_timeout_s)
    cluster.run(41 * cluster.config.token_timeout_s)
    assert cluster.run_until(
        lambda: (
            all(cluster.configuration(node).members == nodes for node in nodes)
            and cluster.processor(nodes[0]).statistics()["token_patience_s"] > 30 * cluster.config.token_timeout_s
        ),
        5.0,
    )


def noticed_after_s(cluster: Cluster, dead: int, rest: tuple[int, ...]) -> float:
    began = cluster.now
    assert cluster.run_until(lambda: cluster.configuration(rest[0]).members == rest, 20.0)
    return cluster.now - began


@pytest.mark.parametrize(("rotations", "passes"), [(0, True), (1, True), (0, False)])
def test_crash_of_who_sent_the_last_unblock_is_noticed_as_fast_as_ever(rotations: int, passes: bool) -> None:
    config = Config.testing()
    cluster = Cluster(1, config)
    patient_round(cluster, NODES, 3)
    cluster.filter = lambda time, source, destination, datagram: passes or source != 3 or kind_of(datagram) != "token"
    cluster.release(3)
    assert cluster.run_until(lambda: cluster.processor(1).complete and cluster.processor(2).complete, 5.0, every_s=1e-4)
    cluster.run(rotations * 0.005)
    cluster.crash(3)
    assert noticed_after_s(cluster, 3, (1, 2)) < 2 * config.token_timeout_s + config.consensus_timeout_s


def test_who_brings_the_quorum_is_not_kept_out_by_the_patience_of_a_configuration_that_is_over() -> None:
    config = Config.testing(quorum=2)
    cluster = Cluster(1, config)
    patient_round(cluster, (1, 2), 2)
    cluster.leave(2)
    assert cluster.run_until(lambda: cluster.configuration(1).members == (1,), 5.0)
    cluster.start(4)
    assert cluster.run_until_settled((1, 4), 10 * config.consensus_timeout_s)


def test_newcomer_waits_for_a_member_that_stands_still_and_not_for_others_that_recover() -> None:
    config = Config.testing()
    cluster = Cluster(1, config)
    patient_round(cluster, NODES, 3, 1)
    cluster.release(3)
    assert cluster.run_until(lambda: cluster.processor(2).waiting_for == {1}, 5.0)
    cluster.start(5)
    soon_s = 3 * (config.merge_detect_s + config.consensus_timeout_s + config.token_timeout_s)
    assert cluster.run_until(lambda: cluster.configuration(2).members == (*NODES, 5), soon_s)


def test_who_runs_is_not_charged_with_the_standstill_of_another() -> None:
    cluster = Cluster(1, Config.testing())
    cluster.start(1, 2, 3, 4)
    nodes = (1, 2, 3, 4)
    assert cluster.run_until_settled(nodes, 5.0)
    cluster.hold(1, 3)  # their applications recover for long, and do not keep the process from running
    cluster.start(5)
    assert cluster.run_until(lambda: cluster.configuration(2).members == (*nodes, 5), 5.0)
    cluster.leave(5)
    assert cluster.run_until(lambda: cluster.configuration(2).members == nodes, 5.0)
    cluster.run(0.05)
    cluster.pause(3, 0.08)  # it asks for a little
    cluster.run(0.2)
    for pause_s in (2.0, 1.8):  # the first time it is left out, the second time waited for
        for node in nodes:
            cluster.hosts[node].take_notices()
        cluster.pause(1, pause_s)
        cluster.run(pause_s + 1.2)
        told = {
            node
            for node in nodes
            for notice in cluster.hosts[node].take_notices()
            if notice.kind == "recovery_stood_still"
        }
        assert told == {1}
    assert cluster.configuration(2).members == nodes


def test_wait_for_a_member_that_crashed_while_the_ring_formed_is_no_standstill_of_who_waits() -> None:
    """It waits for nine token timeouts, and its process is late by a quarter of one when they are over."""
    config = Config.testing()
    timeout_s = config.token_timeout_s
    cluster = Cluster(1, config)
    cluster.start(1)
    cluster.hold(1)
    cluster.run(3 * timeout_s)
    cluster.start(2, habits=Habits(stands_still_s=5 * timeout_s))

    def waits_s() -> float:
        return float(cluster.processor(1).statistics()["token_patience_s"])

    def waits_while_it_forms() -> bool:
        return cluster.state(1) == "recovery" and waits_s() > 1.5 * timeout_s

    def lose(time: float, source: int, destination: int, datagram: bytes) -> bool:
        return not (waits_while_it_forms() and source == 2 and kind_of(datagram) == "token")

    cluster.filter = lose
    assert cluster.run_until(waits_while_it_forms, 20.0, every_s=1e-4)
    wait_s = waits_s()
    cluster.run(0.5 * timeout_s)  # the token that it passed on is acknowledged, and it has nothing more to do
    cluster.crash(2)
    cluster.run(wait_s - 0.51 * timeout_s)
    cluster.pause(1, 0.26 * timeout_s)
    cluster.run(timeout_s)
    assert cluster.run_until(
        lambda: cluster.configuration(1).members == (1,) and cluster.state(1) == "operational", 5.0
    )
    assert not any(notice.kind == "recovery_stood_still" for notice in cluster.hosts[1].take_notices())
    cluster.start(3)
    cluster.hold(3)
    assert cluster.run_until(lambda: cluster.configuration(1).members == (1, 3), 5.0)
    assert waits_s() == timeout_s


def test_standstill_between_the_two_rotations_of_the_commit_token_costs_no_formation() -> None:
    cluster = Cluster(1, Config.testing())
    cluster.start(1, 2)
    assert cluster.run_until_settled((1, 2), 5.0)
    cluster.hold(2)
    cluster.start(3)
    assert cluster.run_until(lambda: cluster.configuration(2).members == (1, 2, 3), 5.0)
    cluster.leave(3)
    assert cluster.run_until(lambda: cluster.configuration(2).members == (1, 2), 5.0)
    cluster.run(0.1)
    cluster.start(4)
    assert cluster.run_until(lambda: cluster.state(2) == "commit", 5.0, every_s=1e-4)
    gathers = cluster.processor(2).statistics()["gathers"]
    cluster.pause(2, 0.07)
    assert cluster.run_until(lambda: cluster.configuration(2).members == (1, 2, 4), 5.0)
    assert cluster.processor(2).statistics()["gathers"] == gathers
    assert not cluster.processor(2).statistics().get("dropped_implausible", 0)


def test_who_could_not_receive_while_another_stood_still_is_given_its_time_when_the_patience_ends() -> None:
    cluster = Cluster(1, Config.testing())
    patient_round(cluster, NODES, 3)
    seen = {"held": 0}

    def lose(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) == "data" and destination == 2 and seen["held"] < 3:
            return False
        if kind_of(datagram) == "token" and destination == 3 and seen["held"] < 3:
            token = read(datagram)
            assert isinstance(token, Token)
            seen["held"] += token.aru_id == 2
            if seen["held"] == 3:
                cluster.pause(3, 1.0)
        return True

    cluster.filter = lose
    cluster.submit_recovery(3, b"x")
    assert cluster.run_until(lambda: seen["held"] == 3, 2.0)
    cluster.run(0.99)
    cluster.release(3)
    assert cluster.run_until(lambda: cluster.processor(1).complete, 2.0)
    assert cluster.configuration(1).members == NODES
    assert not any(cluster.processor(node).statistics().get("failures_to_receive", 0) for node in NODES)


@pytest.mark.parametrize("between", [False, True], ids=["while it waits", "between two pieces of a visit"])
def test_standstill_is_noted_wherever_the_application_computes(between: bool) -> None:
    config = Config.testing()
    processors = {
        node: Processor(node, config, datagram_size=1400, seed=bytes([node]) * 16, now=0.0, ring_sequence=0, audit=None)
        for node in (1, 2)
    }
    first, second = processors.values()
    came: dict[int, list[bytes]] = {1: [], 2: []}

    def turn(node: int, now: float) -> Ready:
        batch, came[node] = came[node], []
        ready = processors[node].turn(batch, now)
        for destination, datagram in ready.transmits:
            if destination != node:
                came[3 - node].append(datagram)
        return ready

    now = 0.0
    while not all(one.configuration.members == (1, 2) and one.state == "operational" for one in processors.values()):
        now += 0.0005
        turn(1, now)
        turn(2, now)
    second.unblock(second.configuration.ring_id, now)
    for _ in range(30):
        first.submit_recovery(first.configuration.ring_id, bytes(1300), Guarantee.AGREED)
    unfinished = not between
    while unfinished is not between:
        now += 0.0005
        unfinished = turn(1, now).unfinished
        turn(2, now)
    came[1].clear()
    assert "recovery_stood_still" in [notice.kind for notice in turn(1, now + 1.0).notices]


@pytest.mark.parametrize("before", [False, True], ids=["after it has unblocked", "before it unblocks"])
def test_standstill_belongs_to_the_recovery_up_to_its_unblock_and_no_longer(before: bool) -> None:
    """All that leads to the unblock may be done at one moment, so that only its own time tells which comes first."""
    config = Config.testing()
    stood_s = 5 * config.token_timeout_s
    one = Processor(1, config, datagram_size=1400, seed=bytes(16), now=0.0)
    while one.state != "operational":
        now = one.next_timeout
        one.turn([], now)
    one.unblock(one.configuration.ring_id, now + before * stood_s)
    kinds = {notice.kind for notice in one.turn([], now + stood_s).notices}
    assert ("recovery_stood_still" in kinds) is before


def test_patience_ends_with_the_unblock_that_a_slow_reader_makes_room_for() -> None:
    config = Config.testing(events_max=2)
    cluster = Cluster(1, config)
    patient_round(cluster, NODES, 3)
    cluster.stop_reading(1, 100.0)
    ring_id = cluster.configuration(3).ring_id
    for _ in range(4):
        cluster.processor(3).submit_recovery(ring_id, b"state", Guarantee.AGREED)
    cluster.hosts[3].flush()
    cluster.run(0.01)
    cluster.release(3)
    assert cluster.run_until(lambda: cluster.processor(2).complete, 5.0)
    cluster.run(0.01)
    one = cluster.processor(1)
    assert not one.complete and one.statistics()["token_patience_s"] > config.token_timeout_s
    while not one.complete:
        assert one.take_events(1)
        cluster.hosts[1].flush()
    assert one.statistics()["token_patience_s"] == config.token_timeout_s


def test_who_finished_a_recovery_without_standing_still_asks_for_nothing_in_the_next_configuration() -> None:
    config = Config.testing()
    cluster = Cluster(1, config)
    patient_round(cluster, NODES, 3)
    cluster.release(3)
    assert cluster.run_until(lambda: all(cluster.processor(node).complete for node in NODES), 5.0)
    cluster.hold(3)
    cluster.start(7)
    assert cluster.run_until(lambda: cluster.configuration(1).members == (*NODES, 7), 5.0)
    assert cluster.processor(1).waiting_for
    assert cluster.processor(1).statistics()["token_patience_s"] == config.token_timeout_s


@pytest.mark.parametrize("standing", NODES)
def test_token_that_installs_may_be_lost_although_its_sender_stands_still_then(standing: int) -> None:
    """Its sender cannot send it again. Its successor still recovers packets, and waited for one token timeout only."""
    nodes = (*NODES, 4)
    cluster = Cluster(7, Config.lan())
    for node in NODES:
        cluster.start(node, habits=Habits(stands_still_s=2.0 if node == standing else 0.0))
    assert cluster.run_until_settled(NODES, 25.0)
    lost: list[bytes] = []

    def loses_one(_: float, source: int, __: int, datagram: bytes) -> bool:
        if lost or source != standing or kind_of(datagram) != "token":
            return True
        if cluster.configuration(standing).members == nodes:
            lost.append(datagram)
        return not lost

    cluster.filter = loses_one
    before = {node: cluster.processor(node).statistics()["configurations"] for node in NODES}
    cluster.start(4)
    assert cluster.run_until_settled(nodes, 6.0)
    assert len(lost) == 1
    assert {
        node: cluster.processor(node).statistics()["configurations"] - before[node] for node in NODES
    } == dict.fromkeys(NODES, 1)


def test_processor_that_leaves_in_the_visit_that_installs_sends_no_copy_of_its_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is known to stand still, is the last one, and was waiting only for a message that nobody can acknowledge."""
    cluster = Cluster(1, Config.lan())
    cluster.start(1, 2, habits=Habits(stands_still_s=1.0))
    assert cluster.run_until(lambda: cluster.formed((1, 2)), 60.0, every_s=0.01)
    cluster.run(2.0)
    sent: list[tuple[int, str]] = []
    send = cluster.network.send

    def see(source: int, destination: int, datagram: bytes) -> None:
        if source == 1:
            sent.append((destination, kind_of(datagram)))
        send(source, destination, datagram)

    assert cluster.submit(1, b"1.1.8|acknowledged")
    cluster.run(0.5)
    monkeypatch.setattr(cluster.network, "send", see)
    cluster.filter = lambda time, source, destination, datagram: 1 not in (source, destination)
    assert cluster.submit(1, b"1.1.9|never acknowledged")
    cluster.run(0.2)
    cluster.crash(2)
    cluster.leave(1)
    cluster.run(5.0)
    assert not cluster.alive(1)
    assert {kind for _, kind in sent[-3:]} == {"leave"} and not any(destination == 1 for destination, _ in sent)


def test_time_in_which_nothing_was_due_counts_for_one_token_timeout_at_most() -> None:
    """Alone on its ring a processor may be idle for long before it stands still: others do not wait for that."""
    timeout_s = Config.testing().token_timeout_s
    config = Config.testing(merge_detect_s=40 * timeout_s)
    processor = Processor(1, config, datagram_size=1400, seed=bytes(16), now=0.0)
    ready = processor.turn([], 0.0)
    while processor.state != "operational" or ready.next_timeout < 10 * timeout_s:
        ready = processor.turn([], ready.next_timeout)
    ready = processor.turn([], ready.next_timeout + 2 * timeout_s)
    (notice,) = [notice for notice in ready.notices if notice.kind == "recovery_stood_still"]
    assert f"stood still for {3 * timeout_s:.3g} s" in notice.text
    assert f"they wait for it {math.ceil(1 + 1.5 * 3) * timeout_s:.3g} s" in notice.text
