"""Programs on one loopback network: each opens a ring, reads the stream and remembers what it read.

A :class:`Program` is what an application would be. Its ring runs in a task of the test's nursery; ``stop()`` cancels it
and waits for its end, and what ``open_ring`` raised is kept in ``error``, as it came. Every ring writes an audit list,
and at the end of a test the judge reads them all.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
import trio
from blocking_loopback import BlockingLoopbackNetwork

from ringproto import (
    Config,
    Event,
    Message,
    RecoveryComplete,
    RegularConfiguration,
    Ring,
    RingError,
    RingId,
    TransitionalConfiguration,
    open_ring,
)
from ringproto.testing.judge import judge
from ringproto.testing.judge.transcript import Transcript
from ringproto.transports import LoopbackNetwork, Transport

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup as BaseExceptionGroup
else:
    BaseExceptionGroup = BaseExceptionGroup

trio_alone = pytest.mark.parametrize("driver", ["trio"])
"""For tests of what only the driver that is a task of trio does, or that would take too long in real time."""
thread_alone = pytest.mark.parametrize("driver", ["thread"])
"""For tests of what only the driver that is a thread does; they run in real time."""

Body = Callable[[Ring], Awaitable[None]]

LATENCY_S = (0.0001, 0.001)
"""What a datagram takes in these tests, unless one says otherwise: a local network."""


async def until(predicate: Callable[[], bool], what: str | Callable[[], str], within_s: float = 30.0) -> None:
    """Let time pass until the predicate holds; it is asked each half millisecond of the test's clock. If it asks for an
    element of a list that is not there yet, it does not hold yet."""

    def holds() -> bool:
        try:
            return predicate()
        except IndexError:
            return False

    with trio.move_on_after(within_s):
        while not holds():
            await trio.sleep(0.0005)
        return
    told = what if isinstance(what, str) else what()
    raise AssertionError(f"within {within_s} s it did not happen that {told}")


class Program:
    """One processor with its application."""

    def __init__(self, cluster: Cluster, transport: Transport, body: Body | None, arguments: dict[str, Any]) -> None:
        self.node = transport.node
        self.transport = transport
        self.events: list[Event] = []
        self.audit = cluster.new_audit()
        self.error: BaseException | None = None
        self.error_expected = False
        self.ended = trio.Event()
        self.reading = trio.Event()
        """While it is set, the application reads its stream."""
        self._cluster = cluster
        self._body = body
        self._arguments = arguments
        self._ring: Ring | None = None
        self._scope = trio.CancelScope()

    @property
    def ring(self) -> Ring:
        assert self._ring is not None, f"program {self.node} has no ring yet"
        return self._ring

    async def run(self) -> None:
        with self._scope:
            try:
                async with open_ring(self.transport, audit=self.audit, **self._arguments) as ring:
                    self._ring = ring
                    await (self._body or self._read)(ring)
            except BaseException as error:
                if is_cancellation(error) and trio.current_effective_deadline() == -math.inf:
                    raise
                self.error = error
                self._cluster.errors.append(self)
        self.ended.set()

    async def _read(self, ring: Ring) -> None:
        while True:
            await self.reading.wait()
            self.events += await ring.events.receive_batch()

    async def stop(self, within_s: float = 10.0) -> None:
        """Cancel it, and wait until it has left."""
        self.cancel()
        await self.end(within_s)

    def cancel(self) -> None:
        self._scope.cancel()

    async def end(self, within_s: float = 10.0) -> None:
        """Wait until it has ended by itself."""
        with trio.move_on_after(within_s):
            await self.ended.wait()
            return
        raise AssertionError(f"program {self.node} did not end within {within_s} s: {self._ring!r}")

    def crash(self) -> None:
        """It loses its power: nothing more gets out, and its log ends."""
        self._cluster.network.crash(self.node)
        self._cluster.end_audit(self.audit)
        self._scope.cancel()

    # What it has read

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.events if isinstance(event, Message)]

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.messages]

    @property
    def configurations(self) -> list[RegularConfiguration]:
        return [event for event in self.events if isinstance(event, RegularConfiguration)]

    @property
    def transitionals(self) -> list[TransitionalConfiguration]:
        return [event for event in self.events if isinstance(event, TransitionalConfiguration)]

    @property
    def completions(self) -> list[RecoveryComplete]:
        return [event for event in self.events if isinstance(event, RecoveryComplete)]

    def events_from(self, ring_id: RingId) -> list[Event]:
        """The stream from that regular configuration on."""
        for place, event in enumerate(self.events):
            if isinstance(event, RegularConfiguration) and event.ring_id == ring_id:
                return self.events[place:]
        return []


class Cluster:
    """Programs on one network; made by the fixture ``cluster``."""

    def __init__(self, nursery: trio.Nursery, driver: str) -> None:
        self.driver = driver
        """What drives the rings, as ``open_ring`` takes it."""
        self.network = self.new_network(seed=7, latency_s=LATENCY_S)
        self.programs: list[Program] = []
        self.quorum = 1
        self.errors: list[Program] = []
        """Programs that ended with an error."""
        self._audits: list[list[tuple[Any, ...]]] = []
        self._streams: dict[int, list[Event]] = {}
        """What the applications that read their whole stream were given, by the place of their audit."""
        self._nursery = nursery

    def new_network(self, **arguments: Any) -> LoopbackNetwork:
        """A network that the driver can use."""
        return BlockingLoopbackNetwork(**arguments) if self.driver == "thread" else LoopbackNetwork(**arguments)

    def new_audit(self) -> list[tuple[Any, ...]]:
        """An audit list that the judge will read; programs have one each."""
        self._audits.append([])
        return self._audits[-1]

    def end_audit(self, audit: list[tuple[Any, ...]]) -> None:
        """The processor that writes it is dead: what comes after this moment is nothing that it did."""
        place = self._place(audit)
        if place in self._streams:
            self._streams[place] = [*self._streams[place]]
        self._audits[place] = [*audit] if ("STOP", "clean") in audit else [*audit, ("STOP", "crash")]

    def drop_audit(self, audit: list[tuple[Any, ...]]) -> None:
        """It is of a processor with another quorum, and the judge knows but one."""
        self._audits[self._place(audit)] = []

    def _place(self, audit: list[tuple[Any, ...]]) -> int:
        return next(place for place, one in enumerate(self._audits) if one is audit)

    def start(
        self,
        node: int,
        *,
        reads: bool = True,
        body: Body | None = None,
        transport: Transport | None = None,
        **arguments: Any,
    ) -> Program:
        """Start a program. ``body`` replaces the application that reads; the other arguments are ``open_ring``'s."""
        arguments.setdefault("config", Config.testing())
        arguments.setdefault("driver", self.driver)
        arguments.setdefault("seed", bytes([node, len(self.programs), *range(14)]))
        if len(self.programs) == 0 and arguments["config"] is not None:
            self.quorum = arguments["config"].quorum
        program = Program(self, transport or self.network.open(node), body, arguments)
        if reads:
            program.reading.set()
        if body is None:
            self._streams[self._place(program.audit)] = program.events
        self.programs.append(program)
        self._nursery.start_soon(program.run, name=f"program {node}")
        return program

    async def form(self, *nodes: int, **arguments: Any) -> list[Program]:
        """Start programs and wait until they are one ring whose barrier is complete."""
        programs = [self.start(node, **arguments) for node in nodes]
        await self.settled(*programs)
        return programs

    async def settled(
        self, *programs: Program, others: Collection[Program] = (), within_s: float = 30.0
    ) -> RegularConfiguration:
        """Wait until these programs, and no others, are in one configuration and have read its completion.

        ``others`` are members too, whose stream nobody asks for.
        """
        members = tuple(sorted(program.node for program in (*programs, *others)))
        await until(
            lambda: self.check() or in_one_configuration(programs, members),
            lambda: f"programs {members} settled; they are {[program._ring for program in programs]}",
            within_s,
        )
        return programs[0].configurations[-1]

    async def met(self, *programs: Program, within_s: float = 30.0) -> None:
        """Wait until these programs are in one configuration, with its barrier up or down."""
        members = tuple(sorted(program.node for program in programs))
        await until(
            lambda: all(
                program._ring is not None and program.ring.configuration.members == members for program in programs
            ),
            lambda: f"programs {members} met; they are {[program._ring for program in programs]}",
            within_s,
        )

    async def settled_others(self, *programs: Program, within_s: float = 30.0) -> None:
        """As :meth:`settled`, asked of the rings, for programs that do not read their stream."""
        members = tuple(sorted(program.node for program in programs))
        await until(
            lambda: all(
                program._ring is not None
                and program.ring.configuration.members == members
                and not program.ring.waiting_for
                for program in programs
            ),
            lambda: f"programs {members} settled; they are {[program._ring for program in programs]}",
            within_s,
        )

    def check(self) -> bool:
        """False; raises if a program failed that was not expected to."""
        for program in self.errors:
            if not program.error_expected:
                raise AssertionError(f"program {program.node} failed: {program.error!r}") from program.error
        return False

    async def delivered(self, payloads: Collection[bytes], *programs: Program, within_s: float = 30.0) -> None:
        """Wait until these programs have read all these payloads."""
        wanted = set(payloads)
        await until(
            lambda: all(wanted.issubset(program.payloads) for program in programs),
            f"all of {len(wanted)} payloads were delivered to {[program.node for program in programs]}",
            within_s,
        )

    async def close(self) -> None:
        """End all programs, and hold what they did against the rules."""
        for program in self.programs:
            if not program.ended.is_set():
                await program.stop()
        self.check()
        ended = {self._place(program.audit) for program in self.programs if await self._read_rest(program)}
        transcripts = [
            Transcript.from_audit(audit, self._streams.get(place), ended=place in ended)
            for place, audit in enumerate(self._audits)
            if audit
        ]
        violations = judge(transcripts, quorum=self.quorum)
        if violations:
            raise AssertionError("the judge says:\n" + "\n".join(map(str, violations)))

    async def _read_rest(self, program: Program) -> bool:
        """Read what is left in the stream of a program that has left, beside what its application was given; whether
        that came to the end. A program that was killed, or whose audit nobody reads, has no more to read."""
        stream = next((events for events in self._streams.values() if events is program.events), None)
        if stream is None or program._ring is None or not any(audit is program.audit for audit in self._audits):
            return False
        place = self._place(program.audit)
        rest: list[Event] = []
        try:
            with trio.fail_after(10.0):
                while True:
                    rest += await program.ring.events.receive_batch()
        except trio.EndOfChannel:
            self._streams[place] = [*stream, *rest]
            return True
        except (RingError, trio.ClosedResourceError):
            return False


def in_one_configuration(programs: Collection[Program], members: tuple[int, ...]) -> bool:
    last = []
    for program in programs:
        if not program.completions or program.completions[-1].ring_id != program.configurations[-1].ring_id:
            return False
        last.append(program.configurations[-1])
    return len({configuration.ring_id for configuration in last}) == 1 and last[0].members == members


def is_cancellation(error: BaseException) -> bool:
    """Whether it is ``trio.Cancelled``, or a group of nothing else, which is what a nursery makes of several."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_cancellation, error.exceptions))
    return isinstance(error, trio.Cancelled)


def numbered(prefix: str, count: int, filler: int = 0) -> list[bytes]:
    """Payloads that are unique for ever, in the form that the judge knows messages by."""
    return [f"{prefix}.{number}|".encode() + b"x" * filler for number in range(count)]
