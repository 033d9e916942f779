"""``ringproto simulate``: what it prints and with what it exits."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from ringproto.cli.simulate import command as simulate
from ringproto.testing.campaign.run import Result, check_seed, run_seed
from ringproto.testing.judge import Violation


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    simulate.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["simulate", *arguments])
    code = args.run(args)
    assert isinstance(code, int)
    return code


def fake_result(seed: int, *, light: bool, broken: bool) -> Result:
    violations = (Violation("B3", "the completions differ", 1, 1, 0),) if broken else ()
    return Result(seed, light, "loss", violations, "00", 1.0, 10, 3, 6, 9)


def test_seeds_that_keep_all_rules_exit_with_0(capsys):
    assert run("--seeds", "1-3", "--light", "--jobs", "2") == 0
    assert capsys.readouterr().out.startswith("3 seeds, 0 failed")


def test_a_seed_that_breaks_a_rule_exits_with_1_and_says_how_to_see_it_again(capsys, monkeypatch):
    monkeypatch.setattr(simulate, "check_seed", lambda seed, *, light: fake_result(seed, light=light, broken=seed == 5))
    assert run("--seeds", "4-6", "--light", "--jobs", "1") == 1
    out = capsys.readouterr().out
    assert "seed 5 FAILED" in out
    assert "B3: the completions differ" in out
    assert "ringproto simulate --seed 5 --light --trace" in out
    assert "3 seeds, 1 failed" in out


def test_ten_failures_stop_the_run_unless_it_is_to_go_on(capsys, monkeypatch):
    monkeypatch.setattr(simulate, "check_seed", lambda seed, *, light: fake_result(seed, light=light, broken=True))
    assert run("--seeds", "1-30", "--jobs", "1") == 1
    assert "10 seeds, 10 failed" in capsys.readouterr().out
    assert run("--seeds", "1-30", "--jobs", "1", "--keep-going") == 1
    assert "30 seeds, 30 failed" in capsys.readouterr().out


def test_progress_is_told_where_no_terminal_is_too(capsys, monkeypatch):
    monkeypatch.setattr(simulate, "check_seed", lambda seed, *, light: fake_result(seed, light=light, broken=False))
    monkeypatch.setattr(simulate, "LINE_EVERY_S", 0.0)
    assert run("--seeds", "1-3", "--jobs", "1") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["1/3 seeds", "2/3 seeds", "3/3 seeds"]
    assert lines[2].endswith("seeds/s, 3 simulated seconds")


def test_trace_shows_one_history(capsys):
    assert run("--seed", "1", "--light", "--trace") == 0
    out = capsys.readouterr().out
    assert "CONF RegularConfiguration" in out
    assert "sends token to" in out
    assert "seed 1: all rules hold" in out


def test_trace_of_many_seeds_is_misuse(capsys):
    assert run("--seeds", "1-3", "--trace") == 2
    assert "--seed N" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["5", "9-3", "a-b", "-1-3", "1-"])
def test_bad_range_of_seeds_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        run("--seeds", text)
    assert capsys.readouterr().err


def test_a_seed_whose_twin_differs_is_a_violation(monkeypatch):
    hashes = iter(("aa", "bb"))

    def unsteady(seed: int, *, light: bool, probes: bool, hashed: bool) -> Result:
        return dataclasses.replace(fake_result(seed, light=light, broken=False), log_hash=next(hashes))

    monkeypatch.setattr("ringproto.testing.campaign.run.run_seed", unsteady)
    assert [violation.rule for violation in check_seed(100, light=True).violations] == ["twin"]


def test_tracing_does_not_change_the_history():
    lines: list[str] = []
    assert run_seed(9, light=True, trace=lines.append) == run_seed(9, light=True)
    assert len(lines) > 100
