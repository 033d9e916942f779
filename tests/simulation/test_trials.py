"""Trials: a ring that works bears each of them, with the settings that users have; which mistakes each finds, the
mutants show."""

from __future__ import annotations

import dataclasses
import random

import pytest

from ringproto.config import Config
from ringproto.testing.campaign import single_faults
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.host import Host
from ringproto.testing.simulator.network import Weather, kind_of

NODES = (1, 2, 3, 4, 5)
LATENCY_S = {"lan": Weather().latency_s, "testing": Weather().latency_s, "wan": (0.05, 0.1)}
UNFIT = {("stood still", "testing"), ("stood still", "wan")}
"""Where the token of an idle ring rests too shortly."""


def trial(name: str, preset: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Cluster, str | None]:
    """Put a ring to one trial, in which something has to happen; what was wrong."""
    config: Config = getattr(Config, preset)()
    cluster = Cluster(seed, config)
    network = cluster.network
    network.clear = network.weather = dataclasses.replace(network.clear, latency_s=LATENCY_S[preset])
    cluster.start(*NODES)
    unit_s = config.token_timeout_s + config.consensus_timeout_s
    assert cluster.run_until_settled(NODES, 20 * unit_s)
    monkeypatch.setattr(single_faults, "TRIALS", {name: single_faults.TRIALS[name]})
    tried = single_faults.draw(cluster, NODES, random.Random(seed), unit_s)
    assert tried is not None and tried.happened
    return cluster, tried.failure


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "preset"),
    [(name, preset) for name in single_faults.TRIALS for preset in LATENCY_S if (name, preset) not in UNFIT],
)
def test_a_ring_with_shipped_settings_bears_every_trial(
    name: str, preset: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, failure = trial(name, preset, seed, monkeypatch)
    assert failure is None
    assert cluster.judge(NODES) == []


@pytest.mark.parametrize(("name", "preset"), sorted(UNFIT))
def test_a_trial_in_which_nothing_could_happen_is_not_drawn(
    name: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config: Config = getattr(Config, preset)()
    cluster = Cluster(1, config)
    network = cluster.network
    network.clear = network.weather = dataclasses.replace(network.clear, latency_s=LATENCY_S[preset])
    cluster.start(*NODES)
    monkeypatch.setattr(single_faults, "TRIALS", {name: single_faults.TRIALS[name]})
    assert (
        single_faults.draw(cluster, NODES, random.Random(1), config.token_timeout_s + config.consensus_timeout_s)
        is None
    )


@pytest.mark.parametrize("preset", LATENCY_S)
def test_a_token_is_sent_seven_times_in_vain(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its copies differ: each has a number, and asks for an acknowledgement."""
    lost = set()
    for seed in range(4):
        cluster, failure = trial("lost token", preset, seed, monkeypatch)
        assert failure is None
        lost.add(cluster.network.lost)
    assert lost == {1, single_faults.LOST_IN_A_ROW}


@pytest.mark.parametrize("preset", LATENCY_S)
def test_so_many_tokens_can_be_lost_with_shipped_settings(preset: str) -> None:
    config: Config = getattr(Config, preset)()
    assert single_faults.losable(config, 9, LATENCY_S[preset][1]) == single_faults.LOST_IN_A_ROW


def test_fewer_tokens_can_be_lost_where_the_timeout_is_over_before() -> None:
    config = Config.lan(token_hold_s=0.1, token_timeout_s=1.0, token_retransmit_s=0.3)
    assert single_faults.losable(config, 3, 0.0) == single_faults.LOST_IN_A_ROW
    config = config.replace(token_retransmit_s=0.5)
    assert single_faults.losable(config, 3, 0.0) == 3


def test_who_leaves_had_packets_to_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the trial is one: without the repetition the others would lack them."""
    cluster, failure = trial("last words", "lan", 7, monkeypatch)
    assert failure is None
    (leaver,) = (node for node in NODES if cluster.hosts[node].finished)
    log = cluster.hosts[leaver].finished[-1]
    assert log[-1] == ("STOP", "clean")
    sent = [entry for entry in log if entry[0] == "SEND"]
    lost = cluster.network.lost
    assert sent and lost >= len(NODES) - 1


def test_who_stood_still_found_its_timer_overdue_and_its_token_in_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[bool, list[str]]] = []
    wake = Host._wake

    def see(host: Host, life: int | None, nothing: object) -> None:
        if host.timers_first == 1.0 and host.processor is not None and host.timeline.now >= host.busy_until:
            overdue = host.processor.next_timeout <= host.local_now()
            found.append((overdue, [kind_of(datagram) for datagram in host.queue]))
        wake(host, life, nothing)

    monkeypatch.setattr(Host, "_wake", see)
    _, failure = trial("stood still", "lan", 8, monkeypatch)
    assert failure is None
    overdue, queue = found[0]
    assert overdue
    assert "token" in queue


@pytest.mark.parametrize(
    ("still", "times", "words"), [(1, (), None), (4, (2,), "without another one"), (1, (10, 14), "installed")]
)
def test_memberships_rest_beside_a_dead_link_and_nobody_else_is_left_out(
    still: int, times: tuple[int, ...], words: str | None
) -> None:
    cluster = Cluster(3, Config.testing())
    cluster.start(*NODES)
    assert cluster.run_until_settled(NODES)
    unit_s = cluster.config.token_timeout_s + cluster.config.consensus_timeout_s
    draw = random.Random(1)
    draw.sample = lambda nodes, count: [1, 2]  # type: ignore[method-assign,assignment]
    for units in times:
        cluster.at(units * unit_s, lambda: cluster.pause(still, 3 * unit_s))
    failure = single_faults.deaf_pair(single_faults._Trial(cluster, NODES, draw, unit_s))
    assert failure is None if words is None else failure is not None and words in failure
