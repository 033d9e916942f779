"""What the simulator asks of a core that was mended, on rings that do it and on rings that are kept from it."""

from __future__ import annotations

import pytest

from ringproto.config import Config
from ringproto.testing.campaign.delivery import delivery_s
from ringproto.testing.campaign.lasting_loss import LastingLoss
from ringproto.testing.campaign.run import _SeedRun, run_seed
from ringproto.testing.campaign.waits import Waits
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.host import Host
from ringproto.types import Guarantee, Priority

NODES = (1, 2, 3)
NOTHING = LastingLoss("")
UNIT_S = Config.testing().token_timeout_s + Config.testing().consensus_timeout_s
LIGHT_SEED = 5
"""A run that asks for liveness, with all three processors and no loss that stays."""


def ring_of(*nodes, **habits):
    cluster = Cluster(4, Config.testing())
    cluster.start(*nodes, habits=Habits(**habits))
    assert cluster.run_until_settled(nodes, 10.0)
    return cluster


def ring_with_barrier_held():
    """A fourth has come, and the first does not unblock."""
    cluster = ring_of(*NODES)
    cluster.hold(1)
    cluster.start(4)
    assert cluster.run_until(lambda: cluster.together((*NODES, 4)), 10.0)
    return cluster


class Phase:
    """The methods of a run, on a cluster of one's own."""

    def __init__(self, cluster, lasting=NOTHING):
        self.cluster = cluster
        self.lasting = lasting
        self.unit_s = UNIT_S
        self.failures = []
        self.waits = Waits(cluster)

    def fail(self, rule, text):
        self.failures.append((rule, text))

    def _state(self, core):
        return ""

    _await = _SeedRun._await
    _agree = _SeedRun._agree
    _patience_s = _SeedRun._patience_s
    _patience_ends = _SeedRun._patience_ends


def test_who_delivers_for_ever_and_never_settles_is_not_waited_for():
    cluster = ring_of(*NODES)
    said = []

    def say():
        said.append(cluster.submit(1, cluster.application(1).payload(30)))
        cluster.at(UNIT_S, say)

    say()
    began, limit_s = cluster.now, delivery_s(cluster, NODES, steady=True)
    assert Phase(cluster)._await(NODES, lambda nodes: False) == ()
    assert cluster.now - began <= limit_s + UNIT_S
    assert sum(said) >= 3


def test_where_a_ring_may_form_anew_it_has_longer_to_deliver():
    cluster = ring_of(*NODES)
    for messages in (0, 5):
        for _ in range(messages):
            cluster.submit(1, cluster.application(1).payload(300), Priority.LOW)
        assert delivery_s(cluster, NODES, steady=True) < delivery_s(cluster, NODES) / 2
    assert delivery_s(cluster, NODES, steady=True) > 3 * UNIT_S
    for lasting, steady in (
        (NOTHING, True),
        (LastingLoss("uniform", 0.05), True),
        (LastingLoss("uniform", 0.1), False),
    ):
        began, limit_s = cluster.now, delivery_s(cluster, NODES, steady=steady)
        assert Phase(cluster, lasting)._await(NODES, lambda nodes: False) == ()
        assert limit_s - UNIT_S < cluster.now - began < limit_s + UNIT_S


def test_the_time_for_delivery_grows_with_what_waits():
    cluster = ring_of(*NODES)
    empty_s = delivery_s(cluster, NODES)
    application = cluster.application(1)
    assert application.outstanding() == (0, 0)
    assert application.submit(application.payload(14_000), Priority.LOW, Guarantee.AGREED)
    count, size = application.outstanding()
    assert (count, size) == (1, 14_000)
    waiting_s = delivery_s(cluster, NODES)
    assert waiting_s > empty_s
    cluster.hosts[1].flush()
    assert cluster.run_until_settled(NODES, waiting_s)
    assert application.outstanding() == (0, 0)
    assert delivery_s(cluster, NODES) == empty_s


