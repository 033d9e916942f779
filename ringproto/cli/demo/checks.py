"""What must hold over the logs of a demonstration, each rule as a function of its own.

The rules are those of extended virtual synchrony and of the recovery barrier, as far as an application can see them in
its ordered stream, and the application's own: one state everywhere, every record in it once. They know nothing of the
implementation, and a log that breaks a rule gives a text that names the processor, the configuration and the message.
A killed process leaves a log without its end; what it lacks is no fault.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ringproto.cli.demo.log import PRIORITIES, Complete, Delivered, ProcessLog, Regular, StreamDigest, Transitional

__all__ = ["CHECKS", "Check", "Expected", "Part", "check_all", "parts_of"]

_VIOLATIONS_MAX = 5
"""Most violations that one check reports."""


class Expected(NamedTuple):
    """What the supervisor knows without asking a processor."""

    nodes: tuple[int, ...]
    quorum: int
    victim: int
    records: int
    contents_hash: str


class Check(NamedTuple):
    """The verdict on one rule."""

    name: str
    says: str
    violations: list[str]

    @property
    def held(self) -> bool:
        """Whether nothing broke the rule."""
        return not self.violations


@dataclasses.dataclass
class Part:
    """One regular configuration in a log, with the transitional one that follows it."""

    regular: Regular
    transitional: Transitional | None = None
    delivered: list[Delivered] = dataclasses.field(default_factory=list)
    delivered_transitional: list[Delivered] = dataclasses.field(default_factory=list)
    completes: list[Complete] = dataclasses.field(default_factory=list)
    complete_after: int = 0
    """How many messages of the configuration stood before the (first) completion."""
    complete_transitional: bool = False
    following: Regular | None = None

    @property
    def all_delivered(self) -> list[Delivered]:
        """The messages of the regular configuration and of its transitional one."""
        return self.delivered + self.delivered_transitional


def parts_of(life: ProcessLog) -> list[Part]:
    """The log by configurations. What stands before the first configuration is in no part (see the history check)."""
    parts: list[Part] = []
    for entry in life.entries:
        if isinstance(entry, Regular):
            if parts:
                parts[-1].following = entry
            parts.append(Part(entry))
        elif not parts:
            continue
        elif isinstance(entry, Transitional):
            parts[-1].transitional = entry
        elif isinstance(entry, Complete):
            part = parts[-1]
            if not part.completes:
                part.complete_after = len(part.all_delivered)
                part.complete_transitional = part.transitional is not None
            part.completes.append(entry)
        elif isinstance(entry, Delivered):
            part = parts[-1]
            (part.delivered if part.transitional is None else part.delivered_transitional).append(entry)
    return parts


class _CheckedLogs:
    """The logs, cut into parts once for all checks."""

    def __init__(self, lives: Sequence[ProcessLog], expected: Expected) -> None:
        self.lives = lives
        self.expected = expected
        self.parts = [(life, parts_of(life)) for life in lives]
        self.finals = [life for life in lives if not life.killed]


def check_all(lives: Sequence[ProcessLog], expected: Expected) -> list[Check]:
    """Hold every rule against the logs."""
    run = _CheckedLogs(lives, expected)
    verdicts = []
    for name, (rule, says) in CHECKS.items():
        violations: list[str] = []
        for text in rule(run):
            violations.append(text)
            if len(violations) == _VIOLATIONS_MAX:
                break
        verdicts.append(Check(name, says, violations))
    return verdicts


def _names(message: Delivered) -> str:
    return f"{PRIORITIES.get(message.priority, message.priority)} message {message.mid} at seq {message.seq}"


def _history(run: _CheckedLogs) -> Iterator[str]:
    members_of: dict[str, tuple[int, ...]] = {}
    for life, parts in run.parts:
        first = life.entries[0] if life.entries else None
        if not isinstance(first, Regular) or first.members != (life.node,):
            yield f"processor {life.name} did not begin with the configuration of itself alone"
        before: Part | None = None
        for part in parts:
            regular = part.regular
            where = f"processor {life.name}, configuration {regular.ring}"
            if life.node not in regular.members or list(regular.members) != sorted(set(regular.members)):
                yield f"{where}: its members are {regular.members}"
            if members_of.setdefault(regular.ring, regular.members) != regular.members:
                yield f"{where}: its members are {regular.members}, elsewhere {members_of[regular.ring]}"
            if regular.primary != (len(regular.members) >= run.expected.quorum):
                yield f"{where}: primary is {regular.primary} with {len(regular.members)} members"
            if before is not None:
                yield from _change(where, before, regular)
            before = part


def _change(where: str, before: Part, after: Regular) -> Iterator[str]:
    old, new = set(before.regular.members), set(after.members)
    between = before.transitional
    if between is None:
        yield f"{where}: no transitional configuration came before it"
    elif between.ring != before.regular.ring or not set(between.members) <= old & new:
        yield f"{where}: the transitional configuration before it was {between.members} of {between.ring}"
    if (set(after.joined), set(after.left)) != (new - old, old - new):
        yield f"{where}: joined {after.joined} and left {after.left} are not the difference"
    if _sequence(after.ring) <= _sequence(before.regular.ring):
        yield f"{where}: it follows {before.regular.ring}, and ring ids must rise"


def _sequence(ring: str) -> int:
    return int(ring.partition(".")[0])


def _order(run: _CheckedLogs) -> Iterator[str]:
    at_place: dict[str, dict[int, Delivered]] = {}
    for life, parts in run.parts:
        seen: set[str] = set()
        for part in parts:
            ring = part.regular.ring
            places = at_place.setdefault(ring, {})
            before = 0
            for message in part.all_delivered:
                where = f"processor {life.name}, configuration {ring}: {_names(message)}"
                if message.ring != ring:
                    yield f"{where} belongs to configuration {message.ring}"
                if message.seq <= before:
                    yield f"{where} came after seq {before}"
                before = message.seq
                known = places.setdefault(message.seq, message)
                if known != message:
                    yield f"{where} has the place of {_names(known)} elsewhere"
                if message.priority != "r":
                    if message.mid in seen:
                        yield f"{where} was delivered twice"
                    seen.add(message.mid)
            yield from _gaps(life, part)


def _gaps(life: ProcessLog, part: Part) -> Iterator[str]:
    """Without holes in a regular configuration: seqs after the completion follow one another, and so they do before it,
    where each member's unblock, which the application does not see, has one."""
    if not part.completes:
        return
    done = part.completes[0]
    where = f"processor {life.name}, configuration {part.regular.ring}"
    if part.complete_after + len(done.members) != done.seq:
        yield (
            f"{where}: RecoveryComplete is at seq {done.seq}, but {part.complete_after} messages and "
            f"{len(done.members)} unblocks stand before it"
        )
    expected = done.seq
    for message in part.delivered[part.complete_after :]:
        expected += 1
        if message.seq != expected:
            yield f"{where}: {_names(message)} came where seq {expected} was due"
            return


