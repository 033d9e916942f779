"""Carries out a plan, system by system beside each other, and collects what the runs gave.

The systems are interleaved: for each repetition and each size all systems follow one another within seconds, and every
repetition starts their processes anew. So what the machine's neighbours do comes over all of them alike, and ratios are
made within a repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bench.suite.measure import Load, Timing, crash, measure
from bench.suite.member import RunOrder
from bench.suite.plan import SuitePlan
from bench.suite.processes import MemberFailedError
from bench.suite.systems import Session, System

__all__ = ["Runner", "saturated_rate"]

Record = dict[str, Any]

_CRASH_TIMEOUT_S = 30.0
_RATE_MIN = 100.0


def saturated_rate(figures: Record) -> float:
    """The rate that shares are taken of: what the slowest receiver got, and never nothing."""
    return max(_RATE_MIN, float(figures["messages_per_s"]))


class Runner:
    """``records`` has one entry for each run, as they were made; ``failures`` those that could not be made."""

    def __init__(
        self, plan: SuitePlan, on_record: Callable[[Record], None], on_failure: Callable[[Record], None]
    ) -> None:
        self.records: list[Record] = []
        self.failures: list[Record] = []
        self.absent: dict[str, str] = {}
        """Systems that cannot be measured here, and why."""
        self._plan = plan
        self._on_record = on_record
        self._on_failure = on_failure
        self._nodes = list(range(1, plan.nodes + 1))

    def run(self) -> None:
        """Everything, repetition by repetition."""
        parts = {"throughput": self._throughput, "latency": self._latency, "crash": self._crash}
        for repetition in range(self._plan.repetitions):
            for part in self._plan.parts:
                parts[part](repetition)

    def _here(self, systems: tuple[System, ...]) -> Iterator[System]:
        for system in systems:
            reason = system.missing()
            if reason is None:
                yield system
            else:
                self.absent[f"{system.name}, {system.network}"] = reason

    def _throughput(self, repetition: int) -> None:
        plan = self._plan
        for size in plan.sizes:
            for system in self._here(plan.systems):
                if size not in plan.fitting(system):
                    continue

                def both(session: Session, system: System = system, size: int = size) -> None:
                    for everybody in (False, True):
                        load = Load(RunOrder.SATURATE, size, everybody)
                        self._note("throughput", system, repetition, load, measure(system, session, load, plan.timing))

                self._in_session("throughput", system, repetition, both)

    def _latency(self, repetition: int) -> None:
        for system in self._here(self._plan.latency_systems):

            def all_kinds(session: Session, system: System = system) -> None:
                self._latencies(system, session, repetition)

            self._in_session("latency", system, repetition, all_kinds)

    def _latencies(self, system: System, session: Session, repetition: int) -> None:
        plan, size = self._plan, self._plan.latency_size
        if RunOrder.LISTEN in system.kinds:
            load = Load(RunOrder.LISTEN, size)
            self._note("idle", system, repetition, load, measure(system, session, load, Timing(0.3, plan.idle_s)))
        if RunOrder.PING in system.kinds:
            load = Load(RunOrder.PING, size)
            self._note("ping", system, repetition, load, measure(system, session, load, plan.timing))
        # The rate is that of this session, just before: the shares then mean what they say.
        saturated = measure(system, session, Load(RunOrder.SATURATE, size, True), plan.timing)
        for share in plan.shares:
            load = Load(RunOrder.PACED, size, True, share * saturated_rate(saturated))
            figures = measure(system, session, load, plan.timing)
            self._note("paced", system, repetition, load, {**figures, "share": share})

    def _crash(self, repetition: int) -> None:
        # By turns: the last member, and the first, which in a ring has duties of its own.
        victim = self._nodes[-1] if repetition % 2 == 0 else self._nodes[0]
        for system in self._here(self._plan.crash_systems):

            def kill(session: Session, system: System = system) -> None:
                measure(system, session, Load(RunOrder.LISTEN, self._plan.latency_size), Timing(0.0, 0.5))
                figures = crash(session, victim, _CRASH_TIMEOUT_S)
                self._note(
                    "crash",
                    system,
                    repetition,
                    Load(RunOrder.LISTEN, 0),
                    {**figures, "token_timeout_ms": system.token_timeout_ms},
                )

            self._in_session("crash", system, repetition, kill)

    def _in_session(self, part: str, system: System, repetition: int, work: Callable[[Session], None]) -> None:
        try:
            with system.open(self._nodes) as session:
                work(session)
        except MemberFailedError as error:
            failure = {"part": part, **_who(system), "repetition": repetition, "reason": str(error)}
            self.failures.append(failure)
            self._on_failure(failure)

    def _note(self, part: str, system: System, repetition: int, load: Load, figures: Record) -> None:
        record = {
            "part": part,
            **_who(system),
            "repetition": repetition,
            "size": load.size,
            "senders": "all" if load.everybody else "one",
            **({"rate": load.rate} if load.rate else {}),
            **figures,
        }
        self.records.append(record)
        self._on_record(record)


def _who(system: System) -> Record:
    return {"system": system.name, "family": system.family, "network": system.network}
