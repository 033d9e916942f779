"""Trials: small faults that a ring which works must bear, put to the core of a run when it has settled.

The random faults of the safety phase excuse much: a ring that breaks may break. A trial is one exact fault, so what
must follow can be said exactly too: a lost token costs no configuration, nor one that is lost again; one data packet
lost in ten neither, and all is delivered; a member that gets no data is left out; a pair that does not hear each
other does not make the memberships flap; a ring that breaks under load, and again when some members have installed
the next one and others have not, loses nothing; late copies are known as such; two rings that both lack packets
merge; who leaves is heard to its last message; who stood still looks at its socket before it takes others for dead.
After it the core must come together and deliver everything again, within the bounds of the liveness phase.

Which of them a core can be put to depends on its size and its settings: where no token rests, no process that stands
still finds one in its socket. Whether the fault took effect is said with the outcome, so that runs in which it did are
counted, and not those in which it was drawn.
"""

from __future__ import annotations

import itertools
import random as random_module
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from ringproto.config import Config
from ringproto.testing.campaign.delivery import delivery_s
from ringproto.testing.campaign.permanent_faults import REST_MAX, REST_UNITS, SETTLE_UNITS
from ringproto.testing.campaign.settings import bound_s, rests, unit_s
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import Weather, kind_of
from ringproto.testing.simulator.wire_reader import TokenSeen, read_token
from ringproto.types import Guarantee, Priority, RingId

__all__ = ["RICH", "TRIALS", "Tried", "draw", "losable"]

TOKENS_PASSED = 4
"""So many tokens are let through before one is lost."""
LOST_IN_A_ROW = 7
"""So often a token is sent in vain, and there is time for more: the waits in between become shorter."""
DATA_LOSS = 0.1
MESSAGES = 8
"""So many of each kind, of each processor."""
LARGE = 20_000
"""Bytes of a message that takes many packets."""
WRITES, WRITE_UNITS = 400, 0.001
"""Another one writes so many safe messages at most while a member leaves, one each so many units."""
LEAVE_UNITS = 1
"""So many units a member that leaves waits, at least, where its last messages are lost."""
STILL_RETRIES = 3
"""It also rests for so many ``token_retransmit_min_s``: half of it is what the timer is late."""
STILL_DELAYS = 8
"""So many latencies an idle token rests, at least, where a process stands still for as long as it may."""
_MEMBERSHIP = ("join", "beacon", "leave")
_PRIORITIES = (Priority.HIGH, Priority.LOW)


class Tried(NamedTuple):
    """What came of a trial."""

    name: str
    """Of ``TRIALS``."""
    failure: str | None
    """What was wrong, ``None`` if nothing."""
    happened: bool
    """Whether the fault took effect."""


@dataclass(slots=True)
class _Trial:
    cluster: Cluster
    core: tuple[int, ...]
    random: random_module.Random
    unit_s: float
    happened: bool = False

    def wait(self, condition: Callable[[], bool]) -> bool:
        """Wait for what the core has to come to without loss: to be together, and to deliver what is on its way."""
        cluster = self.cluster
        limit_s = bound_s(cluster.config, len(self.core), 0.0) + delivery_s(cluster, self.core)
        return cluster.run_until(condition, limit_s, every_s=unit_s(cluster.config) / 20)

    def rings(self) -> list[RingId]:
        return [self.cluster.configuration(node).ring_id for node in self.core]

    def say(self, nodes: Collection[int], guarantee: Guarantee, count: int = 1, size: int = 300) -> None:
        """Let each of these send messages of so many bytes."""
        for node in nodes:
            application = self.cluster.application(node)
            for _ in range(count):
                application.submit(application.payload(size), self.random.choice(_PRIORITIES), guarantee)
            self.cluster.hosts[node].flush()

    def lose_data(self, loss: float) -> None:
        """From now on data is lost at this rate."""
        chance = self.random.random
        self.cluster.filter = lambda time, source, destination, datagram: kind_of(datagram) != "data" or chance() > loss


def losable(config: Config, members: int, delay_s: float) -> int:
    """How many copies of one token can be lost in a row, at most ``LOST_IN_A_ROW``, before the token timeout of the one
    that waits for it is over: the token of an idle ring came to it a rotation before, and each wait before the next
    copy is at most half of the one before (departure 20 in docs/protocol.md)."""
    passed_s, wait_s = config.hold_s + 2 * members * delay_s, config.retransmit_s
    for copies in range(LOST_IN_A_ROW):
        passed_s += wait_s
        if passed_s + delay_s >= config.token_timeout_s:
            return copies
        wait_s = max(config.token_retransmit_min_s / 4, wait_s / 2)
    return LOST_IN_A_ROW