def test_recovery_messages_wait_too():
    cluster = ring_of(*NODES, recovery_messages_max=20, recovery_size_max=500)
    cluster.start(4, habits=Habits(recovery_messages_max=20))
    everybody = (*NODES, 4)
    assert cluster.run_until(lambda: cluster.together(everybody), 10.0)
    most = max(cluster.application(node).outstanding() for node in everybody)
    assert most[0] > 0 and most[1] >= 500 * most[0]
    assert cluster.run_until_settled(everybody, delivery_s(cluster, everybody))


def test_a_change_between_together_and_complete_is_found(monkeypatch):
    """Nothing is lost, so from the moment when all are together nothing may change."""
    assert run_seed(LIGHT_SEED, light=True, hashed=False).ok
    wait = _SeedRun._await

    def break_once(run, core, asked):
        monkeypatch.setattr(_SeedRun, "_await", wait)
        cluster = run.cluster
        cluster.partition(core[:1], core[1:])
        cluster.run(3 * run.unit_s)
        cluster.heal()
        cluster.run_until(lambda: cluster.together(core), 50 * run.unit_s)
        return wait(run, core, asked)

    monkeypatch.setattr(_SeedRun, "_await", break_once)
    result = run_seed(LIGHT_SEED, light=True, hashed=False)
    assert {violation.rule for violation in result.violations} >= {"B21", "stability"}


class Patient:
    """A processor that says that the token is waited for so long, until these have unblocked."""

    def __init__(self, processor, seconds, waiting_for):
        self.processor = processor
        self.seconds = seconds
        self.waiting_for = frozenset(waiting_for)

    def __getattr__(self, attribute):
        return getattr(self.processor, attribute)

    def statistics(self):
        return self.processor.statistics() | {"token_patience_s": self.seconds}


TIMEOUT_S = Config.testing().token_timeout_s


def patience(cluster, seconds, waiting_for=(1, 3)):
    cluster.hosts[2].processor = Patient(cluster.processor(2), seconds, waiting_for)
    phase = Phase(cluster)
    phase._patience_s(NODES)
    return [rule for rule, _ in phase.failures]


def test_a_standstill_outside_of_a_recovery_explains_no_patience():
    cluster = ring_of(*NODES)
    cluster.pause(1, 30.0)
    cluster.run(40.0)
    assert cluster.run_until_settled(NODES, 10.0)
    assert patience(cluster, TIMEOUT_S) == []
    assert patience(cluster, 20 * TIMEOUT_S) == ["B15"]


def test_a_standstill_in_a_recovery_explains_what_it_lasted_and_not_what_was_drawn():
    cluster = ring_with_barrier_held()
    cluster.pause(1, 500 * TIMEOUT_S)
    cluster.run(10 * TIMEOUT_S)
    cluster.unpause(1)
    explained = 1 + 1.5 * (10 + 1)  # it was idle before, for a timeout at most
    assert cluster.hosts[1].explained_s() == pytest.approx(10 * TIMEOUT_S)
    assert patience(cluster, explained * TIMEOUT_S) == []
    assert patience(cluster, 30 * TIMEOUT_S) == ["B15"]
    # Of whom nobody stood still, and who has unblocked, nobody asks for more than ever.
    assert patience(cluster, explained * TIMEOUT_S, (3,)) == ["B15"]
    assert patience(cluster, 2 * TIMEOUT_S, (3,)) == ["B15"]
    assert patience(cluster, 2 * TIMEOUT_S, ()) == ["B15"]
    assert patience(cluster, TIMEOUT_S, (3,)) == patience(cluster, TIMEOUT_S, ()) == []


def test_a_clock_that_jumps_while_its_processor_stands_still_makes_that_longer():
    cluster = ring_with_barrier_held()
    cluster.pause(1, 3 * TIMEOUT_S)
    cluster.hosts[1].jump_clock(7 * TIMEOUT_S)
    cluster.run(4 * TIMEOUT_S)
    assert cluster.hosts[1].explained_s() == pytest.approx(10 * TIMEOUT_S, rel=0.01)