def _together(run: _CheckedLogs) -> Iterator[str]:
    first: dict[tuple[object, ...], tuple[ProcessLog, list[Delivered], object]] = {}
    for life, parts in run.parts:
        for part in parts:
            if part.transitional is None:
                continue
            done = part.completes[0].seq if part.completes and not part.complete_transitional else None
            steps: list[tuple[tuple[object, ...], list[Delivered], object]] = []
            if part.following is not None:
                # The next configuration tells transitional configurations of one ring apart.
                there = (part.regular.ring, part.transitional.members, part.following.ring)
                steps.append((("regular", *there), part.delivered, done))
                late = part.completes[0].seq if part.completes and part.complete_transitional else None
                steps.append((("transitional", *there), part.delivered_transitional, late))
            for key, delivered, completion in steps:
                other, known, known_completion = first.setdefault(key, (life, delivered, completion))
                where = f"processors {other.name} and {life.name} left configuration {part.regular.ring} together"
                if known != delivered:
                    yield f"{where}: {_difference(known, delivered)}"
                if known_completion != completion:
                    yield f"{where}, with RecoveryComplete at {known_completion} and at {completion}"


def _difference(one: list[Delivered], other: list[Delivered]) -> str:
    for a, b in zip(one, other, strict=False):
        if a != b:
            return f"one delivered {_names(a)}, the other {_names(b)}"
    longer = max(one, other, key=len)
    return f"only one delivered {_names(longer[min(len(one), len(other))])}"


def _barrier(run: _CheckedLogs) -> Iterator[str]:
    done_at: dict[str, int] = {}
    for life, parts in run.parts:
        for part in parts:
            where = f"processor {life.name}, configuration {part.regular.ring}"
            delivered = part.all_delivered
            before, after = delivered, delivered[:0]
            if part.completes:
                before, after = delivered[: part.complete_after], delivered[part.complete_after :]
            for message in before:
                if message.priority != "r":
                    yield f"{where}: {_names(message)} came before RecoveryComplete"
            for message in after:
                if message.priority == "r":
                    yield f"{where}: {_names(message)} came after RecoveryComplete"
            if len(part.completes) > 1:
                yield f"{where}: RecoveryComplete came {len(part.completes)} times"
            for done in part.completes:
                if done.ring != part.regular.ring or done.members != part.regular.members:
                    yield f"{where}: RecoveryComplete came for {done.members} of {done.ring}"
                if not part.regular.primary:
                    yield f"{where}: RecoveryComplete came without a quorum"
                if done_at.setdefault(done.ring, done.seq) != done.seq:
                    yield f"{where}: RecoveryComplete at seq {done.seq}, elsewhere at {done_at[done.ring]}"


