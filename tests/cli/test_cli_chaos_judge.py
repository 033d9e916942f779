"""The judge of a round in a process of its own says what the judge in this one would."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from ringproto.cli import chaos_judge
from ringproto.cli.chaos_judge import judge_beside
from ringproto.cli.chaos_record import RoundRecord
from ringproto.cli.chaos_script import draw_script
from ringproto.cli.chaos_verdict import judge_round


async def test_the_verdict_is_that_of_judge_round_and_is_found_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RoundRecord.of(draw_script(1))
    record.failures = ["the first thing", "and \N{SNOWMAN}, the second"]
    record.write(tmp_path)
    expected = judge_round(tmp_path)
    assert expected.wrong == ("conductor: the first thing", "conductor: and \N{SNOWMAN}, the second")

    def not_here(folder: Path) -> NoReturn:
        raise AssertionError("it was judged in the process of the conductors")

    monkeypatch.setattr(chaos_judge, "judge_round", not_here)
    assert await judge_beside(tmp_path) == expected


async def test_a_judge_that_fails_is_a_round_that_did_not_hold(tmp_path: Path) -> None:
    verdict = await judge_beside(tmp_path)
    (wrong,) = verdict.wrong
    assert wrong.startswith("judge: ended with exit code 1: ")
    assert wrong.endswith(f"UsageError: cannot read {tmp_path}/round.json: No such file or directory")