def test_what_explained_a_wait_does_so_as_long_as_that_configuration_lasts():
    cluster = ring_with_barrier_held()
    cluster.pause(1, 10 * TIMEOUT_S)
    cluster.run(11 * TIMEOUT_S)
    waits = Waits(cluster)
    cluster.hosts[2].processor = Patient(cluster.processor(2), 10 * TIMEOUT_S, frozenset({1}))
    assert waits.of(2)[1] == ""
    cluster.hosts[1].rounds_s.extend([0.0] * 9)  # it has recovered without it since
    cluster.hosts[1].stood_s = 0.0
    assert waits.of(2)[1] == ""
    assert Waits(cluster).of(2)[1] != ""


def test_a_standstill_of_somebody_else_explains_nothing():
    cluster = ring_of(*NODES)
    cluster.start(9)
    cluster.partition(NODES, (9,))
    assert cluster.run_until_settled(NODES, 10.0)
    cluster.hold(9)
    cluster.restart(9)
    cluster.pause(9, 30.0)
    cluster.run(31.0)
    assert cluster.hosts[9].explained_s() > 20.0
    assert patience(cluster, 20 * TIMEOUT_S) == ["B15"]


def test_a_standstill_is_forgotten_when_its_processor_has_recovered_some_times_without():
    cluster = ring_with_barrier_held()
    cluster.pause(1, 3 * TIMEOUT_S)
    cluster.run(5 * TIMEOUT_S)
    cluster.release(1)
    assert cluster.run_until_settled((*NODES, 4), 20.0)
    for _ in range(5):
        cluster.restart(4)
        cluster.run(TIMEOUT_S)
        assert cluster.run_until_settled((*NODES, 4), 20.0)
    assert cluster.hosts[1].explained_s() == 0.0


def test_a_round_that_was_over_before_its_application_read_of_it_makes_no_standstill_forgotten():
    cluster = ring_with_barrier_held()
    cluster.pause(1, 3 * TIMEOUT_S)
    cluster.run(5 * TIMEOUT_S)
    cluster.stop_reading(1, 20.0)
    cluster.hosts[1].habits.hold = False
    read = cluster.application(1).configuration.ring_id.sequence
    for _ in range(4):
        cluster.restart(4)
        cluster.run(30 * TIMEOUT_S)
    assert cluster.processor(1).configuration.ring_id.sequence >= read + 4
    cluster.stop_reading(1, 0.0)
    cluster.run(TIMEOUT_S)
    assert cluster.hosts[1].explained_s() >= 3 * TIMEOUT_S


def test_a_barrier_that_nobody_has_complete_ends_no_patience():
    cluster = ring_of(*NODES)
    assert Phase(cluster)._patience_ends(NODES)
    cluster.partition(NODES[:1], NODES[1:])
    cluster.run(3 * UNIT_S)
    phase = Phase(cluster)
    assert not phase._patience_ends(NODES)
    assert [rule for rule, _ in phase.failures] == ["B15"]


def test_who_is_out_has_to_know_it():
    cluster = ring_of(*NODES)
    bad = LastingLoss("bad link", 1.0, 1, 3)
    cluster.partition(NODES[:2], NODES[2:])
    assert cluster.run_until(lambda: cluster.together(NODES[:2]), 10.0)
    assert Phase(cluster, bad)._agree(NODES)
    cluster.heal()
    assert cluster.run_until_settled(NODES, 10.0)
    cluster.pause(3, 1e6)
    assert cluster.run_until(lambda: cluster.together(NODES[:2]), 10.0)
    phase = Phase(cluster, bad)
    assert not phase._agree(NODES)
    assert [rule for rule, _ in phase.failures] == ["B15"]


