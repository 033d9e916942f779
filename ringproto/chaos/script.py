"""What is to happen in one round of real chaos, drawn from its seed: the processors, how they are set, the faults.

The script is repeatable, its timing is not. So a step does not say a time but a *moment*, which the supervisor waits
for: that a processor is in its ``recover``, that it has unblocked and others have not, that a barrier has just
completed, or that the load has gone on for a while. Most steps are in the middle of a barrier, because that is where
processors that agree on an order have failed in the past.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from random import Random
from typing import Any, Literal

from ringproto import Config
from ringproto.chaos.faulty_transport import CALM, Disorder

__all__ = [
    "NODES_GREATEST",
    "NODES_LEAST",
    "TRANSPORTS",
    "Action",
    "Behaviour",
    "Moment",
    "Script",
    "Step",
    "draw_script",
    "draw_stalls",
]

NODES_LEAST, NODES_GREATEST = 3, 5
TRANSPORTS = ("unicast", "multicast")
STEPS_LEAST, STEPS_GREATEST = 3, 5
STALLS_LEAST, STALLS_GREATEST = 3, 6
STALL_S = (0.3, 3.0)
"""For so many seconds a processor stands still in a round of stalls: from less than the token timeout of
``Config.lan()`` to so long that the others have gone on without it for a while."""
SCALES = (4, 5, 6)
"""The times of ``Config.testing()`` are multiplied by one of these: token timeouts of 0.4 to 0.6 seconds. A process
that shares two cores with others is not run for some tenths of a second at worst, and is not to be taken for dead."""

Moment = Literal["later", "recovering", "unblocked", "complete"]
Action = Literal["kill", "start", "stop", "go on", "leave", "links", "mend"]

_MOMENTS: tuple[tuple[Moment, float], ...] = (("recovering", 4), ("unblocked", 3), ("complete", 1), ("later", 2))
_DISTURBING: tuple[tuple[str, float], ...] = (("kill", 4), ("stop", 3), ("cut", 4), ("leave", 1), ("lose", 1))


@dataclasses.dataclass(frozen=True)
class Step:
    """One fault, or the end of one."""

    moment: Moment
    """``later``: the delay after the step before; the others: when ``subject`` is in its recover, when it has unblocked
    and its barrier is not complete, when its barrier completes."""
    subject: int
    """The processor whose moment it is."""
    fresh: bool
    """Whether it must be in a configuration that it installed after the step before."""
    delay_s: float
    """How long after the moment."""
    action: Action
    node: int
    """Whom it happens to; 0 for links, which are everybody's, and for the end of all faults."""
    losses: tuple[tuple[int, int, float], ...] = ()
    """All links that lose from now on: who hears less, of whom, with which probability."""
    text: str = ""
    """What it does, in words."""

    def __str__(self) -> str:
        when = {
            "later": "",
            "recovering": f"when {self.subject} recovers{' anew' * self.fresh}, ",
            "unblocked": f"when {self.subject} has unblocked{' anew' * self.fresh} and waits for others, ",
            "complete": f"when {self.subject} completes a barrier, ",
        }[self.moment]
        return f"{when}{'after ' if self.moment == 'later' else ''}{self.delay_s * 1000:.0f} ms: {self.text}"


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """How the application of one processor behaves."""

    recovery_messages: int
    """How many messages its ``recover`` sends."""
    recovery_size: int
    """Bytes of the largest of them."""
    recovery_s: float
    """How long its ``recover`` takes at least."""
    gap_s: float
    """Mean pause between two messages of one priority."""
    message_size: int
    """Bytes of the largest usual message; one in forty is up to forty times as large, and is cut into fragments."""
    safe: float
    """Which part of the messages is sent as safe."""


