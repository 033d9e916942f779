"""When a round of chaos is at its end: all that was accepted was delivered by all."""

from __future__ import annotations

from typing import Any

import pytest

from ringproto.chaos.verdict import have_everything


def mark(**changes: Any) -> dict[str, Any]:
    right = {"phase": "complete", "members": [1, 2], "ring": "7", "order": "same", "queued": 0}
    return {**right, "accepted": 5, "returned": 5, "logged_as_accepted": 5, **changes}


def test_all_that_was_accepted_came_back() -> None:
    assert have_everything([mark(), mark(accepted=0, returned=0, logged_as_accepted=0)], [1, 2])


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": "unblocked"},
        {"members": [1, 2, 3]},
        {"ring": "8"},
        {"order": "another"},
        {"queued": 1},
        {"returned": 4},
        # Accepted while the application was on its way back from send(), so it has not counted it (seed 740950).
        {"logged_as_accepted": 6},
    ],
)
def test_a_mark_that_says_otherwise_is_not_the_end(changes: dict[str, Any]) -> None:
    assert not have_everything([mark(), mark(**changes)], [1, 2])
