"""Which incarnations are known to live, and which datagrams are late copies."""

from __future__ import annotations

import itertools

from wire_samples import JOIN, LIMITS

from ringproto._core.membership.peers import Freshness, Peers, PendingDatagram
from ringproto._core.wire.membership import Identity
from ringproto._core.wire.regular import Kind

PROOF_S = 8.0
SPACING_S = 0.5
WORD = PendingDatagram(Kind.JOIN, JOIN)


def make(max_: int = 8) -> Peers:
    return Peers(max_, PROOF_S, SPACING_S, itertools.count(1000).__next__)


def identity(incarnation: int, serial: int) -> Identity:
    return Identity(incarnation, serial, LIMITS)


def proven(peers: Peers, node: int, incarnation: int, serial: int, now: float = 0.0) -> None:
    """Have an incarnation speak, be asked, and answer; what it said is handled then."""
    nonce = peers.claim(node, identity(incarnation, serial), WORD, now)
    assert nonce and peers.answers(node, incarnation, nonce, now)
    assert peers.believe(node, incarnation, serial, now) == WORD
    assert peers.hear(node, identity(incarnation, serial), now, present=False) is Freshness.NEWS


def hear(
    peers: Peers, node: int, incarnation: int, serial: int, now: float = 0.0, *, present: bool = False
) -> Freshness:
    return peers.hear(node, identity(incarnation, serial), now, present=present)


def test_first_word_of_a_processor_counts_only_when_it_has_answered() -> None:
    peers = make()
    assert peers.incarnation(1) is None
    assert hear(peers, 1, 100, 5) is Freshness.UNPROVEN
    nonce = peers.claim(1, identity(100, 5), WORD, 0.0)
    for node, incarnation, number in ((1, 100, nonce + 2), (1, 101, nonce), (2, 100, nonce)):
        assert not peers.answers(node, incarnation, number, 0.0)
    assert peers.answers(1, 100, nonce, 0.0)
    assert peers.believe(1, 100, 5, 0.0) == WORD
    assert peers.incarnation(1) == 100
    assert hear(peers, 1, 100, 5) is Freshness.NEWS, "the word that was kept is handled now"


def test_copies_and_what_is_older_are_late() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    for serial in (0, 1, 5, 6, 7):
        assert hear(peers, 1, 100, serial) is Freshness.LATE
    assert hear(peers, 1, 100, 8) is Freshness.NEWS


def test_dead_incarnation_never_counts_whatever_its_serials() -> None:
    """Copies of what was said before a crash come minutes later, in any order, also those that were never received."""
    peers = make()
    proven(peers, 1, 100, 7)
    proven(peers, 1, 200, 1)
    for serial in (6, 8, 9, 10, 11, 2**40):
        assert hear(peers, 1, 100, serial) is Freshness.UNPROVEN
        peers.claim(1, identity(100, serial), WORD, 0.0)
    assert peers.incarnation(1) == 200
    assert hear(peers, 1, 200, 2) is Freshness.NEWS


def test_who_was_silent_for_longer_than_the_proof_holds_proves_it_anew() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    assert hear(peers, 1, 100, 8, PROOF_S * 0.9) is Freshness.NEWS
    assert hear(peers, 1, 100, 9, PROOF_S * 1.8) is Freshness.NEWS, "each word makes it last"
    assert hear(peers, 1, 100, 10, PROOF_S * 3) is Freshness.UNPROVEN
    proven(peers, 1, 100, 10, PROOF_S * 3)


def test_member_of_the_ring_need_not_speak_to_be_believed() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    assert hear(peers, 1, 100, 8, PROOF_S * 100, present=True) is Freshness.NEWS


def test_who_was_left_out_proves_anew_that_it_lives() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    peers.doubt(1)
    assert hear(peers, 1, 100, 8) is Freshness.UNPROVEN
    proven(peers, 1, 100, 8)
    assert hear(peers, 1, 100, 7) is Freshness.LATE


def test_one_incarnation_is_asked_with_one_nonce_and_not_too_often() -> None:
    peers = make()
    nonce = peers.claim(1, identity(100, 5), WORD, 0.0)
    assert nonce
    assert peers.claim(1, identity(100, 6), WORD, SPACING_S / 2) == 0
    assert peers.claim(1, identity(100, 7), WORD, SPACING_S) == nonce, "an answer that is late counts still"
    assert peers.claim(1, identity(100, 8), WORD, PROOF_S) not in (0, nonce), "but not for ever"
    assert not peers.answers(1, 100, nonce, PROOF_S)


def test_answer_counts_no_longer_than_the_claim_that_was_asked() -> None:
    """A copy of it may come minutes later, when who gave it is dead, and what was kept of it is as old."""
    peers = make()
    nonce = peers.claim(1, identity(100, 5), WORD, 0.0)
    assert peers.answers(1, 100, nonce, 0.9 * PROOF_S)
    assert not peers.answers(1, 100, nonce, PROOF_S)


def test_answer_to_who_was_asked_once_more_does_not_count_for_ever() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    nonce = peers.ask(1, 1.0, 0.0)
    assert peers.ask(1, 0.9 * PROOF_S, 0.0) == nonce, "an answer that is late counts still"
    assert not peers.lives_on(1, 100, nonce, 8, 1.0 + PROOF_S)
    assert peers.ask(1, 1.0 + PROOF_S, 0.0) not in (0, nonce)


def test_member_of_a_ring_is_the_one_that_is_known_whoever_claimed_its_id_meanwhile() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    peers.is_on_ring(1, 100, 1.0)
    assert hear(peers, 1, 100, 7) is Freshness.LATE, "nothing is forgotten of who was known"
    proven(peers, 1, 200, 1)
    peers.is_on_ring(1, 100, 1.0)
    assert hear(peers, 1, 200, 2) is Freshness.UNPROVEN
    assert hear(peers, 1, 100, 8, 100 * PROOF_S, present=True) is Freshness.NEWS