@dataclasses.dataclass(frozen=True)
class Script:
    """One round."""

    seed: int
    nodes: tuple[int, ...]
    transport: str
    config: Config
    storage: bool
    """Whether the ring sequence survives a restart."""
    habits: dict[int, Behaviour]
    together_first: bool
    """Whether the processors are opened at once and the first step waits until they are together; else each is opened
    when its process has started, and the first step comes while they form."""
    steps: tuple[Step, ...]
    """The last one mends everything."""
    comeback: tuple[int, ...]
    """Who is started again then."""
    leaving: tuple[int, ...]
    """In which order the processors leave at the end."""
    disorder: Disorder = CALM
    """What happens to all datagrams until all is mended."""
    segment_size: int | None = None
    """Into segments of how many bytes datagrams are cut, if they are."""

    @property
    def unit_s(self) -> float:
        """What one change of configuration takes: token timeout and consensus timeout."""
        return self.config.token_timeout_s + self.config.consensus_timeout_s

    def lines(self) -> list[str]:
        """The script for readers."""
        storage = "kept" if self.storage else "lost"
        segments = f"segments of {self.segment_size} bytes, " if self.segment_size else ""
        return [
            f"processors {', '.join(map(str, self.nodes))} on {self.transport} UDP, quorum {self.config.quorum}, token "
            f"timeout {self.config.token_timeout_s:.2g} s, window {self.config.window_size or 'by size'}, ring sequence"
            f" {storage}, {segments}{self.disorder}",
            *(f"{number}. {step}" for number, step in enumerate(self.steps, 1)),
        ]


def draw_script(seed: int, *, nodes: int | None = None, transport: str | None = None) -> Script:
    """The script of a seed; how many processors there are, and on which transport, can be said instead of drawn."""
    random = Random(f"ringproto chaos {seed}")
    drawn = random.randint(NODES_LEAST, NODES_GREATEST), random.choice(TRANSPORTS)
    count = nodes or drawn[0]
    everybody = tuple(range(1, count + 1))
    config = _draw_config(random, count)
    habits = _draw_habits(random, everybody, config)
    storage = random.random() < 0.75
    together_first = random.random() < 0.8
    draft = _Draft(random, everybody, config, habits)
    steps = [draft.step() for _ in range(random.randint(STEPS_LEAST, STEPS_GREATEST))]
    comeback = draft.comeback()
    steps.append(draft.mend(comeback))
    leaving = random.sample(everybody, count)
    disorder = _draw_disorder(random, config)
    return Script(
        seed,
        everybody,
        transport or drawn[1],
        config,
        storage,
        habits,
        together_first,
        tuple(steps),
        comeback,
        tuple(leaving),
        disorder,
        random.choice((None, 600, 1352)),
    )


