"""Two living processes with one node id: who is on the ring keeps it as long as it answers."""

from __future__ import annotations

from ringproto._core.membership.duplicate_ids import DuplicateIds

JOIN_TIMEOUT_S = 0.02
MEMORY_S = 1.0


def make(max_: int = 8) -> DuplicateIds:
    return DuplicateIds(JOIN_TIMEOUT_S, MEMORY_S, max_)


def test_member_that_does_not_answer_gives_way_after_three_join_timeouts() -> None:
    rivals = make()
    assert not rivals.gives_way(3, 200, 10.0)
    assert not rivals.gives_way(3, 200, 10.059)
    assert rivals.gives_way(3, 200, 10.061)


def test_member_that_answers_keeps_its_id() -> None:
    rivals = make()
    assert not rivals.gives_way(3, 200, 10.0)
    rivals.answered(3, 10.001)
    assert rivals.both_live(3)
    for step in range(100):
        rivals_now = 10.0 + step * 0.009
        assert not rivals.gives_way(3, 200, rivals_now)


def test_answer_holds_for_a_bounded_time_and_the_member_is_asked_again() -> None:
    rivals = make()
    rivals.gives_way(3, 200, 10.0)
    rivals.answered(3, 10.0)
    now = 10.0
    while now < 10.0 + MEMORY_S:
        assert not rivals.gives_way(3, 200, now)
        now += JOIN_TIMEOUT_S
    assert not rivals.gives_way(3, 200, now) and not rivals.both_live(3)
    assert rivals.gives_way(3, 200, now + 3.1 * JOIN_TIMEOUT_S)


def test_claim_that_was_not_repeated_for_long_begins_again() -> None:
    rivals = make()
    assert not rivals.gives_way(3, 200, 10.0)
    assert not rivals.gives_way(3, 200, 10.0 + 2 * MEMORY_S)


def test_another_incarnation_begins_again() -> None:
    rivals = make()
    assert not rivals.gives_way(3, 200, 10.0)
    assert not rivals.gives_way(3, 300, 10.07)
    assert rivals.gives_way(3, 300, 10.14)


def test_answer_of_who_has_no_rival_is_nothing() -> None:
    rivals = make()
    rivals.answered(3, 10.0)
    assert not rivals.both_live(3)


def test_ids_are_remembered_apart_and_their_number_is_bounded() -> None:
    rivals = make(4)
    for node in range(1, 100):
        assert not rivals.gives_way(node, 200, 10.0)
    assert len(rivals._rivalries) == 4