def test_who_does_not_answer_is_asked_four_times_more_after_its_last_word() -> None:
    peers = make()
    nonce = peers.claim(1, identity(100, 5), WORD, 0.0)
    assert peers.unanswered(SPACING_S / 2) == [], "it was asked just now"
    assert [peers.unanswered(number * SPACING_S) for number in range(1, 7)] == [[(1, 100, nonce)]] * 4 + [[]] * 2
    assert peers.claim(1, identity(100, 6), WORD, 4.0) == nonce
    assert peers.unanswered(4.5) == [(1, 100, nonce)]
    peers.believe(1, 100, 6, 4.6)
    assert peers.unanswered(5.5) == []


def test_who_was_left_out_and_does_not_answer_is_asked_once_more_as_well() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    peers.doubt(1)
    nonce = peers.claim(1, identity(100, 8), WORD, 0.0)
    assert peers.unanswered(SPACING_S) == [(1, 100, nonce)]


def test_second_claim_to_an_id_is_asked_only_when_it_speaks_again() -> None:
    """It is asked by a broadcast. That it is passed over does not count as a question."""
    peers = make()
    proven(peers, 1, 100, 7)
    nonce = peers.claim(1, identity(200, 8), WORD, 0.0)
    assert peers.unanswered(SPACING_S) == []
    assert peers.claim(1, identity(200, 9), WORD, SPACING_S) == nonce


def test_few_are_asked_once_more_at_a_time() -> None:
    peers = make(64)
    for node in range(1, 31):
        peers.claim(node, identity(100, 5), WORD, 0.0)
    assert [node for node, _, _ in peers.unanswered(1.0)] == list(range(23, 31))
    assert [node for node, _, _ in peers.unanswered(1.0)] == list(range(15, 23))


def test_who_spoke_too_long_ago_is_not_asked_once_more() -> None:
    peers = make()
    peers.claim(1, identity(100, 5), WORD, 0.0)
    assert peers.unanswered(PROOF_S) == []


def test_latest_word_is_kept_until_the_answer() -> None:
    peers = make()
    later = PendingDatagram(Kind.JOIN, JOIN._replace(ring_sequence=99))
    peers.claim(1, identity(100, 6), later, 0.0)
    peers.claim(1, identity(100, 5), WORD, 0.0)
    assert peers.believe(1, 100, 6, 0.0) == later


def test_word_with_a_serial_that_was_not_reached_is_forged_and_dropped() -> None:
    peers = make()
    peers.claim(1, identity(100, 2**63), WORD, 0.0)
    assert peers.believe(1, 100, 6, 0.0) is None
    assert hear(peers, 1, 100, 7) is Freshness.NEWS


def test_forged_serial_silences_nobody_for_good() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    assert hear(peers, 1, 100, 2**64 - 1) is Freshness.NEWS  # forged, and nobody can tell
    assert hear(peers, 1, 100, 8) is Freshness.LATE
    nonce = peers.ask(1, 1.0, 0.0)
    assert nonce and peers.ask(1, 1.1, 0.0) == 0
    assert not peers.lives_on(1, 100, nonce + 2, 9, 1.2)
    assert not peers.lives_on(1, 100, 0, 9, 1.2)
    assert peers.lives_on(1, 100, nonce, 9, 1.2)
    assert not peers.lives_on(1, 100, nonce, 9, 1.2), "an answer counts once"
    assert hear(peers, 1, 100, 9) is Freshness.LATE
    assert hear(peers, 1, 100, 10) is Freshness.NEWS


def test_answer_never_makes_what_was_heard_news_again() -> None:
    peers = make()
    proven(peers, 1, 100, 7)
    nonce = peers.ask(1, 1.0, 0.0)
    assert peers.lives_on(1, 100, nonce, 50, 1.0)
    assert hear(peers, 1, 100, 7) is Freshness.LATE
    assert hear(peers, 1, 100, 8) is Freshness.NEWS, "said before the answer, and on its way still"


def test_who_is_not_known_is_not_asked_again() -> None:
    assert make().ask(1, 0.0, 0.0) == 0


def test_processors_are_remembered_apart() -> None:
    peers = make()
    proven(peers, 1, 100, 5)
    proven(peers, 2, 100, 5)
    assert hear(peers, 1, 100, 4) is Freshness.LATE
    assert peers.incarnation(2) == 100


def test_memory_is_bounded_and_forgets_who_was_silent_longest() -> None:
    peers = make(3)
    for node in (1, 2, 3):
        proven(peers, node, node, 9)
    assert hear(peers, 1, 1, 10) is Freshness.NEWS
    proven(peers, 4, 4, 1)
    assert [peers.incarnation(node) for node in (1, 2, 3, 4)] == [1, None, 3, 4]
    for node in range(5, 500):
        for incarnation in range(10):
            peers.claim(node, identity(incarnation, 1), WORD, 0.0)
    assert len(peers._claims) <= 3


def test_dead_incarnations_of_one_id_do_not_keep_the_living_one_from_being_asked() -> None:
    peers = make()
    for incarnation in range(100):
        peers.claim(1, identity(incarnation, 5), WORD, 0.0)
    assert len(peers._claims) == 4
    nonce = peers.claim(1, identity(999, 1), WORD, 0.0)
    assert peers.answers(1, 999, nonce, 0.0)


def test_dismissed_claim_is_forgotten() -> None:
    peers = make()
    nonce = peers.claim(1, identity(100, 5), WORD, 0.0)
    peers.dismiss(1, 100)
    assert not peers.answers(1, 100, nonce, 0.0)
    peers.dismiss(1, 100)
