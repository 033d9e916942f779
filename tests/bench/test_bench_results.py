"""From figures to tables: repetitions, percentiles, ratios, goals, and their place in the documentation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.suite.__main__ import chosen_plan, held, parser, tables
from bench.suite.document import BEGIN, END, MarkersMissingError, markdown, write_between_markers
from bench.suite.goals import goals_table
from bench.suite.machine import about
from bench.suite.plan import PLANS
from bench.suite.plots import draw_all
from bench.suite.statistics import Spread, best_ratio, curve, percentiles, spread
from bench.suite.tables import Table, cell, results_tables

FINE = {"lost": 0, "extra": 0, "disordered": 0, "orders_differ": 0}


def record(part: str, system: str, family: str, repetition: int, **values: Any) -> dict[str, Any]:
    common = {"network": "bridge", "size": 200, "senders": "one", "faults": FINE, "forgiven": False}
    cores = {"cores": {1: 0.5}, "machine_busy_cores": 0.75, "cpu_us_per_delivery": 3.0}
    return {
        "part": part,
        "system": system,
        "family": family,
        "repetition": repetition,
        **common,
        **cores,
        **values,
    }


def throughput(ours: list[float], theirs: list[float]) -> list[dict[str, Any]]:
    pairs = (("ringproto unicast", "ringproto", ours), ("corosync udp", "corosync", theirs))
    return [
        record("throughput", system, family, repetition, messages_per_s=rate)
        for system, family, rates in pairs
        for repetition, rate in enumerate(rates)
    ]


def test_a_run_says_how_its_members_were_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert about("make bench", "plan")["scheduling"] in ("normal", "batch", "round robin", "FIFO")
    monkeypatch.setattr(os, "sched_getscheduler", lambda pid: {0: os.SCHED_BATCH}[pid])
    assert about("make bench", "plan")["scheduling"] == "batch"
    monkeypatch.setattr(os, "sched_getscheduler", lambda pid: 77)
    assert about("make bench", "plan")["scheduling"] == "policy 77"


def test_repetitions_give_minimum_median_and_maximum() -> None:
    assert spread([3.0, 1.0, 8.0]) == Spread(1.0, 3.0, 8.0)
    with pytest.raises(ValueError, match="no repetition"):
        spread([])


def test_percentiles_are_nearest_ranks() -> None:
    assert percentiles(range(1, 1001)) == {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000}


def test_a_percentile_that_no_value_lies_beyond_is_left_out() -> None:
    assert percentiles([5, 6, 7]) == {"p50": 6, "max": 7}
    assert percentiles([]) == {}


def test_the_curve_ends_where_one_value_is_left() -> None:
    points = curve(range(1000), per_decade=1)
    assert points == [(1, 0), (10, 899), (100, 989), (1000, 998)]


def test_a_ratio_is_made_within_a_repetition_from_the_best_of_each() -> None:
    ours = {0: [10.0, 20.0], 1: [30.0], 2: [5.0]}
    theirs = {0: [4.0, 2.0], 1: [10.0], 3: [1.0]}
    assert best_ratio(ours, theirs) == Spread(3.0, 4.0, 5.0)
    assert best_ratio(ours, {7: [1.0]}) is None
    assert best_ratio({0: [1.0]}, {0: [0.0]}) is None, "over nothing there is no ratio"


def test_a_cell_shows_the_median_and_the_ends() -> None:
    assert cell([1234.4, 99.0, 5.2]) == "99 (5.2 to 1,234)"
    assert cell([0.00123]) == "0.0012"
    assert cell([]) == ""


def named(found: list[Table], begin: str) -> Table:
    (table,) = [table for table in found if table.title.startswith(begin)]
    return table


def test_the_tables_have_the_throughput_of_each_system_and_the_ratio() -> None:
    found = results_tables(throughput([100.0, 400.0, 300.0], [50.0, 40.0, 100.0]))
    pivot = named(found, "Throughput on bridge")
    assert pivot.head == ["payload, senders", "ringproto unicast", "corosync udp"]
    assert pivot.rows == [["200 B, one", "300 (100 to 400)", "50 (40 to 100)"]]
    assert named(found, "Throughput of ringproto").rows == [["200 B, one", "3 × (2 to 10)"]]


def test_cost_is_compared_as_deliveries_for_the_same_processor_time() -> None:
    records = throughput([100.0], [50.0])
    records[1]["cpu_us_per_delivery"] = 12.0
    assert named(results_tables(records), "Deliveries for the same").rows == [["200 B, one", "4 ×"]]
    del records[1]["cpu_us_per_delivery"]  # it delivered nothing
    assert all(not table.title.startswith("Deliveries") for table in results_tables(records))


def test_a_run_with_faults_is_marked_and_a_peer_gains_nothing_by_it() -> None:
    records = throughput([100.0, 100.0], [10.0, 5000.0])
    records[3]["faults"] = {**FINE, "lost": 1}
    found = results_tables(records)
    assert named(found, "Throughput on bridge").rows[0][2].endswith("(!)")
    assert named(found, "Throughput of ringproto").rows[0][1].startswith("10 ×")
    assert held({"records": records, "failures": []}), "a peer's fault is not ours"
    records[0]["faults"] = {**FINE, "orders_differ": 2}
    assert not held({"records": records, "failures": []})
    records[0]["changes"] = 1
    assert held({"records": records, "failures": []}), "who was left out may lack what the others delivered without it"
    assert [row[1:] for row in named(results_tables(records), "Runs with faults").rows] == [
        ["1", "orders_differ 2"],
        ["0", "lost 1"],
    ]


def test_losses_of_what_promises_nothing_are_no_fault() -> None:
    raw = record("throughput", "raw UDP", "raw UDP", 0, messages_per_s=9.0, faults={**FINE, "lost": 5}, forgiven=True)
    assert named(results_tables([raw]), "Throughput on bridge").rows == [["200 B, one", "9"]]


def test_a_run_of_ours_that_failed_fails_the_suite() -> None:
    assert not held({"records": [], "failures": [{"family": "ringproto"}]})
    assert held({"records": [], "failures": [{"family": "corosync"}]})


def verdicts(records: list[dict[str, Any]]) -> dict[str, str]:
    return {row[0]: row[2] for row in goals_table(records).rows if row[2]}


@pytest.mark.parametrize(("rate", "verdict"), [(500.0, "met"), (499.0, "**missed**")])
def test_the_goal_of_throughput_is_ten_times_corosync(rate: float, verdict: str) -> None:
    assert list(verdicts(throughput([rate], [50.0])).values()) == [verdict]


def test_the_goals_of_latency_idle_and_crash_are_held_against_the_records() -> None:
    def ping(family: str, p50_us: float, p99_us: float) -> dict[str, Any]:
        own = {"count": 1000, "p50": p50_us * 1e3, "p99": p99_us * 1e3, "max": p99_us * 2e3}
        return record("ping", f"{family} udp", family, 0, own_latency_ns=own, latency_ns=own)

    fast = [ping("ringproto", 50, 200), ping("corosync", 101, 300)]
    slow = [ping("ringproto", 61, 200), ping("corosync", 101, 300)]
    assert list(verdicts(fast).values()) == ["met", "met"]
    assert list(verdicts(slow).values()) == ["**missed**", "**missed**"]
    idle = record("idle", "ringproto unicast", "ringproto", 0, cores={1: 0.001, 2: 0.011})
    assert list(verdicts([idle]).values()) == ["**missed**"], "the worst processor counts"
    crash = record("crash", "ringproto unicast", "ringproto", 0, slowest_ms=221.0, token_timeout_ms=200.0)
    assert list(verdicts([crash]).values()) == ["**missed**"]
    assert list(verdicts([{**crash, "slowest_ms": 219.0}]).values()) == ["met"]


def test_what_was_not_measured_has_no_verdict() -> None:
    assert {row[1] for row in goals_table([]).rows} == {"not measured"}


def test_the_results_take_the_place_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    table = Table("Rates", ["", "a"], [["b", "1"]])
    section = markdown([table], {"date": "today"}, {"corosync udp": "not installed"}, ["x failed"])
    for _ in range(2):
        write_between_markers(page, section)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\n- date: today\n")
    assert text.endswith(f"{END}\nafter\n") and "old" not in text
    assert "| b | 1 |" in text and "corosync udp (not installed)" in text and "x failed" in text


@pytest.mark.parametrize("text", ["nothing", f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}", f"{BEGIN}\n"])
def test_a_page_without_a_place_for_results_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(MarkersMissingError):
        write_between_markers(page, "new")
    assert page.read_text() == text


def test_the_documentation_has_a_place_for_results(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text((Path(__file__).parents[2] / "docs" / "performance.md").read_text())
    write_between_markers(page, "new")
    assert "\nnew\n" in page.read_text()


def test_results_survive_json() -> None:
    records = throughput([100.0, 200.0], [50.0, 40.0])
    assert tables(json.loads(json.dumps({"records": records}))) == tables({"records": records})


def test_plots_are_drawn_of_whatever_was_delivered_even_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib, of the extra cli")
    records = throughput([0.0, 0.0], [50.0, 0.0])
    points = {"latency_ns": {"p50": 5}, "latency_curve_ns": [(1.0, 5), (10.0, 9)]}
    records.append(record("paced", "ringproto unicast", "ringproto", 0, share=0.5, **points))
    files = draw_all(records, tmp_path)
    assert [file.name for file in files] == ["throughput-bridge.png", "latency-50-percent.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_options_choose_a_part_of_a_plan() -> None:
    plan = chosen_plan(
        parser().parse_args(
            ["--full", "--systems", "zeromq,corosync knet", "--sizes", "64", "--repetitions", "1", "--seconds", "2"]
        )
    )
    assert {system.family for system in plan.systems} == {"ZeroMQ", "corosync"}
    assert [system.network for system in plan.only(["ringproto bridge"]).systems] == []
    assert (plan.sizes, plan.repetitions, plan.timing.measured_s, plan.crash_systems) == ((64,), 1, 2.0, ())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--systems", "nothing"],
        ["--systems", "ringproto unicast bridge", "--parts", "throughput"],  # --full has it, and its latency is here
        ["--parts", "speed"],
        ["--sizes", "15"],
        ["--sizes", "2000000"],
        ["--repetitions", "0"],
        ["--seconds", "0"],
    ],
)
def test_options_that_cannot_be_are_refused(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match=arguments[0]):
        chosen_plan(parser().parse_args(arguments))


def test_the_plans_take_about_as_long_as_they_say() -> None:
    minutes = {name: plan.seconds() / 60 for name, plan in PLANS.items()}
    assert minutes["quick"] < 1.5 < minutes["usual"] < 8 < minutes["full"] < 13
