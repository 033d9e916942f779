"""The commit token and how its datagrams are put together."""

from __future__ import annotations

import itertools

from wire_samples import NEW, OLD, membership_codec

from ringproto._core.membership.commit_token import NO_RING, Assembler, CommitToken, empty_entry
from ringproto._core.wire.membership import CommitPart, Entry

FILLED = Entry(3, 77, True, OLD, 5, 4, (1, 3))
ENTRIES = tuple(map(empty_entry, (1, 2, 3, 4, 5)))


def part(first: int, *entries: Entry, ring: bytes = NEW, hop: int = 1, members: int = 5) -> CommitPart:
    return CommitPart(3, ring, hop, members, first, entries)


PARTS = [part(0, *ENTRIES[:2]), part(2, *ENTRIES[2:4]), part(4, *ENTRIES[4:])]


def test_commit_token_knows_its_members_and_when_it_is_complete() -> None:
    token = CommitToken(NEW, 0, ENTRIES)
    assert token.members == (1, 2, 3, 4, 5)
    assert not token.complete
    for node in token.members:
        token = token.filled(FILLED._replace(node=node))
    assert token.complete


def test_entry_goes_to_its_place_and_nowhere_else() -> None:
    token = CommitToken(NEW, 4, ENTRIES).filled(FILLED)
    assert token.entries == (*ENTRIES[:2], FILLED, *ENTRIES[3:])
    assert (token.ring, token.hop) == (NEW, 4)


def test_entry_of_nobody_on_the_ring_goes_nowhere() -> None:
    token = CommitToken(NEW, 4, ENTRIES)
    assert token.filled(FILLED._replace(node=9)) == token


def test_empty_entry_says_nothing() -> None:
    assert empty_entry(4) == Entry(4, 0, False, NO_RING, 0, 0, ())
    assert bytes(20) == NO_RING


def test_commit_token_of_one_datagram_is_whole_at_once() -> None:
    assert Assembler().add(part(0, *ENTRIES)) == CommitToken(NEW, 1, ENTRIES)


def test_parts_make_the_whole_in_any_order() -> None:
    for order in itertools.permutations(PARTS):
        assembler = Assembler()
        answers = [assembler.add(part) for part in order]
        assert answers == [None, None, CommitToken(NEW, 1, ENTRIES)]


def test_copies_of_parts_do_no_harm() -> None:
    assembler = Assembler()
    for one in (PARTS[0], PARTS[0], PARTS[1], PARTS[0], PARTS[1]):
        assert assembler.add(one) is None
    assert assembler.add(PARTS[2]) is not None


def test_part_that_was_lost_comes_with_the_retransmission() -> None:
    assembler = Assembler()
    assert assembler.add(PARTS[0]) is None
    assert assembler.add(PARTS[2]) is None
    answers = [assembler.add(one) for one in PARTS]
    assert answers[:2] == [None, CommitToken(NEW, 1, ENTRIES)]


def test_parts_of_two_commit_tokens_never_mix() -> None:
    """Forms of two attempts mixed: a fault that another implementation really had."""
    for other in (
        [part(0, *ENTRIES[:2], ring=OLD), part(2, *ENTRIES[2:4], ring=OLD)],
        [part(0, *ENTRIES[:2], hop=2), part(2, *ENTRIES[2:4], hop=2)],
        [part(0, *ENTRIES[:2], members=6), part(2, *ENTRIES[2:4], members=6)],
    ):
        assembler = Assembler()
        for one in other:
            assert assembler.add(one) is None
        assert assembler.add(PARTS[2]) is None
        assert assembler.add(PARTS[0]) is None
        assert assembler.add(PARTS[1]) == CommitToken(NEW, 1, ENTRIES)


def test_whole_is_given_once_and_begins_anew_afterwards() -> None:
    assembler = Assembler()
    for one in PARTS:
        whole = assembler.add(one)
    assert whole is not None
    assert assembler.add(PARTS[2]) is None
    assert assembler.add(PARTS[0]) is None
    assert assembler.add(PARTS[1]) == whole


def test_parts_that_contradict_each_other_are_dropped() -> None:
    for low, high in (((1, 5), (2, 3)), ((1, 2), (2, 3)), ((4, 5), (1, 2))):
        assembler = Assembler()
        assert assembler.add(part(0, *map(empty_entry, low), members=4)) is None
        assert assembler.add(part(2, *map(empty_entry, high), members=4)) is None
        # And it is not stuck with them.
        assert assembler.add(part(0, *ENTRIES[:4], members=4)) is not None


def test_commit_token_goes_over_the_wire_in_parts() -> None:
    entries = tuple(FILLED._replace(node=node, obligations=tuple(range(1, node))) for node in range(1, 40))
    assembler = Assembler()
    datagrams = membership_codec().encode_commit(3, NEW, 7, entries, 512)
    assert len(datagrams) > 3
    answers = [assembler.add(membership_codec().decode_commit(datagram, 64)) for datagram in datagrams]
    assert answers[:-1] == [None] * (len(datagrams) - 1)
    assert answers[-1] == CommitToken(NEW, 7, entries)
