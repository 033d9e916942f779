"""What a processor that stands still asks for, and how long the others wait."""

from __future__ import annotations

import pytest

from ringproto._core.membership.patience import Patience
from ringproto._core.wire.membership import PATIENCE_MAX, Entry


def entry(node: int, patience: int) -> Entry:
    return Entry(node, 1, True, bytes(20), 0, 0, (), patience)


@pytest.mark.parametrize(
    ("stood_s", "asks"), [(0.0, 1), (0.1, 2), (0.7, 4), (2.0, 7), (8.0, 25), (20.9, 64), (1000.0, PATIENCE_MAX)]
)
def test_it_asks_for_half_as_long_again_and_a_token_timeout(stood_s: float, asks: int) -> None:
    patience = Patience(0.5)
    patience.note_standstill(stood_s)
    assert patience.asks == asks


def test_the_longest_of_a_round_counts() -> None:
    patience = Patience(0.5)
    for stood_s in (0.7, 2.0, 0.3):
        patience.note_standstill(stood_s)
    assert patience.asks == 7


def test_a_short_standstill_does_not_make_it_ask_for_less_before_its_recovery_has_come_to_an_end() -> None:
    patience = Patience(0.5)
    patience.note_standstill(8.0)
    patience.begin(())
    patience.note_standstill(0.3)  # somebody else crashes before the long piece comes
    patience.begin(())
    assert patience.asks == 25
    patience.end_recovery()
    assert patience.asks == 1


def test_when_it_ends_a_recovery_it_asks_for_what_it_needed_in_that_one() -> None:
    """Before the next configuration is installed: what it asks for then is in the commit token."""
    patience = Patience(0.5)
    patience.note_standstill(2.0)
    patience.begin(())  # the round in which it stood still is aborted
    assert patience.asks == 7
    patience.begin(())  # another that it did not come to the end of
    assert patience.asks == 7
    patience.note_standstill(0.7)
    patience.end_recovery()
    assert patience.asks == 4
    patience.begin(())
    assert patience.asks == 4
    patience.end_recovery()
    assert patience.asks == 1


def test_the_most_patient_of_those_that_have_not_unblocked_is_waited_for() -> None:
    patience = Patience(0.5)
    patience.begin((entry(1, 7), entry(2, 25), entry(3, 1)))
    assert patience.asked_for == {1: 7, 2: 25}
    assert patience.times(frozenset((1, 2, 3))) == 25
    assert patience.times(frozenset((1, 3))) == 7
    assert patience.times(frozenset((3,))) == 1
    assert patience.times(frozenset()) == 1
    patience.begin((entry(1, 1), entry(2, 1)))
    assert patience.times(frozenset((1, 2))) == 1
