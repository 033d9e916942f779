"""The faults of one run, drawn from its seed.

There are two kinds. *Weather* is what all links suffer: loss, copies, disorder, damage. It changes every few timeouts,
and is fair for a good part of the time, because a ring that never forms tests little. *Disturbances* happen to somebody
at some moment: a crash, a pause, a partition; each has a rate of its own. Every class of either kind is on with
probability one half, so that runs differ in kind and not only in luck. All times are counted in units of the token
timeout plus the consensus timeout, the time in which a ring notices that something is wrong, so that the same faults
fit every configuration.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import random as random_module
from collections.abc import Callable

from ringproto.errors import RingError
from ringproto.events import RegularConfiguration
from ringproto.testing.campaign import repeated_faults
from ringproto.testing.campaign.addresses import change_address
from ringproto.testing.campaign.repeated_faults import Repeats
from ringproto.testing.simulator.cluster import STORAGE, Cluster
from ringproto.testing.simulator.host import Host, Trap
from ringproto.testing.simulator.network import Link
from ringproto.testing.simulator.system_calls import SystemCalls
from ringproto.testing.simulator.wire_reader import COMMIT, DATA, TOKEN
from ringproto.types import Guarantee, Priority

__all__ = ["CLASSES", "DISTURBANCES", "LIGHT", "TRAPS", "WEATHERS", "Faults"]

FOR_EVER_S = 1e9

LIGHT = ("loss", "crash", "partition", "leave", "pause", "trap", "broken promise", *repeated_faults.KINDS)
"""The classes of a light run."""

CONDITIONS = ("storage", "drift", "early timers", "small buffers", "recover raises", "answers", "late copies")
"""Classes that hold for the whole of a run."""

_SEEN = ("storage", "recover raises")
"""Of these it is seen when something happens."""

WRITES = 100
"""An application writes so many messages, at most, while another one leaves."""
FEW = 0.3
"""How probable it is that only one or two classes are on, so that what they do is not drowned by the others."""
LATE, LATE_S = 0.2, 120.0
"""So large a part of all datagrams comes again, after up to so many seconds."""


def _rate(random: random_module.Random, greatest: float) -> float:
    """Mostly small, now and then the greatest there is."""
    return greatest * random.random() ** 3


def _loss(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"loss": _rate(random, 0.3)}


def _kind_loss(random: random_module.Random, unit_s: float) -> dict[str, object]:
    way = random.randrange(4)
    if way == 0:
        return {"kind_loss": ((DATA, _rate(random, 0.5)),)}
    if way == 1:
        return {"kind_loss": ((TOKEN, _rate(random, 0.5)),)}
    if way == 2:
        return {"kind_loss": ((COMMIT, random.random()),)}
    return {"kind_loss": ((random.randint(1, 8), random.random()),)}


def _tokens(random: random_module.Random, unit_s: float) -> dict[str, object]:
    if random.random() < 0.5:
        return {"every_kth_token": random.randint(2, 50)}
    return {"first_token_loss": random.random()}


def _burst(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"burst": _rate(random, 0.01), "burst_max": random.choice((2, 10, 50, 200))}


def _big(random: random_module.Random, unit_s: float) -> dict[str, object]:
    changes: dict[str, object] = {"big_bytes": random.choice((200, 400, 1000))}
    if random.random() < 0.5:
        return changes | {"big_loss": random.random()}
    return changes | {"big_delay_s": random.uniform(0.1, 1.0) * unit_s}


def _duplication(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"duplication": _rate(random, 0.5), "duplicate_delay_s": random.choice((0.1 * unit_s, 3 * unit_s, 10.0))}


def _reordering(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"reordering": _rate(random, 0.5), "reordering_delay_s": unit_s * random.choice((0.01, 0.1, 0.5))}


def _latency(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"exponential": True, "latency_s": (0.000_05, unit_s * random.choice((0.001, 0.005, 0.02)))}


def _flooding(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"flooding": _rate(random, 0.3)}


def _corruption(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"corruption": _rate(random, 0.3)}


def _forgery(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"forgery": _rate(random, 0.2)}


def _replay(random: random_module.Random, unit_s: float) -> dict[str, object]:
    return {"replay": _rate(random, 0.2), "replay_delay_s": unit_s * random.choice((0.1, 1.0, 10.0))}


WEATHERS: dict[str, Callable[[random_module.Random, float], dict[str, object]]] = {
    "loss": _loss,
    "kind loss": _kind_loss,
    "tokens": _tokens,
    "burst": _burst,
    "big": _big,
    "duplication": _duplication,
    "reordering": _reordering,
    "latency": _latency,
    "flooding": _flooding,
    "corruption": _corruption,
    "forgery": _forgery,
    "replay": _replay,
}


def _sends(kind: int) -> Callable[[Host, list[tuple[int, bytes]]], bool]:
    return lambda host, transmits: any(datagram[1] == kind for _, datagram in transmits)


def _is_representative(host: Host, transmits: list[tuple[int, bytes]]) -> bool:
    assert host.processor is not None
    return host.processor.configuration.members[0] == host.node and bool(transmits)


def _unblock_sent(host: Host, transmits: list[tuple[int, bytes]]) -> bool:
    """In this very step: in it the own unblock may be delivered already, and the round be complete."""
    return any(entry[0] == "UNB_SEND" for entry in host.audit[-5:]) and _sends(DATA)(host, transmits)


def _between_unblock_and_completion(host: Host, transmits: list[tuple[int, bytes]]) -> bool:
    assert host.processor is not None
    return any(entry[0] == "UNB_SEND" for entry in host.audit[-8:]) and bool(host.processor.waiting_for)


def _in_the_middle_of_a_message(host: Host, transmits: list[tuple[int, bytes]]) -> bool:
    return any(datagram[1] == DATA and len(datagram) > 0.8 * host.datagram_size for _, datagram in transmits)


def _in_recovery(host: Host, transmits: list[tuple[int, bytes]]) -> bool:
    assert host.processor is not None
    return host.processor.state == "recovery"


TRAPS: dict[str, Trap] = {
    "unblock sent": _unblock_sent,
    "between unblock and completion": _between_unblock_and_completion,
    "commit token": _sends(COMMIT),
    "token holder": _sends(TOKEN),
    "representative": _is_representative,
    "mid-fragment": _in_the_middle_of_a_message,
    "in recovery": _in_recovery,
}
"""Moments at which a crash, a partition or a pause hurts most."""


class Faults:
    """What goes wrong in the safety phase of one run.

    ``nodes`` are those that may suffer; ``names`` the classes that are on (of ``CLASSES``). Nothing happens before
    ``begin`` and nothing any more after ``end``. Raises ValueError for a name that is no class.
    """

    def __init__(self, cluster: Cluster, nodes: tuple[int, ...], names: tuple[str, ...], *, light: bool) -> None:
        unknown = sorted(set(names).difference(CLASSES))
        if unknown:
            raise ValueError(f"there is no class of faults {unknown[0]!r}; those that there are: {', '.join(CLASSES)}")
        self.cluster = cluster
        self.random = cluster.random
        self.nodes = nodes
        self.names = names
        self.light = light
        self.unit_s = cluster.config.token_timeout_s + cluster.config.consensus_timeout_s
        self.over = False
        self.leaving: set[int] = set()
        self.breaking = False
        self.held: set[int] = set()
        """Whose recovery function does not return."""
        self.happened: set[str] = set()
        """The classes of which something happened, or that held from the beginning."""
        # Storage that is sometimes lost is a class of its own: without it ids must rise across restarts.
        self.storage = STORAGE if "storage" in names else STORAGE[:1]

    @classmethod
    def draw(cls, cluster: Cluster, nodes: tuple[int, ...], *, light: bool) -> Faults:
        """Each class on with probability one half, or one or two of them alone; a light run draws from few."""
        random = cluster.random
        classes = LIGHT if light else CLASSES
        if random.random() < FEW:
            names = tuple(random.sample(classes, random.randint(1, 2)))
        else:
            names = tuple(name for name in classes if random.random() < 0.5)
        return cls(cluster, nodes, names, light=light)

    def begin(self) -> None:
        """From now on things go wrong."""
        random = self.random
        for node in self.nodes:
            host = self.cluster.hosts[node]
            host.on_crash = self._fell_into_trap
            host.on_failure = self._raised
            host.timers_first = random.choice((0.0, 0.5, 1.0))
            host.batch_max = random.choice((1, 8, 64))
            if "drift" in self.names:
                host.clock_rate = 1.0 + random.uniform(-500e-6, 500e-6)
            if "early timers" in self.names:
                host.early_timers = _rate(random, 0.2)
            if "small buffers" in self.names:
                host.receive_max = random.choice((4, 16, 64))
            if "recover raises" in self.names:
                host.habits.raises = 0.1
            if "answers" in self.names:
                host.habits.replies = 0.2
        if "late copies" in self.names:
            network = self.cluster.network
            network.clear = network.weather = dataclasses.replace(network.clear, late=LATE, late_s=LATE_S)
        self.happened.update(name for name in self.names if name in CONDITIONS and name not in _SEEN)
        if any(name in WEATHERS for name in self.names):
            self._change_weather()
        for name in self.names:
            if name in DISTURBANCES:
                mean = random.uniform(5.0, 18.0) if self.light else random.uniform(8.0, 60.0)
                self._schedule(name, mean * self.unit_s)
            elif name in repeated_faults.KINDS:
                Repeats(self, name, random.choice(self.nodes)).begin()

    def end(self) -> None:
        """No more of it. What is broken stays so until somebody mends it."""
        self.over = True
        for host in self.cluster.hosts.values():
            host.trap = None
            host.early_timers = 0.0
            host.receive_max = 1000
            host.habits.raises = 0.0
            if host.node in self.nodes:
                host.system_calls = None
        for node in self.held:
            self.cluster.release(node)
        self.held.clear()

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call it after a while, unless the faults are over by then."""
        self.cluster.at(delay_s, lambda: None if self.over else call())

    def happens(self, name: str) -> None:
        """Something of this class happened."""
        self.happened.add(name)
        self.cluster.note("disturbance: " + name)

    def _schedule(self, name: str, mean_s: float) -> None:
        def happen() -> None:
            self.happens(name)
            DISTURBANCES[name](self)
            self._schedule(name, mean_s)

        self.later(self.random.expovariate(1.0 / mean_s), happen)

    def _change_weather(self) -> None:
        random = self.random
        changes: dict[str, object] = {}
        if random.random() < 0.6:
            for name, draw in WEATHERS.items():
                if name in self.names and random.random() < 0.5:
                    changes.update(draw(random, self.unit_s))
                    self.happened.add(name)
        network = self.cluster.network
        network.weather = dataclasses.replace(network.clear, **changes)  # type: ignore[arg-type]
        self._say(f"weather: {', '.join(f'{name} {value}' for name, value in changes.items()) or 'fair'}")
        self.later(random.uniform(2.0, 12.0) * self.unit_s, self._change_weather)

    def _say(self, text: str) -> None:
        self.cluster._say(text)

    # Who and how long

    def _any(self, *, alive: bool = True) -> Host | None:
        """Some host whose processor runs (or does not)."""
        hosts = [self.cluster.hosts[node] for node in self.nodes if self.cluster.hosts[node].alive is alive]
        return self.random.choice(hosts) if hosts else None

    def _some_time_s(self, greatest_s: float) -> float:
        """From a millisecond to ``greatest_s``, all orders of magnitude alike."""
        return 0.001 * math.pow(greatest_s / 0.001, self.random.random())

    def restart(self, node: int) -> None:
        """Start it again, with what this run lets survive in its storage, unless it runs."""
        if not self.cluster.alive(node):
            self.leaving.discard(node)
            storage = self.random.choice(self.storage)
            if storage != STORAGE[0]:
                self.happened.add("storage")
            self.cluster.restart(node, storage)

    def _restart_later(self, node: int) -> None:
        way = self.random.random()
        token_timeout_s = self.cluster.config.token_timeout_s
        delay_s = 0.0 if way < 0.2 else self._some_time_s(token_timeout_s if way < 0.6 else 10 * token_timeout_s)
        self.later(delay_s, lambda: self.restart(node))

    def _fell_into_trap(self, host: Host) -> None:
        self._say(f"node {host.node} is killed in a trap")
        self._restart_later(host.node)

    def _raised(self, host: Host) -> None:
        self.happened.add("recover raises")
        self.leaving.add(host.node)
        self.later(self.unit_s / 10, lambda: self._return_when_out(host.node))

    # The disturbances

    def _crash(self) -> None:
        host = self._any()
        if host is not None:
            self.cluster.crash(host.node)
            self._restart_later(host.node)

    def _set_trap(self) -> None:
        host = self._any()
        if host is not None:
            name = self.random.choice(tuple(TRAPS))
            sprung = TRAPS[name]
            self._say(f"trap for node {host.node}: {name}")
            host.trap = lambda host, transmits: sprung(host, transmits) and self._spring(host)

    def _spring(self, host: Host) -> bool:
        """The moment has come: crash (True), or before what it has to say is out be cut off, paused or merged."""
        way = self.random.random()
        if way < 0.5:
            return True
        host.trap = None
        if way < 0.75:
            self._partition()
        elif way < 0.9:
            self._merge()
        else:
            self.cluster.pause(host.node, self._some_time_s(4 * self.unit_s))
        return False

    def _leave(self) -> None:
        host = self._any()
        if host is not None and host.node not in self.leaving:
            self.leaving.add(host.node)
            self._write_until_out(host.node)
            self.cluster.leave(host.node)
            self._return_when_out(host.node)

    def _write_until_out(self, node: int) -> None:
        """In half of the cases another one writes meanwhile, a safe message in each rotation or so: who leaves has
        acknowledged some that it has not delivered."""
        cluster = self.cluster
        random = random_module.Random(f"{node} leaves at {cluster.now}")
        writers = [host for host in cluster.hosts.values() if host.alive and host.node in self.nodes]
        writers = [host for host in writers if host.node != node and host.node not in self.leaving]
        if not writers or random.random() < 0.5:
            return
        writer = random.choice(writers)
        life, gap_s = writer.lives, self.unit_s * random.choice((0.001, 0.01))

        def write(left: int) -> None:
            application, processor = writer.application, writer.processor
            if application is None or processor is None or processor.leaving or writer.lives != life:
                return
            if cluster.now >= writer.busy_until:
                application.submit(application.payload(50), Priority.HIGH, Guarantee.SAFE)
                writer.flush()
            if left and cluster.alive(node):
                self.later(random.uniform(0.0, 2.0) * gap_s, lambda: write(left - 1))

        write(WRITES)

    def _return_when_out(self, node: int) -> None:
        if self.cluster.alive(node):
            self.later(self.unit_s, lambda: self._return_when_out(node))
        else:
            self._restart_later(node)

    def _resurrect(self) -> None:
        """Those that left by themselves (a slow consumer, say) come back some day."""
        host = self._any(alive=False)
        if host is not None:
            self.restart(host.node)

    def _pause(self) -> None:
        host = self._any()
        if host is not None:
            self.cluster.pause(host.node, self._some_time_s((5 if self.light else 30) * self.unit_s))

    def _jump(self) -> None:
        host = self._any()
        if host is not None:
            seconds = self._some_time_s(10.0)
            self._say(f"the clock of node {host.node} jumps by {seconds:.3f} s")
            host.jump_clock(seconds)

    def _slow_consumer(self) -> None:
        host = self._any()
        if host is not None:
            self.cluster.stop_reading(host.node, self._some_time_s(40 * self.unit_s))

    def _one_way(self) -> None:
        random = self.random
        links = list(self.cluster.network.links())
        for link in random.sample(links, random.randint(1, max(1, len(links) // 4))):
            if random.random() < 0.5:
                link.blocked = True
            else:
                link.loss = random.random()
        self._say("some links fail in one direction")

        def mend() -> None:
            for link in links:
                link.blocked = False
                link.loss = 0.0
            self._say("the links are mended")

        self.later(random.uniform(0.2, 15.0) * self.unit_s, mend)

    def _clog(self) -> None:
        random = self.random
        links = list(self.cluster.network.links())
        one_by_one = random.random() < 0.5
        for link in random.sample(links, random.randint(1, len(links))):
            after_s = random.uniform(0.0, self.unit_s) if one_by_one else 0.0
            until = self.cluster.now + after_s + min(5.0, self._some_time_s(8 * self.unit_s))
            disorder_s = random.choice((0.0, 0.0, self.unit_s * random.random()))
            self.later(after_s, functools.partial(_stop_up, link, until, disorder_s))
        self._say("some links clog")

    def _partition(self) -> None:
        random = self.random
        nodes = list(self.nodes)
        random.shuffle(nodes)
        half = random.randint(1, len(nodes) - 1)
        way = random.random()
        if way < 0.4:
            self.cluster.partition(nodes[:half], nodes[half:])
        elif way < 0.55:
            self.cluster.partition(nodes[1:])  # one alone
        elif way < 0.7:
            pieces = random.randint(2, len(nodes))
            self.cluster.partition(*(nodes[piece::pieces] for piece in range(pieces)))
        elif way < 0.8:  # a bridge sees both sides
            self.cluster.partition(nodes[: half + 1], nodes[half:])
        elif way < 0.9:  # one side hears the other, but not the other way round
            for source in nodes[:half]:
                for destination in nodes[half:]:
                    self.cluster.block(source, destination)
            self._say(f"{sorted(nodes[:half])} are not heard by {sorted(nodes[half:])}")
        else:  # a pair that cannot hear each other
            self.cluster.block(nodes[0], nodes[1])
            self.cluster.block(nodes[1], nodes[0])
            self._say(f"{nodes[0]} and {nodes[1]} cannot hear each other")
        self.later(random.uniform(0.1, 12.0) * self.unit_s, self._merge)

    def _merge(self) -> None:
        """Heal all, or only in part and the rest later, perhaps in the middle of the recovery of the first part."""
        random = self.random
        if random.random() < 0.6:
            self.cluster.heal()
            return
        for link in list(self.cluster.network.links()):
            if random.random() < 0.5:
                link.cut = link.blocked = False
        self._say("the network is healed in part")
        self.later(self._some_time_s(3 * self.unit_s), self._merge)

    def _refuse_sends(self) -> None:
        """ENOBUFS and EAGAIN, for a while."""
        host = self._any()
        if host is not None and host.system_calls is None:
            way = self.random.random()
            calls = SystemCalls(refused=_rate(self.random, 1.0)) if way < 0.5 else SystemCalls(cut_short=way)
            self._disturb(host, calls)

    def _interface(self) -> None:
        """The interface goes down, and comes up again."""
        host = self._any()
        if host is not None and host.system_calls is None:
            self._disturb(host, SystemCalls(down=True))

    def _change_address(self) -> None:
        """Another address, which each of the others learns at its own time."""
        host = self._any()
        if host is not None:
            others = [node for node in self.nodes if node != host.node]
            change_address(self.cluster, host.node, {node: self._some_time_s(5 * self.unit_s) for node in others})

    def _disturb(self, host: Host, calls: SystemCalls) -> None:
        cluster = self.cluster
        cluster.disturb_system_calls(host.node, calls)
        self.later(self._some_time_s(10 * self.unit_s), lambda: cluster.disturb_system_calls(host.node, None))

    def _stuck_recover(self) -> None:
        """Its recovery function does not return, however often it is started again, until it is released."""
        host = self._any()
        if host is not None and host.node not in self.held:
            node = host.node
            self.held.add(node)
            self.cluster.hold(node)

            def release() -> None:
                self.held.discard(node)
                self.cluster.release(node)

            self.later(self._some_time_s(10 * self.unit_s), release)

    def _never_reads(self) -> None:
        """Its application stops to read for good; when its processor has left for that it is started again."""
        host = self._any()
        if host is not None and host.node not in self.leaving:
            self.cluster.stop_reading(host.node, FOR_EVER_S)
            self._return_when_out(host.node)

    def _break_promise(self) -> None:
        """The story of departure 6 in docs/protocol.md, as far as the moment lets it happen.

        What one processor sends is lost and then it dies, while others have sent safe messages behind that hole. The
        first that installs the next ring is cut off before its token is out: somebody has promised, and does not see
        the end.
        """
        random = self.random
        host = self._any()
        if host is None or host.application is None or self.breaking:
            return
        self.breaking = True
        self._say(f"what node {host.node} sends is lost, and then it is killed")
        for link in self.cluster.network.links():
            if link.source == host.node:
                link.no_data = True

        def lost(host: Host, transmits: list[tuple[int, bytes]]) -> bool:
            if _sends(DATA)(host, transmits):
                host.trap = None
                self.later(0.0, lambda: self._submit_safe(host.node))
                # The token must get on, and the others have their turn.
                self.later(self.unit_s * random.choice((0.01, 0.03, 0.1)), lambda: die(host))
            return False

        def die(host: Host) -> None:
            if host.alive:
                self.cluster.crash(host.node)
                self._restart_later(host.node)
            for node in self.nodes:
                self.cluster.hosts[node].trap = self._cut_off_when_installed

        host.trap = lost
        with contextlib.suppress(RingError):
            host.application.submit(host.application.payload(50), Priority.HIGH, Guarantee.AGREED)
        self.later(4 * self.unit_s, self._keep_promises)

    def _submit_safe(self, dying: int) -> None:
        """All others have something to send."""
        for node in self.nodes:
            application = self.cluster.hosts[node].application
            if application is not None and node != dying:
                with contextlib.suppress(RingError):
                    application.submit(application.payload(50), Priority.HIGH, Guarantee.SAFE)

    def _cut_off_when_installed(self, host: Host, transmits: list[tuple[int, bytes]]) -> bool:
        """It has just installed a ring of several, and the token that says so is not out yet."""
        assert host.processor is not None
        members = host.processor.configuration.members
        installed = any(isinstance(entry[1], RegularConfiguration) for entry in host.audit[-12:])
        if host.processor.state == "operational" and installed and len(members) > 1 and _sends(TOKEN)(host, transmits):
            for node in self.nodes:
                self.cluster.hosts[node].trap = None
            rest = [node for node in self.nodes if node != host.node]
            self.random.shuffle(rest)
            far = rest[: self.random.randint(1, len(rest))]
            self.cluster.partition([node for node in self.nodes if node not in far], far)
            self.later(self.random.uniform(0.5, 4.0) * self.unit_s, self._merge)
        return False

    def _keep_promises(self) -> None:
        self.breaking = False
        for link in self.cluster.network.links():
            link.no_data = False
        for node in self.nodes:
            self.cluster.hosts[node].trap = None

    def _storm(self) -> None:
        """Many stop and start within a fifth of a second."""
        random = self.random
        for node in random.sample(self.nodes, random.randint(1, len(self.nodes))):
            self.later(random.uniform(0.0, 0.2), lambda node=node: self.cluster.crash(node))  # type: ignore[misc]
            self.later(random.uniform(0.0, 0.4), lambda node=node: self.restart(node))  # type: ignore[misc]
            self.later(random.uniform(0.4, 0.5), lambda node=node: self.restart(node))  # type: ignore[misc]


DISTURBANCES: dict[str, Callable[[Faults], None]] = {
    "crash": Faults._crash,
    "trap": Faults._set_trap,
    "leave": Faults._leave,
    "resurrect": Faults._resurrect,
    "pause": Faults._pause,
    "clock jump": Faults._jump,
    "slow consumer": Faults._slow_consumer,
    "one way": Faults._one_way,
    "clog": Faults._clog,
    "partition": Faults._partition,
    "storm": Faults._storm,
    "broken promise": Faults._break_promise,
    "send refused": Faults._refuse_sends,
    "interface": Faults._interface,
    "stuck recover": Faults._stuck_recover,
    "never reads": Faults._never_reads,
    "address": Faults._change_address,
}
CLASSES = (*WEATHERS, *DISTURBANCES, *CONDITIONS, *repeated_faults.KINDS)
"""All that a full run draws from."""


def _stop_up(link: Link, until: float, disorder_s: float) -> None:
    link.clogged_until = max(link.clogged_until, until)
    link.unclogs_s = disorder_s
