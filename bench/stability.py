"""How stable a ring is under loss that stays, on virtual time: ``python -m bench.stability``.

Each measurement is a function of a setting, a number of processors, a loss and a seed, and returns what it saw; the
command repeats it over seeds and shows the worst seed next to the goal. Exit code 1: a goal was missed.

    heal    how long the members need to be one ring again, whatever happened before, while loss stays
    idle    how many configurations an idle ring has in an hour of loss, and whether it forms at all
    link    how many it has while one link loses a large part of all datagrams one way
    late    how many it has while a fifth of all datagrams come again up to two minutes later, restarts included
    cost    how many datagrams an idle ring sends, without loss
    crash   how long it takes until the others go on without a member that crashed, without loss
    cpu     how much CPU an idle ring takes, next to that of another working tree (--base DIR, built as this one)

By default a link is measured with eight seeds, so that each of neighbours or not, idle or loaded, and with both ends on
the ring at the beginning or one of them left out, is run once. Whether
all say the same about who is on which ring is looked at after each sixtieth of a stretch, and at its end within the
bound of a heal: a ring may be just in the middle of a change.

Times to heal are counted in units of max(``merge_detect_s``, ``consensus_timeout_s`` / 2, ``token_timeout_s`` / 4).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import multiprocessing
import random as random_module
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ringproto import Config, Priority
from ringproto.testing import Cluster
from ringproto.testing.campaign.settings import BOUND_UNITS, bound_s, unit_s
from ringproto.testing.simulator.network import Weather

PRESETS: dict[str, tuple[Callable[[], Config], tuple[float, float]]] = {
    "lan": (Config.lan, Weather().latency_s),
    "testing": (Config.testing, Weather().latency_s),
    "wan": (Config.wan, (0.1, 0.1)),
}
"""The settings as they are shipped, with the least and the greatest latency of their network in seconds."""

IDLE_CHANGES = {0.05: 0, 0.15: 6}
"""At a loss of up to so much an idle ring has at most so many configurations in an hour, in the mean over the seeds."""
LINK_CHANGES = {0.40: 0, 0.80: 2}
"""In each run at most so many while one link loses so much."""
COST = {
    ("lan", 3): 37.42,
    ("lan", 6): 81.95,
    ("lan", 12): 170.58,
    ("testing", 3): 604.67,
    ("testing", 6): 1164.98,
    ("testing", 12): 2097.67,
    ("wan", 3): 4.58,
    ("wan", 6): 16.88,
    ("wan", 12): 25.75,
}
"""Stability is not to be bought by datagrams: what an idle ring sent in a second without loss at commit 32523f3, in the
mean of seeds 1 to 5; of ``wan`` with 12 members, where it was 38.72, what it sends now."""
COST_SLACK = 1.005
"""So many times that are within the goal: where the token rests differs between seeds."""
CRASH = {
    ("lan", 3): 0.501,
    ("lan", 6): 0.472,
    ("lan", 12): 0.466,
    ("testing", 3): 0.104,
    ("testing", 6): 0.106,
    ("testing", 12): 0.109,
    ("wan", 3): 6.397,
    ("wan", 6): 8.076,
    ("wan", 12): 11.374,
}
"""Nor by a slower crash: how many seconds it took at that commit, in the mean of 60 crashes at any moment."""
CRASH_SLACK = 1.05
"""That mean has a standard error of up to 1.5 %: a crash is noticed the later the longer the token had rested."""
CRASH_AFTER = (8.0, 12.0)
"""So many token timeouts after a ring has formed a member crashes."""
CPU_RATIO, CPU_RUNS = 1.03, 7
"""The CPU time of an idle ring is at most so many times that of the base, median of so many interleaved runs each."""
LOOKS = 60
"""So often in a stretch it is looked at who is together."""
AGREED_MIN = 0.95
"""In so large a part of these looks, at least, each processor is on a ring whose members all say that it is theirs."""
HEALS = 6
"""So often the members of one run are parted and come together."""
MESSAGES_S = 10.0
"""Messages a second of a ring that is not idle."""
SIZE = 200
"""Their bytes."""
AGAIN, AGAIN_S = 0.2, 120.0
"""So large a part of all datagrams comes again, after up to so many seconds."""


def bound(limits: dict[float, int], loss: float) -> int:
    """The limit that holds at this loss."""
    return next(limit for greatest, limit in sorted(limits.items()) if loss <= greatest)


class MeasuredRing:
    """So many processors with one of the shipped settings, under a loss that stays."""

    def __init__(self, preset: str, members: int, loss: float, seed: int) -> None:
        make, latency_s = PRESETS[preset]
        self.random = random_module.Random(f"stability {preset} {members} {loss} {seed}")
        self.config = make()
        self.unit_s = unit_s(self.config)
        self.nodes = tuple(range(1, members + 1))
        self.cluster = Cluster(self.random, self.config, datagram_size=1352)
        network = self.cluster.network
        network.clear = network.weather = dataclasses.replace(network.clear, latency_s=latency_s, loss=loss)
        self.step_s = self.unit_s / 8
        self.cluster.start(*self.nodes)

    def together(self, limit_units: float) -> float:
        """Let time pass until all are one ring and stay so for a token timeout: a ring that looks well may have lost
        its token. How many units it took until they were, or infinity when they were not within ``limit_units``."""
        cluster = self.cluster
        began = cluster.now
        limit = began + limit_units * self.unit_s
        while cluster.run_until(self.whole, limit - cluster.now, every_s=self.step_s):
            since = cluster.now
            if not cluster.run_until(lambda: not self.whole(), self.config.token_timeout_s, every_s=self.step_s):
                return (since - began) / self.unit_s
        return math.inf

    def whole(self) -> bool:
        """Whether all are one ring."""
        return self.cluster.formed(self.nodes)

    def agreed(self) -> bool:
        """Whether each processor is on a ring whose members all say that it is theirs."""
        return all(self.cluster.formed(self.cluster.configuration(node).members) for node in self.nodes)

    def changes(self) -> dict[int, int]:
        """How many configurations each processor has installed."""
        return {node: int(self.cluster.processor(node).statistics()["configurations"]) for node in self.nodes}

    def stay(self, seconds: float, formed_units: float, loss: float) -> Stayed:
        """Let so much time pass; what the ring did meanwhile, and whether it is together at the end, within the bound
        for this loss."""
        before = self.changes()
        agreed = 0
        for _ in range(LOOKS):
            self.cluster.run(seconds / LOOKS)
            agreed += self.agreed()
        changes = max(count - before[node] for node, count in self.changes().items())
        limit_s = bound(BOUND_UNITS, loss) * self.unit_s
        one = self.cluster.run_until(self.agreed, limit_s, every_s=self.step_s) and agreed >= AGREED_MIN * LOOKS
        whole = self.cluster.run_until(self.whole, limit_s, every_s=self.step_s)
        return Stayed(formed_units, changes, agreed=one, whole=whole, seconds=seconds)

    def load(self, messages_s: float) -> None:
        """From now on some member sends a message so many times a second."""

        def send() -> None:
            node = self.random.choice(self.nodes)
            host = self.cluster.hosts[node]
            if host.alive and self.cluster.now >= host.busy_until:
                assert host.application is not None
                self.cluster.submit(node, host.application.payload(SIZE), Priority.HIGH)
            self.cluster.at(1.0 / messages_s, send)

        send()

    # What may happen to it before it heals

    def break_(self, history: str, victim: int) -> None:
        """Let one thing happen that parts the members, for some time, and mend it."""
        cluster, random = self.cluster, self.random
        seconds = random.uniform(0.5, 8.0) * self.config.token_timeout_s
        others = [node for node in self.nodes if node != victim]
        if history == "halves":
            half = len(self.nodes) // 2
            cluster.partition(self.nodes[:half], self.nodes[half:])
        elif history == "cut":
            cluster.partition(others, [victim])
        elif history == "stall":
            cluster.pause(victim, seconds)
        elif history == "restart":
            cluster.crash(victim)
        elif history == "deaf":
            for node in others:
                cluster.block(node, victim)
        elif history == "mute":
            for node in others:
                cluster.block(victim, node)
        elif history == "pair":
            cluster.block(victim, others[0])
            cluster.block(others[0], victim)
        elif history == "pieces":
            shuffled = random.sample(self.nodes, len(self.nodes))
            pieces = random.randint(2, len(shuffled))
            cluster.partition(*(shuffled[piece::pieces] for piece in range(pieces)))
        cluster.run(seconds)
        if history == "restart":
            cluster.restart(victim)
        cluster.heal()


HISTORIES = ("halves", "cut", "stall", "restart", "deaf", "mute", "pair", "pieces", "mixed")


# The measurements. Each takes the setting, the number of processors, the loss and the seed first.


class Healed(NamedTuple):
    """Of one run, the units that each heal took, and what parted the members."""

    units: tuple[float, ...]
    history: str


def heal(preset: str, members: int, loss: float, seed: int, heals: int = HEALS) -> Healed:
    """How long after each of several heals the members are one ring; the history is drawn from the seed.

    One kind of thing happens again and again to one victim ("mixed": several kinds), soon after the last heal or
    later; half of the runs are idle. A heal that takes four times its bound ends the run, and counts as infinity.
    """
    ring = MeasuredRing(preset, members, loss, seed)
    limit = 4 * bound(BOUND_UNITS, loss)
    history = HISTORIES[seed % len(HISTORIES)]
    victim = ring.random.choice(ring.nodes)
    if ring.random.random() < 0.5:
        ring.load(MESSAGES_S)
    pause = ring.random.choice((0.0, 1.0, 10.0, 45.0))
    units = [ring.together(limit)]
    while len(units) <= heals and units[-1] < math.inf:
        ring.cluster.run(ring.random.uniform(0.2, 1.8) * pause * ring.unit_s)
        kind = ring.random.choice(HISTORIES[:-1]) if history == "mixed" else history
        ring.break_(kind, victim)
        units.append(ring.together(limit))
    return Healed(tuple(units), history)


class Stayed(NamedTuple):
    """Of one stretch of time, what a ring did."""

    formed_units: float
    """How long it took to form, in units, before the stretch began."""
    changes: int
    """How many configurations the member with the most installed in the stretch."""
    agreed: bool
    """Whether each member is on a ring whose members all say that it is theirs, at the end and nearly always before."""
    whole: bool
    """Whether at the end all are on one ring, within the bound of a heal."""
    seconds: float
    """How long the stretch was."""
    back_units: float = 0.0
    """How long it took until all were on one ring again after the fault was mended, in units."""


def idle(preset: str, members: int, loss: float, seed: int, seconds: float = 3600.0) -> Stayed:
    """What an idle ring does for so long under a loss that is there from the start."""
    ring = MeasuredRing(preset, members, loss, seed)
    formed = ring.together(4 * bound(BOUND_UNITS, loss))
    if formed == math.inf:
        return Stayed(formed, 0, agreed=False, whole=False, seconds=seconds)
    return ring.stay(seconds, formed, loss)


def link(preset: str, members: int, loss: float, seed: int, seconds: float = 3600.0) -> Stayed:
    """What a ring does for so long when one link loses so much one way; then the link is good again.

    By the seed the link goes from a member to the next one on the ring or to another one, the ring is idle or has
    ``MESSAGES_S`` messages a second, and all members are on it at the beginning or one end of the link is not.
    """
    ring = MeasuredRing(preset, members, 0.0, seed)
    formed = ring.together(4 * bound(BOUND_UNITS, 0.0))
    if formed == math.inf:
        return Stayed(formed, 0, agreed=False, whole=False, seconds=seconds)
    neighbours, loaded, out = seed % 2 == 0, seed // 2 % 2 == 0, seed // 4 % 2 == 1
    if loaded:
        ring.load(MESSAGES_S)
    place = ring.random.randrange(members)
    source, destination = ring.nodes[place], ring.nodes[(place + (1 if neighbours or members == 2 else 2)) % members]
    if out:
        others = [node for node in ring.nodes if node != source]
        ring.cluster.partition(others, [source])
        limit_s = bound(BOUND_UNITS, 0.0) * ring.unit_s
        apart = ring.cluster.run_until(
            lambda: ring.cluster.formed(others) and ring.cluster.formed([source]), limit_s, every_s=ring.step_s
        )
        assert apart, "a partition parts them"
        ring.cluster.heal()
    ring.cluster.network.link(source, destination).loss = loss
    stayed = ring.stay(seconds, formed, loss)
    if out:  # the one with which it comes in
        stayed = stayed._replace(changes=max(0, stayed.changes - 1))
    ring.cluster.heal()
    return stayed._replace(back_units=ring.together(200))


def late(preset: str, members: int, loss: float, seed: int, seconds: float = 600.0) -> Stayed:
    """What a ring does for so long while datagrams come again late: also those of incarnations that are dead.

    Before the quiet stretch members are restarted and cut off, for as long as a copy may be late.
    """
    ring = MeasuredRing(preset, members, loss, seed)
    cluster, random = ring.cluster, ring.random

    network = cluster.network
    network.clear = network.weather = dataclasses.replace(network.clear, late=AGAIN, late_s=AGAIN_S)
    end = cluster.now + AGAIN_S
    while cluster.now < end:
        ring.break_(random.choice(("restart", "restart", "cut", "stall")), random.choice(ring.nodes))
        cluster.run(random.uniform(0.5, 8.0))
    formed = ring.together(4 * bound(BOUND_UNITS, loss))
    if formed == math.inf:
        return Stayed(formed, 0, agreed=False, whole=False, seconds=seconds)
    return ring.stay(seconds, formed, loss)


def cost(preset: str, members: int, loss: float, seed: int, seconds: float = 60.0) -> float:
    """How many datagrams arrive somewhere, in a second of an idle ring."""
    ring = MeasuredRing(preset, members, loss, seed)
    if ring.together(200) == math.inf:
        return math.inf
    ring.cluster.run(seconds / 10)
    sent = ring.cluster.network.sent
    ring.cluster.run(seconds)
    return (ring.cluster.network.sent - sent) / seconds


def crash(preset: str, members: int, loss: float, seed: int) -> float:
    """How many seconds it takes an idle ring to go on without a member that crashes at some moment."""
    ring = MeasuredRing(preset, members, loss, seed)
    if ring.together(200) == math.inf:
        return math.inf
    timeout_s = ring.config.token_timeout_s
    ring.cluster.run(ring.random.uniform(*CRASH_AFTER) * timeout_s)
    victim = ring.random.choice(ring.nodes)
    ring.cluster.crash(victim)
    others = [node for node in ring.nodes if node != victim]
    began = ring.cluster.now
    done = ring.cluster.run_until(lambda: ring.cluster.formed(others), 200 * ring.unit_s, every_s=timeout_s / 500)
    return ring.cluster.now - began if done else math.inf


_CPU_PROGRAM = """
import dataclasses, sys, time
from ringproto import Config
from ringproto.testing import Cluster
preset, members, seconds, least_s, greatest_s = sys.argv[1], *map(float, sys.argv[2:])
nodes = tuple(range(1, int(members) + 1))
cluster = Cluster(1, getattr(Config, preset)(), datagram_size=1352)
network = cluster.network
network.clear = network.weather = dataclasses.replace(network.clear, latency_s=(least_s, greatest_s))
cluster.start(*nodes)
assert cluster.run_until_settled(nodes, 600.0)
began = time.process_time()
cluster.run(seconds)
print(time.process_time() - began)
"""


def cpu(preset: str, members: int, loss: float, seed: int, seconds: float = 60.0, *, base: Path) -> float:
    """The CPU time of an idle ring of this working tree as a part of that of ``base``: medians of interleaved runs.

    Raises:
        subprocess.CalledProcessError: a run failed, for example because ``base`` is not built.
    """
    here = Path(__file__).resolve().parents[1]
    times: dict[Path, list[float]] = {here: [], base: []}
    latency_s = PRESETS[preset][1]
    arguments = [preset, *map(str, (members, seconds, *latency_s))]
    for _ in range(CPU_RUNS):
        for tree, measured in times.items():
            command = [sys.executable, "-c", _CPU_PROGRAM, *arguments]
            done = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
            measured.append(float(done.stdout))
    return statistics.median(times[here]) / statistics.median(times[base])


# The command


class Cell(NamedTuple):
    """One line of a table: what is repeated over seeds."""

    preset: str
    members: int
    loss: float


def show_heal(cell: Cell, seeds: Sequence[int], results: Sequence[Healed]) -> tuple[str, bool]:
    config = PRESETS[cell.preset][0]()
    goal = bound_s(config, cell.members, cell.loss) / unit_s(config)
    units = sorted(unit for result in results for unit in result.units)
    slowest, seed = max((max(result.units), seed) for seed, result in zip(seeds, results, strict=True))
    history = results[list(seeds).index(seed)].history
    over = sum(unit > goal for unit in units)
    text = (
        f"{len(units)} heals: median {statistics.median(units):.1f}, 99 % within {units[len(units) * 99 // 100]:.1f}, "
        f"slowest {slowest:.1f} units (seed {seed}, {history}); {over} over {goal:g}"
    )
    return text, not over


def show_idle(cell: Cell, seeds: Sequence[int], results: Sequence[Stayed]) -> tuple[str, bool]:
    goal = math.floor(bound(IDLE_CHANGES, cell.loss) * sum(result.seconds for result in results) / 3600)
    text, fine = _show_stayed(seeds, results, goal, None, bound(BOUND_UNITS, cell.loss))
    return text, fine and all(result.whole for result in results)


def show_link(cell: Cell, seeds: Sequence[int], results: Sequence[Stayed]) -> tuple[str, bool]:
    goal = bound(LINK_CHANGES, cell.loss)
    text, fine = _show_stayed(seeds, results, None, goal, bound(BOUND_UNITS, 0.0))
    if goal == 0:
        fine = fine and all(result.whole for result in results)
    return text, fine


def show_late(cell: Cell, seeds: Sequence[int], results: Sequence[Stayed]) -> tuple[str, bool]:
    text, fine = _show_stayed(seeds, results, 0, None, bound(BOUND_UNITS, cell.loss))
    return text, fine and all(result.whole for result in results)


def show_cost(cell: Cell, seeds: Sequence[int], results: Sequence[float]) -> tuple[str, bool]:
    goal = None if cell.loss else COST.get((cell.preset, cell.members))
    return _show_mean("datagrams/s idle", results, goal, COST_SLACK)


def show_crash(cell: Cell, seeds: Sequence[int], results: Sequence[float]) -> tuple[str, bool]:
    goal = None if cell.loss else CRASH.get((cell.preset, cell.members))
    return _show_mean("s until the others go on", results, goal, CRASH_SLACK)


def _show_mean(unit: str, results: Sequence[float], goal: float | None, slack: float) -> tuple[str, bool]:
    mean = statistics.mean(results)
    text = f"{mean:.3f} {unit} in the mean, at most {max(results):.3f}"
    return (text, True) if goal is None else (f"{text}; goal {goal:g} in the mean", mean <= slack * goal)


def show_cpu(cell: Cell, seeds: Sequence[int], results: Sequence[float]) -> tuple[str, bool]:
    ratio = statistics.median(results)
    text = f"{ratio:.3f} times the CPU of the base, median of {CPU_RUNS} interleaved runs; goal {CPU_RATIO}"
    return text, ratio <= CPU_RATIO


def _show_stayed(
    seeds: Sequence[int], results: Sequence[Stayed], in_all: int | None, each: int | None, units: float
) -> tuple[str, bool]:
    """Of all results together at most ``in_all`` changes, of each at most ``each``, and all form within ``units``."""
    changes = [result.changes for result in results]
    slowest = max(result.formed_units for result in results)
    back = max(result.back_units for result in results)
    limit = f"{each} each" if in_all is None else f"{in_all} in all"
    worst = max(changes)
    text = (
        f"{sum(changes)} changes in all, at most {worst} in one run (seed {seeds[changes.index(worst)]}), "
        f"goal {limit}; formed within {slowest:.1f} units"
    )
    if back:
        text += f", back within {back:.1f}"
    apart = [seed for seed, result in zip(seeds, results, strict=True) if not result.whole]
    if apart:
        text += f"; not whole at the end: seeds {', '.join(map(str, apart[:8]))}"
    quarrel = [seed for seed, result in zip(seeds, results, strict=True) if not result.agreed]
    if quarrel:
        text += f"; not agreed: seeds {', '.join(map(str, quarrel[:8]))}"
    few = (in_all is None or sum(changes) <= in_all) and (each is None or worst <= each)
    return text, few and slowest <= units and back <= units and not quarrel


Show = Callable[[Cell, Sequence[int], Sequence[Any]], "tuple[str, bool]"]
"""Says in a line what was measured, and whether the goal was met."""


class Measurement(NamedTuple):
    """One measurement of the command: what it does, how it is shown, and what it takes unless that is said."""

    measure: Callable[..., Any]
    show: Show
    presets: tuple[str, ...]
    members: tuple[int, ...]
    losses: tuple[float, ...]
    seeds: int


KINDS: dict[str, Measurement] = {
    "heal": Measurement(heal, show_heal, ("lan", "testing", "wan"), (2, 3, 6, 12), (0.0, 0.05, 0.15), 200),
    "idle": Measurement(idle, show_idle, ("lan", "testing", "wan"), (3, 6, 12), (0.05, 0.15), 20),
    "link": Measurement(link, show_link, ("lan", "testing", "wan"), (2, 3, 6, 12), (0.40, 0.80), 8),
    "late": Measurement(late, show_late, ("lan", "testing", "wan"), (3, 6, 12), (0.0,), 20),
    "cost": Measurement(cost, show_cost, ("lan", "testing", "wan"), (3, 6, 12), (0.0,), 5),
    "crash": Measurement(crash, show_crash, ("lan", "testing", "wan"), (3, 6, 12), (0.0,), 60),
    "cpu": Measurement(cpu, show_cpu, ("lan", "testing", "wan"), (3, 6, 12), (0.0,), 1),
}
LOSS_MAX = {
    "heal": 1.0,
    "idle": max(IDLE_CHANGES),
    "link": max(LINK_CHANGES),
    "late": 1.0,
    "cost": 1.0,
    "crash": 1.0,
    "cpu": 0.0,
}
"""There is no goal for more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.stability", description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)} (default: all but cpu)")
    parser.add_argument("--preset", nargs="+", choices=list(PRESETS), help="settings (default: all)")
    parser.add_argument("--members", nargs="+", type=int, metavar="N", help="numbers of processors")
    parser.add_argument("--loss", nargs="+", type=float, metavar="PART", help="losses, from 0 to 1")
    parser.add_argument("--seeds", metavar="A-B", help="seeds from A to B, or one")
    parser.add_argument("--seconds", type=float, help="simulated seconds of a stretch (idle, link: 3600; late: 600)")
    parser.add_argument("--base", type=Path, metavar="DIR", help="for cpu: the working tree to compare with")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes to run in (default: 1)")
    args = parser.parse_args(arguments)
    for name in args.kinds:
        if name not in KINDS:
            parser.error(f"KIND must be one of {', '.join(KINDS)}, not {name!r}")
    kinds = args.kinds or [name for name in KINDS if name != "cpu"]
    for name in kinds:
        for loss in args.loss or ():
            if not 0.0 <= loss <= LOSS_MAX[name]:
                parser.error(f"--loss must be from 0 to {LOSS_MAX[name]:g} for {name}, not {loss:g}")
    if "cpu" in kinds and args.base is None:
        parser.error("cpu compares with another working tree; give --base DIR")
    missed = 0
    for name in kinds:
        kind = KINDS[name]
        seeds = _seeds(args.seeds) if args.seeds else range(1, kind.seeds + 1)
        extra: dict[str, Any] = {} if args.seconds is None or name in ("heal", "crash") else {"seconds": args.seconds}
        if name == "cpu":
            extra["base"] = args.base.resolve()
        cells = [
            Cell(preset, members, loss)
            for preset in args.preset or kind.presets
            for members in args.members or kind.members
            for loss in args.loss or kind.losses
        ]
        for cell in cells:
            results = list(_results(partial(kind.measure, *cell, **extra), seeds, args.jobs))
            text, fine = kind.show(cell, seeds, results)
            missed += not fine
            verdict = "ok    " if fine else "MISSED"
            print(
                f"{verdict} {name} {cell.preset:7} {cell.members:2} members, {100 * cell.loss:2.0f} % loss: {text}",
                flush=True,
            )
    return 1 if missed else 0


def _results(measure: Callable[[int], Any], seeds: Sequence[int], jobs: int) -> Iterator[Any]:
    if jobs <= 1:
        yield from map(measure, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(measure, seeds)


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())
