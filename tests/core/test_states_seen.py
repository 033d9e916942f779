"""The table of states, against what simulated processors do.

The compiled core does not show how it goes from state to state, so these seeds run interpreted in a process of their
own, in which the methods that change the state are watched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from test_states import EXPECTED

from ringproto._core.states import TABLE, TURN, Input, State

CHILD = """
import json, sys
from ringproto._core.membership.membership import Membership
from ringproto._core.states import Input
from ringproto.testing.campaign.run import run_seed

inputs, seen, step = [], set(), 0
handle, act, become = Membership.handle, Membership._act, Membership._become

def watched_handle(self, what, sender, body):
    inputs.append(Input(what).name)
    try:
        handle(self, what, sender, body)
    finally:
        inputs.pop()

def watched_act(self, change):
    global step
    before, step = step, 0
    try:
        act(self, change)
    finally:
        step = before

def watched_become(self, state, **part):
    global step
    if hasattr(self, "state"):
        seen.add((self.state.name, inputs[-1] if inputs else "TURN", state.name, step))
    step += 1
    become(self, state, **part)

Membership.handle, Membership._act, Membership._become = watched_handle, watched_act, watched_become
for seed in json.loads(sys.argv[1]):
    assert run_seed(seed, light=True).ok
print(json.dumps(sorted(seen)))
"""
SEEDS = [13, 91, 107, 150, 180, 193]
SHOWN_ELSEWHERE = {
    # The usual way of each ring.
    ("GATHER", "CONSENSUS", "RECOVERY"),
    ("RECOVERY", "TOKEN", "OPERATIONAL"),
    # The end of the ring sequences, and a stored one that was damaged: test_hostile_numbers.py.
    ("GATHER", "JOIN", "LEFT"),
    ("GATHER", "LEAVE", "LEFT"),
    ("GATHER", "CONSENSUS", "LEFT"),
    ("GATHER", "BEACON", "LEFT"),
    ("OPERATIONAL", "BEACON", "LEFT"),
    # Two processes with one id: test_duplicate_node.py.
    ("GATHER", "RESPONSE", "LEFT"),
    ("COMMIT", "RESPONSE", "LEFT"),
    ("RECOVERY", "RESPONSE", "LEFT"),
    ("OPERATIONAL", "RESPONSE", "LEFT"),
    # A processor with other limits, alone on its ring: test_refusal.py.
    ("OPERATIONAL", "REFUSE", "LEFT"),
    # The last other member goes, or the others agree after one was given up: test_states.py, beside its table.
    ("GATHER", "JOIN", "RECOVERY"),
    ("GATHER", "LEAVE", "RECOVERY"),
    ("GATHER", "LEAVE", "COMMIT"),
    ("GATHER", "CONSENSUS", "GATHER"),
    ("GATHER", "CONSENSUS", "COMMIT"),
    # A member is deaf, or the numbers of a ring have come to their end: test_papers_membership.py,
    # tests/simulation/test_scenario_long_life.py.
    ("RECOVERY", "TOKEN", "GATHER"),
    ("OPERATIONAL", "TOKEN", "GATHER"),
    ("OPERATIONAL", "TURN", "GATHER"),
    # A processor leaves in the moment in which everything has come to the others: test_papers_leaving.py.
    ("GATHER", "TURN", "LEFT"),
    ("COMMIT", "TURN", "LEFT"),
    ("RECOVERY", "TURN", "LEFT"),
    ("OPERATIONAL", "TURN", "LEFT"),
    ("OPERATIONAL", "TOKEN", "LEFT"),
    ("OPERATIONAL", "TOKEN_HOLD", "LEFT"),
    ("OPERATIONAL", "WAKE", "LEFT"),
}
"""What the table says and ``EXPECTED`` does not have, because it takes more than one input."""


def test_the_table_of_states_has_what_simulated_processors_do() -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(SEEDS)],
        env={**os.environ, "RINGPROTO_INTERPRETED": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    said = {
        (source.name, what.name, end.name) for source, row in TABLE.items() for what in row for end in row[what].next
    }
    said |= {(source.name, "TURN", end.name) for source, ends in TURN.items() for end in ends}
    seen = [tuple(change) for change in json.loads(child.stdout)]
    first = {change[:3] for change in seen if change[3] == 0}
    assert first <= said, "the table does not say this"
    anywhere = {(source, end) for source, _, end in said}
    assert {(source, end) for source, _, end, _ in seen} <= anywhere, "no input leads there, says the table"
    by_hand = {
        (source.name, what.name, end.name)
        for source, row in EXPECTED.items()
        for what in Input
        for end in State
        if end in TABLE[source][what].next and end in row[what].values()
    }
    assert said - by_hand == SHOWN_ELSEWHERE
