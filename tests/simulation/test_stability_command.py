"""What ``python -m bench.stability`` refuses, and when it takes a ring for whole and agreed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import stability
from bench.stability import Cell, MeasuredRing, Stayed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["idle", "--loss", "0.2"], "--loss must be from 0 to 0.15 for idle, not 0.2"),
        (["link", "--loss", "0.9"], "--loss must be from 0 to 0.8 for link, not 0.9"),
        (["heal", "--loss", "1.5"], "--loss must be from 0 to 1 for heal, not 1.5"),
        (["cpu"], "give --base DIR"),
    ],
)
def test_arguments_for_which_there_is_no_goal_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        stability.main(arguments)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("show", [stability.show_idle, stability.show_late])
def test_a_ring_that_is_not_whole_at_the_end_misses_the_goal(show: stability.Show) -> None:
    cell = Cell("lan", 3, 0.0)
    assert show(cell, (1,), [Stayed(3.0, 0, agreed=True, whole=True, seconds=600.0)])[1]
    assert not show(cell, (1,), [Stayed(3.0, 0, agreed=True, whole=False, seconds=600.0)])[1]


def test_a_ring_that_disagreed_for_a_part_of_the_stretch_and_is_well_in_the_end_has_not_agreed() -> None:
    def stay(cut_s: float) -> Stayed:
        ring = MeasuredRing("lan", 3, 0.0, 1)
        ring.together(20)
        ring.cluster.pause(3, cut_s)  # it goes on to believe that it is a member
        return ring.stay(60.0, 1.0, 0.0)

    assert stay(0.1) == Stayed(1.0, 0, agreed=True, whole=True, seconds=60.0)
    long = stay(20.0)
    assert not long.agreed and long.whole


def test_losses_and_sizes_of_a_heal_are_all_that_users_have() -> None:
    assert stability.KINDS["heal"].members[0] == 2
    assert stability.KINDS["heal"].losses[0] == 0.0


def test_the_same_tree_takes_as_much_cpu_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "CPU_RUNS", 1)
    assert 0.1 < stability.cpu("lan", 3, 0.0, 1, 1.0, base=ROOT / "docs" / "..") < 10.0
    cell = Cell("lan", 3, 0.0)
    assert stability.show_cpu(cell, (1,), [1.03])[1]
    assert not stability.show_cpu(cell, (1,), [1.04])[1]
