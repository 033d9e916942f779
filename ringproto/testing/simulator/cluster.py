"""A whole ring in one thread, on virtual time: for scripted scenarios, and under the random ones of ``campaign``.

    cluster = Cluster(seed=7)
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled({1, 2, 3})
    cluster.submit(1, b"hello", Priority.HIGH)
    cluster.partition({1, 2}, {3})
    cluster.run(1.0)
    assert cluster.settled({1, 2}) and not cluster.judge()

Nothing here waits, nothing is random but what comes out of the seed, and the same calls give the same history for
ever. Every processor writes its log; ``judge`` holds them against the rules of extended virtual synchrony and of the
recovery barrier.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random as random_module
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from ringproto._core import Processor
from ringproto.config import MUST_BE_EQUAL, Config
from ringproto.events import Event, Message, RegularConfiguration
from ringproto.testing.judge import Stretch, Violation, judge
from ringproto.testing.judge.transcript import Transcript
from ringproto.testing.simulator.application import Application, Habits
from ringproto.testing.simulator.host import Audit, Host, Trace
from ringproto.testing.simulator.network import Filter, SimulatedNetwork
from ringproto.testing.simulator.observer import Watch
from ringproto.testing.simulator.system_calls import SystemCalls
from ringproto.testing.simulator.timeline import Timeline
from ringproto.types import Guarantee, Priority, RingId

__all__ = ["Cluster"]

STORAGE = ("kept", "stale", "lost", "torn")


class Cluster:
    """Simulated processors, their network and their applications.

    ``seed`` is a number, or a ``random.Random`` to draw from. ``datagram_size`` is in bytes, all times are in
    simulated seconds. Methods that name a node raise :class:`ValueError` if it never was started.
    """

    def __init__(
        self,
        seed: int | random_module.Random = 0,
        config: Config | None = None,
        *,
        datagram_size: int = 1400,
        trace: Trace | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.random = seed if isinstance(seed, random_module.Random) else random_module.Random(seed)
        self.config = Config.testing() if config is None else config
        self.datagram_size = datagram_size
        self.trace = trace
        self.timeline = Timeline()
        self.network = SimulatedNetwork(self.random, self.timeline)
        self.watch = watch
        """Sees what happens, for the probes."""
        if watch is not None:
            self.network.on_loss = watch.lost
        self.hosts: dict[int, Host] = {}
        self.origin = 0
        """What all rings count their packets, messages and tokens from (``Processor``); set it before ``start``."""
        self.storage_survived = True
        """False as soon as one processor was restarted with less than it had stored."""

    # Time

    @property
    def now(self) -> float:
        """Simulated seconds since the beginning."""
        return self.timeline.now

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.timeline.run(self.timeline.now + seconds)

    def run_until(self, predicate: Callable[[], bool], timeout_s: float = 10.0, *, every_s: float = 0.0) -> bool:
        """Let time pass until ``predicate()`` holds; False if it does not within ``timeout_s``.

        It is asked after every step, or only every ``every_s`` if that is given.
        """
        if predicate():
            return True
        end = self.timeline.now + timeout_s
        if not every_s:
            return self.timeline.run(end, stop=predicate)
        while self.timeline.now < end:
            self.timeline.run(min(end, self.timeline.now + every_s))
            if predicate():
                return True
        return False

    def run_until_settled(self, nodes: Collection[int], timeout_s: float = 10.0) -> bool:
        """Let time pass until ``settled(nodes)``; False if that does not come within ``timeout_s``."""
        return self.run_until(lambda: self.settled(nodes), timeout_s, every_s=0.005)

    def at(self, delay_s: float, call: Callable[[], object]) -> None:
        """Call ``call()`` when ``delay_s`` more have passed."""
        self.timeline.at(self.timeline.now + delay_s, _call, call)

    # Life and death of processors

    def start(
        self,
        *nodes: int,
        config: Config | None = None,
        ring_sequence: int = 0,
        habits: Habits | None = None,
        system_calls: SystemCalls | None = None,
    ) -> None:
        """Start new processors with these ids.

        Raises:
            ValueError: one of them runs already.
        """
        for node in nodes:
            host = self.hosts.get(node)
            if host is None:
                host = self.hosts[node] = Host(
                    node,
                    self.network,
                    self.random,
                    config=config or self.config,
                    datagram_size=self.datagram_size,
                    trace=self.trace,
                )
                host.watch = self.watch
            elif config is not None:
                host.config = config
            if habits is not None:
                host.habits = dataclasses.replace(habits)
            if system_calls is not None:
                host.system_calls = dataclasses.replace(system_calls)
            host.origin = self.origin
            host.start(ring_sequence)

    def crash(self, *nodes: int) -> None:
        """Kill them at once."""
        for node in nodes:
            host = self._host(node)
            host.say("is killed")
            host.crash()

    def restart(self, node: int, storage: str = "kept") -> None:
        """Start a new incarnation of a processor that is gone; one that still runs is killed first.

        ``storage`` says what it knows of the ring sequence: "kept" all, "stale" as much as when the former
        incarnation began, "lost" nothing, "torn" a number of which some bytes are kept and some stale.

        Raises:
            ValueError: ``storage`` is something else.
        """
        if storage not in STORAGE:
            raise ValueError(f"storage must be one of {', '.join(STORAGE)}, not {storage!r}")
        host = self._host(node)
        host.crash()
        sequence = {"kept": host.stored_sequence, "stale": host.sequence_at_start}.get(storage, 0)
        if storage == "torn":
            sequence = _torn(self.random, host.stored_sequence, host.sequence_at_start)
        if sequence < host.stored_sequence:
            self.storage_survived = False
        self.note(f"restarted, storage {storage}")
        host.start(sequence)
        host.say(f"is restarted, storage {storage}")

    def pause(self, node: int, seconds: float) -> None:
        """Give its process no time for so long; what is sent to it waits in a bounded buffer."""
        self._host(node).say(f"is paused for {seconds:.3f} s")
        self._host(node).pause(seconds)

    def unpause(self, node: int) -> None:
        """End its pause."""
        self._host(node).unpause()

    def leave(self, node: int) -> None:
        """Let it leave in an orderly way; ``alive(node)`` is False when it is out."""
        host = self._alive(node)
        assert host.processor is not None
        self.note(f"told to leave in {host.processor.state}")
        host.say("is told to leave")
        host.leave()

    def disturb_system_calls(self, node: int, system_calls: SystemCalls | None) -> None:
        """From now on the system calls of its host do this; ``None`` mends them."""
        host = self._host(node)
        host.say(f"system calls: {system_calls or 'sound'}")
        host.system_calls = system_calls

    def stop_reading(self, node: int, seconds: float) -> None:
        """Its application takes no event for so long."""
        self._host(node).say(f"reads nothing for {seconds:.3f} s")
        self._host(node).stop_reading(seconds)

    def hold(self, *nodes: int) -> None:
        """From their next configuration on, their applications do not unblock."""
        for node in nodes:
            self._host(node).habits.hold = True

    def release(self, *nodes: int) -> None:
        """They unblock now, and do so by themselves from now on."""
        for node in nodes:
            host = self._host(node)
            host.habits.hold = False
            if host.application is not None:
                host.application.unblock()
                host.flush()

    # The network

    @property
    def filter(self) -> Filter | None:
        """Asked for every copy of a datagram: (time, source, destination, datagram) -> keep, or bytes in its place."""
        return self.network.filter

    @filter.setter
    def filter(self, keep: Filter | None) -> None:
        self.network.filter = keep

    def partition(self, *groups: Collection[int]) -> None:
        """Only processors of one group hear each other. One that is named in no group is alone.

        It holds for processors that are started later as well.
        """
        self.network.partition(*groups)
        self._say(f"the network is parted: {' | '.join(str(sorted(group)) for group in groups)}")

    def heal(self) -> None:
        """Everybody hears everybody again."""
        self.network.heal()
        self._say("the network is healed")

    def block(self, source: int, destination: int) -> None:
        """What ``source`` sends does not reach ``destination``; the other direction is as it was."""
        self.network.link(source, destination).blocked = True

    # Applications

    def submit(
        self,
        node: int,
        payload: bytes,
        priority: Priority = Priority.HIGH,
        guarantee: Guarantee = Guarantee.AGREED,
    ) -> bool:
        """Give a message to a living processor; False if its queue is full."""
        host = self._alive(node)
        assert host.application is not None
        accepted = host.application.submit(payload, priority, guarantee)
        host.flush()
        return accepted

    def submit_recovery(self, node: int, payload: bytes, guarantee: Guarantee = Guarantee.AGREED) -> bool:
        """Give a recovery message of its last configuration to a living processor; False if its queue is full.

        Raises:
            RingError: that round is over.
        """
        processor = self.processor(node)
        accepted = processor.submit_recovery(processor.configuration.ring_id, payload, guarantee)
        self._host(node).flush()
        return accepted

    def events(self, node: int) -> list[Event]:
        """All that the application of its living incarnation has read."""
        return self.application(node).events

    def messages(self, node: int) -> list[bytes]:
        """The payloads among ``events``, in order."""
        return [event.payload for event in self.events(node) if isinstance(event, Message)]

    # Looking

    def alive(self, node: int) -> bool:
        """Whether a processor with this id runs."""
        return self._host(node).alive

    def processor(self, node: int) -> Processor:
        """The living processor with this id. Raises ValueError if there is none."""
        processor = self._alive(node).processor
        assert processor is not None
        return processor

    def application(self, node: int) -> Application:
        """The application of a living processor. Raises ValueError if it does not run."""
        application = self._alive(node).application
        assert application is not None
        return application

    def state(self, node: int) -> str:
        """In which state of the protocol a living processor is."""
        return self.processor(node).state

    def configuration(self, node: int) -> RegularConfiguration:
        """The last regular configuration that a living processor put into its stream."""
        return self.processor(node).configuration

    def together(self, nodes: Collection[int]) -> bool:
        """Whether all of them are in one regular configuration of exactly these, and on its ring."""
        members = tuple(sorted(nodes))
        ring_id = None
        for node in members:
            host = self.hosts.get(node)
            if host is None or host.processor is None or host.application is None:
                return False
            configuration = host.application.configuration
            if configuration is None or configuration.members != members:
                return False
            if configuration.ring_id != (ring_id or configuration.ring_id):
                return False
            ring_id = configuration.ring_id
            if host.processor.state != "operational" or host.processor.configuration.ring_id != ring_id:
                return False
        return True

    def formed(self, nodes: Collection[int]) -> bool:
        """``together``, and the barrier of that configuration is complete. Without a quorum it need not be."""
        if not self.together(nodes):
            return False
        for node in nodes:
            host = self.hosts[node]
            assert host.processor is not None and host.application is not None
            configuration = host.application.configuration
            assert configuration is not None
            complete = host.application.completed == configuration.ring_id and not host.processor.waiting_for
            if configuration.primary and not complete:
                return False
        return True

    def drained(self, nodes: Collection[int]) -> bool:
        """Whether all that their processors accepted was delivered by each of them (``formed`` taken for granted)."""
        places = set()
        for node in nodes:
            host = self.hosts[node]
            if host.processor is None or host.application is None or host.events_waiting:
                return False
            application = host.application
            if application.configuration is None:
                return False
            if application.configuration.primary and application.returned != application.accepted:
                return False
            # Without a quorum no completion tells that the recovery messages and the unblocks are through.
            if application.pending or application.recovery_returned < application.recovery_accepted:
                return False
            if any(not self.hosts[member].habits.hold for member in host.processor.waiting_for):
                return False
            if application.held is not None and not host.habits.hold:
                return False
            places.add(application.last_seq)
        return len(places) <= 1

    def settled(self, nodes: Collection[int]) -> bool:
        """``formed`` and ``drained``."""
        return self.formed(nodes) and self.drained(nodes)

    def audits(self) -> list[Audit]:
        """The logs of all incarnations so far, by node and then by age."""
        return [audit for node in sorted(self.hosts) for audit, _ in self.hosts[node].logs()]

    def transcripts(self) -> list[Transcript]:
        """The same logs as the judge reads them, each with what the application was given."""
        return [transcript for _, transcripts in self._transcripts_by_node() for transcript in transcripts]

    def _transcripts_by_node(self) -> Iterator[tuple[int, list[Transcript]]]:
        for node in sorted(self.hosts):
            yield (
                node,
                [
                    Transcript.from_audit(audit, events, ended=ended)
                    for audit, (events, ended) in self.hosts[node].logs()
                ],
            )

    def places(self, nodes: Iterable[int]) -> dict[tuple[int, int], int]:
        """Of each of these living processors, by (node, incarnation), how many records its log has now."""
        logs = [(node, self._alive(node).audit) for node in nodes]
        return {(node, audit[0][2]): len(audit) for node, audit in logs}

    def judge(self, complete: Iterable[int] | None = None, stretches: Sequence[Stretch] = ()) -> list[Violation]:
        """What is wrong with all that happened so far; empty if nothing.

        ``complete`` names the nodes that should by now be together and have everything; ``stretches`` are parts of the
        run over which stability is asked for. Processors that do not ``belong`` are judged by themselves.
        """
        violations: list[Violation] = []
        strangers: dict[tuple[Any, ...], list[Transcript]] = {}
        transcripts: list[Transcript] = []
        retransmits_max = 0
        for node, logs in self._transcripts_by_node():
            config = self.hosts[node].config
            group = transcripts if self.belongs(node) else strangers.setdefault(_limits(config), [])
            group.extend(logs)
            retransmits_max = max(retransmits_max, config.retransmits_max)
        for others in strangers.values():
            config = self.hosts[others[0].node].config
            violations += judge(
                others,
                quorum=config.quorum,
                window_size=config.window_size,
                retransmits_max=retransmits_max,
                origin=self.origin,
            )
        lives: Sequence[tuple[int, int]] | None = None
        if complete is not None:
            last = {transcript.node: transcript.incarnation for transcript in transcripts}
            lives = [(node, last[node]) for node in sorted(complete)]
        return violations + judge(
            transcripts,
            quorum=self.config.quorum,
            complete=lives,
            storage_survives=self.storage_survived,
            window_size=self.config.window_size,
            retransmits_max=retransmits_max,
            origin=self.origin,
            stretches=stretches,
        )

    def belongs(self, node: int) -> bool:
        """Whether a processor has this cluster's name and limits, so that it can be on a ring with the others."""
        return _limits(self._host(node).config) == _limits(self.config)

    def log_hash(self) -> str:
        """A digest of all logs: two histories with one hash are the same."""
        digest = hashlib.blake2b(digest_size=16)
        update = digest.update
        rings: dict[RingId, bytes] = {}
        for audit in self.audits():
            for entry in audit:
                update(_canonical(entry, rings))
            update(b"\n")
        return digest.hexdigest()

    def _host(self, node: int) -> Host:
        host = self.hosts.get(node)
        if host is None:
            known = ", ".join(map(str, sorted(self.hosts))) or "none"
            raise ValueError(f"node {node} was never started; those that were: {known}")
        return host

    def _alive(self, node: int) -> Host:
        host = self._host(node)
        if host.processor is None:
            raise ValueError(f"node {node} does not run now; restart it first")
        return host

    def note(self, what: str) -> None:
        """Tell who watches this run, if anybody does."""
        if self.watch is not None:
            self.watch.note(what)

    def _say(self, text: str) -> None:
        if self.trace is not None:
            self.trace(f"{self.timeline.now:12.6f}  {text}")


