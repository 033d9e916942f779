"""Histories that hypothesis makes up, step by step, so that one that breaks a rule comes out as short as it can be.

A seed of the simulator draws thousands of faults, and the history of one that fails is long. Here the steps are
hypothesis' own: a counterexample is shrunk to the few calls that it takes, and is printed as a program.
Besides what happens to processors, single datagrams are in its hand: the next one of a type to a processor can be lost,
or kept in a pocket and handed over later, once or more often.

At the end all is mended. Within the time that a seed of the simulator has (20 times token timeout + consensus timeout)
everybody must be in one configuration and have everything; then the judge reads the logs.

    pytest tests/simulation/test_stateful.py --hypothesis-profile=long
"""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ringproto import Config, Guarantee, Priority, RingError
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import KINDS, Weather, kind_of

NODES = (1, 2, 3)
LIVENESS_UNITS = 20
LATENCY_S = 0.0001
POCKET_MAX = 8

nodes = st.sampled_from(NODES)
some_nodes = st.sampled_from((NODES, (1,), (2,), (3,)))
kinds = st.sampled_from(tuple(KINDS.values()))
priorities = st.sampled_from((Priority.HIGH, Priority.LOW, Priority.RECOVERY))
sizes = st.sampled_from((0, 4000))
guarantees = st.sampled_from(tuple(Guarantee))
delays_ms = st.sampled_from((0, 1, 5, 20, 150, 400))
parts = st.sampled_from((((1,), (2, 3)), ((2,), (1, 3)), ((3,), (1, 2)), ((1, 2), (2, 3)), ((1,), (2,), (3,))))


