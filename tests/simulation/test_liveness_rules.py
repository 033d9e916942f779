"""What the simulator asks beside the judge: no storms, no flapping, no barrier that hangs without a name.

Each rule holds on a right ring under load and under faults, and each is seen to fail on one that was made wrong.
"""

from __future__ import annotations

import random

import pytest

from ringproto.config import Config
from ringproto.testing.campaign import permanent_faults
from ringproto.testing.campaign.permanent_faults import StandingFault
from ringproto.testing.campaign.traffic_bounds import Storms, bounds, counters, needless
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import Weather, kind_of
from ringproto.testing.simulator.wire_reader import sealed
from ringproto.types import Priority

UNIT_S = Config.testing().token_timeout_s + Config.testing().consensus_timeout_s


def ring_of(*nodes: int, **changes: object) -> Cluster:
    cluster = Cluster(1, Config.testing(**changes))
    cluster.start(*nodes)
    assert cluster.run_until_settled(nodes, 3.0)
    return cluster


def test_bounds_of_what_timers_pace_grow_with_time_and_with_nothing_else():
    config = Config.testing()

    def at(elapsed_s: float, tokens: int, put_off: int = 0) -> dict[str, float]:
        return bounds(
            config,
            processors=4,
            datagram_size=1400,
            elapsed_s=elapsed_s,
            tokens=tokens,
            copies=0,
            gathers=0,
            installed=0,
            put_off=put_off,
            ever_put_off=put_off > 0,
        )

    slow, fast = at(1.0, 10), at(1.0, 1000)
    paced = {name for name in slow if slow[name] != fast[name]}
    assert paced == {"tokens_sent", "datagrams_broadcast", "wakes_sent", "acknowledgements_sent"}
    assert at(2.0, 10)["joins_sent"] - slow["joins_sent"] == pytest.approx(4 / config.join_timeout_s)
    assert at(2.0, 10)["tokens_retransmitted"] - slow["tokens_retransmitted"] == pytest.approx(
        1 / (config.token_retransmit_min_s / 4)  # the shortest wait for an answer (departure 20)
    )
    # Six beacons in the time of three for each ring that is put off, and what had begun before (departure 8).
    assert at(1.0, 10, put_off=2)["beacons_sent"] - slow["beacons_sent"] == pytest.approx(3 * 4)


def test_no_storm_under_load_loss_crashes_and_partitions():
    cluster = ring_of(1, 2, 3, 4)
    storms = Storms(cluster)
    storms.sample()
    draw = random.Random(3)
    cluster.network.weather = Weather(loss=0.1, duplication=0.1)
    for turn in range(60):
        cluster.run(UNIT_S / 2)
        storms.sample()
        for node in (1, 2, 3, 4):
            if cluster.alive(node):
                application = cluster.application(node)
                for _ in range(5):
                    cluster.submit(node, application.payload(500), Priority.LOW)
        if turn % 10 == 3:
            cluster.restart(draw.randint(1, 4))
        if turn % 10 == 6:
            cluster.partition({1, 2}, {3, 4})
        if turn % 10 == 9:
            cluster.heal()
    assert storms.violations == []


class Talkative:
    """A processor whose counter of this name is higher than that of the one in it."""

    def __init__(self, processor, name):
        self.processor = processor
        self.name = name

    def __getattr__(self, attribute):
        return getattr(self.processor, attribute)

    def statistics(self):
        counted = self.processor.statistics()
        return counted | {self.name: counted.get(self.name, 0) + 100_000}


@pytest.mark.parametrize(
    "name", ["joins_sent", "beacons_sent", "tokens_sent", "tokens_retransmitted", "datagrams_broadcast", "wakes_sent"]
)
def test_a_processor_that_says_too_much_is_a_storm(name, monkeypatch):
    cluster = ring_of(1, 2, 3)
    storms = Storms(cluster)
    storms.sample()
    cluster.run(UNIT_S)
    monkeypatch.setattr(cluster.hosts[2], "processor", Talkative(cluster.processor(2), name))
    storms.sample()
    assert [(violation.rule, violation.node) for violation in storms.violations] == [("storm", 2)]
    assert name in storms.violations[0].text


