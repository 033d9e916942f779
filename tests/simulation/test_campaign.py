"""Long runs of the simulator: they go on where they were interrupted, and say what was done."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ringproto._processes.failures import RunFailedError, UsageError
from ringproto.cli.simulate import campaign
from ringproto.cli.simulate import command as simulate
from ringproto.cli.simulate.campaign import commit, run_campaign
from ringproto.testing.campaign.run import Result, run_seed
from ringproto.testing.campaign.shares import LEAST, ROWS, Shares
from ringproto.testing.judge import Violation

ROOT = Path(__file__).parents[2]

WANTED = {"full": range(10, 20), "light": range(10, 40)}


def result_of(seed: int, *, light: bool, broken: bool = False) -> Result:
    violations = (Violation("B3", "the completions\ndiffer", 1, 1, 0),) if broken else ()
    classes = frozenset(("loss", "settings: random" if seed % 2 else "settings: lan"))
    return dataclasses.replace(Result(seed, light, "loss", violations, "", 2.0, 10, 3, 6, 9), classes=classes)


class Simulator:
    """Remembers what it ran; may be interrupted, and may find something."""

    def __init__(self, interrupt_at: int = -1, broken: tuple[int, ...] = ()) -> None:
        self.ran: list[tuple[int, bool]] = []
        self.interrupt_at = interrupt_at
        self.broken = broken

    def __call__(self, seeds: Sequence[int], light: bool) -> Iterator[Result]:
        for seed in reversed(seeds):
            if seed == self.interrupt_at:
                raise KeyboardInterrupt
            self.ran.append((seed, light))
            yield result_of(seed, light=light, broken=seed in self.broken)


@pytest.fixture(autouse=True)
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "PORTION", {"full": 4, "light": 10})


@pytest.mark.parametrize("interrupt_at", [10, 15, 18])
def test_an_interrupted_campaign_goes_on_and_ends_as_one_that_was_not(tmp_path: Path, interrupt_at: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run_campaign(whole, WANTED, Simulator(), code="c1") == 0
    first, second = Simulator(interrupt_at), Simulator()
    with pytest.raises(KeyboardInterrupt):
        run_campaign(broken, WANTED, first, code="c1")
    assert run_campaign(broken, WANTED, second, code="c1") == 0
    kept = [(seed, light) for seed, light in first.ran if not light and (seed - 10) // 4 < (interrupt_at - 10) // 4]
    assert sorted(second.ran + kept) == sorted(
        [(seed, False) for seed in range(10, 20)] + [(seed, True) for seed in range(10, 40)]
    )
    records = [json.loads(file.read_text()) for file in (whole, broken)]
    for record in records:
        for kind in WANTED:
            assert record[kind].pop("seconds") >= 0
    assert records[0] == records[1]
    assert records[0]["commit"] == "c1"
    assert (records[0]["full"]["first"], records[0]["full"]["next"]) == (10, 20)
    assert records[0]["light"]["simulated_s"] == 60.0
    assert records[0]["full"]["classes"] == {"loss": 10, "settings: lan": 5, "settings: random": 5}


def test_what_is_done_is_not_done_again_and_more_can_be_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "record"
    assert run_campaign(file, {"full": range(1, 6)}, Simulator(), code="c1") == 0
    again, more = Simulator(), Simulator()
    assert run_campaign(file, {"full": range(1, 6)}, again, code="c1") == 0
    assert run_campaign(file, {"full": range(1, 8), "light": range(1, 2)}, more, code="c1") == 0
    assert again.ran == []
    assert sorted(more.ran) == [(1, True), (6, False), (7, False)]


def test_a_seed_that_failed_is_recorded_with_its_command_and_fails_every_run_of_the_campaign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "record"
    assert run_campaign(file, WANTED, Simulator(broken=(12, 33)), code="c1") == 1
    record = json.loads(file.read_text())
    assert [one["again"] for one in record["full"]["failures"]] == ["ringproto simulate --seed 12 --trace"]
    assert [one["again"] for one in record["light"]["failures"]] == [
        "ringproto simulate --seed 12 --light --trace",
        "ringproto simulate --seed 33 --light --trace",
    ]
    assert record["light"]["failures"][0]["violations"] == ["B3: the completions differ"]
    capsys.readouterr()
    assert run_campaign(file, WANTED, Simulator(), code="c1") == 1
    assert "ringproto simulate --seed 33 --light --trace" in capsys.readouterr().out


def test_the_report_says_commit_ranges_seconds_and_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_campaign(tmp_path / "record", WANTED, Simulator(), code="c1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "commit c1"
    assert lines[1].startswith(
        "full seeds 10-19: 0 failed; 20 simulated seconds, 2.0 in the mean, 2.0 in the mean without"
    )
    assert "  100.0 %  loss" in lines
    assert "   50.0 %  settings: random" in lines
    assert "    0.0 %  pause" in lines


def test_a_record_of_another_commit_or_of_another_range_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "record"
    assert run_campaign(file, {"full": range(1, 3)}, Simulator(), code="c1") == 0
    before = file.read_bytes()
    with pytest.raises(UsageError, match="commit c1, and this is c2"):
        run_campaign(file, {"full": range(1, 9)}, Simulator(), code="c2")
    with pytest.raises(UsageError, match="begin with 1; say --first 1"):
        run_campaign(file, {"full": range(5, 9)}, Simulator(), code="c1")
    assert file.read_bytes() == before


WHOLE = campaign._new(10)
DAMAGED = [
    json.dumps({"commit": "c1", "full": damaged})
    for damaged in (
        {"first": 10},
        *({key: value for key, value in WHOLE.items() if key != missing} for missing in WHOLE),
        WHOLE | {"next": "20"},
        WHOLE | {"classes": {"loss": "1"}},
        WHOLE | {"failures": [{"again": "x"}]},
        WHOLE | {"failures": [{"again": "x", "violations": []}]},
    )
]


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", '{"commit": 1, "full": 3}', '{"full": {"first": 1}}', *DAMAGED])
def test_what_is_no_record_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    file = tmp_path / "record"
    file.write_text(text)
    with pytest.raises(UsageError, match="no record of a campaign"):
        run_campaign(file, WANTED, Simulator(), code="c1")
    assert file.read_text() == text


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, what: str) -> None:
    file = tmp_path / "record"
    if what == "pipe":
        os.mkfifo(file)
    elif what == "device":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    with pytest.raises(UsageError, match=r"is not a regular file|Is a directory"):
        run_campaign(file, WANTED, Simulator(), code="c1")


def test_a_record_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match="cannot be written"):
        run_campaign(tmp_path / "nowhere" / "record", WANTED, Simulator(), code="c1")


def test_two_states_of_a_working_tree_are_two_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "ringproto"
    package.mkdir()
    file = package / "__init__.py"
    file.write_text("one\n")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    monkeypatch.setattr("ringproto.__file__", str(file))
    seen = [commit()]
    assert len(seen[0]) == 40
    for text in ("two\n", "three\n", "one\n"):
        file.write_text(text)
        seen.append(commit())
    for text in ("new\n", "newer\n"):
        (package / "untracked.py").write_text(text)
        seen.append(commit())
    assert seen[3] == seen[0] and len(set(seen)) == 5
    assert all(one.startswith(f"{seen[0]} and changes ") for one in seen[1:3] + seen[4:])


def test_the_commit_is_that_of_the_working_tree_or_the_version() -> None:
    assert commit() == commit()
    assert commit().startswith("version ") or len(commit().partition(" ")[0]) == 40


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    simulate.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["simulate", *arguments])
    code = args.run(args)
    assert isinstance(code, int)
    return code


def test_the_command_runs_seeds_of_both_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "check_seed", lambda seed, *, light: result_of(seed, light=light))
    file = tmp_path / "record"
    assert run("--campaign", str(file), "--full", "2", "--light", "3", "--first", "7", "--jobs", "1") == 0
    record = json.loads(file.read_text())
    assert (record["full"]["next"], record["light"]["next"]) == (9, 10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--campaign", "x"), "--full N, --light N or both"),
        (("--campaign", "x", "--full", "1", "--seeds", "1-2"), "only"),
        (("--full", "3"), "--campaign FILE"),
        (("--light", "3"), "--campaign FILE"),
        (("--shares-min", "3"), "--shares as well"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err


def test_shares_are_shown_and_too_small_ones_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate, "check_seed", lambda seed, *, light: result_of(seed, light=light))
    assert run("--seeds", "1-4", "--jobs", "1", "--shares") == 0
    assert "100.0 %  loss" in capsys.readouterr().out
    assert run("--seeds", "1-4", "--jobs", "1", "--shares", "--shares-min", "5") == 1
    assert "fewer than the 5 % that were asked for: kind loss, " in capsys.readouterr().out


def test_shares_count_runs_and_not_happenings() -> None:
    shares = Shares()
    shares.add(("standing fault: deaf", "standing fault: mute"))
    shares.add(())
    assert shares.percent("standing faults") == shares.percent("standing fault: deaf") == 50.0
    assert set(shares.fewer(50.0)) == ROWS.keys() - {
        "standing faults",
        "standing fault: deaf",
        "standing fault: mute",
    }


def test_what_is_rare_by_plan_has_a_share_of_its_own() -> None:
    shares = Shares(1000, dict.fromkeys(ROWS, 50))
    assert shares.fewer(5.0) == []
    shares.counts["flood"] = 2
    assert shares.fewer(5.0) == []
    shares.counts["flood"] = 1
    shares.counts["stalls"] = 49
    assert shares.fewer(5.0) == ["stalls", "flood"]


def test_every_row_is_documented_and_no_other() -> None:
    section = (ROOT / "docs" / "testing.md").read_text().partition("How often each class happened")[2]
    table = [line.split("|")[1:-1] for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    documented = {name: least.strip() for names, least in table for name in re.findall("`([^`]+)`", names)}
    assert documented == {row: f"{LEAST[row]:g} %" if row in LEAST else "what is asked for" for row in ROWS}


def test_every_class_that_a_run_says_has_a_row() -> None:
    counted = frozenset().union(*ROWS.values())
    for seed, light in ((1, True), (2, True), (5, True), (1, False)):
        assert run_seed(seed, light=light, hashed=False).classes <= counted
