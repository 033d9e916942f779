"""The script of a round is a function of its seed, can be played, and is chaos."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from ringproto.chaos.faulty_transport import CALM
from ringproto.chaos.script import NODES_GREATEST, NODES_LEAST, Script, draw_script

SCRIPTS = [draw_script(seed) for seed in range(400)]


def test_one_seed_is_one_script() -> None:
    assert [draw_script(seed) for seed in range(20)] == SCRIPTS[:20]
    assert len({repr(dataclasses.replace(script, seed=0)) for script in SCRIPTS}) == len(SCRIPTS)


@pytest.mark.parametrize(("nodes", "transport"), [(3, None), (5, "multicast"), (None, "unicast")])
def test_what_is_said_is_not_drawn(nodes: int | None, transport: str | None) -> None:
    for seed in range(50):
        script = draw_script(seed, nodes=nodes, transport=transport)
        assert nodes is None or script.nodes == tuple(range(1, nodes + 1))
        assert transport is None or script.transport == transport
        assert draw_script(seed, nodes=nodes, transport=transport) == script


def play_on_paper(script: Script) -> set[int]:
    """Who runs at the end; fails for a step that cannot be done."""
    up, stopped, gone = set(script.nodes), set[int](), set[int]()
    for step in script.steps:
        assert step.subject in up, "whose moment it is runs"
        if step.action == "kill":
            assert step.node in up | stopped
            up.discard(step.node)
            stopped.discard(step.node)
            gone.add(step.node)
        elif step.action in ("stop", "leave"):
            up.remove(step.node)
            (stopped if step.action == "stop" else gone).add(step.node)
        elif step.action == "go on":
            stopped.remove(step.node)
            up.add(step.node)
        elif step.action == "start":
            gone.remove(step.node)
            up.add(step.node)
        for hearer, speaker, loss in step.losses:
            assert hearer != speaker and {hearer, speaker} <= set(script.nodes) and 0.0 < loss <= 1.0
        assert up, "somebody always runs"
    assert set(script.comeback) <= gone
    return up | stopped | set(script.comeback)


def test_every_script_can_be_played_and_ends_with_a_quorum() -> None:
    for script in SCRIPTS:
        alive = play_on_paper(script)
        assert len(alive) >= max(2, script.config.quorum)
        assert NODES_LEAST <= len(script.nodes) <= NODES_GREATEST
        assert sorted(script.leaving) == list(script.nodes)
        assert [step.action for step in script.steps].count("mend") == 1 and script.steps[-1].action == "mend"


def test_every_kind_of_fault_is_drawn_and_most_are_in_mid_barrier() -> None:
    steps = [step for script in SCRIPTS for step in script.steps]
    actions = Counter(step.action for step in steps)
    assert min(actions[action] for action in ("kill", "start", "stop", "go on", "leave", "links")) > 50
    # The first step of a script has no change before it in whose middle it could be.
    later = [step for script in SCRIPTS for step in script.steps[1:]]
    moments = Counter(step.moment for step in later)
    assert moments["recovering"] + moments["unblocked"] > len(later) / 2
    assert min(moments.values()) > 50
    # Who dies does so before its own unblock, after it, and while others are before or after theirs.
    for moment in ("recovering", "unblocked"):
        deaths = Counter(step.node == step.subject for step in later if step.action == "kill" and step.moment == moment)
        assert min(deaths[True], deaths[False]) > 10
    partitions = [step for step in steps if step.text.startswith("cut between")]
    assert len({step.text for step in partitions}) > 20
    assert {script.transport for script in SCRIPTS} == {"unicast", "multicast"}
    assert {script.storage for script in SCRIPTS} == {script.together_first for script in SCRIPTS} == {True, False}


def test_a_partition_cuts_every_link_across_it_both_ways() -> None:
    partition = next(step for script in SCRIPTS for step in script.steps if step.text == "cut between 2 and 1,3,4")
    across = {(2, other) for other in (1, 3, 4)} | {(other, 2) for other in (1, 3, 4)}
    assert {(hearer, speaker) for hearer, speaker, loss in partition.losses if loss == 1.0} == across


def test_a_script_can_be_read() -> None:
    script = next(script for script in SCRIPTS if any(step.moment == "unblocked" for step in script.steps))
    lines = script.lines()
    assert len(lines) == 1 + len(script.steps)
    assert lines[0].startswith(f"processors {', '.join(map(str, script.nodes))} on {script.transport} UDP, quorum ")
    assert any(f"when {step.subject} has unblocked" in line for line, step in zip(lines[1:], script.steps, strict=True))
    assert "ms: all is mended" in lines[-1]


def test_half_of_the_rounds_have_links_with_each_kind_of_disorder() -> None:
    disturbed = [script for script in SCRIPTS if script.disorder != CALM]
    assert 0.4 < len(disturbed) / len(SCRIPTS) < 0.6
    for kind in ("delay_s", "duplication", "reordering"):
        assert 0.3 < sum(getattr(script.disorder, kind) > 0 for script in disturbed) / len(disturbed) < 0.8
    for script in disturbed:
        disorder = script.disorder
        assert disorder.delay_s * len(script.nodes) < script.config.token_timeout_s / 2, "a token that is never in time"
        assert bool(disorder.late_s) == bool(disorder.duplication or disorder.reordering)
        assert str(disorder) in script.lines()[0]