def test_a_ring_at_rest_is_quiet():
    cluster = ring_of(1, 2, 3, 4, 5)
    cluster.run(UNIT_S)
    storms = Storms(cluster)
    storms.quiet((1, 2, 3, 4, 5), 10 * UNIT_S)
    assert storms.violations == []


def test_a_ring_that_sends_tokens_again_though_nothing_is_to_be_done_is_not_quiet():
    cluster = ring_of(1, 2, 3)
    tokens = 0

    def lose_every_tenth(time: float, source: int, destination: int, datagram: bytes) -> bool:
        nonlocal tokens
        tokens += kind_of(datagram) == "token"
        return kind_of(datagram) != "token" or tokens % 10 != 0

    cluster.filter = lose_every_tenth
    storms = Storms(cluster)
    storms.quiet((1, 2, 3), 5 * UNIT_S)
    assert {violation.rule for violation in storms.violations} == {"storm"}
    assert any("tokens_retransmitted" in violation.text for violation in storms.violations)


def test_who_acknowledges_each_token_for_ever_is_not_quiet(monkeypatch):
    cluster = ring_of(1, 2, 3)
    tokens = []

    def lose_one(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) == "token" and not tokens:
            tokens.append(datagram)
            return False
        return True

    cluster.filter = lose_one
    cluster.run(UNIT_S)
    assert tokens
    storms = Storms(cluster)
    storms.quiet((1, 2, 3), UNIT_S)
    assert storms.violations == []

    def never_less(time: float, source: int, destination: int, datagram: bytes) -> bool | bytes:
        return _asks_for_ever(datagram) if kind_of(datagram) == "token" else True

    cluster.filter = never_less
    storms.quiet((1, 2, 3), UNIT_S)
    assert {violation.rule for violation in storms.violations} == {"storm"}
    assert all("acknowledgements_sent" in violation.text for violation in storms.violations)


def _asks_for_ever(token: bytes) -> bytes:
    """The same token as it is where the acknowledge field (docs/wire.md) never falls."""
    at = 85
    return sealed(token[:at] + bytes((token[at] & 1 | 64 << 1,)) + token[at + 1 :])


def rise(**counted: int) -> list[str]:
    return [text.partition(" ")[0] for text in needless(counted, 3, resting=True)]


def test_what_a_ring_sends_for_nothing_is_found():
    right = {"submitted": 10, "wakes_sent": 10, "tokens_sent": 999, "tokens_retransmitted": 8, "duplicate_tokens": 8}
    assert rise(**right, acknowledgements_sent=100) == []
    assert rise(tokens_sent=500, tokens_retransmitted=500, duplicate_tokens=500) == ["tokens_retransmitted"]
    assert rise(tokens_sent=500, duplicate_tokens=500) == ["duplicate_tokens"]
    assert rise(tokens_sent=500, acknowledgements_sent=1) == ["acknowledgements_sent"]
    assert rise(wakes_sent=9) == ["wakes_sent"]
    for name in ("challenges_sent", "refusals_sent", "joins_sent", "gathers", "retransmissions"):
        assert rise(**{name: 1}) == [name]
    # Where no token comes round in time each hop is sent again, and acknowledged then.
    copies = {"tokens_sent": 500, "tokens_retransmitted": 900, "duplicate_tokens": 900, "acknowledgements_sent": 900}
    assert list(needless(copies, 3, resting=False)) == []
    assert [text.partition(" ")[0] for text in needless(copies, 3, resting=True)] == ["tokens_retransmitted"]


def test_counters_of_a_ring_that_works_are_not_needless():
    cluster = ring_of(1, 2, 3)
    cluster.run(UNIT_S)
    before = counters(cluster, (1, 2, 3))
    for turn in range(40):
        cluster.submit(1 + turn % 3, cluster.application(1 + turn % 3).payload(300), Priority.HIGH)
        cluster.run(UNIT_S / 3)
    after = counters(cluster, (1, 2, 3))
    after.subtract(before)
    assert after["submitted"] == 40 and after["tokens_sent"] > 100
    assert list(needless(after, 3, resting=True)) == []


