"""The mutants: that each is one working program with a mistake, and that the command tells the killed from the rest."""

from __future__ import annotations

import ast
import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mutants import (
    barrier,
    command,
    membership,
    runs,
    service,
    staying,
    stream,
    transports,
)
from mutants import (
    order as mutants_order,
)
from mutants import (
    seeds as mutant_seeds,
)
from mutants import worker as mutant_worker
from mutants.catalogue import MUTANTS
from mutants.mutation import FLOORS, SEEDS_MAX, Edit, Mutant, Seed, Test, apply, search_order
from mutants.runs import MutantProcess, MutantVerdict, source_of, try_mutant
from mutants.seeds import KILLED_BY
from ringproto._processes.failures import RunFailedError, UsageError

HARMLESS = Mutant(
    "harmless",
    "Two lines change places.",
    (Edit("timers", "import enum\nimport math\n", "import math\nimport enum\n"),),
    tests=("tests/core/test_timers.py",),
)
NO_PROGRAM = Mutant(
    "no-program", "A name that is not there.", (Edit("barrier", "return aborted", "return no_such_name"),)
)

ROOT = Path(__file__).parents[2]
GATE = MUTANTS["gate-overtaken"]


def run(*arguments: str) -> int:
    return command.run(command.build_parser().parse_args(arguments))


QUORUM = KILLED_BY["quorum-ignored"]
assert isinstance(QUORUM, Seed)


def sources_of(mutant: Mutant) -> dict[str, str]:
    return apply(mutant, lambda module: source_of(module, mutant.floor))


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_another_program(name: str) -> None:
    mutant = MUTANTS[name]
    for module, source in sources_of(mutant).items():
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(source_of(module, mutant.floor)))
    assert mutant.name == name and mutant.why.endswith(".")


@pytest.mark.parametrize("name", MUTANTS)
def test_the_tests_of_every_mutant_are_there_and_are_those_of_its_floor(name: str) -> None:
    mutant = MUTANTS[name]
    assert mutant.tests or FLOORS[mutant.floor].seeds, "it would be run by all tests of its floor, which takes minutes"
    for test in mutant.tests:
        assert (ROOT / test.partition("::")[0]).is_file()
        assert test.startswith(FLOORS[mutant.floor].tests + "/")


def test_no_two_mutants_have_one_name_or_are_one_program() -> None:
    core = (*mutants_order.MUTANTS, *barrier.MUTANTS, *membership.MUTANTS, *stream.MUTANTS)
    core += staying.MUTANTS
    catalogue = (*core, *service.MUTANTS, *transports.MUTANTS)
    assert len(MUTANTS) == len(catalogue)
    assert len(core) >= 90 and len(service.MUTANTS) >= 20 and len(transports.MUTANTS) >= 20
    programs = {(mutant.floor, *sorted(sources_of(mutant).items())) for mutant in catalogue}
    assert len(programs) == len(catalogue)


@pytest.mark.parametrize(
    "change",
    [
        Edit("barrier", "no such text", "other"),
        Edit("barrier", "self", "other"),
        Edit("barrier", "return aborted", "return aborted"),
    ],
    ids=["absent", "many times", "unchanged"],
)
def test_a_change_that_is_not_exactly_one_is_refused(change: Edit) -> None:
    with pytest.raises(ValueError, match="must stand once"):
        apply(Mutant("wrong", "It is none.", (change,)), source_of)
    with pytest.raises(RunFailedError, match="mutant wrong: the text to change must stand once"):
        try_mutant(Mutant("wrong", "It is none.", (change,)), None, ())


def test_changes_of_one_room_add_up() -> None:
    first, second = Edit("r", "one", "two"), Edit("r", "three", "four")
    assert apply(Mutant("m", "w.", (first, second)), lambda module: "one three") == {"r": "two four"}


def test_a_search_has_four_light_seeds_for_each_full_one() -> None:
    order = search_order()
    assert len(order) == len(set(order)) == SEEDS_MAX
    assert [seed for seed in order if seed.light] == [Seed(True, number) for number in range(1, 401)]
    assert [seed for seed in order if not seed.light] == [Seed(False, number) for number in range(1, 101)]
    assert order[4] == Seed(False, 1)


def test_it_is_known_what_kills_each_mutant_of_the_core() -> None:
    assert set(KILLED_BY) == {mutant.name for mutant in MUTANTS.values() if mutant.floor == "core"}
    assert {killer for killer in KILLED_BY.values() if isinstance(killer, Seed)} <= set(search_order())
    for killer in KILLED_BY.values():
        assert isinstance(killer, Seed) or (ROOT / killer.name.partition("::")[0]).is_file()


