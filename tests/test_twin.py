"""The compiled core and its sources are one program: the same seed gives the same history."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ringproto.testing.campaign.run import run_seed

LIGHT = (3, 14, 27, 36, 41)
FULL = (2,)

CHILD = """
import json, sys
import ringproto._core.membership.membership as module
from ringproto.testing.campaign.run import run_seed
assert module.__file__.endswith(".py"), module.__file__
seeds = json.loads(sys.argv[1])
print(json.dumps([run_seed(seed, light=light).log_hash for seed, light in seeds]))
"""


@pytest.mark.skipif(
    os.environ.get("RINGPROTO_INTERPRETED", "") not in ("", "0"), reason="this run has only the interpreted core"
)
def test_compiled_and_interpreted_core_write_the_same_history() -> None:
    seeds = [(seed, True) for seed in LIGHT] + [(seed, False) for seed in FULL]
    compiled = [run_seed(seed, light=light).log_hash for seed, light in seeds]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(seeds)],
        env={**os.environ, "RINGPROTO_INTERPRETED": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == compiled
    assert len(set(compiled)) == len(seeds)
