"""One seed, one history, one verdict.

A run has four phases. *Safety*: processors send, and faults drawn from the seed happen to them. *Heal*: a random
non-empty core of the processors is mended, everybody else is stopped or cut off; in half of the runs nothing is lost
any more, in the others some loss stays (``lasting_loss``). *Liveness*: within the bound for that loss
(``settings.bound_s``) the core must be one configuration, and then complete its barrier and deliver all that was
accepted. Then a core without loss is put to a trial, a small fault that it must bear (``single_faults``), a ring where
nothing is to be done must be quiet, and in some runs something breaks for good: memberships must come to rest, and one
ring again once it is mended. Where loss stays, a stretch of time follows over which stability is asked for. *Judge*:
the logs of all incarnations are held against every rule.

A run without faults must show no change of configuration after the first, and no retransmission. A run with ordinary
loss and nothing else, for minutes, idle or loaded, must show no change where the loss is small. Settings with which a
ring need not live are judged for safety alone.
"""

from __future__ import annotations

import dataclasses
import random as random_module
import traceback
from collections.abc import Callable, Collection

from ringproto._core import NUMBER_END
from ringproto.errors import RingError
from ringproto.testing.campaign import single_faults
from ringproto.testing.campaign.coverage import fired
from ringproto.testing.campaign.delivery import delivery_s, standstills_s
from ringproto.testing.campaign.foreign_processors import Strangers
from ringproto.testing.campaign.lasting_loss import STRETCH_UNITS, LastingLoss
from ringproto.testing.campaign.permanent_faults import StandingFault
from ringproto.testing.campaign.random_faults import Faults
from ringproto.testing.campaign.settings import bound_s, draw_settings, rests, unit_s
from ringproto.testing.campaign.traffic_bounds import CAUSES, Storms, counters, needless
from ringproto.testing.campaign.waits import Waits
from ringproto.testing.judge import Stretch, Violation
from ringproto.testing.judge.transcript import uncollected
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.host import Host, Trace
from ringproto.testing.simulator.observer import Watch
from ringproto.types import Guarantee, Priority

__all__ = ["Result", "check_seed", "replay_command", "run_seed"]

SAFETY_STEPS = {False: 60_000, True: 12_000}
"""The faults of a full run, and of a light one, end after so many steps, even if there is time left."""
FAULT_FREE_EVERY = 16
"""One seed in so many has no faults, and one in so many nothing but ordinary loss."""
LASTING = 0.5
"""How probable it is that some loss stays when the other faults end."""
IDLE = 0.25
"""How probable it is that the processors of a run send nothing of themselves in the safety phase."""
IDLE_S = (60.0, 240.0)
"""So many seconds, at least, a ring is idle then; so long is a stretch of time over which stability is asked for."""
STRETCH_STEPS = {False: 15_000, True: 2_000}
"""A stretch ends after so many steps, even if there is time left; of a full run and of a light one. One of fewer than
``STRETCH_UNITS`` goes on for as many steps again, or twice as many."""
ORDINARY_STEPS = {False: 60_000, True: 8_000}
"""The same in a run that has nothing but ordinary loss."""
MORE_STEPS = 2
BACKLOG_MAX = 60
"""An application that waits for so many of its messages sends no more until some come: a run should end."""
LIGHT_TRIALS = 0.5
"""So many of the light runs end with a trial; it costs as much as the rest of such a run."""
TWIN_EVERY = 100
BIG_EVERY = 128
"""One full seed in so many has 33, 16 or 64 processors in turn, and little load."""
BIG = (33, 16, 64)
HUGE_EVERY = 12
"""One full seed in so many has recovery messages of up to 1 MiB."""
FLOOD_EVERY = 128
"""One full seed in so many has a processor that sends 50,000 recovery messages in one configuration."""
FLOOD = 50_000
LIVES = (10_000, 100_000)
"""So far a ring may count in a run in which numbers come to their end: that is not to be often."""
SAMPLE_EVERY = 8
"""Counters are sampled each so many quarters of (token timeout + consensus timeout)."""
STANDS_STILL = 0.12
"""How probable it is that one processor of a full run stands still whenever it recovers. Such a run ends with its
liveness phase: what the others wait for in the next round is known (departure 22)."""
STANDS_STILL_TIMEOUTS = (0.3, 4.0)
"""So many token timeouts it stands still."""
CROWDED = 0.06
"""How probable it is that a full run has more processors than fit into a ring."""
STANDING = {False: 0.5, True: 0.05}
"""How probable it is that a full run, and a light one, has a fault that stays, after the liveness phase."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed. Everything in it is a function of the seed and of the code."""

    seed: int
    light: bool
    kind: str
    """Which faults there were, in words."""
    violations: tuple[Violation, ...]
    log_hash: str
    """Empty if it was not asked for: making it takes a tenth of the time of a run."""
    simulated_s: float
    steps: int
    incarnations: int
    configurations: int
    deliveries: int
    probes: frozenset[str] = frozenset()
    """The names of the probes that fired, if they were asked for."""
    classes: frozenset[str] = frozenset()
    """The classes of faults that happened, and what else was special (``shares.ROWS``)."""

    @property
    def ok(self) -> bool:
        """Whether every rule holds."""
        return not self.violations


