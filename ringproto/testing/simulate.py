"""One seed, one history, one verdict.

A run has four phases. *Safety*: processors send, and faults drawn from the seed happen to them. *Heal*: a random
non-empty core of the processors is mended, everybody else is stopped or cut off, and all fault rates are zero.
*Liveness*: within 20 times (token timeout + consensus timeout) the core must be one configuration with its barrier
complete, and from then on must deliver all that was accepted without changing the configuration again; then it is put
to a trial, a small fault that it must bear (``trials``). *Judge*: the logs of all incarnations are held against every
rule. A run without faults must show no change of configuration after
the first, and no retransmission.
"""

from __future__ import annotations

import dataclasses
import random as random_module
import traceback
from collections.abc import Collection

from ringproto.config import Config
from ringproto.errors import RingError
from ringproto.testing import trials
from ringproto.testing.application import Habits
from ringproto.testing.cluster import Cluster
from ringproto.testing.faults import Faults
from ringproto.testing.host import Host, Trace
from ringproto.testing.judge import Violation
from ringproto.types import Guarantee, Priority

__all__ = ["Result", "check_seed", "replay_command", "run_seed"]

LIVENESS_UNITS = 20
SAFETY_STEPS_MAX = 60_000
"""The faults end after so many steps, even if there is time left."""
FAULT_FREE_EVERY = 16
"""One seed in so many has no faults."""
BACKLOG_MAX = 60
"""An application that waits for so many of its messages sends no more until some come: a run should end."""
LIGHT_TRIALS = 0.5
"""So many of the light runs end with a trial; it costs as much as the rest of such a run."""
TWIN_EVERY = 100
FOREIGN = (1001, 1002)
"""Node ids of a foreign cluster on the same network."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed. Everything in it is a function of the seed and of the code."""

    seed: int
    light: bool
    kind: str
    """Which faults there were, in words."""
    violations: tuple[Violation, ...]
    log_hash: str
    simulated_s: float
    steps: int
    incarnations: int
    configurations: int
    deliveries: int

    @property
    def ok(self) -> bool:
        """Whether every rule holds."""
        return not self.violations


def replay_command(seed: int, *, light: bool) -> str:
    """The command that shows this run again, step by step."""
    return f"ringproto simulate --seed {seed}{' --light' if light else ''} --trace"


def run_seed(seed: int, *, light: bool = False, trace: Trace | None = None) -> Result:
    """Run one history and judge it. Never raises for what the processors do wrong: that becomes a violation."""
    run = _Run(seed, light=light, trace=trace)
    try:
        run.play()
    except Exception:
        run.fail("exception", f"the simulation ended with an exception:\n{traceback.format_exc()}")
    return run.result()


def check_seed(seed: int, *, light: bool = False) -> Result:
    """As :func:`run_seed`; one seed in ``TWIN_EVERY`` is run twice, and it is a violation if its logs differ."""
    result = run_seed(seed, light=light)
    if seed % TWIN_EVERY == 0:
        twin = run_seed(seed, light=light)
        if twin.log_hash != result.log_hash:
            text = (
                f"the same seed gave the log hashes {result.log_hash} and {twin.log_hash}: something is not determined"
            )
            return dataclasses.replace(result, violations=(*result.violations, Violation("twin", text, 0, 0, 0)))
    return result


