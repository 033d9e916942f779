"""What is remembered of others: which incarnation lives, and which datagrams are late copies."""

from __future__ import annotations

from wire_samples import LIMITS

from ringproto._core.peers import Peers
from ringproto._core.wire_membership import Identity


def identity(incarnation: int, serial: int) -> Identity:
    return Identity(incarnation, serial, LIMITS)


def test_first_word_of_a_processor_is_news() -> None:
    peers = Peers(8)
    assert peers.incarnation(1) is None
    assert peers.news(1, identity(100, 5))
    assert peers.incarnation(1) == 100


def test_copy_is_no_news() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 5))
    assert not peers.news(1, identity(100, 5))


def test_late_copy_is_no_news() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 5))
    assert peers.news(1, identity(100, 7))
    for serial in (0, 1, 5, 6, 7):
        assert not peers.news(1, identity(100, serial))
    assert peers.news(1, identity(100, 8))


def test_new_incarnation_is_news_whatever_its_serial() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 50))
    assert peers.news(1, identity(200, 1))
    assert peers.incarnation(1) == 200
    assert not peers.news(1, identity(200, 1))


def test_processors_are_remembered_apart() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 5))
    assert peers.news(2, identity(100, 5))
    assert not peers.news(1, identity(100, 4))
    assert peers.incarnation(2) == 100


def test_memory_is_bounded_and_forgets_who_was_silent_longest() -> None:
    peers = Peers(3)
    for node in (1, 2, 3):
        assert peers.news(node, identity(node, 9))
    assert peers.news(1, identity(1, 10))
    assert peers.news(4, identity(4, 1))
    assert [peers.incarnation(node) for node in (1, 2, 3, 4)] == [1, None, 3, 4]
    for node in range(5, 500):
        peers.news(node, identity(node, 1))
    assert sum(peers.incarnation(node) is not None for node in range(500)) == 3


def test_life_before_is_no_news_until_it_proves_that_it_lives() -> None:
    """A new incarnation was started: what comes of the former one comes late, unless there is more and more of it."""
    peers = Peers(8)
    assert peers.news(1, identity(100, 5))
    assert peers.news(1, identity(200, 1))
    assert not peers.news(1, identity(100, 6))
    assert not peers.news(1, identity(100, 7))
    assert not peers.news(1, identity(100, 7)), "a copy proves nothing"
    assert peers.incarnation(1) == 200
    assert peers.news(1, identity(100, 8))
    assert peers.incarnation(1) == 100
    assert peers.news(1, identity(100, 9))


def test_proof_begins_anew_when_the_living_one_speaks() -> None:
    peers = Peers(8)
    assert peers.news(1, identity(100, 5))
    assert peers.news(1, identity(200, 1))
    for serial in range(6, 30, 2):
        assert not peers.news(1, identity(100, serial))
        assert not peers.news(1, identity(100, serial + 1))
        assert peers.news(1, identity(200, serial))


def test_proofs_of_two_former_lives_are_not_added_up() -> None:
    peers = Peers(8)
    for incarnation in (100, 200, 300):
        assert peers.news(1, identity(incarnation, 1))
    for serial in range(2, 20):
        assert not peers.news(1, identity(100 + 100 * (serial % 2), serial))


def test_copies_of_an_unknown_former_life_do_not_silence_the_living_one_for_good() -> None:
    """Full seed 9: late copies of a life that was never heard of before made everybody deaf to the present one."""
    peers = Peers(8)
    assert peers.news(5, identity(200, 40))
    assert peers.news(5, identity(100, 3)), "for all that is known, it was started anew"
    heard = [peers.news(5, identity(200, serial)) for serial in range(41, 50)]
    assert heard == [False, False] + [True] * 7