def _accepted(run: _CheckedLogs) -> Iterator[str]:
    for life in run.lives:
        counts: dict[tuple[str, str], int] = {}
        for entry in life.entries:
            if not isinstance(entry, Delivered) or entry.priority == "r":
                continue
            origin, _, number = entry.mid.rpartition(".")
            if number[:1] != entry.priority or int(origin.partition(".")[0]) != entry.sender:
                yield f"processor {life.name}: {_names(entry)} came as sent by {entry.sender}"
            count, key = int(number[1:]), (origin, entry.priority)
            own = origin == f"{life.node}.{life.number}"
            due = counts.get(key, 0 if own else count)
            if (count != due) if own else (count < due):
                yield f"processor {life.name}: {_names(entry)} came where number {due} of its sender was due"
            counts[key] = count + 1
        if life.killed:
            continue
        for priority in ("h", "l"):
            accepted = life.accepted.get(priority, 0)
            delivered = counts.get((f"{life.node}.{life.number}", priority), 0)
            if delivered != accepted:
                yield (
                    f"processor {life.name}: {accepted} {PRIORITIES[priority]} messages were accepted, "
                    f"{delivered} were delivered to itself"
                )


def _state(run: _CheckedLogs) -> Iterator[str]:
    hashes: dict[str, str] = {}
    for life in run.finals:
        report = life.report
        if not report:
            yield f"processor {life.name} has no final state"
            continue
        hashes.setdefault(report["state_hash"], life.name)
        if len(hashes) > 1:
            yield f"processor {life.name} has another state than processor {next(iter(hashes.values()))}"
            return
        if report["contents_hash"] != run.expected.contents_hash or report["revision"] != run.expected.records:
            details = "; ".join(
                f"{what}: {', '.join(report[what])}" for what in ("missing", "doubled", "alien") if report.get(what)
            )
            yield (
                f"processor {life.name} applied {report['revision']} records to {report['entries']} entries, and it "
                f"should be {run.expected.records} records, each once ({details or 'a value differs'})"
            )
    if sorted(life.node for life in run.finals) != list(run.expected.nodes):
        yield f"the processors at the end are {sorted(life.node for life in run.finals)}, not {run.expected.nodes}"


def _stream(run: _CheckedLogs) -> Iterator[str]:
    for life in run.lives:
        given, audited = StreamDigest(), dict(life.audited)
        for entry in life.entries:
            given.add(entry)
            events, digest = given.state() if given.events in audited else (0, "")
            if events and digest != audited[events]:
                yield f"processor {life.name}: its first {events} events are not those that its ring delivered"
                break
        else:
            delivered = max(audited, default=0)
            if not life.killed and given.events != delivered:
                yield f"processor {life.name} was given {given.events} events, and its ring delivered {delivered}"


def _story(run: _CheckedLogs) -> Iterator[str]:
    victim = run.expected.victim
    survivors = set(run.expected.nodes) - {victim}
    killed = [life for life in run.lives if life.killed]
    if [life.node for life in killed] != [victim]:
        yield f"processor {victim} should have been killed, once"
    returned = [parts for life, parts in run.parts if life.node == victim and not life.killed]
    full = {p.regular.ring for parts in returned for p in parts if p.regular.members == run.expected.nodes}
    for life, parts in run.parts:
        if life.killed:
            continue
        if not parts or parts[-1].regular.members != run.expected.nodes or not parts[-1].completes:
            yield f"processor {life.name} did not end in a complete configuration of all"
        if not any(p.regular.ring in full and _flows(p) for p in parts):
            yield f"processor {life.name}: HIGH and LOW did not both flow after the return of processor {victim}"
        if life.node == victim:
            if not any(getattr(entry, "what", "") == "state taken over" for entry in life.entries):
                yield f"processor {life.name} came back and was not sent the state"
        elif not any(set(p.regular.members) <= survivors and _flows(p) for p in parts):
            yield f"processor {life.name} did not go on with HIGH and LOW without processor {victim}"


def _flows(part: Part) -> bool:
    return {"h", "l"} <= {message.priority for message in part.all_delivered}


CHECKS: dict[str, tuple[Callable[[_CheckedLogs], Iterator[str]], str]] = {
    "history": (_history, "configurations follow one another as extended virtual synchrony has it"),
    "order": (_order, "every place of every configuration's order has one message, the same everywhere, without gaps"),
    "together": (_together, "processors that went on together delivered the same sequence"),
    "barrier": (_barrier, "no HIGH or LOW before RecoveryComplete, which has one place in the order for all"),
    "accepted": (_accepted, "what a living processor accepted was delivered to it, once, first in first out"),
    "stream": (_stream, "the application was given what its ring says that it delivered, in that order"),
    "state": (_state, "every replica has the same state, with every record in it exactly once"),
    "story": (_story, "the kill, the going on, the return and the state transfer all happened"),
}