def happens(**arguments: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule: everybody says something, this happens, and ``ms`` pass. Without messages and time nothing follows."""

    def decorate(happening: Callable[..., None]) -> Callable[..., None]:
        @rule(ms=delays_ms, **arguments)
        @functools.wraps(happening)
        def with_time(self: RingMachine, ms: int, **given: Any) -> None:
            self.chatter()
            happening(self, **given)
            self.cluster.run(ms / 1000)

        return with_time

    return decorate


class RingMachine(RuleBasedStateMachine):
    """Three processors, at most; what happens to them and to the datagrams between them."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.habits: dict[int, tuple[Priority, Guarantee, int]] = {}
        self.counter = 0
        self.to_lose: dict[tuple[str, int], int] = {}
        self.to_pocket: set[tuple[str, int]] = set()
        self.pocket: deque[tuple[int, int, bytes]] = deque(maxlen=POCKET_MAX)

    @initialize(
        quorum=st.sampled_from((1, 2)),
        window_size=st.sampled_from((32, 2)),
        habits=st.lists(st.tuples(priorities, guarantees, sizes), max_size=len(NODES)),
    )
    def begin(self, quorum: int, window_size: int, habits: list[tuple[Priority, Guarantee, int]]) -> None:
        """The first processors send a message of the given kind whenever something happens."""
        self.habits = dict(zip(NODES, habits, strict=False))
        self.cluster = Cluster(1, Config.testing(quorum=quorum, window_size=window_size))
        # One latency for all: with nothing drawn, a step that is taken away leaves the others as they were.
        self.cluster.network.weather = Weather(latency_s=(LATENCY_S, LATENCY_S))
        self.cluster.filter = self.carry
        self.cluster.start(*NODES)
        assert self.cluster.run_until_settled(NODES)

    # Processors

    @happens(node=nodes)
    def crash(self, node: int) -> None:
        self.cluster.crash(node)

    @happens(node=nodes, storage=st.sampled_from(("kept", "lost")))
    def restart(self, node: int, storage: str) -> None:
        self.cluster.restart(node, storage)

    @happens(node=nodes)
    def leave(self, node: int) -> None:
        if self.cluster.alive(node):
            self.cluster.leave(node)

    @happens(node=nodes, for_ms=delays_ms, reads=st.booleans())
    def pause(self, node: int, for_ms: int, reads: bool) -> None:
        """The process gets no time; or its application reads nothing."""
        if reads:
            self.cluster.pause(node, for_ms / 1000)
        else:
            self.cluster.stop_reading(node, for_ms / 1000)

    # Applications

    def chatter(self) -> None:
        for node, message in self.habits.items():
            self.say(node, *message)

    @happens(node=nodes, priority=priorities, guarantee=guarantees, size=sizes)
    def submit(self, node: int, priority: Priority, guarantee: Guarantee, size: int) -> None:
        self.say(node, priority, guarantee, size)

    def say(self, node: int, priority: Priority, guarantee: Guarantee, size: int) -> None:
        if not self.cluster.alive(node) or self.cluster.processor(node).leaving:
            return
        if priority is not Priority.RECOVERY:
            self.cluster.submit(node, self.payload(node, size), priority, guarantee)
            return
        with contextlib.suppress(RingError):  # it has unblocked
            accepted = self.cluster.submit_recovery(node, self.payload(node, size), guarantee)
            self.cluster.application(node).recovery_accepted += accepted

    @happens(node=nodes, at_once=st.booleans())
    def unblock(self, node: int, at_once: bool) -> None:
        """Now, and at once in the configurations to come; or not in those."""
        if at_once:
            self.cluster.release(node)
        else:
            self.cluster.hold(node)

    # Time and the network

    @happens()
    def nothing(self) -> None:
        """But time passes."""

    @rule(count=st.integers(1, 30))
    def step(self, count: int) -> None:
        """So many single steps: an arrival or a timer each."""
        left = iter(range(count))
        self.cluster.run_until(lambda: next(left, None) is None, 1.0)

    @happens(groups=parts)
    def partition(self, groups: tuple[tuple[int, ...], ...]) -> None:
        self.cluster.partition(*groups)

    @happens(source=nodes, destination=nodes)
    def block(self, source: int, destination: int) -> None:
        if source != destination:
            self.cluster.block(source, destination)

    @happens()
    def heal(self) -> None:
        self.cluster.heal()

    @happens(kind=kinds, to=some_nodes, count=st.integers(1, 3))
    def drop(self, kind: str, to: tuple[int, ...], count: int) -> None:
        """The next datagrams of this type to these processors are lost."""
        for node in to:
            self.to_lose[kind, node] = count

    @happens(kind=kinds, to=some_nodes)
    def keep(self, kind: str, to: tuple[int, ...]) -> None:
        """The next datagram of this type to each of these processors goes into the pocket."""
        self.to_pocket.update((kind, node) for node in to)

    @precondition(lambda self: self.pocket)
    @happens(which=st.integers(0, POCKET_MAX - 1), again=st.booleans())
    def deliver(self, which: int, again: bool) -> None:
        """A datagram in the pocket arrives; ``again``: it stays there, and can arrive again."""
        source, destination, datagram = kept = self.pocket[which % len(self.pocket)]
        if not again:
            self.pocket.remove(kept)
        self.cluster.network.link(source, destination).arrive(source, datagram)

    def carry(self, time: float, source: int, destination: int, datagram: bytes) -> bool:
        """What the network asks for each copy of a datagram: whether it arrives."""
        what = kind_of(datagram), destination
        if what in self.to_pocket:
            self.to_pocket.remove(what)
            self.pocket.append((source, destination, datagram))
            return False
        if self.to_lose.get(what):
            self.to_lose[what] -= 1
            return False
        return True

    def payload(self, node: int, size: int) -> bytes:
        self.counter += 1
        return b"%d.0.%d|" % (node, self.counter) + b"x" * size

    # The end

    def teardown(self) -> None:
        cluster = self.cluster
        if not cluster.hosts:
            return
        cluster.filter = None
        cluster.heal()
        for node in NODES:
            cluster.unpause(node)
            cluster.stop_reading(node, 0.0)
            cluster.release(node)
        config = cluster.config
        assert cluster.run_until(self.nobody_is_leaving, 2 * config.leave_timeout_s)
        for node in NODES:
            if not cluster.alive(node):
                cluster.restart(node)
        limit_s = LIVENESS_UNITS * (config.token_timeout_s + config.consensus_timeout_s)
        settled = cluster.run_until_settled(NODES, limit_s)
        assert settled, {node: (cluster.state(node), cluster.configuration(node)) for node in NODES}
        assert cluster.judge(NODES) == []

    def nobody_is_leaving(self) -> bool:
        cluster = self.cluster
        return not any(cluster.alive(node) and cluster.processor(node).leaving for node in NODES)


BOUNDED = settings(
    max_examples=250,
    stateful_step_count=20,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""A submission must not fail by chance; what is new is for the long profile to find."""

TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = (
    BOUNDED if settings.default.max_examples == settings.get_profile("default").max_examples else settings.default
)
