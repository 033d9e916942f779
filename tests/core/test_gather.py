"""Agreeing on who will be on the next ring: the sets of one attempt."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import IDENTITY

from ringproto._core.membership.consensus import Consensus
from ringproto._core.wire.membership import Join


def join(procs: tuple[int, ...], fails: tuple[int, ...] = ()) -> Join:
    """A join of who knows ``procs`` and has given up ``fails`` of them."""
    return Join(IDENTITY, 1, tuple(sorted(set(procs) - set(fails))), tuple(sorted(fails)))


def said(consensus: Consensus) -> Join:
    return join(tuple(consensus.proc_set), tuple(consensus.fail_set))


def test_processor_begins_with_itself_and_those_it_is_told_of() -> None:
    consensus = Consensus(2, (1, 3), (3,), 64)
    assert consensus.proc_set == {1, 2, 3}
    assert consensus.fail_set == {3}
    assert consensus.alive == (1, 2)
    assert not consensus.agreed
    assert consensus.silent() == {1}


def test_alone_one_agrees_with_oneself() -> None:
    consensus = Consensus(2, (), (), 64)
    assert consensus.agreed
    assert consensus.alive == (2,)
    assert consensus.silent() == set()


def test_processor_never_gives_itself_up() -> None:
    consensus = Consensus(2, (1,), (2,), 64)
    assert consensus.fail_set == set()
    consensus.fail((1, 2))
    assert consensus.alive == (2,)


def test_join_of_somebody_new_changes_the_sets() -> None:
    consensus = Consensus(2, (), (), 64)
    assert consensus.receive(1, join((1, 5)))
    assert consensus.proc_set == {1, 2, 5}
    assert not consensus.agreed


def test_join_that_says_the_same_is_consent() -> None:
    consensus = Consensus(2, (1,), (), 64)
    assert not consensus.receive(1, join((1, 2)))
    assert consensus.agreed


def test_join_that_knows_less_is_no_consent_and_changes_nothing() -> None:
    consensus = Consensus(2, (1, 3), (3,), 64)
    assert not consensus.receive(1, join((1,)))
    assert not consensus.receive(1, join((1, 2, 3)))
    assert consensus.proc_set == {1, 2, 3} and consensus.fail_set == {3}
    assert not consensus.agreed


def test_join_from_which_one_learns_all_there_is_is_consent_at_once() -> None:
    consensus = Consensus(2, (), (), 64)
    assert consensus.receive(1, join((1, 2)))
    assert consensus.agreed


def test_consent_is_void_when_the_sets_change() -> None:
    consensus = Consensus(2, (1,), (), 64)
    consensus.receive(1, join((1, 2)))
    assert consensus.agreed
    assert consensus.receive(3, join((3,)))
    assert not consensus.agreed
    assert consensus.silent() == {1, 3}


def test_all_of_the_living_must_consent() -> None:
    consensus = Consensus(1, (2, 3), (), 64)
    consensus.receive(2, join((1, 2, 3)))
    assert not consensus.agreed
    consensus.receive(3, join((1, 2, 3)))
    assert consensus.agreed


def test_consent_of_the_given_up_is_not_needed() -> None:
    consensus = Consensus(1, (2, 3), (), 64)
    assert consensus.fail({3})
    consensus.receive(2, join((1, 2, 3), (3,)))
    assert consensus.agreed
    assert consensus.alive == (1, 2)


def test_fail_sets_are_merged() -> None:
    consensus = Consensus(1, (2, 3, 4), (3,), 64)
    assert consensus.receive(2, join((1, 2, 3, 4), (4,)))
    assert consensus.fail_set == {3, 4}
    assert consensus.alive == (1, 2)


def test_who_gives_me_up_is_given_up() -> None:
    consensus = Consensus(1, (2, 3), (), 64)
    assert consensus.receive(2, join((1, 2, 3), (1,)))
    assert consensus.fail_set == {2}
    assert consensus.alive == (1, 3)


def test_others_that_are_named_by_who_gives_me_up_are_not_given_up_with_it() -> None:
    consensus = Consensus(1, (2, 3, 4), (), 64)
    consensus.receive(2, join((1, 2, 3, 4), (1, 3, 4)))
    assert consensus.fail_set == {2}


def test_the_given_up_have_no_say() -> None:
    consensus = Consensus(1, (2, 3), (2,), 64)
    assert not consensus.receive(2, join((1, 2, 3, 9), (3,)))
    assert consensus.proc_set == {1, 2, 3} and consensus.fail_set == {2}


def test_silent_are_those_that_did_not_consent() -> None:
    consensus = Consensus(1, (2, 3, 4), (4,), 64)
    consensus.receive(2, join((1, 2, 3, 4), (4,)))
    assert consensus.silent() == {3}


def test_newcomer_that_was_only_heard_of_is_added_once() -> None:
    consensus = Consensus(1, (2,), (), 64)
    assert consensus.add(5)
    assert not consensus.add(5)
    assert consensus.proc_set == {1, 2, 5}
    consensus.fail({5})
    assert not consensus.add(5)


def test_giving_up_somebody_unknown_or_given_up_changes_nothing() -> None:
    consensus = Consensus(1, (2,), (), 64)
    assert not consensus.fail({9})
    assert consensus.fail({2})
    assert not consensus.fail({2})
    assert consensus.fail_set == {2}


def test_ring_that_would_be_too_large_takes_nobody_more() -> None:
    consensus = Consensus(1, (2,), (), 3)
    assert not consensus.receive(5, join((5, 6)))
    assert consensus.overfull
    assert consensus.proc_set == {1, 2}
    consensus = Consensus(1, (2,), (), 3)
    assert consensus.receive(5, join((5,)))
    assert not consensus.overfull
    assert not consensus.add(6)
    assert consensus.overfull


def test_full_ring_still_learns_who_is_given_up() -> None:
    consensus = Consensus(1, (2, 3), (), 3)
    assert consensus.receive(3, join((1, 2, 3, 9, 10), (2,)))
    assert consensus.overfull
    assert consensus.proc_set == {1, 2, 3}
    assert consensus.fail_set == {2}


def test_those_given_up_take_no_place_on_the_ring() -> None:
    """Processors that had all given each other up had no room for those who had not (full seed 1387)."""
    consensus = Consensus(1, (2, 3), (2, 3), 3)
    assert consensus.receive(5, join((5, 6)))
    assert consensus.alive == (1, 5, 6) and consensus.fail_set == {2, 3}
    assert not consensus.add(7)
    assert consensus.overfull


def test_too_many_given_up_are_not_taken_from_others() -> None:
    consensus = Consensus(1, (2, 3, 4, 5), (2, 3, 4), 4)
    assert consensus.receive(5, join((1, 5, 6), (6,)))
    assert consensus.fail_set == {2, 3, 4, 6} and not consensus.overfull
    assert not consensus.receive(5, join((1, 5, 7), (7,)))
    assert consensus.overfull
    assert consensus.alive == (1, 5) and consensus.fail_set == {2, 3, 4, 6}
    assert not consensus.receive(5, join((5,), (1,)))
    assert consensus.alive == (1, 5), "5 is given up when the time has come"


def test_who_must_be_given_up_is_and_those_before_are_forgotten_where_there_is_no_room_for_all() -> None:
    consensus = Consensus(1, (2, 3, 4, 5, 6), (2, 3, 4), 4)
    assert consensus.fail((5, 6))
    assert consensus.proc_set == {1, 5, 6} and consensus.fail_set == {5, 6}


def test_who_has_forgotten_whom_it_gave_up_takes_nobody_in_any_more() -> None:
    consensus = Consensus(1, (2, 3, 4, 5, 6, 7), (2, 3, 4), 4)
    assert consensus.fail((5,)) and consensus.fail((6,))
    assert consensus.alive == (1, 7) and consensus.fail_set == {6}
    assert not consensus.add(8)
    assert not consensus.receive(2, join((1, 2)))
    assert consensus.receive(7, join((1, 7, 9), (6, 7, 9)))
    assert consensus.alive == (1,) and consensus.fail_set == {6, 7}, "whom it knows it still gives up"


def test_two_that_gave_each_other_up_do_not_tell_each_other_for_ever_whom_they_had_forgotten() -> None:
    """Each forgot, with the other, those that nobody heard, and had them back from the other's next join."""
    one, other = Consensus(1, (2, 3, 4, 5, 6, 7), (2, 3, 6, 7), 4), Consensus(2, (1, 3, 4, 5, 6, 7), (1, 3, 4), 4)
    for _ in range(8):
        for mine, theirs in ((one, other), (other, one)):
            mine.fail(mine.silent())
            mine.receive(theirs.node, said(theirs))
            theirs.receive(mine.node, said(mine))
    assert one.alive == (1,) and other.alive == (2,)


