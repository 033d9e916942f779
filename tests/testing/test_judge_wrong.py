"""Every rule can fail: wrong logs, each made from a right one by one thing, and caught by the rule that it breaks.

The logs are in ``judge_wrong_*.py``. Some rules follow from others (E6.1-2 from the rules about places and ids, for
instance), and a log cannot break such a rule without another one. Then the case names all that are broken, its own
first.
"""

from __future__ import annotations

import judge_wrong_barrier
import judge_wrong_configurations
import judge_wrong_order
import judge_wrong_stability
import judge_wrong_stream
import pytest
from judge_logs import CASES

from ringproto.testing.judge import RULES

assert judge_wrong_barrier and judge_wrong_configurations and judge_wrong_order
assert judge_wrong_stability and judge_wrong_stream


@pytest.mark.parametrize("name", CASES)
def test_wrong_log_is_caught_by_its_rule(name: str) -> None:
    rules, make, options = CASES[name]
    violations = make().judge(**options)
    assert {violation.rule for violation in violations} == rules, "\n".join(map(str, violations))
    assert all(violation.text for violation in violations)


def test_every_rule_has_a_wrong_log() -> None:
    caught = {rule for rules, _, _ in CASES.values() for rule in rules}
    assert caught == {rule.removesuffix(" at the end") for rule in RULES}
    assert len(CASES) >= 60