def lost_token(trial: _Trial) -> str | None:
    """One token is lost, or its next copies as well; the ring must stay as it is."""
    cluster = trial.cluster
    most = losable(cluster.config, len(trial.core), cluster.network.clear.latency_s[1])
    copies = min(most, trial.random.choice((1, LOST_IN_A_ROW)))
    lost: list[TokenSeen] = []
    passed: set[TokenSeen] = set()

    def lose(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) != "token" or len(lost) == copies:
            return True
        token = read_token(datagram)
        # Each member may send the token again that it had last, and one more may be on its way; later ones did not
        # exist before.
        seen = [one.token_seq for one in passed] or [token.token_seq]
        fresh = len(passed) > TOKENS_PASSED and token.token_seq > max(max(seen), min(seen) + len(trial.core))
        if not (token == lost[0] if lost else fresh):
            passed.add(token)
            return True
        lost.append(token)
        return False

    before = trial.rings()
    cluster.filter = lose
    cluster.run(2 * trial.unit_s)
    if lost and len(lost) < copies:  # it may have been lost just now, where a token rests for long
        cluster.run_until(lambda: len(lost) == copies, cluster.config.token_timeout_s)
    cluster.filter = None
    trial.happened = bool(lost)
    if trial.rings() != before:
        return f"one token was lost {len(lost)} times, and the configuration changed"
    if len(lost) < copies:
        return f"one token was to be lost {copies} times and was sent {len(lost)} times only"
    return None


def lost_data(trial: _Trial) -> str | None:
    """One packet of data in ten is lost; all must be delivered, in the same configuration."""
    cluster = trial.cluster
    before, lost = trial.rings(), cluster.network.lost
    trial.lose_data(DATA_LOSS)
    for guarantee in Guarantee:
        trial.say(trial.core, guarantee, MESSAGES)
    delivered = trial.wait(lambda: cluster.drained(trial.core))
    cluster.filter = None
    trial.happened = cluster.network.lost > lost
    if trial.rings() != before:
        return "of the data one packet in ten was lost, and the configuration changed"
    return None if delivered else "of the data one packet in ten was lost, and not all was delivered"


def deaf_member(trial: _Trial) -> str | None:
    """One member gets no data while the others send; these must go on without it, and deliver their safe messages.
    In half of the runs the ring breaks meanwhile, so that there is a recovery that the deaf one cannot complete."""
    cluster = trial.cluster
    deaf = trial.random.choice(trial.core)
    others = tuple(node for node in trial.core if node != deaf)
    kept_from_all: tuple[str, ...] = ()
    lost = cluster.network.lost
    cluster.filter = lambda time, source, destination, datagram: (
        kind_of(datagram) not in kept_from_all and (destination != deaf or kind_of(datagram) != "data")
    )
    # While data is missing the token rests for a moment only. On a slow network there are fewer rotations until the
    # timeouts are over, each like the one before.
    cluster.network.weather = Weather(latency_s=(trial.unit_s / 3000, trial.unit_s / 1000))
    trial.say(others, Guarantee.AGREED, size=LARGE)
    trial.say(others, Guarantee.SAFE)
    if trial.random.random() < 0.5:
        cluster.run(trial.unit_s / 50)
        kept_from_all = ("token",)
        cluster.run_until(lambda: any(cluster.state(node) == "gather" for node in others), 2 * trial.unit_s)
        kept_from_all = ()
    delivered = trial.wait(lambda: all(_returned(cluster, node) for node in others))
    trial.happened = cluster.network.lost > lost
    cluster.network.weather = cluster.network.clear
    cluster.filter = None
    return None if delivered else f"node {deaf} gets no data, and safe messages of the others are not delivered"


def deaf_pair(trial: _Trial) -> str | None:
    """Two members do not hear each other: memberships come to rest as with any fault that stays, and nobody leaves out
    one of the others."""
    cluster = trial.cluster
    pair = trial.random.sample(trial.core, 2)
    trial.happened = True
    unit_s = max(trial.unit_s, cluster.config.merge_detect_s)
    logged = cluster.places(trial.core)
    cluster.filter = lambda time, source, destination, datagram: {source, destination} != set(pair)
    cluster.run(SETTLE_UNITS * unit_s)
    before = {node: _configurations(cluster, node) for node in trial.core}
    cluster.run(REST_UNITS * unit_s)
    cluster.filter = None
    others = set(trial.core).difference(pair)
    for node in trial.core:
        count = _configurations(cluster, node) - before[node]
        if count > REST_MAX:
            return f"nodes {pair} do not hear each other, and node {node} installed {count} configurations"
    for (node, _), first in logged.items():
        for entry in cluster.hosts[node].audit[first:]:
            if node in others and entry[0] == "CONF" and not others.issubset(entry[1].members):
                return f"nodes {pair} do not hear each other, and node {node} installed {entry[1]} without another one"
    return None


