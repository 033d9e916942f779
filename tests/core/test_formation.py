"""One attempt to form one ring: its commit token, and its phases."""

from __future__ import annotations

import pytest
from packets import packet, window
from wire_samples import NEW, NEW_ID, OLD, OLD_ID, codec, membership_codec

from ringproto._core.membership.commit_token import CommitToken, empty_entry
from ringproto._core.membership.formation import Formation
from ringproto._core.packets.window import Window
from ringproto._core.ring.ring import RingState
from ringproto._core.wire.membership import Entry
from ringproto._core.wire.regular import Phase, Token
from ringproto.config import Config

MEMBERS = (1, 2, 3)
CONFIG = Config().fitted(1400)


def entry(node: int, aru: int = 0) -> Entry:
    return Entry(node, 10 * node, True, OLD, aru, aru, ())


COMPLETE = CommitToken(NEW, 3, tuple(map(entry, MEMBERS)))


def formation(node: int = 2, hop: int = 0) -> Formation:
    ring = RingState(NEW_ID, MEMBERS, node, CONFIG, 64)
    return Formation(ring, CommitToken(NEW, hop, tuple(map(empty_entry, MEMBERS))))


def recovering(node: int, old: Window | None = None, token: CommitToken = COMPLETE) -> Formation:
    forming = formation(node)
    old_ring = RingState(OLD_ID, MEMBERS, node, CONFIG, 64)
    if old is not None:
        old_ring.window = old
    forming.recover(token, old_ring, node, codec(node=node))
    return forming


def test_commit_token_goes_on_with_one_hop_more() -> None:
    forming = formation()
    forming.pass_on(COMPLETE, membership_codec(), 1400)
    assert forming.commit == COMPLETE._replace(hop=4)
    part = membership_codec().decode_commit(forming.datagrams[0], 64)
    assert (part.destination, part.ring, part.hop, part.entries) == (3, NEW, 4, COMPLETE.entries)


def test_commit_token_on_its_second_rotation_is_the_one_that_was_passed_on_and_complete() -> None:
    forming = formation(hop=2)
    mine = entry(2)
    assert forming.reject_reason(COMPLETE, mine) is None
    assert forming.reject_reason(COMPLETE._replace(hop=2), mine) == "dropped_late_copy"
    assert forming.reject_reason(COMPLETE._replace(hop=1), mine) == "dropped_late_copy"
    assert forming.reject_reason(COMPLETE._replace(ring=OLD), mine) == "dropped_late_copy"
    fewer = COMPLETE._replace(entries=COMPLETE.entries[:2])
    assert forming.reject_reason(fewer, mine) == "dropped_implausible"
    open_ = COMPLETE._replace(entries=(*COMPLETE.entries[:2], empty_entry(3)))
    assert forming.reject_reason(open_, mine) == "dropped_implausible"
    # What this processor wrote must be what goes round.
    assert forming.reject_reason(COMPLETE, entry(2, aru=9)) == "dropped_implausible"


def test_representative_starts_the_token_once_when_the_second_rotation_is_over() -> None:
    forming = formation(node=1, hop=5)
    back = COMPLETE._replace(hop=6)
    assert forming.starts_token(back, 1)
    assert not forming.starts_token(COMPLETE._replace(hop=5), 1)
    assert not forming.starts_token(back._replace(ring=OLD), 1)
    forming.ring.token_seq = 1
    assert not forming.starts_token(back, 1)


def test_nobody_else_starts_the_token() -> None:
    assert not formation(node=2, hop=5).starts_token(COMPLETE._replace(hop=6), 2)


def token(phase: int, incomplete: bool, token_seq: int = 4) -> Token:
    return Token(1, NEW, token_seq, 0, 0, 0, 0, 0, 0, phase, incomplete, ())


@pytest.mark.parametrize("phase", [Phase.EXCHANGE, Phase.RECEIVED])
def test_next_phase_begins_when_nobody_was_incomplete_for_a_rotation(phase: Phase) -> None:
    forming = recovering(1)
    forming.ring.phase = int(phase)
    assert forming.advance(token(phase, True), 1) == token(phase, False)
    assert forming.ring.phase == phase
    forming.advance(token(phase, False), 1)
    assert forming.ring.phase == phase + 1


def test_only_the_representative_begins_a_phase() -> None:
    forming = recovering(2)
    for incomplete in (False, True):
        assert forming.advance(token(0, incomplete), 2) == token(0, incomplete)
    assert forming.ring.phase == Phase.EXCHANGE


def test_visit_sends_old_packets_and_says_whether_more_wait() -> None:
    entries = (entry(1), entry(2, aru=500), entry(3))
    forming = recovering(2, window((packet(seq) for seq in range(1, 501)), 512), COMPLETE._replace(entries=entries))
    forming.ring.note_arrival(token(0, False), 1.0)
    visit = forming.visit(token(0, False), codec(node=2))
    assert len(visit.datagrams) == CONFIG.visit_max
    assert visit.token.fcc == CONFIG.visit_max  # applications hold nothing back here
    assert visit.token.incomplete
    for hop in range(7, 40, 3):
        now = visit.token._replace(destination=2, token_seq=hop, incomplete=False, aru=visit.token.seq, aru_id=0)
        forming.ring.note_arrival(now, float(hop))
        visit = forming.visit(now, codec(node=2))
    assert visit.token.seq == 500
    assert not visit.token.incomplete


def test_promise_is_made_when_everything_was_received_and_not_before() -> None:
    forming = recovering(2)
    forming.ring.note_arrival(token(0, False), 1.0)
    forming.visit(token(0, False), codec(node=2))
    assert not forming.promised
    lacking = token(Phase.RECEIVED, False, 7)._replace(seq=1)
    forming.ring.note_arrival(lacking, 2.0)
    assert forming.visit(lacking, codec(node=2)).token.incomplete
    assert not forming.promised
    forming.ring.window.insert(codec(node=1).encode_recovered(NEW, 1, packet(1)))
    again = lacking._replace(token_seq=10)
    forming.ring.note_arrival(again, 3.0)
    assert not forming.visit(again, codec(node=2)).token.incomplete
    assert forming.promised


def test_packets_of_the_new_ring_that_all_have_are_forgotten_in_recovery() -> None:
    forming = recovering(2)
    forming.ring.window.insert(codec(node=1).encode_recovered(NEW, 1, packet(1)))
    for hop in (4, 7):
        now = token(0, False, hop)._replace(seq=1, aru=1)
        forming.ring.note_arrival(now, float(hop))
        forming.visit(now, codec(node=2))
    assert forming.ring.window.released == 1
