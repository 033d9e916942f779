"""A service of one's own on the simulator: scripted or random faults, and its invariants beside the rules of the judge.

A *service* is what an application does with the ordered stream, as plain functions: ``handle`` is given each event in
order, ``recover`` says what to send while the barrier is down. A :class:`ServiceCluster` runs one on each simulated
processor. It makes payloads distinct on their way and hands them over as they were, so that the judge can tell them
apart and the service need not.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from ringproto.config import Config
from ringproto.events import Event, Message, RegularConfiguration
from ringproto.testing.judge import Stretch, Violation
from ringproto.testing.simulator.application import Application
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.host import Host, Trace
from ringproto.types import Guarantee, Priority, RingId

__all__ = ["Invariant", "Service", "ServiceCluster"]

_BROKEN_MAX = 20
"""Of each invariant; the first ones say what is wrong."""


class Service(Protocol):
    """What one processor does with the ordered stream. It has no clock, no tasks and no sockets."""

    def handle(self, event: Event) -> None:
        """The next event of the stream."""

    def recover(self, configuration: RegularConfiguration) -> Iterable[bytes]:
        """The payloads of its ``RECOVERY`` messages in this configuration, which was handled just now; it then
        unblocks."""


S = TypeVar("S", bound=Service)

Invariant = Callable[[Mapping[int, S]], "str | None"]
"""Given the services of the living processors by node: what is wrong, or ``None``."""


class ServiceCluster(Cluster, Generic[S]):
    """A cluster on each of whose processors a service runs; everything else is as in :class:`Cluster`.

    ``make`` is called with the node id whenever a processor is started or restarted: a service that is killed has lost
    what it knew, unless ``make`` kept it. An error that a service raises leaves the method that let time pass.
    """

    def __init__(
        self,
        make: Callable[[int], S],
        seed: int | random_module.Random = 0,
        config: Config | None = None,
        *,
        datagram_size: int = 1400,
        trace: Trace | None = None,
    ) -> None:
        super().__init__(seed, config, datagram_size=datagram_size, trace=trace)
        self.make = make
        self._invariants: dict[str, Invariant[S]] = {}
        self._broken: list[Violation] = []

    # Services and what must hold of them

    def service(self, node: int) -> S:
        """The service of a living processor. Raises ValueError if it does not run."""
        application = self.application(node)
        assert isinstance(application, _ServiceApplication)
        service: S = application.service
        return service

    def services(self) -> dict[int, S]:
        """Those of all living processors, by node."""
        return {node: self.service(node) for node in self.living()}

    def living(self) -> list[int]:
        """The nodes whose processors run."""
        return [node for node in sorted(self.hosts) if self.hosts[node].application is not None]

    def always(self, name: str, invariant: Invariant[S]) -> None:
        """Ask this after every event that any service has handled; what is wrong comes out of :meth:`judge`.

        Raises:
            ValueError: there is one with this name.
        """
        if name in self._invariants:
            raise ValueError(f"there is an invariant named {name!r} already")
        self._invariants[name] = invariant

    def judge(self, complete: Iterable[int] | None = None, stretches: Sequence[Stretch] = ()) -> list[Violation]:
        """As :meth:`Cluster.judge`, and the invariants that were broken, each as a rule under its name."""
        return [*super().judge(complete, stretches), *self._broken]

    def _check(self, application: _ServiceApplication) -> None:
        if not self._invariants:
            return
        services = self.services()
        for name, invariant in self._invariants.items():
            wrong = invariant(services)
            if wrong and sum(broken.rule == name for broken in self._broken) < _BROKEN_MAX:
                node, life = application.host.node, application.life
                self._broken.append(Violation(name, f"{self.now:.6f} s: {wrong}", node, life, application.handled))
                application.host.say(f"{name}: {wrong}")

    # Faults

    def disturb(self, seconds: float, *, every_s: float = 0.3) -> None:
        """For so long, part the network, heal it, kill and restart processors, by the seed; then :meth:`mend`.

        Nothing happens in this call; it does as time passes, on average every ``every_s`` seconds. At least half of the
        processors live at any time.

        Raises:
            ValueError: ``seconds`` is negative, or ``every_s`` is not positive.
        """
        if seconds < 0 or every_s <= 0:
            raise ValueError(f"seconds must not be negative and every_s must be positive, not {seconds} and {every_s}")
        delay_s = self.random.uniform(0.0, every_s)
        while delay_s < seconds:
            self.at(delay_s, self._disturb_once)
            # Some come in the middle of what the one before began, some when all is quiet again.
            delay_s += 3 * every_s * self.random.random() ** 2
        self.at(seconds, self.mend)

    def mend(self) -> None:
        """Heal the network, and restart whoever does not run."""
        self.heal()
        for node in sorted(self.hosts):
            if not self.alive(node):
                self.restart(node)

    def _disturb_once(self) -> None:
        nodes = sorted(self.hosts)
        gone = [node for node in nodes if not self.alive(node)]
        what = self.random.choice(("part", "part", "heal", "kill", "restart"))
        if what == "part":
            one_side = self.random.sample(nodes, self.random.randint(1, max(1, len(nodes) - 1)))
            self.partition(one_side, [node for node in nodes if node not in one_side])
        elif what == "heal":
            self.heal()
        elif what == "kill" and 2 * len(gone) + 2 <= len(nodes):
            self.crash(self.random.choice(self.living()))
        elif gone:
            self.restart(self.random.choice(gone))

    # What is otherwise than in a cluster without services

    def start(self, *nodes: int, **options: Any) -> None:
        """As :meth:`Cluster.start`."""
        for node in nodes:
            if node not in self.hosts:
                self.hosts[node] = _ServiceHost(self, node, options.get("config") or self.config)
        super().start(*nodes, **options)

    def messages(self, node: int) -> list[bytes]:
        """As :meth:`Cluster.messages`: the payloads as they were given."""
        return [_bare(event.payload) for event in self.events(node) if isinstance(event, Message)]


class _ServiceHost(Host):
    """A host whose incarnations each run a new service."""

    def __init__(self, cluster: ServiceCluster[Any], node: int, config: Config) -> None:
        self.cluster = cluster
        super().__init__(
            node,
            cluster.network,
            cluster.random,
            config=config,
            datagram_size=cluster.datagram_size,
            trace=cluster.trace,
        )

    def flush(self, batch: Sequence[bytes] = (), *, due: bool = False) -> None:
        if self.processor is not None and not isinstance(self.application, _ServiceApplication):
            # A new incarnation, of which nothing was read so far.
            self.application = _ServiceApplication(self, self.random, self.lives)
        super().flush(batch, due=due)


class _ServiceApplication(Application):
    """An application that leaves to a service what to do with the events and what to recover."""

    __slots__ = ("cluster", "handled", "recovered", "service")

    def __init__(self, host: _ServiceHost, random: random_module.Random, life: int) -> None:
        super().__init__(host, random, life)
        self.cluster = host.cluster
        self.service = host.cluster.make(host.node)
        self.handled = 0
        """Events that the service has handled."""
        self.recovered: RingId | None = None
        """The last round for which the service was asked."""

    def submit(self, payload: bytes, priority: Priority, guarantee: Guarantee) -> bool:
        return super().submit(self._distinct(payload), priority, guarantee)

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            self.service.handle(event._replace(payload=_bare(event.payload)) if isinstance(event, Message) else event)
            self.handled += 1
            super().take((event,))
            self.cluster._check(self)

    def unblock(self) -> None:
        configuration = self.configuration
        if configuration is not None and self.held == configuration.ring_id != self.recovered:
            self.recovered = self.held
            for payload in self.service.recover(configuration):
                self.pending.append((self._distinct(payload), Guarantee.AGREED))
        super().unblock()

    def _distinct(self, payload: bytes) -> bytes:
        self.counter += 1
        return b"%d.%d.%d|%b" % (self.host.node, self.life, self.counter, payload)


def _bare(payload: bytes) -> bytes:
    """What was given to :meth:`_ServiceApplication._distinct`."""
    return payload.partition(b"|")[2]
