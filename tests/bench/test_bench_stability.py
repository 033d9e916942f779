"""The goals for stability under loss that stays, in small: the whole of them is ``python -m bench.stability``."""

from __future__ import annotations

import math

import pytest

from bench import stability
from bench.stability import Cell, Healed, Stayed, cost, crash, heal, idle, late, link

SHORT_S = {"lan": 60.0, "testing": 10.0, "wan": 400.0}
"""So many simulated seconds of each preset cost about the same."""


@pytest.mark.parametrize(("loss", "units"), [(0.05, 20), (0.15, 50)])
@pytest.mark.parametrize("preset", stability.PRESETS)
@pytest.mark.parametrize("seed", range(9))
def test_members_are_together_within_the_bound_whatever_parted_them(
    preset: str, loss: float, units: int, seed: int
) -> None:
    healed = heal(preset, 3 if seed % 2 else 5, loss, seed, heals=3)
    assert max(healed.units) <= units, healed


@pytest.mark.parametrize("preset", stability.PRESETS)
@pytest.mark.parametrize("members", [3, 12])
def test_an_idle_ring_bears_ordinary_loss(preset: str, members: int) -> None:
    stayed = idle(preset, members, 0.05, 1, SHORT_S[preset])
    assert stayed.formed_units <= 20
    assert stayed.changes == 0
    assert stayed.whole


@pytest.mark.parametrize("preset", stability.PRESETS)
@pytest.mark.parametrize("seed", range(4))
def test_one_link_that_loses_much_one_way_is_borne(preset: str, seed: int) -> None:
    stayed = link(preset, 4, 0.40, seed, SHORT_S[preset])
    assert stayed.changes == 0
    assert stayed.whole
    assert stayed.back_units <= 20


@pytest.mark.parametrize("preset", stability.PRESETS)
def test_behind_a_link_that_loses_most_a_member_is_in_or_out_by_agreement_and_comes_back(preset: str) -> None:
    stayed = link(preset, 3, 0.80, 1, SHORT_S[preset])
    assert stayed.changes <= 2
    assert stayed.agreed
    assert stayed.back_units <= 20


def test_late_copies_of_the_dead_change_nothing() -> None:
    stayed = late("lan", 3, 0.0, 1, 60.0)
    assert stayed.formed_units <= 20
    assert stayed.changes == 0


@pytest.mark.parametrize("preset", stability.PRESETS)
def test_stability_costs_no_datagrams_and_no_slower_crash(preset: str) -> None:
    cell = Cell(preset, 3, 0.0)
    text, fine = stability.show_cost(cell, (1,), [cost(*cell, 1, 30.0)])
    assert fine, text
    seeds = range(1, 41)
    text, fine = stability.show_crash(cell, seeds, [crash(*cell, seed) for seed in seeds])
    assert fine, text


# What the command says of it


def test_a_heal_that_is_too_slow_misses_the_goal_and_the_slowest_is_named() -> None:
    cell = Cell("lan", 12, 0.15)
    fast, slow = Healed((3.0, 40.0), "cut"), Healed((2.0, 50.1), "stall")
    assert stability.show_heal(cell, (7,), [fast])[1]
    text, fine = stability.show_heal(cell, (7, 8), [fast, slow])
    assert not fine
    assert "slowest 50.1 units (seed 8, stall); 1 over 50" in text
    assert not stability.show_heal(Cell("lan", 12, 0.05), (7,), [fast])[1]


@pytest.mark.parametrize(
    ("show", "loss", "stayed", "fine"),
    [
        (stability.show_idle, 0.05, Stayed(3.0, 0, True, True, 3600.0), True),
        (stability.show_idle, 0.05, Stayed(3.0, 1, True, True, 3600.0), False),
        (stability.show_idle, 0.15, Stayed(49.0, 6, True, True, 3600.0), True),
        (stability.show_idle, 0.15, Stayed(49.0, 4, True, True, 1800.0), False),
        (stability.show_idle, 0.15, Stayed(51.0, 0, True, True, 3600.0), False),
        (stability.show_idle, 0.15, Stayed(math.inf, 0, False, False, 3600.0), False),
        (stability.show_link, 0.40, Stayed(3.0, 0, True, True, 3600.0, 2.0), True),
        (stability.show_link, 0.40, Stayed(3.0, 0, True, False, 3600.0, 2.0), False),
        (stability.show_link, 0.80, Stayed(3.0, 2, True, False, 3600.0, 2.0), True),
        (stability.show_link, 0.80, Stayed(3.0, 3, True, False, 3600.0, 2.0), False),
        (stability.show_link, 0.80, Stayed(3.0, 2, False, False, 3600.0, 2.0), False),
        (stability.show_link, 0.80, Stayed(3.0, 2, True, False, 3600.0, 21.0), False),
        (stability.show_late, 0.0, Stayed(3.0, 0, True, True, 600.0), True),
        (stability.show_late, 0.0, Stayed(3.0, 1, True, True, 600.0), False),
    ],
)
def test_goals_are_met_and_missed(show: stability.Show, loss: float, stayed: Stayed, fine: bool) -> None:
    assert show(Cell("lan", 3, loss), (1,), [stayed])[1] is fine


def test_more_datagrams_and_a_slower_crash_miss_the_goal() -> None:
    cell = Cell("lan", 3, 0.0)
    for show, goal, slack in (
        (stability.show_cost, stability.COST["lan", 3], stability.COST_SLACK),
        (stability.show_crash, stability.CRASH["lan", 3], stability.CRASH_SLACK),
    ):
        assert show(cell, (1, 2), [0.5 * goal, 1.5 * goal])[1]
        assert not show(cell, (1, 2), [1.01 * slack * goal] * 2)[1]
        assert show(cell._replace(loss=0.05), (1, 2), [2 * goal] * 2)[1], "no goal is known"


def test_the_command_measures_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code = stability.main(["cost", "--preset", "lan", "--members", "3", "--seeds", "1", "--seconds", "20"])
    assert code == 0
    assert capsys.readouterr().out.startswith("ok     cost lan      3 members,  0 % loss: 3")
    with pytest.raises(SystemExit):
        stability.main(["everything"])
