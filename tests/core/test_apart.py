"""Two rings that are apart, with links between them that stay dead: who can come together does, and all rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from test_states import GATHER, LIMITS, MEMBER, OPERATIONAL, STRANGER, Ring, answer_challenges, decode

from ringproto._core.states import Input
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Identity, Join
from ringproto._core.wire.regular import Kind
from ringproto.config import Config
from ringproto.testing.simulator.cluster import Cluster

ME, SUCCESSOR, PREDECESSOR = MEMBER, 3, 1


@pytest.mark.parametrize(
    ("alive", "fails", "informed", "followed"),
    [
        ((ME, SUCCESSOR, STRANGER, STRANGER + 1), (PREDECESSOR,), True, True),
        ((ME, SUCCESSOR, STRANGER, STRANGER + 1), (PREDECESSOR,), False, False),
        ((ME, SUCCESSOR, STRANGER), (PREDECESSOR,), True, False),
        ((PREDECESSOR, SUCCESSOR, STRANGER, STRANGER + 1), (ME,), True, False),
        ((ME, PREDECESSOR, SUCCESSOR, STRANGER), (STRANGER + 1,), True, True),
    ],
    ids=["larger", "larger, without evidence", "as large", "not with this processor", "without one of the other ring"],
)
def test_plan_of_a_stranger_is_followed_if_this_processor_is_on_a_larger_ring(
    alive: tuple[int, ...], fails: tuple[int, ...], informed: bool, followed: bool
) -> None:
    """Beacons have shown the stranger that one member must be left out, whoever has it."""
    ring = Ring(ME)
    ring.bring_to(OPERATIONAL)
    ring.me.context.now += 1.0
    join = Join(Identity(99, 1, LIMITS), ring.me.ring.id.sequence, tuple(sorted(alive)), fails, informed)
    ring.me.handle(Input.JOIN, STRANGER, join)
    answer_challenges(ring.me)
    assert ring.me.state is (GATHER if followed else OPERATIONAL)
    if followed:
        ring.me.context.now = ring.me.context.timers.deadline(Timer.JOIN)
        ring.me.handle(Input.JOIN_TIMEOUT, 0, None)
        last = [
            decode(ring.me.context.codec, datagram)
            for _, datagram in ring.me.context.transmits
            if datagram[1] == Kind.JOIN
        ][-1]
        assert (set(last.alive), last.fail_set) == (set(alive), fails)


def parted_twice(config: Config, mine: tuple[int, ...], theirs: tuple[int, ...], seed: int = 1) -> Cluster:
    """Two rings that put each other off, and hear each other again."""
    cluster = Cluster(seed, config)
    nodes = tuple(sorted((*mine, *theirs)))
    cluster.start(*nodes)
    for _ in range(2):
        assert cluster.run_until(lambda: cluster.formed(nodes), 5.0)
        cluster.partition(mine, theirs)
        assert cluster.run_until(lambda: cluster.formed(mine) and cluster.formed(theirs), 5.0)
        cluster.heal()
    return cluster


@pytest.mark.parametrize(("mine", "theirs"), [((1, 2, 3), (4, 5)), ((1, 2), (4, 5)), ((2, 3), (1, 4, 5))])
@pytest.mark.parametrize("both_ways", [False, True])
def test_one_dead_link_between_two_halves_does_not_keep_the_others_apart(
    mine: tuple[int, ...], theirs: tuple[int, ...], both_ways: bool
) -> None:
    """The halves were parted twice, so they put each other off. All but one end of the link come together, and rest."""
    config = Config.testing()
    cluster = parted_twice(config, mine, theirs)
    nodes = tuple(sorted((*mine, *theirs)))
    wholes = [nodes, *(tuple(node for node in nodes if node != end) for end in (2, 4))]
    cluster.block(2, 4)
    if both_ways:
        cluster.block(4, 2)
    assert cluster.run_until(lambda: any(map(cluster.formed, wholes)), 50 * config.merge_detect_s)
    cluster.run(1.0)
    before = [cluster.processor(node).statistics()["configurations"] for node in nodes]
    cluster.run(300 * config.merge_detect_s)
    assert [cluster.processor(node).statistics()["configurations"] for node in nodes] == before


@pytest.mark.parametrize("preset", [Config.testing, Config.lan])
@pytest.mark.parametrize("mine", [(1, 2), (1, 4), (2, 3, 5), (1, 3, 4)])
def test_two_rings_that_were_apart_for_long_come_together_at_once(
    preset: Callable[[], Config], mine: tuple[int, ...]
) -> None:
    """No link is dead, so nobody is left out, although of some the third beacon comes later than of others."""
    config = preset()
    nodes = tuple(range(1, 7))
    theirs = tuple(node for node in nodes if node not in mine)
    cluster = parted_twice(config, mine, theirs)
    cluster.partition(mine, theirs)
    cluster.run(30 * config.merge_detect_s)
    before = [cluster.processor(node).statistics()["configurations"] for node in nodes]
    cluster.heal()
    assert cluster.run_until(lambda: cluster.formed(nodes), 20 * config.merge_detect_s)
    assert [cluster.processor(node).statistics()["configurations"] for node in nodes] == [was + 1 for was in before]


HALVES = ((1, 2, 3, 4), (5, 6, 7, 8))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_rings_come_together_at_once_although_all_links_lose_much(seed: int) -> None:
    """A link that loses a quarter is not dead, so nobody is left out for it."""
    config = Config.testing()
    cluster = parted_twice(config, *HALVES, seed)
    nodes = tuple(range(1, 9))
    for source in nodes:
        for destination in set(nodes) - {source}:
            cluster.network.link(source, destination).loss = 0.25
    before = [cluster.processor(node).statistics()["configurations"] for node in nodes]
    assert cluster.run_until(lambda: cluster.formed(nodes), 50 * config.merge_detect_s)
    assert [cluster.processor(node).statistics()["configurations"] for node in nodes] == [was + 1 for was in before]


@pytest.mark.parametrize(
    ("dead", "most"),
    [
        (((1, 5), (2, 6), (3, 7)), 5),
        (((1, 5), (1, 6), (2, 5)), 6),
        (((1, 5), (1, 6), (1, 7), (1, 8), (2, 8), (3, 8), (4, 8)), 6),
        (((1, 5), (2, 6), (3, 7), (4, 8)), 4),
    ],
    ids=["apart", "a path", "two that hear nobody of the other half", "as many as a half has"],
)
@pytest.mark.parametrize("seed", [1, 4])
def test_several_dead_links_between_two_halves_do_not_make_memberships_flap(
    seed: int, dead: tuple[tuple[int, int], ...], most: int
) -> None:
    """Those who hear each other come together at once, and all rest. A gather in which each found out by itself whom it
    does not hear left out both ends of each link, which was in vain: up to 112 configurations."""
    config = Config.testing()
    cluster = parted_twice(config, *HALVES, seed)
    for first, second in dead:
        cluster.block(first, second)
        cluster.block(second, first)
    began = [cluster.processor(node).statistics()["configurations"] for node in range(1, 9)]
    cluster.run(50 * config.merge_detect_s)
    before = [cluster.processor(node).statistics()["configurations"] for node in range(1, 9)]
    assert max(now - was for now, was in zip(before, began, strict=True)) <= 3
    assert max(len(cluster.configuration(node).members) for node in range(1, 9)) == most
    cluster.run(300 * config.merge_detect_s)
    assert [cluster.processor(node).statistics()["configurations"] for node in range(1, 9)] == before


@pytest.mark.parametrize("held", [(5,), (5, 6, 7)])
def test_who_recovers_and_does_not_say_whom_it_hears_is_left_out_by_no_plan(held: tuple[int, ...]) -> None:
    """5 was left out often by 1 to 4, and 6 and 7, which have started anew, were not: all hear each other."""
    config = Config.testing()
    interval_s = config.merge_detect_s
    cluster = Cluster(1, config)
    ours, theirs = (1, 2, 3, 4), (5, 6, 7)
    everybody = ours + theirs

    def formed(*rings: tuple[int, ...]) -> bool:
        return cluster.run_until(
            lambda: all(cluster.configuration(node).members == ring for ring in rings for node in ring), 5.0
        )

    cluster.start(*everybody)
    assert formed(everybody)
    for times in range(1, 6):
        assert cluster.run_until_settled(everybody, 5.0)
        if times == 4:
            cluster.crash(6, 7)
            cluster.run(1.0)
            cluster.restart(6)
            cluster.restart(7)
            assert cluster.run_until_settled(everybody, 5.0)
        cluster.partition(ours, theirs)
        assert formed(ours, theirs)
        if times < 5:
            cluster.heal()
    cluster.hold(*held)
    cluster.partition(ours, (5, 6), (7,))
    assert formed((5, 6))
    cluster.partition(ours, theirs)
    assert formed(theirs)
    cluster.run(20 * interval_s)
    cluster.heal()
    cluster.run(60 * interval_s)
    assert {cluster.configuration(node).members for node in everybody} in ({ours, theirs}, {everybody})
    cluster.release(*held)
    assert formed(everybody)