def replay_command(seed: int, *, light: bool) -> str:
    """The command that shows this run again, step by step."""
    return f"ringproto simulate --seed {seed}{' --light' if light else ''} --trace"


def run_seed(
    seed: int, *, light: bool = False, trace: Trace | None = None, probes: bool = False, hashed: bool = True
) -> Result:
    """Run one history and judge it. Never raises for what the processors do wrong: that becomes a violation.

    With ``probes`` the result names the rare paths that were reached; the history is the same. With ``hashed`` it has
    the log hash.
    """
    with uncollected():
        run = _SeedRun(seed, light=light, trace=trace, probes=probes)
        try:
            run.play()
        except Exception as error:
            what = "".join(traceback.format_exception_only(error)).strip()
            run.fail("exception", f"the simulation ended with {what}\n{traceback.format_exc()}")
        return run.result(hashed=hashed)


def check_seed(seed: int, *, light: bool = False, probes: bool = False) -> Result:
    """As :func:`run_seed`; one seed in ``TWIN_EVERY`` is run twice, and it is a violation if its logs differ.

    Only these have a log hash.
    """
    twins = seed % TWIN_EVERY == 0
    result = run_seed(seed, light=light, probes=probes, hashed=twins)
    if twins:
        twin = run_seed(seed, light=light, probes=False, hashed=True)
        if twin.log_hash != result.log_hash:
            text = (
                f"the same seed gave the log hashes {result.log_hash} and {twin.log_hash}: something is not determined"
            )
            return dataclasses.replace(result, violations=(*result.violations, Violation("twin", text, 0, 0, 0)))
    return result


