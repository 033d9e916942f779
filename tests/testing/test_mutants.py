"""The mutants: that each is one working program with a mistake, and that the command tells the killed from the rest."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ringproto.cli import mutant_worker, mutants
from ringproto.cli._common import RunFailedError, UsageError
from ringproto.testing import mutant_seeds, mutants_barrier, mutants_membership, mutants_order
from ringproto.testing.mutant_seeds import KILLED_BY
from ringproto.testing.mutants import MUTANTS
from ringproto.testing.mutation import SEEDS_MAX, Change, Mutant, Seed, apply, search_order

HARMLESS = Mutant(
    "harmless",
    "Two lines change places.",
    (Change("timers", "import enum\nimport math\n", "import math\nimport enum\n"),),
)
NO_PROGRAM = Mutant(
    "no-program", "A name that is not there.", (Change("barrier", "return aborted", "return no_such_name"),)
)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    mutants.add_parser(parser.add_subparsers(required=True))
    code = mutants.run(parser.parse_args(["mutants", *arguments]))
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_another_program(name: str) -> None:
    mutant = MUTANTS[name]
    for room, source in apply(mutant, mutants.source_of).items():
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(mutants.source_of(room)))
    assert mutant.name == name and mutant.why.endswith(".")


def test_no_two_mutants_have_one_name_or_are_one_program() -> None:
    catalogue = (*mutants_order.MUTANTS, *mutants_barrier.MUTANTS, *mutants_membership.MUTANTS)
    assert len(MUTANTS) == len(catalogue) >= 45
    programs = {tuple(sorted(apply(mutant, mutants.source_of).items())) for mutant in catalogue}
    assert len(programs) == len(catalogue)


@pytest.mark.parametrize(
    "change",
    [
        Change("barrier", "no such text", "other"),
        Change("barrier", "self", "other"),
        Change("barrier", "return aborted", "return aborted"),
    ],
    ids=["absent", "many times", "unchanged"],
)
def test_a_change_that_is_not_exactly_one_is_refused(change: Change) -> None:
    with pytest.raises(ValueError, match="must stand once"):
        apply(Mutant("wrong", "It is none.", (change,)), mutants.source_of)


def test_changes_of_one_room_add_up() -> None:
    first, second = Change("r", "one", "two"), Change("r", "three", "four")
    assert apply(Mutant("m", "w.", (first, second)), lambda room: "one three") == {"r": "two four"}


def test_a_search_has_four_light_seeds_for_each_full_one() -> None:
    order = search_order()
    assert len(order) == len(set(order)) == SEEDS_MAX
    assert [seed for seed in order if seed.light] == [Seed(True, number) for number in range(1, 401)]
    assert [seed for seed in order if not seed.light] == [Seed(False, number) for number in range(1, 101)]
    assert order[4] == Seed(False, 1)


def test_every_mutant_has_a_known_seed_of_the_search() -> None:
    assert set(KILLED_BY) == set(MUTANTS)
    assert set(KILLED_BY.values()) <= set(search_order())


def test_the_table_of_known_seeds_is_written_as_it_is() -> None:
    assert mutants.table(KILLED_BY) == Path(mutant_seeds.__file__).read_text(encoding="utf-8")
    assert '"quorum-ignored": Seed(light=False, number=7),' in mutants.table({"quorum-ignored": Seed(False, 7)})


def test_the_worker_runs_the_changed_core_and_no_other() -> None:
    with mutants.Worker({}) as worker:
        assert worker.violations(KILLED_BY["quorum-ignored"]) == []
    with mutants.Worker(apply(MUTANTS["quorum-ignored"], mutants.source_of)) as worker:
        assert worker.violations(KILLED_BY["quorum-ignored"])[0][0] == "B4"


def test_a_worker_does_not_run_what_the_environment_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGPROTO_INTERPRETED", "1")
    with mutants.Worker(apply(MUTANTS["quorum-ignored"], mutants.source_of)) as worker:
        assert worker.violations(KILLED_BY["quorum-ignored"])


def test_a_seed_that_kills_no_more_is_said_and_others_are_tried() -> None:
    holds = Seed(True, 0)  # without faults
    seeds = (holds, KILLED_BY["quorum-ignored"])
    verdict = mutants.try_mutant(MUTANTS["quorum-ignored"], holds, seeds)
    assert (verdict.killed_by, verdict.seeds, verdict.known_failed) == (seeds[1], 3, holds)
    assert "B4" in verdict.rules


def test_a_change_that_is_no_mistake_survives() -> None:
    verdict = mutants.try_mutant(HARMLESS, None, search_order()[:2])
    assert (verdict.killed_by, verdict.seeds) == (None, 2)


def test_a_mutant_that_is_no_program_is_not_killed() -> None:
    verdict = mutants.try_mutant(NO_PROGRAM, None, search_order()[:1])
    assert verdict.killed_by is None
    assert "NameError" in verdict.text


def test_a_worker_that_cannot_begin_says_why() -> None:
    with mutants.Worker({"barrier": "1 / 0"}) as worker, pytest.raises(RunFailedError, match="ZeroDivisionError"):
        worker.violations(Seed(True, 1))


def test_search_that_is_closed_early_ends_its_processes() -> None:
    begun = threading.Event()
    ended = []

    def search() -> str:
        with mutants.Worker({"timers": endless_timers()}) as worker:
            begun.set()
            try:
                return str(worker.violations(Seed(True, 1)))
            except RunFailedError as error:
                ended.append(str(error))
                raise

    found = mutants.in_threads(2, [search, lambda: "quick"])
    assert next(found) == "quick"
    assert begun.wait(60)
    found.close()
    assert len(ended) == 1, "it waited for an answer"


def endless_timers() -> str:
    return mutants.source_of("timers").replace("        return timer\n", "        while True:\n            pass\n")


def test_a_seed_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    impatient = tmp_path / "worker.py"
    source = Path(mutant_worker.__file__).read_text(encoding="utf-8")
    impatient.write_text(source.replace("CPU_SECONDS_MAX = 40.0", "CPU_SECONDS_MAX = 0.5"))
    monkeypatch.setattr(mutant_worker, "__file__", str(impatient))
    with mutants.Worker({"timers": endless_timers()}) as worker:
        assert [rule for rule, _ in worker.violations(Seed(True, 1))] == ["endless"]


def test_the_command_says_which_seed_and_rule_killed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quorum-ignored", "--jobs", "1") == 0
    out = capsys.readouterr().out
    assert f"quorum-ignored: killed by {KILLED_BY['quorum-ignored']} (B4" in out
    assert "1 mutants, 1 killed, 0 not; 1 seeds killed them, of which 1 hold without a mutant" in out


def test_a_survivor_exits_with_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MUTANTS, "harmless", HARMLESS)
    monkeypatch.setattr(mutants, "search_order", lambda: search_order()[:2])
    assert run("harmless", "--jobs", "1") == 1
    assert "harmless: NOT KILLED in 2 seeds" in capsys.readouterr().out


def test_a_seed_that_fails_without_a_mutant_shows_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With this the core «as it is» is a wrong one too.
    changed = apply(MUTANTS["quorum-ignored"], mutants.source_of)
    real = mutants.Worker
    monkeypatch.setattr(mutants, "Worker", lambda sources: real(changed | sources))
    assert run("quorum-ignored", "--jobs", "1") == 1
    assert "FAILED without any mutant" in capsys.readouterr().out


def test_an_unknown_name_is_misuse() -> None:
    with pytest.raises(UsageError, match="no mutant nobody"):
        run("nobody")


def test_the_list_has_every_mutant_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    assert capsys.readouterr().out.splitlines() == [f"{mutant.name}: {mutant.why}" for mutant in MUTANTS.values()]


def test_found_seeds_are_written_beside_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "seeds.py"
    copy.write_text(Path(mutant_seeds.__file__).read_text(encoding="utf-8"))
    monkeypatch.setattr(mutant_seeds, "__file__", str(copy))
    found = mutants.Verdict("quorum-ignored", Seed(True, 399), 1)
    monkeypatch.setattr(mutants, "try_mutant", lambda mutant, known, seeds: found)
    monkeypatch.setattr(mutants, "_baseline", lambda seeds: [])
    assert run("quorum-ignored", "--search", "--write", "--jobs", "1") == 0
    assert copy.read_text() == mutants.table({**KILLED_BY, "quorum-ignored": Seed(True, 399)})


def test_the_worker_imports_nothing_of_ours_before_the_finder_stands() -> None:
    program = "import sys; sys.argv = ['']; import runpy; runpy.run_path(sys.orig_argv[-1]); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program, mutant_worker.__file__],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "json" in loaded
    assert [name for name in loaded if name.partition(".")[0] == "ringproto"] == []


def test_a_mutant_and_a_seed_are_values() -> None:
    assert dataclasses.replace(HARMLESS) == HARMLESS
    assert str(Seed(True, 3)) == "light seed 3" and str(Seed(False, 4)) == "full seed 4"
