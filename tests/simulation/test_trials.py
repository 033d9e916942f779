"""Trials: a ring that works bears each of them, with the settings that users have; which mistakes each finds, the
mutants show."""

from __future__ import annotations

import random

import pytest

from ringproto.config import Config
from ringproto.testing import trials
from ringproto.testing.cluster import Cluster
from ringproto.testing.host import Host
from ringproto.testing.network import kind_of

NODES = (1, 2, 3, 4, 5)


def trial(name: str, preset: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Cluster, str | None]:
    """Put a ring to one trial; what was wrong."""
    config: Config = getattr(Config, preset)()
    cluster = Cluster(seed, config)
    cluster.start(*NODES)
    unit_s = config.token_timeout_s + config.consensus_timeout_s
    assert cluster.run_until_settled(NODES, 20 * unit_s)
    monkeypatch.setattr(trials, "TRIALS", {name: trials.TRIALS[name]})
    return cluster, trials.draw(cluster, NODES, random.Random(seed), unit_s)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("preset", ["lan", "testing"])
@pytest.mark.parametrize("name", trials.TRIALS)
def test_a_ring_with_shipped_settings_bears_every_trial(
    name: str, preset: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, failure = trial(name, preset, seed, monkeypatch)
    assert failure is None
    assert cluster.judge(NODES) == []


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