def cut_in_recovery(trial: _Trial) -> str | None:
    """Under load one member is no longer heard, so that there is a hole before what the others send; then it is cut
    off, and the recovery of the others breaks when some have installed what follows and some have only promised to, or
    when data of it was lost. Nothing follows from it but that all that was accepted is delivered in the end."""
    cluster, random = trial.cluster, trial.random
    before = {node: cluster.configuration(node).ring_id for node in trial.core}
    silent = random.choice(trial.core)
    rest = [node for node in trial.core if node != silent]
    loss = random.choice((0.0, DATA_LOSS, 3 * DATA_LOSS))
    for _ in range(MESSAGES):
        trial.say(trial.core, random.choice(tuple(Guarantee)), size=random.choice((300, 3000)))
    cluster.run(random.random() * trial.unit_s / 100)
    cluster.filter = lambda time, source, destination, datagram: (
        kind_of(datagram) != "data" or (source != silent and random.random() >= loss)
    )
    cluster.run(random.random() * trial.unit_s / 50)
    trial.say(trial.core, random.choice(tuple(Guarantee)), size=LARGE)
    cluster.run(random.random() * trial.unit_s / 100)
    cluster.partition(rest)
    if random.random() < 0.5:
        most = random.randint(1, len(rest) - 1)
        cluster.filter = lambda time, source, destination, datagram: (
            kind_of(datagram) != "token" or _installed(cluster, rest, before) < most
        )
        cluster.run_until(lambda: _installed(cluster, rest, before) >= most, 4 * trial.unit_s)
    else:
        trial.lose_data(0.5)
        cluster.run_until(lambda: any(cluster.state(node) == "recovery" for node in rest), 4 * trial.unit_s)
        cluster.run(random.random() * trial.unit_s / 50)
        cluster.filter = lambda time, source, destination, datagram: kind_of(datagram) != "token"
    cluster.run(random.random() * trial.unit_s)
    cluster.filter = None
    installed = [node for node in rest if cluster.configuration(node).ring_id != before[node]]
    trial.happened = bool(installed) or any(cluster.state(node) != "operational" for node in rest)
    others = [node for node in rest if node not in installed]
    cluster.partition(installed, others if random.random() < 0.5 else [*others, silent])
    cluster.run(2 * trial.unit_s)
    cluster.partition(trial.core)
    return None


def _installed(cluster: Cluster, nodes: Collection[int], before: dict[int, RingId]) -> int:
    """How many of these have another configuration than before."""
    return sum(cluster.configuration(node).ring_id != before[node] for node in nodes)


def late_copies(trial: _Trial) -> str | None:
    """The ring breaks and forms again, and a member leaves and comes back; then all that was said about membership
    meanwhile arrives a second time."""
    cluster = trial.cluster
    node = trial.random.choice(trial.core)
    said: list[tuple[int, int, bytes]] = []
    broken = False

    def record(time: float, source: int, destination: int, datagram: bytes) -> bool:
        kind = kind_of(datagram)
        if kind in _MEMBERSHIP and source in trial.core and destination in trial.core:
            said.append((source, destination, datagram))
        return kind != "token" or broken

    cluster.filter = record
    cluster.run(trial.unit_s)
    broken = True
    if not trial.wait(lambda: cluster.settled(trial.core)):
        return "the ring broke and did not settle"
    cluster.leave(node)
    if not trial.wait(lambda: not cluster.alive(node)):
        return f"node {node} was told to leave and does not"
    cluster.run(trial.random.random() * trial.unit_s)
    cluster.restart(node)
    settled = trial.wait(lambda: cluster.settled(trial.core))
    cluster.filter = None
    if not settled:
        return f"node {node} left and came back, and the ring did not settle"
    before, trial.happened = trial.rings(), bool(said)
    for source, destination, datagram in said:
        cluster.network.send(source, destination, datagram)
    cluster.run(2 * trial.unit_s)
    return None if trial.rings() == before else "late copies of joins, beacons and leaves changed the configuration"


