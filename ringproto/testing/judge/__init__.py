"""The judge: logs of a run, held against the rules that docs/testing.md lists."""

from __future__ import annotations

from ringproto.testing.judge.rules import RULES, Stretch, Violation, judge

__all__ = ["RULES", "Stretch", "Violation", "judge"]