class _Run:
    def __init__(self, seed: int, *, light: bool, trace: Trace | None) -> None:
        # Light and full runs of one seed have nothing in common.
        self.random = random = random_module.Random(f"ringproto {'light' if light else 'full'} {seed}")
        self.seed = seed
        self.light = light
        self.violations: list[Violation] = []
        count = 3 if light else random.randint(3, 9)
        self.nodes: tuple[int, ...] = tuple(range(1, count + 1))
        if random.random() < 0.2:
            self.nodes = tuple(sorted(random.sample(range(1, 2**32 - 1), count)))
        self.fault_free = seed % FAULT_FREE_EVERY == 0
        self.rare = not self.fault_free and random.random() < (0.25 if light else 0.5)
        config = _draw_config(random, count, light=light, rare=self.rare)
        self.cluster = Cluster(random, config, datagram_size=random.choice((600, 1400, 1400, 8972)), trace=trace)
        self.unit_s = config.token_timeout_s + config.consensus_timeout_s
        self.duration_s = self.unit_s * (random.uniform(10, 25) if light else random.uniform(40, 120))
        self.faults = (
            Faults(self.cluster, self.nodes, (), light=light)
            if self.fault_free
            else Faults.draw(self.cluster, self.nodes, light=light)
        )
        self.load_s = self.unit_s * random.choice((0.3, 1.0, 3.0))
        """The mean time between two bursts of messages of one processor."""
        self.load_stopped = False
        self.kind = "no faults" if self.fault_free else ", ".join(self.faults.names) or "none drawn"
        if self.rare:
            self.kind += "; rare limits"

    def fail(self, rule: str, text: str) -> None:
        self.violations.append(Violation(rule, text, 0, 0, 0))

    def result(self) -> Result:
        cluster = self.cluster
        configurations = deliveries = 0
        audits = cluster.audits()
        for audit in audits:
            for entry in audit:
                if entry[0] == "DELV":
                    deliveries += 1
                elif entry[0] == "CONF":
                    configurations += 1
        return Result(
            self.seed,
            self.light,
            self.kind,
            tuple(self.violations),
            cluster.log_hash(),
            cluster.now,
            cluster.timeline.steps,
            len(audits),
            configurations,
            deliveries,
        )

    def play(self) -> None:
        random = self.random
        cluster = self.cluster
        habits = self._draw_habits()
        sequence = 0
        if random.random() < 0.2 and "storage" not in self.faults.names:
            sequence = random.choice((2**31, 2**32)) - random.randint(1, 10)
        within_s = random.choice((0.0, 0.2))
        for node in self.nodes:
            cluster.at(
                random.uniform(0.0, within_s),
                lambda node=node: cluster.start(  # type: ignore[misc]
                    node, ring_sequence=sequence, habits=habits
                ),
            )
        cluster.run(within_s + 1e-6)
        if not self.light and random.random() < 0.2:
            foreign = cluster.config.replace(cluster=cluster.config.cluster + " of somebody else")
            cluster.start(*FOREIGN, config=foreign, habits=habits)
        for node in self.nodes:
            self._load(cluster.hosts[node])
        core: Collection[int] = self.nodes
        if self.fault_free:
            self._play_without_faults()
        else:
            self.faults.begin()
            self._play_safety()
            core = self._heal()
        self.load_stopped = True
        if self._check_liveness(core):
            self.violations.extend(cluster.judge(core))
        else:
            self.violations.extend(cluster.judge())

    def _play_safety(self) -> None:
        """Until time is up, or the work that one run may cost is done."""
        cluster = self.cluster
        end = cluster.now + self.duration_s
        while cluster.now < end and cluster.timeline.steps < SAFETY_STEPS_MAX:
            cluster.run(min(self.unit_s / 4, end - cluster.now))

    def _draw_habits(self) -> Habits:
        random = self.random
        return Habits(
            recovery_messages_max=random.choice((0, 2, 10, 40)),
            recovery_size_max=random.choice((100, 2000, 20_000)),
            late_unblock=random.choice((0.0, 0.2, 1.0)),
            late_unblock_s=self.unit_s * random.choice((0.1, 1.0)),
            keep_events=False,
        )

    # Load

    def _load(self, host: Host) -> None:
        def burst() -> None:
            if self.load_stopped:
                return
            if host.processor is not None and host.timeline.now >= host.busy_until:
                self._submit_some(host)
            cluster.at(self.random.expovariate(1.0 / self.load_s), burst)

        cluster = self.cluster
        burst()

    def _submit_some(self, host: Host) -> None:
        random = self.random
        application = host.application
        assert application is not None
        if application.accepted - application.returned > BACKLOG_MAX:
            return
        for _ in range(random.randint(1, 6)):
            luck = random.random()
            if luck < 0.7:
                size = random.randint(0, 100)
            elif luck < 0.95:
                size = random.randint(100, 3000)
            else:
                size = random.randint(3000, 12_000 if self.light else 40_000)
            priority = Priority.HIGH if random.random() < 0.4 else Priority.LOW
            guarantee = Guarantee.SAFE if random.random() < 0.3 else Guarantee.AGREED
            try:
                accepted = application.submit(application.payload(size), priority, guarantee)
            except RingError:
                break  # it is leaving
            if not accepted:
                break
        host.flush()

    # Without faults

    def _play_without_faults(self) -> None:
        cluster = self.cluster
        if not cluster.run_until(
            lambda: cluster.formed(self.nodes), LIVENESS_UNITS * self.unit_s, every_s=self.unit_s / 20
        ):
            self.fail("B15", f"without any fault the ring did not form within {LIVENESS_UNITS * self.unit_s:.2f} s")
            return
        rings = {cluster.configuration(node).ring_id for node in self.nodes}
        before = {node: _retransmissions(cluster, node) for node in self.nodes}
        cluster.run(self.duration_s)
        self.load_stopped = True
        cluster.run_until(lambda: cluster.drained(self.nodes), 100 * self.unit_s, every_s=self.unit_s / 10)
        if {cluster.configuration(node).ring_id for node in self.nodes} != rings:
            self.fail("fault-free", "the configuration changed although there was no fault")
        for node in self.nodes:
            count = _retransmissions(cluster, node) - before[node]
            if count:
                self.fail("fault-free", f"node {node} retransmitted {count} times although nothing was lost")

    # Heal and liveness

    def _heal(self) -> tuple[int, ...]:
        random = self.random
        cluster = self.cluster
        self.faults.end()
        core = tuple(sorted(random.sample(self.nodes, random.randint(1, len(self.nodes)))))
        if self.light and random.random() < 0.5:
            core = self.nodes
        stop = random.random() < 0.5
        cluster.network.heal()
        cluster.partition(core)
        cluster.network.calm(core)
        for node in self.nodes:
            if node not in core:
                if stop:
                    cluster.crash(node)
                continue
            if node in self.faults.leaving:
                cluster.crash(node)
            cluster.unpause(node)
            cluster.stop_reading(node, 0.0)
        cluster.run(1e-6)
        for node in core:
            self.faults.restart(node)
        return core

    def _check_liveness(self, core: Collection[int]) -> bool:
        cluster = self.cluster
        limit_s = LIVENESS_UNITS * self.unit_s
        began = cluster.now
        # A token that was lost just before the heal is missed only now, by a ring that looks well.
        cluster.run(self.unit_s)
        if not cluster.run_until(lambda: cluster.formed(core), limit_s - self.unit_s, every_s=self.unit_s / 20):
            self.fail("B15", f"{sorted(core)} did not form within {limit_s:.2f} s after the heal: {self._state(core)}")
            return False
        rings = {cluster.configuration(node).ring_id for node in core}
        formed_s = cluster.now - began
        for turn in ("the rest of the load", "a message of each"):
            if not self._drain(core):
                self.fail(
                    "B15",
                    f"{sorted(core)} formed after {formed_s:.2f} s but did not deliver {turn}: {self._state(core)}",
                )
                return False
            for node in sorted(core):
                application = cluster.application(node)
                application.submit(application.payload(50), Priority.HIGH, Guarantee.SAFE)
                application.submit(application.payload(50), Priority.LOW, Guarantee.AGREED)
                cluster.hosts[node].flush()
        if not self._drain(core):
            self.fail("B15", f"{sorted(core)} did not deliver a last message of each: {self._state(core)}")
            return False
        if {cluster.configuration(node).ring_id for node in core} != rings or not cluster.formed(core):
            self.fail("B15", f"the configuration of {sorted(core)} changed again without a fault: {self._state(core)}")
            return False
        if not self.light or self.random.random() < LIGHT_TRIALS:
            failure = trials.draw(cluster, core, self.random, self.unit_s)
            if failure is not None:
                self.fail("B15", f"{failure}: {self._state(core)}")
                return False
        return True

    def _drain(self, core: Collection[int]) -> bool:
        """Wait for as long as there is progress."""
        cluster = self.cluster
        progress = -1
        while True:
            if cluster.run_until(lambda: cluster.drained(core), 10 * self.unit_s, every_s=self.unit_s / 20):
                return True
            applications = [cluster.hosts[node].application for node in core]
            delivered = sum(application.delivered for application in applications if application is not None)
            if delivered <= progress:
                return False
            progress = delivered

    def _state(self, core: Collection[int]) -> str:
        lines = []
        for node in sorted(core):
            host = self.cluster.hosts[node]
            if host.processor is None or host.application is None:
                lines.append(f"{node} does not run")
                continue
            processor, application = host.processor, host.application
            members = ",".join(map(str, processor.configuration.members))
            lines.append(
                f"{node} {processor.state} in {processor.configuration.ring_id.sequence} of {members}, "
                f"waits for {sorted(processor.waiting_for)}, accepted {application.accepted}, "
                f"returned {application.returned}, last {application.last_seq}, unread {processor.pending_events}"
            )
        return "; ".join(lines)