def test_the_table_of_known_seeds_is_written_as_it_is() -> None:
    assert command.table(KILLED_BY) == Path(mutant_seeds.__file__).read_text(encoding="utf-8")
    assert '"quorum-ignored": Seed(light=False, number=7),' in command.table({"quorum-ignored": Seed(False, 7)})
    assert '"quorum-ignored": Test("tests/a.py"),' in command.table({"quorum-ignored": Test("tests/a.py::test_b[c]")})


def test_the_worker_runs_the_changed_core_and_no_other() -> None:
    with MutantProcess({}) as worker:
        assert worker.violations(QUORUM) == []
    with MutantProcess(sources_of(MUTANTS["quorum-ignored"])) as worker:
        assert worker.violations(QUORUM)[0][0] == "B4"


def test_a_worker_does_not_run_what_the_environment_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGPROTO_INTERPRETED", "1")
    with MutantProcess(sources_of(MUTANTS["quorum-ignored"])) as worker:
        assert worker.violations(QUORUM)


def test_a_seed_that_kills_no_more_is_said_and_others_are_tried() -> None:
    holds = Seed(True, 0)  # without faults
    seeds = (holds, QUORUM)
    verdict = try_mutant(MUTANTS["quorum-ignored"], holds, seeds)
    assert (verdict.killed_by, verdict.seeds, verdict.known_failed) == (seeds[1], 3, holds)
    assert "B4" in verdict.rules


def test_a_change_that_is_no_mistake_survives() -> None:
    verdict = try_mutant(HARMLESS, None, search_order()[:2])
    assert (verdict.killed_by, verdict.seeds, verdict.tests) == (None, 2, HARMLESS.tests)


def test_a_mutant_that_is_no_program_is_not_killed() -> None:
    verdict = try_mutant(NO_PROGRAM, None, search_order()[:1])
    assert verdict.killed_by is None
    assert "NameError" in verdict.text


def test_a_worker_that_cannot_begin_says_why() -> None:
    with MutantProcess({"barrier": "1 / 0"}) as worker, pytest.raises(RunFailedError, match="ZeroDivisionError"):
        worker.violations(Seed(True, 1))


def test_search_that_is_closed_early_ends_its_processes() -> None:
    begun = threading.Event()
    ended = []

    def search() -> str:
        with MutantProcess({"timers": endless_timers()}) as worker:
            begun.set()
            try:
                return str(worker.violations(Seed(True, 1)))
            except RunFailedError as error:
                ended.append(str(error))
                raise

    found = command.in_threads(2, [search, lambda: "quick"])
    assert next(found) == "quick"
    assert begun.wait(60)
    found.close()
    assert len(ended) == 1, "it waited for an answer"


def endless_timers() -> str:
    return source_of("timers").replace("        return timer\n", "        while True:\n            pass\n")


def test_a_seed_without_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    impatient = tmp_path / "worker.py"
    source = Path(mutant_worker.__file__).read_text(encoding="utf-8")
    impatient.write_text(source.replace("CPU_SECONDS_MAX = 40.0", "CPU_SECONDS_MAX = 0.5"))
    monkeypatch.setattr(mutant_worker, "__file__", str(impatient))
    with MutantProcess({"timers": endless_timers()}) as worker:
        assert [rule for rule, _ in worker.violations(Seed(True, 1))] == ["endless"]


def test_the_command_says_which_seed_and_rule_killed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quorum-ignored", "--jobs", "1") == 0
    out = capsys.readouterr().out
    assert f"quorum-ignored: killed by {KILLED_BY['quorum-ignored']} (B4" in out
    assert "1 mutants, 1 killed (1 by seeds, 0 by tests), 0 not; of the 1 seeds and tests that killed 1 hold" in out


def test_a_survivor_exits_with_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MUTANTS, "harmless", HARMLESS)
    monkeypatch.setattr(command, "search_order", lambda: search_order()[:2])
    assert run("harmless", "--jobs", "1") == 1
    assert "harmless: NOT KILLED by 2 seeds and tests/core/test_timers.py" in capsys.readouterr().out


def test_a_seed_that_fails_without_a_mutant_shows_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With this the core «as it is» is a wrong one too.
    changed = sources_of(MUTANTS["quorum-ignored"])
    monkeypatch.setattr(
        runs, "MutantProcess", lambda sources, floor="core", compiled=True: MutantProcess(changed | sources, floor)
    )
    assert run("quorum-ignored", "--jobs", "1") == 1
    assert "FAILED without any mutant" in capsys.readouterr().out


