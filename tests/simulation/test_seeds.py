"""Random histories, judged: every seed must keep every rule, and one seed is one history for ever."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ringproto.testing.campaign.run import replay_command, run_seed

LIGHT_SEEDS = range(1, 49)
BATCH = 12
FULL_SEEDS = range(1, 17)


def failures(seeds: range, *, light: bool) -> str:
    lines = []
    for seed in seeds:
        result = run_seed(seed, light=light)
        for violation in result.violations[:3]:
            lines.append(f"seed {seed} ({result.kind}): {violation.rule}: {violation.text}")
        if not result.ok:
            lines.append(f"    again: {replay_command(seed, light=light)}")
    return "\n".join(lines)


@pytest.mark.parametrize("first", LIGHT_SEEDS[::BATCH])
def test_light_seeds_keep_every_rule(first):
    assert failures(range(first, first + BATCH), light=True) == ""


@pytest.mark.parametrize("seed", FULL_SEEDS)
def test_full_seed_keeps_every_rule(seed):
    assert failures(range(seed, seed + 1), light=False) == ""


@pytest.mark.parametrize("light", [True, False])
def test_run_without_faults_changes_nothing_and_retransmits_nothing(light):
    result = run_seed(0, light=light)
    assert result.kind.startswith("no faults")
    assert result.violations == ()
    assert result.deliveries > 100


@pytest.mark.parametrize("seed", [3, 4])
def test_twin_run_gives_the_same_log_hash(seed):
    assert run_seed(seed, light=True) == run_seed(seed, light=True)


def test_different_seeds_give_different_histories():
    assert run_seed(5, light=True).log_hash != run_seed(6, light=True).log_hash


SEEDS = "from ringproto.testing.campaign.run import run_seed; print(run_seed({}, light={}).log_hash)"
TRIALS = """
import random
from ringproto.config import Config
from ringproto.testing.campaign import single_faults as trials
from ringproto.testing.simulator.cluster import Cluster
every, nodes = trials.TRIALS, (1, 2, 3, 4, 5)
for name in every:
    trials.TRIALS = {name: every[name]}
    for seed in (1, 2):
        cluster = Cluster(seed, Config.lan())
        cluster.start(*nodes)
        assert cluster.run_until_settled(nodes)
        print(trials.draw(cluster, nodes, random.Random(seed), 0.75), cluster.log_hash())
"""


@pytest.mark.parametrize(
    "program",
    [TRIALS, *(SEEDS.format(seed, light) for seed, light in ((2, True), (3, False)))],
    ids=["every trial", "light seed 2", "full seed 3"],
)
def test_history_does_not_depend_on_the_hash_seed_of_the_interpreter(program: str) -> None:
    histories = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(histories) == 1
