"""The barrier alone: rounds, the table, completion and abort (rules B3 to B10, B16, B18 to B20 in docs/testing.md)."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ringproto._core.barrier import Barrier
from ringproto.events import RecoveryComplete, RegularConfiguration
from ringproto.types import RingId


def configuration(sequence: int, *members: int, primary: bool = True, nonce: int = 1) -> RegularConfiguration:
    return RegularConfiguration(RingId(sequence, members[0], nonce), members, (), (), primary)


ONE = configuration(1, 1)
FIRST = configuration(2, 1, 2, 3)
SECOND = configuration(3, 1, 2, 3)
MINORITY = configuration(2, 1, 2, primary=False)


def ring(configuration: RegularConfiguration) -> RingId:
    return configuration.ring_id


def test_round_begins_with_an_empty_table() -> None:
    barrier = Barrier(FIRST)
    assert barrier.waiting_for == {1, 2, 3}
    assert not barrier.complete
    assert barrier.ring_id == ring(FIRST)


def test_last_unblock_completes_the_round_at_its_place() -> None:
    barrier = Barrier(FIRST)
    assert barrier.deliver_unblock(2, ring(FIRST), 4) is None
    assert barrier.deliver_unblock(1, ring(FIRST), 5) is None
    assert not barrier.complete
    assert barrier.deliver_unblock(3, ring(FIRST), 9) == RecoveryComplete(ring(FIRST), 9, (1, 2, 3))
    assert barrier.complete
    assert barrier.waiting_for == frozenset()


def test_singleton_takes_the_same_path() -> None:
    barrier = Barrier(ONE)
    assert not barrier.complete and barrier.waiting_for == {1}
    assert barrier.ask(ring(ONE)) and barrier.unblock_due
    barrier.sent()
    assert not barrier.complete
    assert barrier.deliver_unblock(1, ring(ONE), 1) == RecoveryComplete(ring(ONE), 1, (1,))


def test_round_completes_once() -> None:
    barrier = Barrier(FIRST)
    for seq, member in enumerate((1, 2, 3), 1):
        barrier.deliver_unblock(member, ring(FIRST), seq)
    for member in (1, 2, 3, 4):
        assert barrier.deliver_unblock(member, ring(FIRST), 9) is None
    assert barrier.complete


def test_second_unblock_of_a_member_says_nothing() -> None:
    barrier = Barrier(FIRST)
    for seq in range(1, 6):
        assert barrier.deliver_unblock(1, ring(FIRST), seq) is None
    assert barrier.waiting_for == {2, 3}


def test_unblock_of_a_stranger_says_nothing() -> None:
    barrier = Barrier(FIRST)
    for stranger in (4, 5, 6):
        assert barrier.deliver_unblock(stranger, ring(FIRST), 1) is None
    assert barrier.waiting_for == {1, 2, 3}


def test_unblock_of_another_round_says_nothing() -> None:
    barrier = Barrier(SECOND)
    other_formation = configuration(3, 1, 2, 3, nonce=2)
    for member in (1, 2, 3):
        assert barrier.deliver_unblock(member, ring(FIRST), 1) is None
        assert barrier.deliver_unblock(member, ring(other_formation), 1) is None
    assert barrier.waiting_for == {1, 2, 3}


def test_change_before_completion_aborts_the_round_and_empties_the_table() -> None:
    barrier = Barrier(FIRST)
    barrier.deliver_unblock(1, ring(FIRST), 1)
    barrier.deliver_unblock(2, ring(FIRST), 2)
    assert barrier.install(SECOND) == ring(FIRST)
    assert barrier.waiting_for == {1, 2, 3}
    # The member that died before its unblock is no ghost in the next round, and its old unblock does not count.
    assert barrier.deliver_unblock(3, ring(FIRST), 3) is None
    assert barrier.waiting_for == {1, 2, 3} and not barrier.complete


def test_change_after_completion_aborts_nothing_and_blocks_again() -> None:
    barrier = Barrier(ONE)
    barrier.deliver_unblock(1, ring(ONE), 1)
    assert barrier.complete
    assert barrier.install(FIRST) is None
    assert not barrier.complete
    assert barrier.waiting_for == {1, 2, 3}


def test_change_aborts_in_every_phase_of_the_round() -> None:
    for step in range(4):
        barrier = Barrier(FIRST)
        if step > 0:
            barrier.ask(ring(FIRST))
        if step > 1:
            barrier.sent()
        if step > 2:
            barrier.deliver_unblock(1, ring(FIRST), 1)
        assert barrier.install(SECOND) == ring(FIRST)
        assert not barrier.asked and not barrier.unblock_due and not barrier.complete
        assert barrier.may_recover(ring(SECOND)) and not barrier.may_recover(ring(FIRST))


def test_configuration_without_quorum_never_completes() -> None:
    barrier = Barrier(MINORITY)
    for member in (1, 2):
        assert barrier.deliver_unblock(member, ring(MINORITY), member) is None
    assert not barrier.complete
    assert barrier.waiting_for == frozenset()
    assert barrier.install(FIRST) == ring(MINORITY)


def test_unblock_is_due_once_from_asking_to_sending() -> None:
    barrier = Barrier(FIRST)
    assert not barrier.unblock_due
    assert barrier.ask(ring(FIRST))
    assert barrier.unblock_due and barrier.asked
    barrier.sent()
    assert not barrier.unblock_due and barrier.asked
    assert barrier.ask(ring(FIRST))
    assert not barrier.unblock_due


def test_unblock_of_a_round_that_is_over_is_not_taken() -> None:
    barrier = Barrier(FIRST)
    barrier.install(SECOND)
    assert not barrier.ask(ring(FIRST))
    assert not barrier.unblock_due and not barrier.asked


def test_unblock_accepted_but_not_sent_is_dropped_at_a_change() -> None:
    barrier = Barrier(FIRST)
    barrier.ask(ring(FIRST))
    barrier.install(SECOND)
    assert not barrier.unblock_due


def test_recovery_messages_are_taken_until_the_unblock_and_only_in_their_round() -> None:
    barrier = Barrier(FIRST)
    assert barrier.may_recover(ring(FIRST))
    assert not barrier.may_recover(ring(SECOND))
    barrier.ask(ring(FIRST))
    assert not barrier.may_recover(ring(FIRST))
    barrier.install(SECOND)
    assert barrier.may_recover(ring(SECOND))


@given(seed=st.integers(0, 2**32))
def test_equal_prefixes_of_the_order_give_equal_tables(seed: int) -> None:
    """Two barriers that see the same stream, whatever they themselves ask and send, agree after every step (B7, B8)."""
    source = random.Random(seed)
    rounds = [FIRST, SECOND, configuration(4, 2, 3), configuration(5, 1, 2, primary=False), configuration(6, 3)]
    left, right = Barrier(rounds[0]), Barrier(rounds[0])
    present, table, done = rounds[0], set[int](), False
    for seq in range(1, 40):
        for barrier in (left, right):
            if source.random() < 0.3:
                barrier.ask(ring(source.choice(rounds)))
            if source.random() < 0.3 and barrier.unblock_due:
                barrier.sent()
        if source.random() < 0.15:
            present = source.choice(rounds)
            expected = None if done else left.ring_id
            assert left.install(present) == right.install(present) == expected
            table, done = set(), False
        member, named = source.randint(1, 4), ring(source.choice([present, present, *rounds]))
        answers = left.deliver_unblock(member, named, seq), right.deliver_unblock(member, named, seq)
        assert answers[0] == answers[1]
        if named == ring(present) and member in present.members:
            new = member not in table
            table.add(member)
            completes = new and present.primary and table == set(present.members)
            assert (answers[0] is not None) == completes
            done = done or completes
        else:
            assert answers[0] is None
        for barrier in (left, right):
            assert barrier.waiting_for == set(present.members) - table
            assert barrier.complete == done
