"""The model of the barrier: proved whole, every planted fault found, every rare place reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from model_runs import DEEP, FAULTS, LONG_PROOFS, MODEL, PROBES, PROOFS, Search, missing_tools, run, show

ROOT = Path(__file__).parents[2]
RULES = {"B1", "B3", "B4", "B6", "B9", "B12", "ENDS"}

needs_spin = pytest.mark.skipif(
    bool(missing_tools()), reason=f"not installed here: {', '.join(missing_tools())} (Debian: apt-get install spin gcc)"
)


def names(search: Search) -> str:
    return search.name


@needs_spin
@pytest.mark.slow
@pytest.mark.parametrize("search", PROOFS, ids=names)
def test_no_run_of_the_model_breaks_a_rule(search, tmp_path, request):
    if search in LONG_PROOFS and not request.config.getoption("--run-proofs"):
        pytest.skip("takes a third of a minute; .ci/run gives --run-proofs")
    found = run(search, tmp_path)
    assert found.errors == 0, found.output
    assert found.whole, found.output
    # Every step was reached, except the ends of processes, which none comes to. The last change is no broken formation.
    broken = {"promised = 1"} if "CHANGES=1" in search.flags else set()
    assert set(found.unreached) == {"-end-"} | broken, found.output


@needs_spin
@pytest.mark.parametrize("search", FAULTS, ids=names)
def test_a_planted_fault_is_found_by_the_rule_that_it_breaks(search, tmp_path):
    found = run(search, tmp_path)
    assert found.errors == 1 and found.violated, found.output


@needs_spin
@pytest.mark.parametrize("search", PROBES, ids=names)
def test_a_rare_place_is_reached(search, tmp_path):
    found = run(search, tmp_path)
    assert found.errors == 1 and found.violated, found.output


@needs_spin
def test_a_counterexample_can_be_read(tmp_path):
    (search,) = (fault for fault in FAULTS if fault.name == "FAULT_CURSOR_KEPT")
    assert run(search, tmp_path).errors == 1
    told = show(search, tmp_path)
    # The first piece is sent, the change cuts it, and nothing more is ever sent by that processor.
    sent = told.index("processor 0: sends 5 of ring 0, first_piece")
    installed = told.index("processor 0: installs ring 1")
    assert sent < installed and "processor 0: sends" not in told[installed:], told


@needs_spin
def test_a_search_that_was_cut_short_proves_nothing(tmp_path):
    found = run(PROOFS[0], tmp_path, memory_max_mib=40)
    assert not found.whole and not found.answers(PROOFS[0])


def test_each_rule_has_a_fault_that_breaks_it_and_each_fault_of_the_model_is_searched():
    text = MODEL.read_text()
    assert {flag.partition("=")[2] for fault in FAULTS for flag in fault.flags if flag.startswith("ONLY=")} == RULES
    assert {fault.name for fault in FAULTS} == set(re.findall(r"\bFAULT_\w+", text))
    assert {probe.name for probe in PROBES} == set(re.findall(r"probe\((\w+), ", text)) - {"place"}


def test_the_page_names_every_search():
    page = (ROOT / "docs" / "model.md").read_text()
    for search in (*PROOFS, *DEEP, *FAULTS, *PROBES):
        assert search.name in page, search.name