def test_who_is_out_may_wait_for_one_that_has_stood_still_while_it_recovers():
    """It cannot tell that this one has crashed since (full seed 365)."""
    cluster = ring_of(*NODES)
    cluster.start(9, habits=Habits(hold=True))
    cluster.partition(NODES[:2], (3, 9))
    assert cluster.run_until(lambda: cluster.together((3, 9)) and cluster.together(NODES[:2]), 10.0)
    cluster.pause(9, 40 * TIMEOUT_S)
    cluster.run(41 * TIMEOUT_S)
    assert cluster.run_until(lambda: cluster.together((3, 9)), 10.0)
    cluster.crash(9)
    phase = Phase(cluster, LastingLoss("bad link", 1.0, 1, 3))
    waits_s = phase._patience_s(NODES)
    assert waits_s > 50 * TIMEOUT_S
    began = cluster.now
    assert phase._agree(NODES)
    assert waits_s / 2 < cluster.now - began < waits_s + 2 * TIMEOUT_S
    assert phase.failures == []


@pytest.mark.parametrize("lasting", [LastingLoss(""), LastingLoss("uniform", 0.05), LastingLoss("one link", 0.3, 1, 2)])
def test_where_nothing_may_change_a_ring_that_is_apart_at_the_beginning_of_the_stretch_fails(lasting):
    cluster = ring_of(*NODES)
    assert Phase(cluster, lasting)._agree(NODES)
    cluster.partition(NODES[:1], NODES[1:])
    cluster.run(3 * UNIT_S)
    cluster.heal()
    phase = Phase(cluster, lasting)
    assert not phase._agree(NODES)
    assert [rule for rule, _ in phase.failures] == ["B15"]


@pytest.mark.parametrize(("seed", "several"), [(1, False), (6, True)])
def test_in_some_seeds_processors_stand_still_whenever_they_recover(monkeypatch, seed, several):
    stood = []
    pause = Host.pause

    def see(host, duration_s):
        if duration_s == host.habits.stands_still_s:
            stood.append(host.node)
        pause(host, duration_s)

    monkeypatch.setattr(Host, "pause", see)
    result = run_seed(seed, hashed=False)
    assert "stands still" in result.classes and ("several stand still" in result.classes) is several
    assert result.violations == ()
    assert len(set(stood)) > 2 if several else len(set(stood)) == 1


STANDS_STILL_IN_CORE, STANDS_STILL_OUTSIDE = 51, 133
"""Full runs in which one processor stands still whenever it recovers, and is one of the core in the end, or not."""


def test_when_the_barrier_of_who_stands_still_is_complete_nothing_may_change(monkeypatch):
    asked = []
    ask, deliver = _SeedRun._ask_for_stability, _SeedRun._check_delivery

    def see(run, core, before, began):
        asked.append(run.cluster.now - began)
        ask(run, core, before, began)

    monkeypatch.setattr(_SeedRun, "_ask_for_stability", see)
    assert run_seed(STANDS_STILL_IN_CORE, hashed=False).ok
    assert len(asked) == 3 and asked[1] == max(asked)  # a stretch between two phases of liveness

    def break_once(run, core, formed_s):
        monkeypatch.setattr(_SeedRun, "_check_delivery", deliver)
        cluster = run.cluster
        cluster.partition(core[:1], core[1:])
        cluster.run(30 * run.unit_s)
        cluster.heal()
        return deliver(run, core, formed_s)

    monkeypatch.setattr(_SeedRun, "_check_delivery", break_once)
    result = run_seed(STANDS_STILL_IN_CORE, hashed=False)
    assert {violation.rule for violation in result.violations} >= {"B21", "stability"}


def test_who_stands_still_and_is_not_of_the_core_excuses_nothing(monkeypatch):
    rested = []
    monkeypatch.setattr(_SeedRun, "_check_rest", lambda run, core: not rested.append(run.classes))
    result = run_seed(STANDS_STILL_OUTSIDE, hashed=False)
    assert result.ok
    assert rested and "stands still" in rested[0]