class _SeedRun:
    def __init__(self, seed: int, *, light: bool, trace: Trace | None, probes: bool) -> None:
        # Light and full runs of one seed have nothing in common.
        self.random = random = random_module.Random(f"ringproto {'light' if light else 'full'} {seed}")
        self.seed = seed
        self.light = light
        self.violations: list[Violation] = []
        self.big = not light and seed % BIG_EVERY == BIG_EVERY - 1
        self.huge = not light and seed % HUGE_EVERY == HUGE_EVERY - 2
        self.flood = not light and seed % FLOOD_EVERY == FLOOD_EVERY - 3
        count = 3 if light or self.flood else random.randint(3, 5 if self.huge else 9)
        if self.big:
            count = BIG[seed // BIG_EVERY % len(BIG)]
        self.nodes: tuple[int, ...] = tuple(range(1, count + 1))
        if random.random() < 0.2:
            self.nodes = tuple(sorted(random.sample(range(1, 2**32 - 8), count)))
        self.fault_free = seed % FAULT_FREE_EVERY == 0
        self.ordinary = seed % FAULT_FREE_EVERY == FAULT_FREE_EVERY // 2
        """Whether there is loss and nothing else."""
        special = self.big or self.huge or self.flood
        plain = self.fault_free or self.ordinary
        settings = draw_settings(random, count, light=light, scaled=special, plain=plain)
        datagram_size = random.choice((600, 1400, 1400, 8972))
        if settings.config.datagram_size is not None:
            datagram_size = settings.config.datagram_size
        config = settings.config.fitted(datagram_size)
        if self.huge:
            config = config.replace(message_size_max=2**20)
        self.crowded = not (light or plain or special) and random.random() < CROWDED
        if self.crowded:
            most = random.randint(max(2, count // 2 + 1), count - 1)
            config = config.replace(members_max=most, quorum=min(most, config.quorum))
        self.judged = settings.judged
        self.watch = Watch() if probes else None
        self.cluster = Cluster(random, config, datagram_size=datagram_size, trace=trace, watch=self.watch)
        network = self.cluster.network
        network.clear = network.weather = settings.clear
        self.unit_s = config.token_timeout_s + config.consensus_timeout_s
        shortest, longest = (10, 25) if light or special else (40, 120)
        self.duration_s = self.unit_s * random.uniform(shortest, longest)
        self.faults = (
            Faults(self.cluster, self.nodes, (), light=light)
            if plain
            else Faults.draw(self.cluster, self.nodes, light=light)
        )
        self.load_s = self.unit_s * random.choice((0.3, 1.0, 3.0)) * max(1.0, count / 6)
        """The mean time between two bursts of messages of one processor."""
        self.idle = not special and random.random() < IDLE
        if self.idle:
            self.duration_s = max(self.duration_s, random.uniform(*IDLE_S))
        self.load_stopped = False
        self.lasting = LastingLoss("")
        self.stretches: list[Stretch] = []
        self.classes = {f"settings: {settings.kind}"}
        self.tried: set[str] = set()
        """The trials that the core was put to."""
        self.storms = Storms(self.cluster)
        self.waits = Waits(self.cluster)
        self.unexplained: set[int] = set()
        """Who waited for longer than is explained when it was looked last."""
        self.kind = "no faults" if self.fault_free else ", ".join(self.faults.names) or "none drawn"
        if self.ordinary:
            self.kind = "ordinary loss"
        self.kind += f"; {settings.kind}"
        if not self.judged:
            self.kind += ", safety only"
        if self.idle:
            self._is_special("idle")
        if settings.rare:
            self._is_special("rare limits")
        self.strangers = Strangers.draw(self.cluster) if not (light or self.big) else Strangers(self.cluster, ())
        kinds = {f"{count} processors": self.big, "huge": self.huge, "flood": self.flood, "crowd": self.crowded}
        for what, there in kinds.items():
            if there:
                self._is_special(what)
        for kind in self.strangers.kinds:
            self._is_special("stranger: " + kind)

    def _is_special(self, what: str) -> None:
        """Say it in the words about this run, and count it."""
        self.kind += f"; {what}"
        self.classes.add(what)

    def fail(self, rule: str, text: str) -> None:
        self.violations.append(Violation(rule, text, 0, 0, 0))

    def result(self, *, hashed: bool) -> Result:
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
            cluster.log_hash() if hashed else "",
            cluster.now,
            cluster.timeline.steps,
            len(audits),
            configurations,
            deliveries,
            frozenset() if self.watch is None else fired(cluster, self.watch),
            frozenset(self.classes | self.faults.happened),
        )

    def play(self) -> None:
        random = self.random
        cluster = self.cluster
        habits = self._draw_habits()
        sequence = 0
        if random.random() < 0.2 and "storage" not in self.faults.names:
            sequence = random.choice((2**31, 2**32, 2**62 - 2**33)) - random.randint(1, 10)
        cluster.origin = self._draw_origin()
        if sequence or cluster.origin:
            self.classes.add("long life")
        within_s = random.choice((0.0, 0.2))
        for node in self.nodes:
            cluster.at(
                random.uniform(0.0, within_s),
                lambda node=node: cluster.start(  # type: ignore[misc]
                    node, ring_sequence=sequence, habits=habits
                ),
            )
        cluster.run(within_s + 1e-6)
        self._let_some_stand_still()
        self.strangers.start(habits)
        if self.flood:
            cluster.hosts[random.choice(self.nodes)].habits.flood = FLOOD
        if not self.idle:
            self._begin_load(self.nodes)
        core: Collection[int] = self.nodes
        if self.fault_free:
            self._play_without_faults()
        elif self.ordinary:
            self._begin_lasting(self.nodes)
        else:
            self.faults.begin()
            self._play_safety()
            core = self._heal()
        if not self.ordinary or self.idle:
            self.load_stopped = True
        live = self.judged and self._check_liveness(core) and self._check_what_follows(core)
        self.load_stopped = True
        self.violations.extend(self.storms.violations)
        self.violations.extend(self.strangers.judge(self.nodes))
        self.violations.extend(cluster.judge(core if live else None, self.stretches))

    def _check_what_follows(self, core: Collection[int]) -> bool:
        """What a core that has settled is asked for: stability where something is lost, else small faults and rest."""
        late = self.cluster.network.clear.late > 0
        if standstills_s(self.cluster, core):
            # When a barrier is complete nobody stands still any more; what else breaks the ring is another recovery.
            if len(core) > 1 and self.lasting.steady():
                return self._check_stretch(core)
            return not self.lasting.kind or self._end_lasting(core)
        if len(core) > 1 and (self.lasting.kind or late):
            return self._check_stretch(core) and (late or self._check_trial(core))
        return self._check_trial(core) and self._check_rest(core) and (self.light or self._check_another_trial(core))

    def _play_safety(self) -> None:
        """Until time is up, or the work that one run may cost is done."""
        turn = 0

        def sample() -> None:
            nonlocal turn
            turn += 1
            self._sample_patience()
            if turn % SAMPLE_EVERY == 0:
                self.storms.sample()

        self._pass(self.duration_s, SAFETY_STEPS[self.light], sample)

    def _pass(self, seconds: float, steps: int, each: Callable[[], None] | None = None) -> None:
        """Let so much time pass, or so many steps if they take less; ``each`` quarter of a unit is told."""
        cluster = self.cluster
        end, last = cluster.now + seconds, cluster.timeline.steps + steps
        while cluster.now < end and cluster.timeline.steps < last:
            cluster.run(min(self.unit_s / 4, end - cluster.now))
            if each is not None:
                each()

    def _draw_origin(self) -> int:
        """Rings that have counted for years: to where a power of two comes, or their end, which is a change."""
        random = self.random
        luck = random.random()
        if luck < 0.8:
            return 0
        if luck < 0.9 or self.fault_free:
            return int(random.choice((2**31, 2**32)) - random.randint(1, 200))
        return NUMBER_END - random.randint(*LIVES)

    def _draw_habits(self) -> Habits:
        random = self.random
        recovery_messages_max = random.choice((0, 2, 10, 40))
        recovery_size_max = random.choice((100, 2000, 20_000))
        if self.huge:
            recovery_messages_max, recovery_size_max = 2, 2**20
        elif self.big or self.flood:
            recovery_messages_max = min(2, recovery_messages_max)
        return Habits(
            recovery_messages_max=recovery_messages_max,
            recovery_size_max=recovery_size_max,
            late_unblock=random.choice((0.0, 0.2, 1.0)),
            late_unblock_s=self.unit_s * random.choice((0.1, 1.0)),
            reads_first=random_module.Random(self.seed).choice((2, 256)),  # drawn apart: the rest of the plan stays
        )

    def _let_some_stand_still(self) -> None:
        draw = random_module.Random(f"stands still {self.seed}")  # apart: the rest of the plan stays
        plain = self.fault_free or self.ordinary
        if self.light or plain or self.big or self.huge or self.flood or draw.random() >= STANDS_STILL:
            return
        count = draw.choice((1, draw.randint(1, len(self.nodes))))
        for host in map(self.cluster.hosts.__getitem__, draw.sample(self.nodes, count)):
            host.habits.stands_still_s = draw.uniform(*STANDS_STILL_TIMEOUTS) * host.config.token_timeout_s
        self._is_special("stands still")
        if count > 1:
            self._is_special("several stand still")

    # Load

    def _begin_load(self, nodes: Collection[int]) -> None:
        self.load_stopped = False
        for node in nodes:
            self._load(self.cluster.hosts[node])

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
        if self._come_together(self.nodes) is None:
            return
        self._await(self.nodes, cluster.formed)
        rings = {cluster.configuration(node).ring_id for node in self.nodes}
        causes = counters(cluster, self.nodes)
        # The last messages of the recovery may still be the reason why the token is kept, and why it is sent again.
        self._pass(self.unit_s, SAFETY_STEPS[self.light])
        before = counters(cluster, self.nodes)
        before.update({name: causes[name] - before[name] for name in CAUSES})
        self._pass(self.duration_s, SAFETY_STEPS[self.light])
        self.load_stopped = True
        if not self._await(self.nodes, cluster.settled):
            self.fail("fault-free", f"not all was delivered although there was no fault: {self._state(self.nodes)}")
            return
        if {cluster.configuration(node).ring_id for node in self.nodes} != rings:
            self.fail("fault-free", "the configuration changed although there was no fault")
        after = counters(cluster, self.nodes)
        after.subtract(before)
        resting = rests(cluster.config, len(self.nodes), cluster.network.clear.latency_s[1])
        for text in needless(after, len(self.nodes), resting=resting):
            self.fail("fault-free", text)

    # Heal and liveness

    def _heal(self) -> tuple[int, ...]:
        random = self.random
        cluster = self.cluster
        self.faults.end()
        most = min(len(self.nodes), cluster.config.members_max)
        core = tuple(sorted(random.sample(self.nodes, random.randint(1, most))))
        if self.light and random.random() < 0.5:
            core = self.nodes
        stop = random.random() < 0.5
        cluster.network.heal()
        # Those who do not belong stay connected: they must not disturb.
        cluster.partition((*core, *self.strangers.nodes))
        cluster.network.calm((*core, *self.strangers.nodes))
        if random.random() < LASTING:
            self._begin_lasting(core)
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

    def _begin_lasting(self, core: Collection[int]) -> None:
        """From now on something is lost until the stretch is over, unless one is alone."""
        self.lasting = LastingLoss.draw(self.random, core)
        self.lasting.begin(self.cluster)
        if self.lasting.kind:
            self._is_special("loss that stays: " + self.lasting.kind)

    def _patience_s(self, core: Collection[int]) -> float:
        """For how much longer than the token timeout one of them waits for the token now, in seconds.

        A wait that is not explained fails B15.
        """
        cluster = self.cluster
        timeout_s = longest_s = cluster.config.token_timeout_s
        for node in filter(cluster.alive, core):
            waits_s, wrong = self.waits.of(node)
            if wrong:
                self.fail("B15", wrong)
            longest_s = max(longest_s, waits_s)
        return longest_s - timeout_s

    def _sample_patience(self) -> None:
        """Nobody waits for longer than is explained, but for the time until its next visit of the token."""
        cluster = self.cluster
        wrong = {node: text for node in filter(cluster.alive, self.nodes) if (text := self.waits.of(node)[1])}
        again = self.unexplained.intersection(wrong)
        if again and not self.violations:
            self.fail("B15", wrong[min(again)])
        self.unexplained = set(wrong)

    def _come_together(self, core: Collection[int]) -> float | None:
        """Wait until the core is one configuration and stays so for a token timeout: a token that was lost just before
        the heal is missed only then. After how many seconds it was, ``None`` (and a violation) if that is too late."""
        cluster = self.cluster
        # A member that is known to stand still while it recovers is waited for, and a crash is noticed as late as that
        # (departure 22): the bound begins when that time is over. Who stands still costs some recoveries.
        limit_s = bound_s(cluster.config, len(core), self.lasting.loss) + self._patience_s(core)
        limit_s += standstills_s(cluster, core)
        every_s = unit_s(cluster.config) / 20
        began = cluster.now
        while cluster.run_until(
            lambda: bool(self.lasting.holds(cluster.together, core)), began + limit_s - cluster.now, every_s=every_s
        ):
            since_s = cluster.now - began
            if not cluster.run_until(
                lambda: not self.lasting.holds(cluster.together, core), cluster.config.token_timeout_s, every_s=every_s
            ):
                return since_s
        text = f"{sorted(core)} were not together within {limit_s:.2f} s while {self.lasting}"
        self.fail("B15", f"{text}: {self._state(core)}")
        return None

    def _patience_ends(self, core: Collection[int]) -> bool:
        """When a barrier is complete a crash is noticed after the token timeout again, from the next visit of the token
        on."""
        cluster = self.cluster

        def ended() -> bool:
            inside = self.lasting.holds(cluster.formed, core)
            complete = [node for node in inside if cluster.configuration(node).primary]
            return bool(inside) and (not complete or self._patience_s(complete) == 0.0)

        if cluster.run_until(ended, cluster.config.token_timeout_s, every_s=self.unit_s / 20):
            return True
        self.fail("B15", f"the barrier of {sorted(core)} is complete, and a crash would be noticed late")
        return False

    def _await(self, core: Collection[int], asked: Callable[[Collection[int]], bool]) -> tuple[int, ...]:
        """Wait until this is so of the core, for as long as it may take; of whom it is so in the end."""
        cluster = self.cluster
        limit_s = delivery_s(cluster, core, steady=self.lasting.steady())
        cluster.run_until(lambda: bool(self.lasting.holds(asked, core)), limit_s, every_s=self.unit_s / 20)
        return self.lasting.holds(asked, core)

    def _check_liveness(self, core: Collection[int]) -> bool:
        """Together within the bound; from then on everything is completed and delivered in time, and as little changes
        as in a stretch."""
        cluster = self.cluster
        formed_s = self._come_together(core)
        if formed_s is None:
            return False
        before, began = cluster.places(core), cluster.now
        complete = self._check_barrier(core, formed_s)
        asked = True
        if standstills_s(cluster, core):
            # Who stands still while it recovers is known for it when it was left out for it, and has not recovered
            # before its barrier is complete.
            asked = complete and self.lasting.steady() and all(cluster.configuration(node).primary for node in core)
            if asked:
                before, began = cluster.places(core), cluster.now
        # The load of a run with nothing but ordinary loss goes on.
        delivered = complete and (self.ordinary or self._check_delivery(core, formed_s))
        if asked:
            self._ask_for_stability(core, before, began)
        return delivered

    def _check_barrier(self, core: Collection[int], formed_s: float) -> bool:
        """Those who are together complete their barrier, and nobody waits longer than ever for a token after that."""
        if not self._await(core, self.cluster.formed):
            text = f"{sorted(core)} were together after {formed_s:.2f} s, and the barrier does not complete"
            self.fail("B15", f"{text}: {self._state(core)}")
            return False
        return self._patience_ends(core)

    def _check_delivery(self, core: Collection[int], formed_s: float) -> bool:
        """Those whose barrier is complete deliver everything."""
        cluster = self.cluster
        for turn in ("the rest of the load", "a message of each"):
            inside = self._await(core, cluster.settled)
            if not inside:
                self.fail(
                    "B15",
                    f"{sorted(core)} were together after {formed_s:.2f} s but did not deliver {turn}: "
                    f"{self._state(core)}",
                )
                return False
            for node in inside:
                application = cluster.application(node)
                application.submit(application.payload(50), Priority.HIGH, Guarantee.SAFE)
                application.submit(application.payload(50), Priority.LOW, Guarantee.AGREED)
                cluster.hosts[node].flush()
        if not self._await(core, cluster.settled):
            self.fail("B15", f"{sorted(core)} did not deliver a last message of each: {self._state(core)}")
            return False
        return True

    def _ask_for_stability(self, core: Collection[int], before: dict[tuple[int, int], int], began: float) -> None:
        """The judge is to look at what changed in the core since ``began``."""
        cluster = self.cluster
        after = cluster.places(node for node in core if cluster.alive(node))
        late = cluster.network.clear.late > 0
        self.stretches.append(self.lasting.stretch(before, after, cluster.now - began, cluster.config, late=late))

    def _check_stretch(self, core: Collection[int]) -> bool:
        """Some time, idle or loaded, over which the judge asks for stability; then nothing is lost any more."""
        cluster, random = self.cluster, self.random
        if not self._agree(core):
            return False
        inside = self.lasting.holds(cluster.together, core)
        loaded = not self.idle if self.ordinary else random.random() < 0.5
        if loaded and not self.ordinary:
            self._begin_load(inside)
        least_s = STRETCH_UNITS * unit_s(cluster.config)
        seconds = max(random.uniform(*IDLE_S), least_s)
        steps = (ORDINARY_STEPS if self.ordinary else STRETCH_STEPS)[self.light]
        before, began = cluster.places(core), cluster.now
        self._pass(seconds, steps)
        self._pass(began + least_s - cluster.now, MORE_STEPS * steps)
        self._ask_for_stability(core, before, began)
        self.storms.sample()
        self.load_stopped = True
        self.ordinary = False
        if not self._agree(core):
            return False
        if not self._await(core, cluster.settled):
            self.fail("B15", f"{sorted(core)} did not deliver all although {self.lasting}: {self._state(core)}")
            return False
        return self._end_lasting(core)

    def _end_lasting(self, core: Collection[int]) -> bool:
        """Nothing is lost any more, and who was left out comes back."""
        self.lasting.end(self.cluster)
        self.lasting = LastingLoss("")
        return self._check_liveness(core)

    def _agree(self, core: Collection[int]) -> bool:
        """Who must be together is, at once where nothing may change; and if an end of a bad link is out, it and all
        others say so."""
        cluster = self.cluster

        def agreed() -> bool:
            return bool(self.lasting.holds(cluster.together, core)) and all(
                cluster.together(cluster.configuration(node).members) for node in core
            )

        limit_s = 0.0
        if not self.lasting.steady():
            # An end of a bad link that is out may wait for somebody who recovers as well.
            limit_s = bound_s(cluster.config, len(core), self.lasting.loss) + self._patience_s(core)
        if all(map(cluster.alive, core)) and cluster.run_until(agreed, limit_s, every_s=unit_s(cluster.config) / 20):
            return True
        self.fail("B15", f"{sorted(core)} do not agree who is together while {self.lasting}: {self._state(core)}")
        return False

    def _check_trial(self, core: Collection[int]) -> bool:
        """A small fault that the core must bear; in a light run only now and then."""
        if self.big or (self.light and self.random.random() >= LIGHT_TRIALS):
            return True
        return self._play_trial(core, self.random)

    def _play_trial(self, core: Collection[int], random: random_module.Random) -> bool:
        tried = single_faults.draw(self.cluster, core, random, self.unit_s, self.tried)
        if tried is None:
            return True
        self.tried.add(tried.name)
        if tried.happened:
            self.classes.add("trial: " + tried.name)
        if tried.failure is not None:
            self.fail("B15", f"{tried.failure}: {self._state(core)}")
        return tried.failure is None

    def _check_another_trial(self, core: Collection[int]) -> bool:
        """After all else, so that what was before is as it was without it; none of those that are drawn often."""
        self.tried |= single_faults.RICH.keys()
        return self.big or self._play_trial(core, random_module.Random(f"another trial {self.seed}"))

    def _check_rest(self, core: Collection[int]) -> bool:
        """Nothing is to be done: nearly nothing is sent. Then, in some runs, a fault that stays."""
        self.storms.sample()
        if rests(self.cluster.config, len(core), self.cluster.network.clear.latency_s[1]):
            self.cluster.run(self.unit_s / 4)
            self.storms.quiet(core, self.unit_s / 2 if self.light else self.unit_s)
        if self.fault_free or self.big or len(core) < 2 or self.random.random() >= STANDING[self.light]:
            return True
        fault = StandingFault.draw(self.cluster, tuple(sorted(core)))
        fault.play()
        self.violations.extend(fault.violations)
        self.stretches.extend(fault.stretches)
        self.storms.sample()
        self._is_special("standing fault: " + fault.kind)
        return self._check_liveness(core)

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
                f"returned {application.returned}, last {application.last_seq}, unread {host.events_waiting}"
            )
        return "; ".join(lines)