@settings(max_examples=60)
@given(
    sets=st.lists(
        st.tuples(st.sets(st.integers(1, 6)), st.sets(st.integers(1, 6))),
        min_size=6,
        max_size=6,
    ),
    order=st.randoms(use_true_random=False),
    most=st.sampled_from((6, 64)),
)
def test_sets_only_grow_and_joins_come_to_an_end(
    sets: list[tuple[set[int], set[int]]], order: object, most: int
) -> None:
    """However six processors begin, saying and hearing joins comes to an end in few rounds."""
    end_joins(sets, order, most)


@settings(max_examples=200)
@given(
    sets=st.lists(
        st.tuples(st.sets(st.integers(1, 9), max_size=3), st.sets(st.integers(1, 9), max_size=3)),
        min_size=9,
        max_size=9,
    ),
    order=st.randoms(use_true_random=False),
    most=st.sampled_from((3, 4, 5)),
)
def test_joins_come_to_an_end_where_there_is_not_room_for_all(
    sets: list[tuple[set[int], set[int]]], order: object, most: int
) -> None:
    end_joins(
        [(set(sorted(procs - {node})[: most - 1]), fails) for node, (procs, fails) in enumerate(sets, 1)], order, most
    )


def end_joins(sets: list[tuple[set[int], set[int]]], order: object, most: int) -> None:
    gathers = {node: Consensus(node, procs, fails & procs, most) for node, (procs, fails) in enumerate(sets, 1)}
    for _ in range(30):
        changed = False
        pairs = list(itertools.permutations(gathers, 2))
        order.shuffle(pairs)  # type: ignore[attr-defined]
        for sender, receiver in pairs:
            consensus = gathers[receiver]
            before = set(consensus.proc_set), set(consensus.fail_set)
            changed |= consensus.receive(sender, said(gathers[sender]))
            assert before[0] <= consensus.proc_set and before[1] <= consensus.fail_set
            assert receiver not in consensus.fail_set and receiver in consensus.proc_set
        if not changed:
            break
    else:
        raise AssertionError("joins went on for ever")
    for consensus in gathers.values():
        assert len(consensus.alive) <= most and len(consensus.fail_set) <= most
        for other in consensus.alive:
            # Whom I hear and want on my ring has given me up, or has said the same and has my consent.
            if gathers[other].proc_set == consensus.proc_set and gathers[other].fail_set == consensus.fail_set:
                assert other not in consensus.silent()
