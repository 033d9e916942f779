"""One run on a session: tell the members what to do and when, collect their logs, and make figures of them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.suite.checks import ReceiverLog, faults
from bench.suite.member import RunOrder
from bench.suite.processes import MemberProcess
from bench.suite.statistics import curve, percentiles
from bench.suite.systems import Session, System

__all__ = ["Load", "Timing", "crash", "measure"]

_ANSWER_S = 10.0
_DRAIN_S = 60.0
_LOSSY_DRAIN_S = 0.3
_AHEAD_NS = 50_000_000


class Load(NamedTuple):
    """What the members do in a run."""

    kind: int
    """One of the constants of ``RunOrder``."""
    size: int
    """Bytes of a payload."""
    everybody: bool = False
    """Whether all members send, or one."""
    rate: float = 0.0
    """Messages a second of all senders together, if they are paced."""


class Timing(NamedTuple):
    """Seconds of a run."""

    warmup_s: float
    measured_s: float


def measure(system: System, session: Session, load: Load, timing: Timing) -> dict[str, Any]:
    """Make one run and return its figures.

    Raises:
        MemberFailedError: a member ended or did not answer.
    """
    members = session.members
    changes_before = _changes(session)
    senders = list(members) if load.everybody else [session.first_sender]
    round_number = next(session.rounds)
    plan = _plan(load, timing, len(senders))
    for node, member in members.items():
        turn = senders.index(node) if node in senders else 0
        member.tell(
            "prepare",
            kind=load.kind,
            round=round_number,
            size=load.size,
            sending=int(node in senders),
            first_ns=plan["interval_ns"] * turn // len(senders),
            interval_ns=plan["interval_ns"],
            total=plan["total"],
        )
    for member in members.values():
        member.wait_for("prepared", _ANSWER_S)
    start_ns = time.monotonic_ns() + _AHEAD_NS
    measure_ns = start_ns + round(timing.warmup_s * 1e9)
    end_ns = measure_ns + round(timing.measured_s * 1e9)
    for member in members.values():
        member.tell("start", start_ns=start_ns, measure_ns=measure_ns, end_ns=end_ns)
    busy = _busy_between(measure_ns, end_ns)
    patience_s = _ANSWER_S + timing.warmup_s + timing.measured_s
    sent = {node: member.wait_for("sent", patience_s)["sent"] for node, member in members.items()}
    until_ns = time.monotonic_ns() + round((_LOSSY_DRAIN_S if system.lossy else _DRAIN_S) * 1e9)
    for member in members.values():
        member.tell("drain", total=sum(sent.values()), until_ns=until_ns)
    reports = {node: member.wait_for("done", _DRAIN_S + _ANSWER_S) for node, member in members.items()}
    logs = {node: ReceiverLog.read(member.log_stem) for node, member in members.items()}
    sent = {node: sent[node] for node in senders}
    found = faults(logs, sent, round_number, ordered=system.ordered)
    values = _figures(load, logs, reports, (measure_ns, end_ns), senders)
    return {
        **values,
        "sent": sum(sent.values()),
        "changes": _changes(session) - changes_before,
        "machine_busy_cores": busy,
        "faults": found.as_dict(),
        "forgiven": system.lossy,
    }


def _changes(session: Session) -> int:
    """Changes of the group that its members told of."""
    return max(member.said_counts["complete"] for member in session.members.values())


def _plan(load: Load, timing: Timing, senders: int) -> dict[str, int]:
    if load.kind != RunOrder.PACED:
        return {"interval_ns": 1, "total": 0}
    interval_ns = max(1, round(1e9 * senders / load.rate))
    return {"interval_ns": interval_ns, "total": int((timing.warmup_s + timing.measured_s) * 1e9 / interval_ns)}


def _figures(
    load: Load,
    logs: Mapping[int, ReceiverLog],
    reports: Mapping[int, Mapping[str, int]],
    window: tuple[int, int],
    senders: Sequence[int],
) -> dict[str, Any]:
    measured_s = (window[1] - window[0]) / 1e9
    delivered = {node: log.delivered(*window) for node, log in logs.items()}
    cores = {node: report["cpu_ns"] / max(1, report["wall_ns"]) for node, report in reports.items()}
    slowest = min(delivered.values())
    values: dict[str, Any] = {
        "delivered_per_s": {node: count / measured_s for node, count in delivered.items()},
        "messages_per_s": slowest / measured_s,
        "megabytes_per_s": slowest * load.size / measured_s / 1e6,
        "cores": cores,
    }
    if sum(delivered.values()):
        values["cpu_us_per_delivery"] = 1e6 * measured_s * sum(cores.values()) / sum(delivered.values())
        values["longest_silence_ms"] = max(log.longest_silence(*window) for log in logs.values()) / 1e6
    if load.kind in (RunOrder.PING, RunOrder.PACED):
        (sender,) = senders if len(senders) == 1 else (None,)
        everywhere = sorted(one for log in logs.values() for one in log.latencies(*window))
        own = sorted(logs[sender].latencies(*window)) if sender is not None else []
        values["latency_ns"] = {"count": len(everywhere), **percentiles(everywhere)}
        values["latency_curve_ns"] = curve(everywhere)
        if own:
            values["own_latency_ns"] = {"count": len(own), **percentiles(own)}
            values["own_latency_curve_ns"] = curve(own)
    return values


def crash(session: Session, victim: int, timeout_s: float) -> dict[str, Any]:
    """Kill a member; how long until the survivors may send without it, in ms, at the slowest of them.

    Raises:
        MemberFailedError: a survivor does not say so in time.
    """
    before_ns = time.monotonic_ns()
    session.kill(victim)
    survivors = {node: member for node, member in session.members.items() if node != victim}
    each = {node: _complete_after(before_ns, m, len(survivors), timeout_s) / 1e6 for node, m in survivors.items()}
    return {"victim": victim, "each_ms": each, "slowest_ms": max(each.values())}


def _complete_after(before_ns: int, member: MemberProcess, members: int, timeout_s: float) -> int:
    """When a member stood in a group of so many, in ns after ``before_ns``; what it said of the past is passed over."""
    while True:
        time_ns: int = member.wait_for("complete", timeout_s, members=members)["time_ns"]
        if time_ns > before_ns:
            return time_ns - before_ns


def _busy_between(from_ns: int, to_ns: int) -> float:
    """Cores of the machine that were busy, with whatever, between two times to come."""
    looks = []
    for time_ns in (from_ns, to_ns):
        time.sleep(max(0.0, (time_ns - time.monotonic_ns()) / 1e9))
        looks.append((time.monotonic(), _busy_s()))
    (since, before), (until, after) = looks
    return (after - before) / max(1e-9, until - since)


def _busy_s() -> float:
    user, nice, system, _, _, hard, soft, *_ = map(int, Path("/proc/stat").read_text().split(None, 8)[1:8])
    return (user + nice + system + hard + soft) / os.sysconf("SC_CLK_TCK")