def _retransmissions(cluster: Cluster, node: int) -> int:
    statistics = cluster.processor(node).statistics()
    return int(statistics["retransmissions"])


def _draw_config(random: random_module.Random, count: int, *, light: bool, rare: bool) -> Config:
    """Times of several scales, a quorum, and in rare runs limits of next to nothing."""
    testing = Config.testing()
    scale = 1 if light else random.choice((1, 5, 5))
    changes: dict[str, object] = {
        field.name: getattr(testing, field.name) * scale
        for field in dataclasses.fields(Config)
        if field.name.endswith("_s") and getattr(testing, field.name) is not None
    }
    # A token that rests longer between visits makes less to compute and hides nothing.
    changes["token_hold_s"] = random.choice((0.1, 0.6, 0.9)) * testing.token_retransmit_s * scale
    changes["message_size_max"] = 64 * 1024
    changes["quorum"] = random.randint(1, count // 2 + 1) if random.random() < 0.5 else 1
    if rare:
        changes["window_size"] = random.choice((1, 2, 4, 32))
        changes["visit_max"] = random.choice((1, 2, 4, 8))
        changes["retransmits_max"] = random.choice((1, 2, 64))
        changes["low_every"] = random.choice((2, 3, 16))
        changes["send_queue_max"] = random.choice((1, 2, 16, 256))
        changes["events_max"] = random.choice((1, 4, 32, 512))
    return testing.replace(**changes)
