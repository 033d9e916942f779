"""The judge of a round in a process of its own says what the judge in this one would."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ringproto._processes.failures import UsageError
from ringproto.chaos import verdict as chaos_judge
from ringproto.chaos.record import RoundRecord
from ringproto.chaos.script import draw_script
from ringproto.chaos.verdict import judge_beside, judge_round


async def test_the_verdict_is_that_of_judge_round_and_is_found_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RoundRecord.of(draw_script(1))
    record.failures = ["the first thing", "and \N{SNOWMAN}, the second"]
    record.write(tmp_path)
    expected = judge_round(tmp_path)
    assert expected.wrong == ("supervisor: the first thing", "supervisor: and \N{SNOWMAN}, the second")

    def not_here(folder: Path) -> NoReturn:
        raise AssertionError("it was judged in the process of the supervisors")

    monkeypatch.setattr(chaos_judge, "judge_round", not_here)
    assert await judge_beside(tmp_path) == expected


async def test_a_judge_that_fails_is_a_round_that_did_not_hold(tmp_path: Path) -> None:
    verdict = await judge_beside(tmp_path)
    (wrong,) = verdict.wrong
    assert wrong.startswith("judge: ended with exit code 1: ")
    assert wrong.endswith(f"UsageError: cannot read {tmp_path}/round.json: No such file or directory")


LIFE = {"node": 1, "life": 1, "log": "1.log", "end": "killed"}
MARK = dict.fromkeys(("records", "given", "accepted", "logged_as_accepted", "returned", "delivered"), 0)


def folder_of(folder: Path, life: dict[str, Any], **changes: Any) -> Path:
    """The folder of a round with one life, whose log is empty."""
    record = RoundRecord.of(draw_script(1))
    values = {**vars(record), "lives": [{**LIFE, **life}], **changes}
    (folder / "round.json").write_text(json.dumps(values))
    for name in ("1.log", "1.stream"):
        (folder / name).write_text("")
    return folder


def test_record_of_a_round_that_is_one_is_read(tmp_path: Path) -> None:
    record = RoundRecord.read(folder_of(tmp_path, {"mark": MARK}))
    assert record.lives[0].log == "1.log" and record.lives[0].mark == MARK
    record.write(tmp_path)
    assert RoundRecord.read(tmp_path) == record


@pytest.mark.parametrize(
    ("life", "changes"),
    [
        ({"log": 1}, {}),
        ({"log": None}, {}),
        ({"node": "1"}, {}),
        ({"life": True}, {}),
        ({"end": "well"}, {}),
        ({"end": []}, {}),
        ({"mark": []}, {}),
        ({"mark": {}}, {}),
        ({"mark": {**MARK, "records": "5"}}, {}),
        ({}, {"quorum": "2"}),
        ({}, {"window_size": "a"}),
        ({}, {"script": ["x", 1]}),
        ({}, {"failures": "none"}),
        ({}, {"storage": 1}),
        ({}, {"lives": [[]]}),
        ({}, {"lives": 1}),
        ({}, {"more": 1}),
    ],
)
def test_record_with_a_value_that_is_none_of_it_is_refused(
    tmp_path: Path, life: dict[str, Any], changes: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=r"round.json is not the record of a round: "):
        judge_round(folder_of(tmp_path, life, **changes))


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        b'["START",Infinity,1]',
        b'["START",1]',
        b'[["START"],1,1]',
        b'["SUBMIT",99,99,"x"]',
    ],
)
def test_log_that_is_none_is_a_round_that_did_not_hold(tmp_path: Path, line: bytes) -> None:
    folder_of(tmp_path, {})
    (tmp_path / "1.log").write_bytes(line + b"\n" + line + b"\n")
    assert any(wrong.startswith("log: 1.log: ") for wrong in judge_round(tmp_path).wrong)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a\0b", "null byte"),
        ("", "Is a directory"),
        ("fifo", "not a regular file"),
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_log_that_cannot_be_read_is_said(tmp_path: Path, name: str, what: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match=what):
        judge_round(folder_of(tmp_path, {"log": name}))


def test_log_that_is_not_there_is_said(tmp_path: Path) -> None:
    folder_of(tmp_path, {"end": "left"})
    (tmp_path / "1.log").unlink()
    assert "log: 1.log is not there" in judge_round(tmp_path).wrong