def draw_stalls(seed: int, *, nodes: int | None = None, transport: str | None = None) -> Script:
    """A round with ``Config.lan()`` as it is, in which one processor is stopped and goes on, again and again.

    What helps the others to go on without a member must not keep it out when it is back: not the first time, and not
    the sixth. Nothing else is wrong.
    """
    random = Random(f"ringproto chaos stalls {seed}")
    drawn = random.randint(NODES_LEAST, NODES_GREATEST), random.choice(TRANSPORTS)
    count = nodes or drawn[0]
    everybody = tuple(range(1, count + 1))
    config = Config.lan(quorum=count // 2 + 1)
    habits = _draw_habits(random, everybody, config)
    victim = random.choice(everybody)
    others = [node for node in everybody if node != victim]
    steps: list[Step] = []
    for _ in range(random.randint(STALLS_LEAST, STALLS_GREATEST)):
        # In the middle of its recovery, when it has just come back, and when all has been well for a while.
        moment: Moment = random.choice(("recovering", "complete", "later")) if steps else "later"
        steps += (
            Step(moment, victim, True, random.uniform(0.0, 1.5), "stop", victim, (), f"SIGSTOP to {victim}"),
            Step("later", others[0], False, random.uniform(*STALL_S), "go on", victim, (), f"SIGCONT to {victim}"),
        )
    steps.append(Step("later", victim, False, random.uniform(0.0, 0.5), "mend", 0, (), "all is mended"))
    leaving = random.sample(everybody, count)
    return Script(seed, everybody, transport or drawn[1], config, True, habits, True, tuple(steps), (), tuple(leaving))


def _draw_config(random: Random, count: int) -> Config:
    testing = Config.testing()
    scale = random.choice(SCALES)
    times = {
        field.name: getattr(testing, field.name) * scale
        for field in dataclasses.fields(Config)
        if field.name.endswith("_s") and getattr(testing, field.name) is not None
    }
    return testing.replace(
        **times,
        quorum=random.choice((1, count // 2 + 1, count // 2 + 1)),
        window_size=random.choice((8, 32, 32, 128)),
        visit_max=random.choice((2, 8, 32)),
        low_every=random.choice((2, 16)),
        send_queue_max=random.choice((16, 64, 256)),
        message_size_max=64 * 1024,
        datagram_size=random.choice((600, 1352, None)),
    )


def _draw_disorder(random: Random, config: Config) -> Disorder:
    """None in half of the rounds. Copies may be so late that they come from a ring that is gone."""
    if random.random() < 0.5:
        return CALM
    unit_s = config.token_timeout_s + config.consensus_timeout_s
    delayed, doubled, overtaken = random.choice(
        ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))
    )
    return Disorder(
        delay_s=delayed * unit_s * random.choice((0.002, 0.01, 0.03)),
        duplication=doubled * random.choice((0.02, 0.2)),
        reordering=overtaken * random.choice((0.02, 0.2)),
        late_s=(doubled or overtaken) * unit_s * random.choice((0.01, 0.1, 1.0)),
    )


def _draw_habits(random: Random, nodes: Sequence[int], config: Config) -> dict[int, Behaviour]:
    unit_s = config.token_timeout_s + config.consensus_timeout_s
    gap_s = random.choice((0.005, 0.01, 0.02))
    # Some are slow, so that there is a time in which others have unblocked and they have not.
    slow = random.sample(nodes, random.choice((1, 1, 2)))
    # From nothing to more than the queue for them holds.
    recoveries = {node: random.choice(((0, 0), (1, 20_000), (5, 3000), (20, 8000), (60, 200))) for node in nodes}
    return {
        node: Behaviour(
            recovery_messages=messages,
            recovery_size=size,
            # Long enough that the supervisor, which is told of it through a pipe, comes in its middle.
            recovery_s=unit_s * (0.5 if node in slow else random.choice((0.05, 0.15))),
            gap_s=gap_s,
            message_size=random.choice((50, 500)),
            safe=random.choice((0.1, 0.5)),
        )
        for node, (messages, size) in recoveries.items()
    }


_Losses = tuple[tuple[int, int, float], ...]


class _Draft:
    """The steps as they are drawn, with what they lead to as far as it can be known beforehand."""

    def __init__(self, random: Random, nodes: tuple[int, ...], config: Config, habits: dict[int, Behaviour]) -> None:
        self._random = random
        self._nodes = nodes
        self._quorum = config.quorum
        self._habits = habits
        self._unit_s = config.token_timeout_s + config.consensus_timeout_s
        self._up = set(nodes)
        self._stopped: set[int] = set()
        self.gone: set[int] = set()
        self._lossy = False
        self._changing = False
        """Whether the step before leads to another configuration."""

    def step(self) -> Step:
        """Another step."""
        moment, subject, fresh, delay_s = self._draw_moment()
        return Step(moment, subject, fresh, delay_s, *self._draw_action(subject))

    def comeback(self) -> tuple[int, ...]:
        """Who of those that are gone is started again at the end."""
        random = self._random
        back = {node for node in sorted(self.gone) if random.random() < 0.7}
        # Without a quorum no barrier completes, and the end is to be complete. A ring of one would prove little.
        for node in random.sample(sorted(self.gone - back), len(self.gone - back)):
            if len(self._nodes) - len(self.gone) + len(back) < max(self._quorum, 2):
                back.add(node)
        return tuple(sorted(back))

    def mend(self, comeback: tuple[int, ...]) -> Step:
        """The last step."""
        again = f", and {_names(set(comeback))} started again" if comeback else ""
        return Step(*self._draw_moment(), "mend", 0, (), f"all is mended{again}")

    def _draw_moment(self) -> tuple[Moment, int, bool, float]:
        random = self._random
        moment: Moment = _choose(random, _MOMENTS) if self._changing else "later"
        candidates = self._up
        if moment == "unblocked":
            # Who takes longest never waits for others.
            longest_s = max(self._habits[node].recovery_s for node in self._up)
            candidates = {node for node in self._up if self._habits[node].recovery_s < longest_s}
        elif moment == "complete" and (self._lossy or len(self._up) < self._quorum):
            moment = "recovering"
        if not candidates:
            moment, candidates = "recovering", self._up
        subject = random.choice(sorted(candidates))
        if moment in ("recovering", "unblocked"):
            delay_s = 0.0 if random.random() < 0.7 else random.uniform(0.0, 0.15 * self._unit_s)
        else:
            delay_s = random.uniform(0.1, 0.6) * self._unit_s
        return moment, subject, random.random() < 0.6, delay_s

    def _draw_action(self, subject: int) -> tuple[Action, int, _Losses, str]:
        possible = [
            *(entry for entry in _DISTURBING if len(self._up) > 1 or entry[0] in ("cut", "lose")),
            *(("start", 3.0) for _ in self.gone),
            *(("go on", 3.0) for _ in self._stopped),
            *([("mend", 3.0)] if self._lossy else []),
        ]
        kind: str = _choose(self._random, possible)
        self._changing = kind != "lose"
        if kind in ("cut", "lose", "mend"):
            losses, text = self._draw_links(kind)
            self._lossy = bool(losses)
            return "links", 0, losses, text
        if kind == "start":
            node = self._move(self.gone, self._up)
            return "start", node, (), f"{node} is started again"
        if kind == "go on":
            node = self._move(self._stopped, self._up)
            return "go on", node, (), f"SIGCONT to {node}"
        node = self._draw_victim(subject, self._up | self._stopped if kind == "kill" else self._up)
        self._up.discard(node)
        self._stopped.discard(node)
        if kind == "stop":
            self._stopped.add(node)
            return "stop", node, (), f"SIGSTOP to {node}"
        self.gone.add(node)
        if kind == "kill":
            return "kill", node, (), f"SIGKILL to {node}"
        return "leave", node, (), f"{node} leaves in an orderly way"

    def _move(self, here: set[int], there: set[int]) -> int:
        node = self._random.choice(sorted(here))
        here.remove(node)
        there.add(node)
        return node

    def _draw_victim(self, subject: int, candidates: set[int]) -> int:
        """Half of the time whose moment it is: in its own recover, after its own unblock. One is always left."""
        node = subject if self._random.random() < 0.5 else self._random.choice(sorted(candidates))
        if self._up - {node}:
            return node
        return self._random.choice(sorted(other for other in candidates if self._up - {other}))

    def _draw_links(self, kind: str) -> tuple[_Losses, str]:
        random, nodes = self._random, self._nodes
        pairs = [(hearer, speaker) for hearer in nodes for speaker in nodes if hearer != speaker]
        if kind == "mend":
            return (), "all links are good again"
        if kind == "lose":
            loss = random.choice((0.02, 0.1, 0.3))
            return tuple((*pair, loss) for pair in pairs), f"all links lose {loss:.0%}"
        shuffled = random.sample(nodes, len(nodes))
        one, other = shuffled[:2]
        how = random.random()
        if how < 0.15:
            return ((one, other, 1.0),), f"{one} does not hear {other}"
        if how < 0.3:
            return ((one, other, 1.0), (other, one, 1.0)), f"{one} and {other} do not hear each other"
        size = 1 if how < 0.6 else random.randint(1, len(nodes) - 1)
        here = set(shuffled[:size])
        losses = tuple((*pair, 1.0) for pair in pairs if (pair[0] in here) != (pair[1] in here))
        return losses, f"cut between {_names(here)} and {_names(set(nodes) - here)}"


def _names(nodes: set[int]) -> str:
    return ",".join(map(str, sorted(nodes)))


def _choose(random: Random, weighted: Sequence[tuple[Any, float]]) -> Any:
    return random.choices([entry for entry, _ in weighted], [weight for _, weight in weighted])[0]
