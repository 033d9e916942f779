"""A member whose process stands still for longer than the token timeout whenever it recovers."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import pytest

from ringproto.config import Config
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import Weather

NODES = (1, 2, 3)
LAN = Config.lan()


def start(cluster: Cluster, nodes: Collection[int], stands_still_s: dict[int, float]) -> None:
    for node in nodes:
        cluster.start(node, habits=Habits(stands_still_s=stands_still_s.get(node, 0.0)))


def bound_s(stands_still_s: float) -> float:
    """What the documentation says: it recovers five times at most, and what the bound of liveness is comes on top."""
    return 5 * stands_still_s + 20 * (LAN.token_timeout_s + LAN.consensus_timeout_s)


@pytest.mark.parametrize("stands_still_s", [0.7, 2.0, 8.0])
@pytest.mark.parametrize("quorum", [1, 2])
@pytest.mark.parametrize("standing", [(1,), (2,), (3,), (1, 2), NODES])
def test_members_come_together(standing: tuple[int, ...], quorum: int, stands_still_s: float) -> None:
    for seed in range(3):
        cluster = Cluster(seed, LAN.replace(quorum=quorum))
        start(cluster, NODES, dict.fromkeys(standing, stands_still_s))
        assert cluster.run_until_settled(NODES, bound_s(stands_still_s)), seed
        assert cluster.judge(NODES) == []


def ring_that_recovers(cluster: Cluster, standing: int, stands_still_s: float) -> None:
    """The ring of three comes to a round in which this member stands still and is waited for."""
    start(cluster, NODES, {standing: stands_still_s})
    assert cluster.run_until_settled(NODES, bound_s(stands_still_s))
    cluster.start(4)
    assert cluster.run_until(
        lambda: (
            all(cluster.configuration(node).members == (1, 2, 3, 4) for node in (1, 2, 3, 4))
            and all(cluster.state(node) == "operational" for node in (1, 2, 3, 4))
        ),
        3.0,
    )
    assert standing in cluster.processor(2 if standing != 2 else 3).waiting_for


@pytest.mark.parametrize("standing", NODES)
def test_the_next_recovery_of_a_known_member_costs_no_configuration(standing: int) -> None:
    cluster = Cluster(5, LAN)
    ring_that_recovers(cluster, standing, 2.0)
    ring_id = cluster.configuration(1).ring_id
    assert cluster.run_until_settled((1, 2, 3, 4), 3.0)
    assert cluster.configuration(1).ring_id == ring_id


def test_loss_while_a_member_stands_still_costs_no_configuration() -> None:
    for seed in range(10):
        cluster = Cluster(seed, LAN)
        ring_that_recovers(cluster, 1, 2.0)
        ring_id = cluster.configuration(1).ring_id
        cluster.network.weather = Weather(loss=0.15)
        assert cluster.run_until_settled((1, 2, 3, 4), 5.0), seed
        assert cluster.configuration(1).ring_id == ring_id, seed


@pytest.mark.parametrize("loss", [0.05, 0.15])
def test_members_that_stand_still_come_together_under_loss_that_stays(loss: float) -> None:
    """It took up to 189 intervals, and 17 configurations."""
    nodes = (1, 2, 3, 4, 5, 6)
    for seed in range(1, 7):
        cluster = Cluster(seed, LAN)
        cluster.network.clear = cluster.network.weather = dataclasses.replace(cluster.network.clear, loss=loss)
        start(cluster, nodes, dict.fromkeys((1, 2, 3, 4), 0.75))
        assert cluster.run_until(lambda cluster=cluster: cluster.formed(nodes), 60 * LAN.merge_detect_s), seed
        assert max(cluster.processor(node).statistics()["configurations"] for node in nodes) <= 4, seed


def test_crash_of_a_member_that_is_waited_for_is_noticed_when_its_time_is_over() -> None:
    cluster = Cluster(6, LAN)
    ring_that_recovers(cluster, 3, 2.0)
    cluster.crash(3)
    began = cluster.now
    rest = (1, 2, 4)
    assert cluster.run_until_settled(rest, bound_s(2.0))
    asked_s = 7 * LAN.token_timeout_s  # ceil(1 + 1.5 * 2 s / token_timeout_s) token timeouts
    assert 0.8 * asked_s < cluster.now - began < asked_s + 2 * LAN.consensus_timeout_s
    # Nobody stands still any more: the next crash is noticed as ever.
    cluster.crash(4)
    began = cluster.now
    assert cluster.run_until_settled((1, 2), 3.0)
    assert cluster.now - began < LAN.token_timeout_s + 2 * LAN.consensus_timeout_s


def test_member_that_is_given_up_after_a_complete_barrier_is_given_up_as_fast_as_ever() -> None:
    """Patience ends with the unblock of who asked for it, although it stood still in this very round."""
    cluster = Cluster(7, LAN)
    ring_that_recovers(cluster, 1, 2.0)
    assert cluster.run_until_settled((1, 2, 3, 4), 3.0)
    cluster.run(0.5)
    cluster.crash(1)
    began = cluster.now
    assert cluster.run_until_settled((2, 3, 4), 3.0)
    assert cluster.now - began < LAN.token_timeout_s + 2 * LAN.consensus_timeout_s


def test_who_comes_while_a_member_stands_still_is_let_in_afterwards() -> None:
    cluster = Cluster(8, LAN)
    ring_that_recovers(cluster, 1, 2.0)
    ring_id = cluster.configuration(2).ring_id
    cluster.start(5)
    everybody = (1, 2, 3, 4, 5)
    changed = cluster.run_until(lambda: cluster.configuration(2).ring_id != ring_id, bound_s(2.0))
    assert changed and cluster.application(2).completed == ring_id
    assert cluster.run_until_settled(everybody, bound_s(2.0))
    assert cluster.judge(everybody) == []


def test_application_that_never_unblocks_keeps_nobody_out_for_ever() -> None:
    """Its member is known to stand still, and then its application does not unblock at all."""
    cluster = Cluster(9, LAN)
    start(cluster, NODES, {1: 2.0})
    assert cluster.run_until_settled(NODES, bound_s(2.0))
    cluster.hosts[1].habits = dataclasses.replace(cluster.hosts[1].habits, hold=True, stands_still_s=0.0)
    cluster.start(4)
    assert cluster.run_until(lambda: cluster.configuration(2).members == (1, 2, 3, 4), 3.0)
    cluster.run(0.5)
    cluster.start(5)
    began = cluster.now
    assert cluster.run_until(lambda: cluster.configuration(2).members == (1, 2, 3, 4, 5), 20.0)
    asked_s = 7 * LAN.token_timeout_s
    assert 0.5 * asked_s < cluster.now - began < asked_s + 2.0
    # Its member has not stood still and has not unblocked, so it asks once more. Its crash is noticed within that time.
    cluster.crash(1)
    assert cluster.run_until(lambda: cluster.configuration(2).members == (2, 3, 4, 5), asked_s + 2.0)


def test_what_was_measured_is_told() -> None:
    cluster = Cluster(10, LAN)
    ring_that_recovers(cluster, 1, 2.0)
    cluster.run(2.5)
    mine = [notice for notice in cluster.hosts[1].take_notices() if notice.kind == "recovery_stood_still"]
    assert "2 s" in mine[0].text and "token_timeout_s is 0.5" in mine[0].text and mine[0].warning
    others = [notice for notice in cluster.hosts[2].take_notices() if notice.kind == "recovery_patience"]
    assert "3.5 s" in others[-1].text and not others[-1].warning


def test_copies_of_the_token_for_who_stands_still_are_few() -> None:
    cluster = Cluster(11, LAN)
    ring_that_recovers(cluster, 1, 8.0)
    before = sum(cluster.processor(node).statistics().get("tokens_retransmitted", 0) for node in (2, 3, 4))
    cluster.run(7.0)
    after = sum(cluster.processor(node).statistics().get("tokens_retransmitted", 0) for node in (2, 3, 4))
    # A quarter of token_retransmit_min_s is the shortest wait for an answer (departure 20).
    ordinary = LAN.token_timeout_s / (LAN.token_retransmit_min_s / 4)
    assert after - before < 3 * (ordinary + 7.0 / LAN.retransmit_s + 2)


def test_the_others_install_although_the_representative_stands_still_as_soon_as_it_has() -> None:
    cluster = Cluster(12, LAN)
    cluster.start(*NODES)
    assert cluster.run_until_settled(NODES, 3.0)
    cluster.hosts[1].habits = Habits(stands_still_s=0.4)
    cluster.start(4)
    assert cluster.run_until(lambda: cluster.configuration(1).members == (1, 2, 3, 4), 3.0)
    began = cluster.now
    assert cluster.run_until(
        lambda: all(cluster.configuration(node).members == (1, 2, 3, 4) for node in (2, 3, 4)), 3.0
    )
    assert cluster.now - began < 0.01
