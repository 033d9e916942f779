"""What the demonstration tells: lines and a bar while it runs, then a timeline, latencies and the verdicts.

The timeline is derived from the logs. One row is one configuration, however many processors installed it; its recovery
lasts, at each processor, from the regular configuration to RecoveryComplete, and the row has the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ringproto.cli._common import console
from ringproto.cli.demo.log import Complete, Entry, Note, ProcessLog, Regular
from ringproto.cli.demo.plan import Outcome
from ringproto.cli.histogram import add_encoded, new_histogram, summary_ms

__all__ = ["Reporter", "document", "timeline"]

_LINE_EVERY = 0.1
"""Without a terminal to draw a bar on, a line each time this part more of the records was applied."""


class Reporter:
    """The terminal's side of a run; ``quiet`` tells nothing. A context manager round the run."""

    def __init__(self, *, quiet: bool, total: int = 0) -> None:
        self._quiet = quiet
        self._total = total
        self._lined = 0.0
        self._rings: set[tuple[str, str]] = set()
        self._bar: Any = None
        self._task: Any = None
        self._console: Any = None
        if not quiet:
            self._console = console()

    def __enter__(self) -> Reporter:
        if self._console is not None and self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("records applied"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("records", total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def line(self, at_s: float, who: str, what: str) -> None:
        """Tell one thing that happened."""
        if self._console is not None:
            self._console.print(f"{at_s:7.2f} s  {who:<12} {what}", soft_wrap=True)

    def applied(self, at_s: float, count: int) -> None:
        """The farthest replica has applied so many records."""
        if self._bar is not None:
            self._bar.update(self._task, completed=count)
        elif self._total and count / self._total >= self._lined + _LINE_EVERY:
            self._lined = count / self._total
            self.line(at_s, "", f"{count:,} of {self._total:,} records applied")

    def entries(self, life: ProcessLog, entries: Sequence[Entry], start_s: float) -> None:
        """A process logged something. A configuration is told once, by the first who logs it."""
        for entry in entries:
            if isinstance(entry, Note):
                self.line(entry.time_s - start_s, f"processor {life.name}", _note_text(entry))
            elif isinstance(entry, (Regular, Complete)) and len(entry.members) > 1:
                key = (type(entry).__name__, entry.ring)
                if key not in self._rings:
                    self._rings.add(key)
                    text = f"configuration {_short(entry.ring)} of {_members(entry.members)}"
                    if isinstance(entry, Complete):
                        text = f"RecoveryComplete of {_short(entry.ring)} at seq {entry.seq}: HIGH and LOW flow"
                    self.line(entry.time_s - start_s, f"processor {life.name}", text)

    def finish(self, outcome: Outcome) -> None:
        """The timeline, the latencies and the verdicts."""
        from rich.table import Table

        out = self._console
        table = Table(title="Timeline", title_justify="left")
        for heading in ("at", "who", "what", "recovery"):
            table.add_column(heading, justify="right" if heading in ("at", "recovery") else "left")
        for row in timeline(outcome):
            table.add_row(f"{row['at_s']:.2f} s", row["who"], row["text"], _duration(row.get("recovery_s")))
        out.print(table)
        table = Table(title="Latency from send to own delivery, in ms", title_justify="left")
        columns = ("p50", "p90", "p99", "p99.9", "p99.99", "max")
        for heading in ("priority", "messages", *columns):
            table.add_column(heading, justify="left" if heading == "priority" else "right")
        for name, values in _latencies(outcome).items():
            if values["count"]:
                table.add_row(name, f"{values['count']:,}", *(f"{values[column]:.2f}" for column in columns))
        out.print(table)
        for check in outcome.checks:
            out.print(f"{'held  ' if check.held else 'BROKEN'}  {check.name:<9} {check.says}", soft_wrap=True)
            for violation in check.violations:
                out.print(f"        {violation}", soft_wrap=True)
        stop_s = _stop_s(outcome)
        if stop_s is not None:
            out.print(f"From the kill until HIGH and LOW flowed again: {stop_s:.2f} s.")
        if outcome.held:
            final = next(life for life in outcome.lives if not life.killed).report
            out.print(
                f"Everything held: {len(outcome.plan.nodes)} replicas with {final['entries']:,} entries and one state, "
                f"{final['state_hash'][:16]}. Seed {outcome.plan.seed}."
            )
        else:
            out.print(f"Something did not hold. Seed {outcome.plan.seed}.")


def timeline(outcome: Outcome) -> list[dict[str, Any]]:
    """What happened, in order of time: the supervisor's acts, the configurations, and what the replicas noted."""
    rows: list[dict[str, Any]] = [
        {"at_s": at_s - outcome.start_s, "who": "supervisor", "what": "act", "text": text}
        for at_s, text in outcome.marks
    ]
    rings: dict[str, dict[str, Any]] = {}
    for life in outcome.lives:
        installed: dict[str, float] = {}
        for entry in life.entries:
            if isinstance(entry, Regular):
                installed[entry.ring] = entry.time_s
                row = rings.setdefault(entry.ring, _ring_row(entry, outcome.start_s))
                row["at_s"] = min(row["at_s"], entry.time_s - outcome.start_s)
                row["processors"].append(life.name)
                row["left"] = sorted(set(row["left"]) | set(entry.left))
            elif isinstance(entry, Complete) and entry.ring in installed:
                row = rings[entry.ring]
                row["seq"] = entry.seq
                row["recovery_s"] = max(row["recovery_s"] or 0.0, entry.time_s - installed[entry.ring])
                row["complete_at_s"] = max(row["complete_at_s"] or 0.0, entry.time_s - outcome.start_s)
            elif isinstance(entry, Note):
                at_s = entry.time_s - outcome.start_s
                fields = {"at_s": at_s, "who": life.name, "what": entry.what, "text": _note_text(entry)}
                rows.append({**fields, "facts": entry.facts})
    for row in rings.values():
        row["who"] = " ".join(sorted(row["processors"]))
        row["text"] = f"configuration {_short(row['ring'])} of {_members(row['members'])}" + (
            f", {_members(row['left'])} left" if row["left"] else ""
        )
        if row["recovery_s"] is None:
            row["text"] += "; no quorum" if not row["primary"] else "; its recovery was not completed"
    rows.extend(rings.values())
    return sorted(rows, key=lambda row: float(row["at_s"]))


def document(outcome: Outcome) -> dict[str, Any]:
    """Everything about the run as JSON values."""
    plan = outcome.plan
    return {
        "command": "demo",
        "held": outcome.held,
        "failure": outcome.failure,
        "settings": {
            "source": plan.source,
            "records": len(plan.records),
            "records_left_out": plan.left_out,
            "nodes": list(plan.nodes),
            "transport": plan.transport,
            "quorum": plan.quorum,
            "seconds": plan.seconds,
            "seed": plan.seed,
            "victim": plan.victim,
        },
        "kill_to_complete_s": _stop_s(outcome),
        "timeline": timeline(outcome),
        "latency_ms": _latencies(outcome),
        "checks": [
            {"name": check.name, "says": check.says, "held": check.held, "violations": check.violations}
            for check in outcome.checks
        ],
        "processors": [
            {
                "node": life.node,
                "life": life.number,
                "killed": life.killed,
                **{k: v for k, v in life.report.items() if k != "histograms"},
            }
            for life in outcome.lives
        ],
    }


def _ring_row(entry: Regular, start_s: float) -> dict[str, Any]:
    return {
        "at_s": entry.time_s - start_s,
        "what": "configuration",
        "ring": entry.ring,
        "members": list(entry.members),
        "left": [],
        "primary": entry.primary,
        "processors": [],
        "seq": None,
        "recovery_s": None,
        "complete_at_s": None,
    }


def _latencies(outcome: Outcome) -> dict[str, dict[str, float | int]]:
    summaries = {}
    for name, letter in (("HIGH", "h"), ("LOW", "l")):
        histogram = new_histogram()
        for life in outcome.lives:
            if "histograms" in life.report:
                add_encoded(histogram, life.report["histograms"][letter])
        summaries[name] = summary_ms(histogram)
    return summaries


def _stop_s(outcome: Outcome) -> float | None:
    """From the kill to the first completion after it, at the last of the survivors."""
    if outcome.kill_s is None:
        return None
    kill_s = outcome.kill_s
    firsts = [
        min((e.time_s for e in life.entries if isinstance(e, Complete) and e.time_s > kill_s), default=None)
        for life in outcome.lives
        if not life.killed and life.number == 0
    ]
    return None if None in firsts or not firsts else max(first for first in firsts if first is not None) - kill_s


def _note_text(note: Note) -> str:
    facts = note.facts
    if note.what == "state sent":
        text = f"sends its state, {facts['entries']:,} entries ({facts['bytes']:,} bytes), to {_members(facts['to'])}"
        return f"{text} in {_duration(facts['seconds'])}"
    return f"takes over the state of {facts['from']}: {facts['entries']:,} entries at revision {facts['revision']:,}"


def _members(members: Sequence[int]) -> str:
    return " ".join(map(str, members))


def _short(ring: str) -> str:
    return ".".join(ring.split(".")[:2])


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
