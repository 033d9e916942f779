"""What a demonstration is to do, and what it did."""

from __future__ import annotations

import dataclasses

from ringproto.cli.demo.checks import Check
from ringproto.cli.demo.log import ProcessLog
from ringproto.cli.demo.records import Record

__all__ = ["DemoPlan", "Outcome"]


@dataclasses.dataclass(frozen=True)
class DemoPlan:
    """What one run is to do."""

    file: str | None
    source: str
    records: list[Record]
    left_out: bool
    nodes: tuple[int, ...]
    transport: str
    seconds: float
    seed: int
    victim: int
    kill_at: float
    """Part of all records after which the victim is killed."""
    return_after: float
    """Part of all records that the survivors apply, after their recovery, before it comes back."""

    @property
    def quorum(self) -> int:
        """More than half, so that only one part of a divided ring goes on. Of two processors the survivor must."""
        return len(self.nodes) // 2 + 1 if len(self.nodes) > 2 else 1


@dataclasses.dataclass
class Outcome:
    """What one run did."""

    plan: DemoPlan
    start_s: float
    lives: list[ProcessLog] = dataclasses.field(default_factory=list)
    marks: list[tuple[float, str]] = dataclasses.field(default_factory=list)
    """What the supervisor did, with the time."""
    kill_s: float | None = None
    checks: list[Check] = dataclasses.field(default_factory=list)
    failure: str | None = None
    """Why the run was broken off."""

    @property
    def held(self) -> bool:
        """Whether the run came to its end and everything was as it must be."""
        return self.failure is None and bool(self.checks) and all(check.held for check in self.checks)