def _limits(config: Config) -> tuple[Any, ...]:
    """What processors of one ring have in common."""
    return (config.cluster, *(getattr(config, name) for name in MUST_BE_EQUAL))


def _call(call: Callable[[], object], _: object) -> None:
    call()


def _torn(random: random_module.Random, new: int, old: int) -> int:
    """What is read of a number of 8 bytes when only some of them were written over the old ones."""
    written = new.to_bytes(8, "big"), old.to_bytes(8, "big")
    return int.from_bytes(bytes(random.choice(pair) for pair in zip(*written, strict=True)), "big")


def _canonical(entry: tuple[Any, ...], rings: dict[RingId, bytes]) -> bytes:
    """The text of a record, the same wherever and whenever it is made. The frequent ones are made fast."""
    tag = entry[0]
    if tag == "TOKEN":
        ring = rings.get(entry[1])
        if ring is None:
            ring = rings[entry[1]] = str(entry[1]).encode()
        return b"T%b %d %d %d %d %d %d;" % (ring, *entry[2:])
    if tag == "DELV":
        message: Message = entry[1]
        ring = rings.get(message.ring_id)
        if ring is None:
            ring = rings[message.ring_id] = str(message.ring_id).encode()
        return b"D%b %d %d %d %d %d %b;" % (
            ring,
            message.seq,
            message.sender,
            message.priority,
            message.guarantee,
            len(message.payload),
            message.payload,
        )
    if tag == "SUBMIT":
        return b"S%d %d %d %b;" % (entry[1], entry[2], len(entry[3]), entry[3])
    return repr(entry).encode()