# Faults that stay


@pytest.mark.parametrize("kind", [*permanent_faults.KINDS, "stuck recover"])
@pytest.mark.parametrize("nodes", [(1, 2), (1, 2, 3), (1, 2, 3, 4, 5)])
def test_a_ring_comes_to_rest_and_is_one_again_when_it_is_mended(kind, nodes):
    if kind in permanent_faults.WIDE and len(nodes) < 3:
        nodes = (1, 2, 3, 4)
    cluster = ring_of(*nodes)
    fault = StandingFault(cluster, nodes, kind)
    fault.play()
    assert fault.violations == []
    assert len(fault.stretches) == (0 if kind == "stuck recover" else 3)
    assert cluster.run_until_settled(nodes, 20 * UNIT_S)
    assert cluster.judge(nodes, fault.stretches) == []


def test_memberships_that_flap_are_found(monkeypatch):
    cluster = ring_of(1, 2, 3)

    def come_and_go() -> None:  # a new incarnation each time: who was cut off so often would not be let in
        cluster.restart(3)
        cluster.at(2 * UNIT_S, come_and_go)

    monkeypatch.setitem(permanent_faults.KINDS, "flapping", lambda fault: come_and_go())
    fault = StandingFault(cluster, (1, 2, 3), "flapping")
    fault.play()
    assert {violation.rule for violation in fault.violations} == {"flapping"}


def test_memberships_that_flap_seldom_and_for_ever_are_found(monkeypatch):
    """As those did that forgot what they knew of a bad link after 256 intervals of beacons."""
    cluster = ring_of(1, 2, 3)

    def come_and_go() -> None:
        cluster.restart(3)
        cluster.at(30 * UNIT_S, come_and_go)

    monkeypatch.setitem(
        permanent_faults.KINDS,
        "flapping",
        lambda fault: cluster.at((1 + permanent_faults.SETTLE_UNITS + 11) * UNIT_S, come_and_go),
    )
    fault = StandingFault(cluster, (1, 2, 3), "flapping")
    fault.play()
    assert {violation.rule for violation in fault.violations} == {"flapping"}


@pytest.mark.parametrize(("after_units", "kind"), [(1, "pair"), (1, "mute"), (9, "deaf"), (20, "one way")])
def test_who_is_left_out_although_others_have_the_bad_links_is_found(after_units, kind, monkeypatch):
    cluster = ring_of(1, 2, 3, 4, 5)
    fault = StandingFault(cluster, (1, 2, 3, 4, 5), kind)
    breaks = permanent_faults.KINDS[kind]

    def break_more(fault):
        breaks(fault)
        outside = min(set(fault.core) - fault.ends)
        cluster.at(after_units * UNIT_S, lambda: cluster.pause(outside, 3 * UNIT_S))

    monkeypatch.setitem(permanent_faults.KINDS, kind, break_more)
    fault.play()
    assert "B21" in {violation.rule for violation in cluster.judge(stretches=fault.stretches)}


def test_a_barrier_that_does_not_wait_for_whom_it_should_is_found(monkeypatch):
    cluster = ring_of(1, 2, 3)
    fault = StandingFault(cluster, (1, 2, 3), "stuck recover")
    # Whoever is held unblocks nevertheless.
    monkeypatch.setattr(cluster, "hold", lambda *nodes: None)
    fault.play()
    assert {violation.rule for violation in fault.violations} == {"hang"}


def test_a_barrier_that_goes_on_by_itself_is_found():
    cluster = ring_of(1, 2, 3)
    fault = StandingFault(cluster, (1, 2, 3), "stuck recover")
    cluster.at(3 * UNIT_S, lambda: cluster.release(1, 2, 3))
    fault.play()
    assert {violation.rule for violation in fault.violations} == {"hang"}
