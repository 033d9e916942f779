"""Probes: each fires when its path was gone, stays silent when it was not, and looking changes nothing."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from stories import promise_behind_a_hole

from ringproto.cli.simulate import command as simulate
from ringproto.config import Config
from ringproto.testing.campaign.coverage import PROBES, Evidence, fired
from ringproto.testing.campaign.random_faults import TRAPS
from ringproto.testing.campaign.run import Result, run_seed
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import Weather, kind_of
from ringproto.testing.simulator.observer import Watch
from ringproto.testing.simulator.system_calls import SystemCalls
from ringproto.types import Priority

Scenario = Callable[[], Cluster]


def ring_of(*nodes: int, **changes: object) -> Cluster:
    cluster = Cluster(1, Config.testing(**changes), watch=Watch())
    cluster.start(*nodes)
    assert cluster.run_until_settled(nodes, 3.0)
    return cluster


def fired_in(cluster: Cluster) -> frozenset[str]:
    assert cluster.watch is not None
    assert cluster.judge() == []
    return fired(cluster, cluster.watch)


def lost_token() -> Cluster:
    cluster = ring_of(1, 2, 3)
    lost = []

    def lose_one(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) == "token" and not lost:
            lost.append(datagram)
            return False
        return True

    cluster.filter = lose_one
    cluster.run(0.5)
    return cluster


def token_lost_in_recovery() -> Cluster:
    cluster = ring_of(1, 2, 3)
    cluster.crash(3)
    cluster.filter = lambda time, source, destination, datagram: (
        not (kind_of(datagram) == "token" and cluster.state(source) == "recovery")
    )
    assert cluster.run_until(lambda: cluster.state(1) == "recovery", 3.0)
    assert cluster.run_until(lambda: cluster.state(1) == "gather", 3.0)
    cluster.filter = None
    assert cluster.run_until_settled({1, 2}, 3.0)
    return cluster


def representative_dies_in_commit() -> Cluster:
    cluster = ring_of(1, 2, 3)
    cluster.crash(3)
    assert cluster.run_until(lambda: cluster.state(1) == "commit", 3.0)
    cluster.crash(1)
    assert cluster.run_until_settled({2}, 3.0)
    return cluster


def merge_in_recovery() -> Cluster:
    cluster = ring_of(1, 2, 3, 4, 5)
    cluster.partition({1, 2, 3}, {4, 5})
    assert cluster.run_until(lambda: cluster.settled({1, 2, 3}) and cluster.settled({4, 5}), 3.0)
    cluster.crash(3, 5)
    # The token of one side does not get on, so that its recovery lasts until the other side is heard.
    cluster.filter = lambda time, source, destination, datagram: (
        not (kind_of(datagram) == "token" and source == 2 and cluster.state(2) == "recovery")
    )
    assert cluster.run_until(lambda: cluster.state(1) == "recovery", 3.0)
    cluster.heal()
    cluster.restart(5)
    assert cluster.run_until(lambda: cluster.state(1) == "gather", 3.0)
    cluster.filter = None
    assert cluster.run_until_settled({1, 2, 4, 5}, 5.0)
    return cluster


def promise() -> Cluster:
    cluster = ring_of(1, 2, 3, 4)
    promise_behind_a_hole(cluster)
    return cluster


def message_cut_by_a_change() -> Cluster:
    cluster = ring_of(1, 2, 3, visit_max=2)
    sent = 0

    def count(time: float, source: int, destination: int, datagram: bytes) -> bool:
        nonlocal sent
        sent += kind_of(datagram) == "data" and source == 1 and destination == 2 and len(datagram) > 1000
        return True

    cluster.filter = count
    assert cluster.submit(1, b"1.1.9000|" + b"fragmented" * 3000, Priority.HIGH)
    assert cluster.run_until(lambda: sent >= 5, 3.0)
    cluster.crash(3)
    assert cluster.run_until_settled({1, 2}, 5.0)
    return cluster


def round_that_a_crash_aborts() -> Cluster:
    cluster = ring_of(1, 2, 3)
    cluster.hold(3)
    cluster.start(4)
    assert cluster.run_until(lambda: cluster.processor(1).waiting_for == {3}, 3.0)
    cluster.crash(3)
    assert cluster.run_until_settled({1, 2, 4}, 3.0)
    return cluster


def crash_with_the_unblock_on_its_way() -> Cluster:
    cluster = ring_of(1, 2, 3)
    cluster.hosts[2].trap = TRAPS["unblock sent"]
    cluster.start(4)
    assert cluster.run_until(lambda: not cluster.alive(2), 3.0)
    assert cluster.run_until_settled({1, 3, 4}, 3.0)
    return cluster


def quorum_that_is_lost_for_a_while() -> Cluster:
    cluster = ring_of(1, 2, 3, quorum=2)
    cluster.partition({1, 2}, {3})
    assert cluster.run_until(lambda: cluster.settled({1, 2}) and cluster.configuration(3).members == (3,), 3.0)
    cluster.heal()
    assert cluster.run_until_settled({1, 2, 3}, 3.0)
    return cluster


def recover_that_raises() -> Cluster:
    cluster = ring_of(1, 2)
    cluster.start(3, habits=Habits(raises=1.0))
    assert cluster.run_until(lambda: not cluster.alive(3), 3.0)
    assert cluster.run_until_settled({1, 2}, 3.0)
    return cluster


def consumer_that_never_reads() -> Cluster:
    cluster = ring_of(1, 2, 3, events_max=16, slow_consumer_timeout_s=0.5)
    cluster.stop_reading(3, 100.0)
    for counter in range(200):
        cluster.submit(1, b"1.1.%d|%s" % (counter, b"s" * 500))
    assert cluster.run_until_settled({1, 2}, 10.0)
    return cluster


def forged_datagrams() -> Cluster:
    cluster = ring_of(1, 2, 3)
    cluster.network.weather = Weather(forgery=0.9)
    for counter in range(300):
        cluster.submit(1 + counter % 3, b"%d.1.%d|" % (1 + counter % 3, counter))
        cluster.run(0.005)
    cluster.network.weather = Weather()
    assert cluster.run_until_settled({1, 2, 3}, 3.0)
    return cluster


def processor_of_another_version() -> Cluster:
    cluster = ring_of(1, 2)
    cluster.start(3, system_calls=SystemCalls(version=2))
    cluster.run(1.0)
    return cluster


def leave_with_a_full_queue() -> Cluster:
    cluster = ring_of(1, 2, 3)
    for counter in range(50):
        cluster.submit(2, b"2.1.%d|" % counter, Priority.LOW)
    cluster.leave(2)
    assert cluster.run_until_settled({1, 3}, 3.0)
    return cluster


SCENARIOS: list[tuple[Scenario, set[str]]] = [
    (lost_token, {"token lost", "token retransmitted"}),
    (token_lost_in_recovery, {"token lost in recovery", "token missed in recovery", "back to gather from recovery"}),
    (representative_dies_in_commit, {"representative crashed in commit", "back to gather from commit"}),
    (merge_in_recovery, {"merge in mid-recovery", "ring split into two that go on"}),
    (
        promise,
        {
            "obligation carried into the next recovery",
            "transitional configuration with a hole",
            "message behind a hole delivered",
            "message behind a hole delivered for an obligation",
            "installed by some, and others went on",
        },
    ),
    (message_cut_by_a_change, {"fragment cut by a change", "fragment cut by a change and sent again"}),
    (round_that_a_crash_aborts, {"round aborted", "round aborted with one unblock missing"}),
    (crash_with_the_unblock_on_its_way, {"crash right after the unblock"}),
    (quorum_that_is_lost_for_a_while, {"quorum lost and regained"}),
    (recover_that_raises, {"recover raised"}),
    (consumer_that_never_reads, {"slow consumer left"}),
    (forged_datagrams, {f"malformed: {reason}" for reason in ("type", "suite", "flags", "sender", "length", "chunk")}),
    (processor_of_another_version, {"other version dropped"}),
    (leave_with_a_full_queue, {"leave drained"}),
]


@pytest.mark.parametrize(("scenario", "expected"), SCENARIOS, ids=[scenario.__name__ for scenario, _ in SCENARIOS])
def test_probes_fire_when_their_path_is_gone(scenario, expected):
    assert expected <= set(PROBES)
    assert expected <= fired_in(scenario())


def test_a_ring_at_rest_fires_none_of_them():
    cluster = ring_of(1, 2, 3)
    cluster.run(2.0)
    quiet = fired_in(cluster)
    assert quiet.isdisjoint(set().union(*(expected for _, expected in SCENARIOS)))


def test_a_run_in_which_nothing_happened_fires_none():
    assert fired(Cluster(1), Watch()) == frozenset()


def test_every_reason_to_drop_a_datagram_has_its_probe():
    statistics = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()
    reasons = set(re.findall(r"^\| `(dropped_\w+)` \|", statistics, re.MULTILINE))
    assert len(reasons) > 20
    found = {}
    for reason in sorted(reasons):
        evidence = Evidence(Cluster(1), Watch())
        evidence.counters[reason] = 1
        found[reason] = [name for name, probe in PROBES.items() if probe(evidence)]
    assert [reason for reason, names in found.items() if len(names) != 1] == []
    assert len({names[0] for names in found.values()}) == len(reasons)


def test_there_are_sixty_probes_or_more():
    assert len(PROBES) >= 60


@pytest.mark.parametrize(("seed", "light"), [(3, True), (7, False)])
def test_looking_changes_nothing(seed, light):
    blind, seen = run_seed(seed, light=light), run_seed(seed, light=light, probes=True)
    assert blind.log_hash == seen.log_hash
    assert blind.probes == frozenset() != seen.probes
    assert seen.probes <= set(PROBES)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    simulate.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["simulate", *arguments])
    code = args.run(args)
    assert isinstance(code, int)
    return code


@pytest.fixture
def half(monkeypatch):
    """Seeds in which the first half of all probes fires; the very first one in even seeds only."""
    names = list(PROBES)

    def check(seed: int, *, light: bool, probes: bool) -> Result:
        assert probes
        found = names[seed % 2 : len(names) // 2]
        return Result(seed, light, "loss", (), "00", 1.0, 10, 3, 6, 9, frozenset(found))

    monkeypatch.setattr(simulate, "check_seed", check)
    return names


def test_report_says_in_how_many_seeds_each_fired_and_which_never_did(half, capsys):
    assert run("--seeds", "1-4", "--jobs", "1", "--probes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"  2  {half[0]}" in lines
    assert f"  4  {half[1]}" in lines
    assert f"  never: {half[-1]}" in lines
    assert any(line.startswith(f"{len(half) // 2} of {len(half)} probes fired") for line in lines)


def test_probes_min_decides_the_exit_code(half, capsys):
    assert run("--seeds", "1-4", "--jobs", "1", "--probes", "--probes-min", "45") == 0
    assert run("--seeds", "1-4", "--jobs", "1", "--probes", "--probes-min", "55") == 1
    assert "fewer than the 55 %" in capsys.readouterr().out


def test_probes_min_without_probes_is_misuse(capsys):
    assert run("--seeds", "1-2", "--probes-min", "50") == 2
    assert "--probes" in capsys.readouterr().err


def test_probes_of_one_seed_with_a_trace(capsys):
    assert run("--seed", "1", "--light", "--trace", "--probes") == 0
    assert "probes fired" in capsys.readouterr().out