def test_an_unknown_name_is_misuse() -> None:
    with pytest.raises(UsageError, match="no mutant nobody"):
        run("nobody")


def test_the_list_has_every_mutant_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{mutant.name} ({mutant.floor}): {mutant.why}" for mutant in MUTANTS.values()
    ]


def test_found_seeds_are_written_beside_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "seeds.py"
    copy.write_text(Path(mutant_seeds.__file__).read_text(encoding="utf-8"))
    monkeypatch.setattr(mutant_seeds, "__file__", str(copy))
    found = MutantVerdict("quorum-ignored", "core", Seed(True, 399), 1)
    monkeypatch.setattr(command, "try_mutant", lambda mutant, known, seeds: found)
    monkeypatch.setattr(command, "failing_seeds", lambda seeds: [])
    assert run("quorum-ignored", "--search", "--write", "--jobs", "1") == 0
    assert copy.read_text() == command.table({**KILLED_BY, "quorum-ignored": Seed(True, 399)})


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


def test_a_mutant_of_the_service_is_killed_by_a_test_that_holds_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(GATE.name, "--jobs", "1") == 0
    out = capsys.readouterr().out
    assert f"{GATE.name}: killed by the tests of the service, tests/service/test_service_" in out
    assert "1 mutants, 1 killed (0 by seeds, 1 by tests), 0 not; of the 1 seeds and tests that killed 1 hold" in out


def test_tests_run_on_the_changed_modules_and_no_other() -> None:
    test = "tests/transports/test_transport_segments.py"
    mutant = MUTANTS["padding-belongs-to-the-datagram"]
    with MutantProcess({}, "transports", compiled=False) as worker:
        assert worker.failure([test]) is None
    with MutantProcess(sources_of(mutant), "transports", compiled=False) as worker:
        failure = worker.failure([test])
    assert failure is not None and failure[0].name.startswith(test + "::")


def test_a_mutant_of_the_core_that_no_seed_kills_is_for_the_tests_of_the_core() -> None:
    mutant = Mutant(
        "timers-forget",
        "A timer is never due.",
        (Edit("timers", "if first > now or first == _OFF", "if True"),),
        tests=("tests/core/test_timers.py",),
    )
    verdict = try_mutant(mutant, None, ())
    assert isinstance(verdict.killed_by, Test) and verdict.killed_by.name.startswith("tests/core/test_timers.py::")
    known = verdict.killed_by
    assert try_mutant(mutant, known, search_order()).seeds == 0, "the known test comes first"
    stale = try_mutant(HARMLESS, known, ())
    assert (stale.killed_by, stale.known_failed) == (None, known)


def test_tests_that_cannot_be_imported_kill_nothing() -> None:
    verdict = try_mutant(
        dataclasses.replace(
            NO_PROGRAM,
            changes=(Edit("timers", "import math", "import no_math"),),
            tests=("tests/core/test_timers.py",),
        ),
        None,
        (),
    )
    assert verdict.killed_by is None and "no program that runs" in verdict.text


def test_mutants_without_the_tests_of_the_repository_are_misuse() -> None:
    with pytest.raises(UsageError, match="need the repository with its tests"):
        try_mutant(dataclasses.replace(GATE, tests=("tests/service/no_such.py",)), None, ())


def test_a_test_that_fails_without_a_mutant_shows_nothing() -> None:
    failed = runs.failing_tests([Test("tests/core/test_timers.py::no_such_test")], compiled=False)
    assert failed, "a test that is not there holds nothing"


def test_parts_take_all_mutants_of_a_floor_once(capsys: pytest.CaptureFixture[str]) -> None:
    listed = []
    for number in range(1, 6):
        assert run("--list", "--floor", "transports", "--part", f"{number}/5") == 0
        listed.append(capsys.readouterr().out.splitlines())
    assert run("--list", "--floor", "transports") == 0
    assert sorted(line for part in listed for line in part) == sorted(capsys.readouterr().out.splitlines())
    assert max(map(len, listed)) - min(map(len, listed)) <= 1


@pytest.mark.parametrize("part", ["0/5", "6/5", "1/0", "1", "a/b", "1/101", "-1/5"])
def test_a_part_that_is_none_is_misuse(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--part=" + part)
    assert "must be K/N" in capsys.readouterr().err


def test_names_with_a_floor_are_misuse() -> None:
    with pytest.raises(UsageError, match="not both"):
        run(GATE.name, "--floor", "service")