def merged_holes(trial: _Trial) -> str | None:
    """Two rings of which each lacks packets that one member of it never received merge: what each side has to make
    equal has the same numbers as what the other side has. In half of the runs data is lost in that recovery too."""
    cluster, random = trial.cluster, trial.random
    nodes = random.sample(trial.core, len(trial.core))
    half = random.randint(2, len(nodes) - 2)
    sides = (nodes[:half], nodes[half:])
    cluster.partition(*sides)
    if not trial.wait(lambda: all(map(cluster.settled, sides))):
        return f"it was parted into {sides}, and these did not settle"
    deaf = [side[0] for side in sides]
    for side in sides:
        trial.say(side, random.choice(tuple(Guarantee)), random.randint(0, MESSAGES // 2))
    cluster.run(random.random() * trial.unit_s / 50)
    lacking: set[int] = set()

    def lose(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) != "data" or destination not in deaf:
            return True
        lacking.add(destination)
        return False

    cluster.filter = lose
    for side in sides:
        trial.say(side[1:], random.choice(tuple(Guarantee)), random.randint(1, MESSAGES), random.choice((300, 3000)))
    cluster.run(trial.unit_s / 50 * random.random())
    cluster.partition(trial.core)
    cluster.run_until(lambda: all(cluster.state(node) != "operational" for node in trial.core), 4 * trial.unit_s)
    cluster.filter = None
    trial.happened = len(lacking) == len(sides)
    if random.random() < 0.5:
        trial.lose_data(random.choice((DATA_LOSS, 3 * DATA_LOSS)))
    settled = trial.wait(lambda: cluster.settled(trial.core))
    cluster.filter = None
    return None if settled else f"{sides[0]} and {sides[1]}, of which {deaf} lacked packets, did not merge"


def last_words(trial: _Trial) -> str | None:
    """A member sends and leaves at once, and each packet of its messages is lost the first time; the others must be
    given all of them, because it may not go before they have them. Another one writes safe messages meanwhile: what is
    delivered because the leaver has acknowledged it, the leaver must deliver too (E7.1)."""
    cluster, random = trial.cluster, trial.random
    leaver = random.choice(trial.core)
    others = [node for node in trial.core if node != leaver]
    lost: set[tuple[int, bytes]] = set()

    def lose_once(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) != "data" or source != leaver or (destination, datagram) in lost:
            return True
        lost.add((destination, datagram))
        return False

    cluster.filter = lose_once
    application = cluster.application(leaver)
    offered = [application.payload(random.choice((30, 300, 3000))) for _ in range(random.randint(1, MESSAGES))]
    # Its queue may be shorter.
    payloads = [one for one in offered if application.submit(one, random.choice(_PRIORITIES), Guarantee.AGREED)]
    writer = others[-1]

    def write(left: int) -> None:
        if left and cluster.alive(leaver):
            trial.say((writer,), Guarantee.SAFE, size=30)
            cluster.at(WRITE_UNITS * trial.unit_s, lambda: write(left - 1))

    write(WRITES)
    cluster.run(trial.unit_s / 50)
    cluster.leave(leaver)
    left = trial.wait(lambda: not cluster.alive(leaver))
    cluster.filter = None
    trial.happened = bool(lost)
    if not left:
        return f"node {leaver} was told to leave and does not"
    if not trial.wait(lambda: cluster.settled(others)):
        return f"node {leaver} left, and the others did not settle"
    for node in others:
        delivered = {entry[1].payload for entry in cluster.hosts[node].audit if entry[0] == "DELV"}
        missing = sum(payload not in delivered for payload in payloads)
        if missing:
            return f"node {leaver} left, and {missing} of its last {len(payloads)} messages never came to node {node}"
    cluster.restart(leaver)
    return None


def stood_still(trial: _Trial) -> str | None:
    """A process stands still until its own token timeout is over and that of the others is not. The token waits in its
    socket; it must look there before it takes the others for dead, so nothing changes."""
    cluster = trial.cluster
    config = cluster.config
    place = trial.random.randrange(len(trial.core))
    trial.say((trial.core[(place + 1) % len(trial.core)],), Guarantee.AGREED)
    if not trial.wait(lambda: cluster.settled(trial.core)):
        return "a message was not delivered"
    cluster.run(trial.unit_s / 2)
    # The token rests at who sent last, which may be one that answered. All others pass it on after that, and miss it
    # later than the one before it, which passed it on before and is to stand still.
    successor = _rests_at(trial)
    if successor is None:
        return None
    still = trial.core[trial.core.index(successor) - 1]
    passed: list[float] = []

    def see(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if source == still and kind_of(datagram) == "token" and not passed:
            passed.append(time)
        return True

    before = trial.rings()
    cluster.filter = see
    cluster.run_until(lambda: bool(passed), trial.unit_s)
    cluster.filter = None
    trial.happened = bool(passed)
    host = cluster.hosts[still]
    timers_first, host.timers_first = host.timers_first, 1.0
    stands_s = config.token_timeout_s + config.hold_s / 2
    cluster.pause(still, stands_s)
    # With something to send the token does not rest again before the others have seen it.
    cluster.at(stands_s - config.hold_s / 4, lambda: trial.say((successor,), Guarantee.AGREED))
    cluster.run(2 * trial.unit_s)
    host.timers_first = timers_first
    if trial.rings() != before:
        return f"node {still} stood still for less than the others' token timeout, and the configuration changed"
    return None


def _rests_at(trial: _Trial) -> int | None:
    """Who keeps the token of the idle ring longest, by two rotations of it; ``None`` if it rests nowhere."""
    cluster = trial.cluster
    sent: list[tuple[float, int]] = []

    def see(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) == "token" and source in trial.core and (not sent or sent[-1][1] != source):
            sent.append((time, source))
        return True

    cluster.filter = see
    cluster.run_until(lambda: len(sent) > 2 * len(trial.core), trial.unit_s)
    cluster.filter = None
    kept = [(later - time, source) for (time, _), (later, source) in itertools.pairwise(sent)]
    longest_s, source = max(kept, default=(0.0, 0))
    return source if longest_s >= cluster.config.hold_s / 2 else None


def _configurations(cluster: Cluster, node: int) -> int:
    return int(cluster.processor(node).statistics().get("configurations", 0))


def _always(config: Config, members: int, delay_s: float) -> bool:
    return True


def _can_wait(config: Config, members: int, delay_s: float) -> bool:
    """Whether a member that leaves waits for long enough for lost packets to be repeated."""
    return config.leave_timeout_s >= LEAVE_UNITS * (config.token_timeout_s + config.consensus_timeout_s)


def _can_stand_still(config: Config, members: int, delay_s: float) -> bool:
    """Whether the token of an idle ring rests for long enough, and longer than a timer of any system is late."""
    rest_s = max(STILL_DELAYS * delay_s, STILL_RETRIES * config.token_retransmit_min_s)
    return config.hold_s >= rest_s and rests(config, members, delay_s)


class TrialKind(NamedTuple):
    """A trial, and which rings can be put to it."""

    least: int
    """The least number of processors."""
    play: Callable[[_Trial], str | None]
    """Returns what was wrong."""
    fits: Callable[[Config, int, float], bool] = _always
    """Whether it can take effect with these settings, so many members and this greatest latency in seconds."""


TRIALS: dict[str, TrialKind] = {
    "lost token": TrialKind(2, lost_token),
    "lost data": TrialKind(2, lost_data),
    "deaf member": TrialKind(3, deaf_member),
    "deaf pair": TrialKind(3, deaf_pair),
    "cut in recovery": TrialKind(3, cut_in_recovery),
    "late copies": TrialKind(2, late_copies),
    "merged holes": TrialKind(4, merged_holes),
    "last words": TrialKind(2, last_words, _can_wait),
    "stood still": TrialKind(2, stood_still, _can_stand_still),
}
RICH = {"cut in recovery": 4, "merged holes": 4}
"""Drawn so many times more often than the others."""


def draw(
    cluster: Cluster, core: Collection[int], random: random_module.Random, unit_s: float, without: Collection[str] = ()
) -> Tried | None:
    """Put a core that has settled to one trial that fits it, and wait until it has settled again.

    ``unit_s`` is token timeout plus consensus timeout, in seconds; ``without`` are names of ``TRIALS`` that are not to
    be drawn. ``None``: there is no trial for it.
    """
    # Without a quorum nothing flows; and when one is left out of a trial, the rest must have it still.
    size = len(core) if cluster.config.quorum < len(core) else 0
    config, delay_s = cluster.config, cluster.network.clear.latency_s[1]
    names = [
        name
        for name, kind in TRIALS.items()
        if kind.least <= size and name not in without and kind.fits(config, size, delay_s)
    ]
    if not names:
        return None
    # The richest are drawn more often: they have many ways, and some are rare.
    name = random.choice([*names, *(rich for rich in RICH for _ in range(RICH[rich]) if rich in names)])
    trial = _Trial(cluster, tuple(sorted(core)), random, unit_s)
    failure = TRIALS[name].play(trial)
    if failure is None and not trial.wait(lambda: cluster.settled(core)):
        failure = "it did not settle again"
    text = None if failure is None else f"{sorted(core)} in the trial «{name}»: {failure}"
    return Tried(name, text, trial.happened)


def _returned(cluster: Cluster, node: int) -> bool:
    """Whether all that a processor accepted was delivered to it, or waits for a quorum."""
    application = cluster.application(node)
    return application.returned == application.accepted or not cluster.configuration(node).primary
