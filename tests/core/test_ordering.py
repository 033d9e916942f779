"""One ring at one processor: what a visit of the token does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from packets import packet
from wire_samples import NEW, OLD, OLD_ID, codec

from ringproto._core.ring.ring import RingState, Source, Visit
from ringproto._core.wire.regular import Packet, Phase, Token
from ringproto.config import Config

MEMBERS = (1, 2, 3)


class Waiting(Source):
    """Has so many packets to send."""

    def __init__(self, waiting: int = 0, *, unready: bool = False) -> None:
        self.waiting = waiting
        self.not_ready = unready

    def backlog(self, low_max: int) -> int:
        return self.waiting

    def next_packet(self, ring: RingState, seq: int, message_seq: int) -> tuple[Packet, int] | None:
        if not self.waiting:
            return None
        self.waiting -= 1
        return packet(seq, sender=ring.node, message_seq=message_seq), message_seq + 1

    def unready(self, ring: RingState, seq: int) -> bool:
        return self.not_ready


class Member:
    """The ring OLD at one of its members."""

    def __init__(
        self, node: int = 2, *, requests_max: int = 64, members: Sequence[int] = MEMBERS, **changes: Any
    ) -> None:
        self.ring = RingState(OLD_ID, tuple(members), node, Config(**changes).fitted(1352), requests_max)
        self.ring.phase = int(Phase.INSTALLED)
        self.codec = codec(node=node)
        self.now = 10.0

    def have(self, *seqs: int) -> Member:
        for seq in seqs:
            assert self.ring.window.insert(packet(seq))
        return self

    def visit(self, token: Token, waiting: int = 0, held: int = 0, *, unready: bool = False) -> Visit:
        """A token comes and is passed on."""
        assert self.ring.plausible(token)
        self.ring.note_arrival(token, self.now)
        self.now += 0.001
        return self.ring.visit(token, Waiting(waiting, unready=unready), held, self.codec)


def token(token_seq: int = 5, seq: int = 0, aru: int = 0, aru_id: int = 0, **more: Any) -> Token:
    base = Token(2, OLD, token_seq, seq, 0, aru, aru_id, 0, 0, int(Phase.INSTALLED), False, ())
    return base._replace(**more)


def sent_seqs(visit: Visit) -> list[int]:
    return [codec().decode_data(datagram).seq for datagram in visit.datagrams]


# The ring


def test_token_goes_round_in_the_order_of_ids() -> None:
    assert [Member(node).ring.successor for node in MEMBERS] == [2, 3, 1]
    assert Member(7, members=(7,)).ring.successor == 7


def test_first_member_is_the_representative() -> None:
    assert {Member(node).ring.representative for node in MEMBERS} == {1}


def test_new_ring_has_sent_and_seen_nothing() -> None:
    ring = RingState(OLD_ID, MEMBERS, 2, Config().fitted(1352), 64)
    assert (ring.phase, ring.token_seq, ring.stable, ring.last_own, ring.forwarded_seq) == (Phase.EXCHANGE, 0, 0, 0, 0)
    assert (ring.forwarded, ring.rotations, ring.sent, ring.retransmitted) == (None, 0, 0, 0)
    assert ring.slowest_member(99.0, 1.0) == 0


def test_first_token_takes_nobody_for_ready() -> None:
    first = Member(1).ring.first_token()
    assert first == Token(1, OLD, 1, 0, 0, 0, 0, 0, 0, Phase.EXCHANGE, True, (), 2)


# Passing on


def test_token_is_passed_to_the_successor_one_hop_further() -> None:
    member = Member()
    passed = member.visit(token(token_seq=5, seq=0)).token
    assert (passed.destination, passed.ring, passed.token_seq) == (3, OLD, 6)
    assert member.ring.forwarded == member.codec.encode_token(passed)
    passed = member.visit(token(token_seq=8), waiting=3).token
    assert member.ring.forwarded_seq == passed.seq == 3
    assert member.ring.token_seq == 8


def test_new_packets_are_numbered_on_from_the_token() -> None:
    member = Member().have(1, 2, 3)
    visit = member.visit(token(seq=3, aru=3, message_seq=30), waiting=4)
    assert sent_seqs(visit) == [4, 5, 6, 7]
    assert (visit.token.seq, visit.token.message_seq) == (7, 34)
    assert member.ring.last_own == 7
    assert member.ring.window.aru == 7  # its own packets it has
    assert member.ring.sent == 4


def test_visit_sends_no_more_than_flow_control_allows() -> None:
    member = Member(window_size=10, visit_max=4)
    assert len(member.visit(token(), waiting=100).datagrams) == 4
    member = Member(window_size=10, visit_max=10)
    assert len(member.visit(token(fcc=7), waiting=100).datagrams) == 3
    assert len(Member(window_size=10, visit_max=10).visit(token(), waiting=100, held=8).datagrams) == 2


@pytest.mark.parametrize(
    ("changes", "waiting", "pieces"),
    [
        ({"visit_max": 24}, 100, [3] * 8),
        ({"visit_max": 20}, 100, [3] * 6 + [2]),
        ({"visit_max": 24}, 7, [3, 3, 1]),
        ({"visit_max": 24}, 6, [3, 3, 0]),
        ({"visit_max": 24}, 2, [2]),
        ({"visit_max": 24}, 0, [0]),
        ({"visit_max": 5}, 100, [2, 2, 1]),
        ({"visit_max": 1}, 100, [1]),
        ({"visit_max": 24, "accelerated_window": 2}, 100, [24]),  # the token goes before the last of them anyhow
        ({"visit_max": 24, "members": (2,)}, 100, [24]),  # nobody waits for the first piece
    ],
)
def test_long_visit_is_sent_in_pieces(changes: dict[str, Any], waiting: int, pieces: list[int]) -> None:
    member = Member(window_size=100, **changes)
    source = Waiting(waiting)
    came = token()
    member.ring.note_arrival(came, 1.0)
    visit = member.ring.begin_visit(came, source, 0)
    sent = []
    unfinished = True
    while unfinished:
        member.ring.send(visit, source, 0, member.codec)
        sent.append(len(visit.take_datagrams(0)[0]))
        unfinished = visit.unfinished
        assert visit.token is None
    assert sent == pieces
    member.ring.end_visit(visit, source, 0, member.codec)
    assert visit.token is not None
    assert (visit.token.seq, visit.token.fcc) == (sum(pieces), sum(pieces))


def test_pieces_of_a_visit_have_no_more_of_the_window_than_one_that_is_not_cut() -> None:
    """The share by what waits is that of the beginning, though less waits after each piece."""
    visit = Member(window_size=60, visit_max=40).visit(token(backlog=30), waiting=30)
    assert len(visit.datagrams) == 30
    visit = Member(window_size=60, visit_max=40).visit(token(backlog=60), waiting=30)
    assert len(visit.datagrams) == 20


def test_token_says_what_was_sent_and_what_waits() -> None:
    visit = Member(window_size=10, visit_max=4).visit(token(fcc=2, backlog=5), waiting=7, held=1)
    sent = len(visit.datagrams)
    assert sent > 0
    assert (visit.token.fcc, visit.token.backlog) == (2 + sent + 1, 5 + 7 - sent)


def test_ring_knows_whether_flow_control_lets_something_new_out() -> None:
    member = Member(window_size=4, visit_max=4)
    member.visit(token(5, fcc=4), waiting=2)
    assert member.ring.blocked
    member.visit(token(8, fcc=3), waiting=2)
    assert not member.ring.blocked


# The aru rule (Totem, section 4.1)


def test_aru_of_a_member_that_has_everything_stays() -> None:
    passed = Member().have(1, 2, 3).visit(token(seq=3, aru=3)).token
    assert (passed.aru, passed.aru_id) == (3, 0)


def test_member_that_lacks_something_lowers_the_aru_in_its_name() -> None:
    passed = Member().have(1, 3).visit(token(seq=3, aru=3)).token
    assert (passed.aru, passed.aru_id) == (1, 2)


def test_aru_that_somebody_else_lowered_is_left_to_it() -> None:
    passed = Member().have(1, 2, 3).visit(token(seq=3, aru=1, aru_id=3)).token
    assert (passed.aru, passed.aru_id) == (1, 3)


def test_aru_that_somebody_else_lowered_is_lowered_further() -> None:
    passed = Member().visit(token(seq=3, aru=1, aru_id=3)).token
    assert (passed.aru, passed.aru_id) == (0, 2)


def test_who_lowered_the_aru_raises_it() -> None:
    passed = Member().have(1, 2, 4).visit(token(seq=4, aru=1, aru_id=2)).token
    assert (passed.aru, passed.aru_id) == (2, 2)


def test_who_lowered_the_aru_gives_it_back_when_it_has_everything() -> None:
    passed = Member().have(1, 2, 3).visit(token(seq=3, aru=1, aru_id=2)).token
    assert (passed.aru, passed.aru_id) == (3, 0)


def test_own_new_packets_raise_an_aru_that_nobody_lowered() -> None:
    passed = Member().have(1).visit(token(seq=1, aru=1), waiting=3).token
    assert (passed.seq, passed.aru, passed.aru_id) == (4, 4, 0)


def test_own_new_packets_do_not_raise_an_aru_that_somebody_lowered() -> None:
    passed = Member().have(1, 2).visit(token(seq=2, aru=1, aru_id=3), waiting=3).token
    assert (passed.seq, passed.aru, passed.aru_id) == (5, 1, 3)


# Stable


def test_packet_is_stable_after_two_visits_whose_aru_covers_it() -> None:
    member = Member().have(1, 2)
    member.visit(token(5, seq=2, aru=2))
    assert member.ring.stable == 0
    member.visit(token(8, seq=2, aru=2))
    assert member.ring.stable == 2


def test_stable_is_the_smaller_of_two_visits() -> None:
    member = Member().have(1, 2, 3)
    member.visit(token(5, seq=3, aru=3))
    member.have(4, 5).visit(token(8, seq=5, aru=5))
    assert member.ring.stable == 3
    member.visit(token(11, seq=5, aru=1, aru_id=3))
    assert member.ring.stable == 3  # what was stable stays so
    member.visit(token(14, seq=5, aru=5))
    assert member.ring.stable == 3
    member.visit(token(17, seq=5, aru=5))
    assert member.ring.stable == 5


def test_what_this_processor_lacks_is_not_stable() -> None:
    member = Member().have(1, 3)
    for hop in range(5, 20, 3):
        member.visit(token(hop, seq=3, aru=3))
    assert member.ring.stable == 1


# Requests and retransmission


def test_requested_packet_that_is_here_is_sent_again_and_taken_off_the_list() -> None:
    member = Member().have(1, 2, 3)
    visit = member.visit(token(seq=3, aru=1, aru_id=3, requests=(2, 3)))
    assert sent_seqs(visit) == [2, 3]
    assert visit.token.requests == ()
    assert member.ring.retransmitted == 2


def test_retransmitted_packet_is_the_datagram_as_it_came() -> None:
    member = Member()
    first = packet(1, sender=3)
    member.ring.window.insert(first)
    assert member.visit(token(seq=1, aru=0, aru_id=1, requests=(1,))).datagrams == [first.datagram]


def test_requested_packet_that_is_not_here_stays_on_the_list() -> None:
    member = Member().have(1, 3)
    visit = member.visit(token(seq=3, aru=0, aru_id=3, requests=(1, 2)))
    assert sent_seqs(visit) == [1]
    assert visit.token.requests == (2,)


def test_request_for_what_all_have_leaves_the_list() -> None:
    member = Member().have(1, 2)
    member.ring.window.release(2)
    assert member.visit(token(seq=2, aru=2, requests=(1, 2))).token.requests == ()


def test_retransmissions_count_in_the_window_before_new_packets() -> None:
    member = Member(window_size=4, visit_max=4).have(1, 2, 3)
    visit = member.visit(token(seq=3, aru=0, aru_id=3, requests=(1, 2, 3)), waiting=5)
    assert sent_seqs(visit) == [1, 2, 3, 4]


def test_no_more_is_sent_again_than_the_window_lets_out() -> None:
    member = Member(window_size=4, visit_max=4).have(1, 2, 3)
    visit = member.visit(token(seq=3, aru=0, aru_id=3, fcc=2, requests=(1, 2, 3)), waiting=5)
    assert sent_seqs(visit) == [1, 2]
    assert visit.token.requests == (3,)


def test_one_request_is_served_although_the_window_is_full() -> None:
    member = Member(window_size=4, visit_max=4).have(1, 2, 3)
    visit = member.visit(token(seq=3, aru=0, aru_id=3, fcc=4, requests=(1, 2, 3)))
    assert sent_seqs(visit) == [1]
    assert visit.token.requests == (2, 3)


def test_gap_is_asked_for_when_it_is_a_rotation_old() -> None:
    member = Member().have(1, 3)
    assert member.visit(token(5, seq=3, aru=3)).token.requests == ()
    assert member.visit(token(8, seq=3, aru=1, aru_id=2)).token.requests == (2,)


def test_gap_that_was_filled_within_a_rotation_is_not_asked_for() -> None:
    member = Member().have(1, 3)
    member.visit(token(5, seq=3, aru=3))
    member.have(2)
    assert member.visit(token(8, seq=3, aru=1, aru_id=2)).token.requests == ()


def asked_in_vain(member: Member, times: int, first: int = 1) -> list[int]:
    """How often each visit of a token that asks for the packets ``first`` and 3 sends the first one."""
    visits = [
        member.visit(token(5 + 3 * number, seq=3, aru=first - 1, aru_id=3, requests=(first, 3)))
        for number in range(times)
    ]
    assert all(sent_seqs(visit).count(3) == 1 for visit in visits)
    return [sent_seqs(visit).count(first) for visit in visits]


def test_first_packet_that_is_sent_in_vain_time_and_again_is_sent_several_times_at_once() -> None:
    member = Member().have(1, 2, 3)
    assert asked_in_vain(member, 16) == [1, 1, 1, 2, 4, *[8] * 8, 5, 1, 1]
    assert member.ring.retransmitted == 16 * 2 + 64
    assert asked_in_vain(member, 4, first=2) == [1, 1, 1, 2]


def test_packet_of_another_member_that_is_asked_for_meanwhile_does_not_begin_it_anew() -> None:
    """Who asks in vain asks less often than once in a rotation."""
    member = Member().have(1, 2, 3)
    sent = []
    for number in range(16):
        first = 1 if number % 2 else 2
        visit = member.visit(token(5 + 3 * number, seq=3, aru=0, aru_id=3, requests=(first, 3)))
        sent.append(sent_seqs(visit).count(first))
    assert sent[1::2] == [1, 1, 1, 2, 4, 8, 8, 8]
    assert set(sent[2::2]) == {1}


def test_flow_control_holds_for_what_is_sent_several_times_at_once() -> None:
    member = Member(window_size=5, visit_max=5).have(1, 2, 3)
    assert max(asked_in_vain(member, 16)) == 4


def test_requests_of_several_members_are_one_rising_list() -> None:
    member = Member().have(1, 4)
    member.visit(token(5, seq=5, aru=5))
    passed = member.visit(token(8, seq=5, aru=1, aru_id=2, requests=(3, 5)))
    assert passed.token.requests == (2, 3, 5)


def test_request_list_is_bounded_and_keeps_the_oldest() -> None:
    member = Member(requests_max=3)
    member.visit(token(5, seq=10, aru=10))
    assert member.visit(token(8, seq=10, aru=0, aru_id=2, requests=(4, 9))).token.requests == (1, 2, 3)


@pytest.mark.parametrize(("by_chance", "most"), [(False, 64), (True, 128)])
def test_more_is_asked_for_in_one_token_where_packets_are_lost_by_chance(by_chance: bool, most: int) -> None:
    member = Member(requests_max=128)
    if by_chance:
        lose_by_chance(member)
    member.visit(token(5, seq=200, aru=200))
    assert len(member.visit(token(8, seq=200, aru=0, aru_id=2)).token.requests) == most


def lose_by_chance(member: Member) -> None:
    """A fifth of what is broadcast is lost, however little that is."""
    congestion = member.ring.congestion
    for rotation in range(200):
        share = congestion.share()
        congestion.note_sent(share)
        congestion.note_rotation(rotation, 0.0, round(0.8 * 3 * share), 3 * share, 0)
    assert congestion.by_chance()


# Flow of a whole ring


def test_unconfirmed_packets_never_go_beyond_what_every_member_can_keep() -> None:
    """A member that hears nothing stops the ring before any window is full."""
    member = Member(1, window_size=4, visit_max=4, members=(1, 2))
    now = member.visit(token(1, destination=1), waiting=1000).token
    for _ in range(100):
        deaf = now._replace(token_seq=now.token_seq + 1, destination=1, aru=0, aru_id=2)
        now = member.visit(deaf, waiting=1000).token
    assert now.seq <= 3 * 4
    assert now.seq < member.ring.window.capacity


def test_three_members_with_a_lossy_link_deliver_everything_to_all() -> None:
    members = {node: Member(node, window_size=8, visit_max=4) for node in MEMBERS}
    sources = {node: Waiting(40) for node in MEMBERS}
    now = token(1, destination=1)
    source = random.Random(3)
    for _ in range(3000):
        member = members[now.destination]
        assert member.ring.plausible(now)
        member.ring.note_arrival(now, member.now)
        member.now += 0.001
        visit = member.ring.visit(now, sources[member.ring.node], 0, member.codec)
        for datagram in visit.datagrams:
            for node, other in members.items():
                if node != member.ring.node and source.random() > 0.3:
                    other.ring.window.insert(codec().decode_data(datagram))
        member.ring.window.release(member.ring.stable)
        now = visit.token
        if all(one.ring.window.released == 120 for one in members.values()):
            break
    assert [one.ring.window.aru for one in members.values()] == [120, 120, 120]
    assert [one.ring.window.released for one in members.values()] == [120, 120, 120]
    assert sum(one.ring.sent for one in members.values()) == 120
    assert sum(one.ring.retransmitted for one in members.values()) > 0


# Idle, rotation time, who holds it up


def test_ring_is_idle_after_visits_in_which_nothing_had_happened() -> None:
    member = Member().have(1)
    member.visit(token(5, seq=1, aru=1))
    member.visit(token(8, seq=1, aru=1))
    assert member.ring.idle_visits == 0  # it became stable in this one
    member.visit(token(11, seq=1, aru=1))
    member.visit(token(14, seq=1, aru=1))
    assert member.ring.idle_visits == 2
    member.visit(token(17, seq=1, aru=1, requests=(1,)))
    assert member.ring.idle_visits == 0


def test_own_packets_end_idleness() -> None:
    member = Member()
    for hop in (5, 8, 11):
        member.visit(token(hop))
    assert member.ring.idle_visits == 3
    member.visit(token(14), waiting=1)
    assert member.ring.idle_visits == 0


def test_rotation_time_is_measured_and_smoothed() -> None:
    member = Member()
    assert member.ring.rotation_s == 0.0
    member.ring.note_arrival(token(5), 10.0)
    assert (member.ring.rotations, member.ring.rotation_s) == (1, 0.0)
    member.ring.note_arrival(token(8), 10.5)
    assert member.ring.rotation_s == 0.5
    member.ring.note_arrival(token(11), 11.8)
    assert member.ring.rotation_s == pytest.approx(0.5 + (1.3 - 0.5) / 8)
    assert member.ring.rotations == 3


def test_missed_token_is_sent_again_after_a_few_rotations_while_messages_flow() -> None:
    ring = Member(token_retransmit_s=0.1, token_retransmit_min_s=0.004).ring
    assert ring.retransmit_after() == 0.1
    ring.note_arrival(token(5, seq=1), 10.0)
    assert ring.retransmit_after() == 0.1  # nothing was measured yet
    ring.note_arrival(token(8, seq=2), 10.002)
    assert ring.retransmit_after() == pytest.approx(0.008)
    for hop in range(11, 71, 3):
        ring.note_arrival(token(hop, seq=hop), 10.0 + 0.0001 * hop)
    assert ring.retransmit_after() == 0.004


def test_slow_ring_does_not_miss_its_token_before_its_time() -> None:
    hasty = Member(token_retransmit_s=0.1).ring
    patient = Member(token_retransmit_s=10.0, token_timeout_s=20.0).ring
    for hop in range(5, 65, 3):
        for ring in (hasty, patient):
            ring.note_arrival(token(hop, seq=hop), 0.3 * hop)
    assert hasty.retransmit_after() == 0.1
    assert patient.retransmit_after() >= 4 * 0.9


@pytest.mark.parametrize("lost_of_eight", [1, 2, 4])
def test_lost_tokens_do_not_make_the_ring_wait_longer_for_the_next_one(lost_of_eight: int) -> None:
    # Were the wait a multiple of a mean, it would grow with each loss: 1 lost of 4, at 4 means, has no limit.
    ring = Member(token_retransmit_s=0.1, token_retransmit_min_s=0.0005).ring
    now = 1.0
    for rotation in range(400):
        ring.note_arrival(token(5 + 3 * rotation, seq=rotation + 1), now)
        now += 0.001
        if rotation % 8 < lost_of_eight:
            now += ring.retransmit_after()
    assert ring.retransmit_after() < 0.010


def test_wait_for_the_token_follows_a_ring_that_becomes_slower() -> None:
    ring = Member(token_retransmit_s=0.1).ring
    now = 1.0
    for rotation in range(300):
        ring.note_arrival(token(5 + 3 * rotation, seq=rotation + 1), now)
        now += 0.001 if rotation < 50 else 0.010
    assert ring.retransmit_after() >= 0.039


def test_token_of_an_idle_ring_is_not_missed_so_soon() -> None:
    member = Member(token_retransmit_s=0.1, token_retransmit_min_s=0.004)
    for hop in (5, 8, 11):
        member.visit(token(hop))
    assert member.ring.idle_visits > 0
    assert member.ring.retransmit_after() == 0.1


def test_member_that_keeps_the_aru_back_for_too_long_holds_up() -> None:
    ring = Member().ring
    ring.note_arrival(token(5, seq=9, aru=4, aru_id=3), 10.0)
    assert ring.slowest_member(10.9, 1.0) == 0
    ring.note_arrival(token(8, seq=12, aru=4, aru_id=3), 10.9)
    assert ring.slowest_member(11.0, 1.0) == 0
    assert ring.slowest_member(11.1, 1.0) == 3


@pytest.mark.parametrize(
    "progress",
    [
        pytest.param({"seq": 9, "aru": 5, "aru_id": 3}, id="the aru rose"),
        pytest.param({"seq": 9, "aru": 4, "aru_id": 1}, id="somebody else holds it back"),
        pytest.param({"seq": 9, "aru": 9, "aru_id": 0}, id="nobody holds it back"),
    ],
)
def test_progress_is_no_holding_up(progress: dict[str, Any]) -> None:
    ring = Member().ring
    ring.note_arrival(token(5, seq=9, aru=4, aru_id=3), 10.0)
    ring.note_arrival(token(8, **progress), 10.9)
    assert ring.slowest_member(11.5, 1.0) == 0


def test_processor_does_not_accuse_itself() -> None:
    ring = Member(2).ring
    ring.note_arrival(token(5, seq=9, aru=4, aru_id=2), 10.0)
    assert ring.slowest_member(99.0, 1.0) == 0


def test_quiet_ring_accuses_nobody() -> None:
    ring = Member().ring
    ring.note_arrival(token(5, seq=9, aru=9), 10.0)
    assert ring.slowest_member(99.0, 1.0) == 0


# Phases while it forms


def test_member_that_is_not_ready_says_so_and_no_other_takes_it_back() -> None:
    ring = Member()
    ring.ring.phase = int(Phase.EXCHANGE)
    assert ring.visit(token(5, phase=0), unready=True).token.incomplete
    assert ring.visit(token(8, phase=0, incomplete=True)).token.incomplete
    assert not ring.visit(token(11, phase=0)).token.incomplete


def test_phase_of_the_token_is_the_ring_s() -> None:
    member = Member()
    member.ring.phase = 0
    member.visit(token(5, phase=0))
    member.visit(token(8, phase=1))
    assert member.ring.phase == 1


# What a token can be


def test_token_for_somebody_else_of_another_ring_or_a_copy_is_not_taken() -> None:
    ring = busy_member().ring
    good = token(11, seq=4, aru=4)
    assert ring.reject_reason(good) is None
    assert ring.reject_reason(good._replace(destination=3)) == "dropped_not_for_me"
    assert ring.reject_reason(good._replace(ring=NEW)) == "dropped_other_ring"
    assert ring.reject_reason(good._replace(token_seq=8)) == "duplicate_tokens"
    assert ring.reject_reason(good._replace(token_seq=7)) == "duplicate_tokens"
    assert ring.reject_reason(good._replace(seq=3, aru=3)) == "dropped_implausible"


def test_token_that_counts_fewer_packets_than_came_is_not_plausible() -> None:
    """Somebody forged packets: the own ones would have their numbers."""
    ring = busy_member().have(6).ring
    assert not ring.plausible(token(11, seq=5, aru=4, aru_id=3))
    assert ring.plausible(token(11, seq=6, aru=4, aru_id=3))


def test_visit_sends_nothing_that_its_own_window_could_not_keep() -> None:
    member = busy_member()
    last = 4 + member.ring.window.capacity
    visit = member.visit(token(11, seq=last - 2, aru=last - 2), waiting=10)
    assert len(visit.datagrams) == 2
    assert visit.token.seq == last


def busy_member() -> Member:
    member = Member(window_size=4, visit_max=4).have(1, 2, 3, 4)
    member.visit(token(5, seq=4, aru=4))
    member.visit(token(8, seq=4, aru=4))
    member.ring.window.release(4)
    return member


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"seq": 3, "aru": 3}, id="the highest number fell"),
        pytest.param({"seq": 4 + 33, "aru": 4}, id="more packets than any window could keep"),
        pytest.param({"seq": 2**63 - 1, "aru": 4}, id="the highest number there is"),
        pytest.param({"aru": 3, "aru_id": 3}, id="somebody lacks what everybody has"),
        pytest.param({"aru": 0, "aru_id": 3}, id="somebody lacks everything"),
        pytest.param({"aru_id": 9}, id="a stranger lowered the aru"),
        pytest.param({"phase": Phase.RECEIVED}, id="an installed ring is not installed"),
    ],
)
def test_token_that_cannot_be_is_not_plausible(change: dict[str, Any]) -> None:
    ring = busy_member().ring
    good = token(11, seq=4, aru=4)
    assert ring.plausible(good)
    assert not ring.plausible(good._replace(**change))


def test_phase_rises_one_by_one() -> None:
    ring = Member().ring
    ring.phase = int(Phase.EXCHANGE)
    assert [ring.plausible(token(phase=phase)) for phase in range(3)] == [True, True, False]


def test_request_list_of_a_stranger_is_cut_to_the_own_bound() -> None:
    member = Member(requests_max=8)
    passed = member.visit(token(5, seq=40, aru=0, aru_id=3, requests=tuple(range(1, 33)))).token
    assert len(passed.requests) <= 8


@pytest.mark.parametrize(("node", "taken"), [(MEMBERS[0], False), (MEMBERS[1], True)])
def test_next_phase_is_taken_from_the_token_by_all_but_the_representative(node: int, taken: bool) -> None:
    """It alone begins a phase; a token in one that it has not begun is forged, and would lead it past the last."""
    ring = RingState(OLD_ID, MEMBERS, node, Config().fitted(1352), 64)
    ring.phase = int(Phase.RECEIVED)
    assert ring.plausible(token(phase=int(Phase.RECEIVED)))
    assert ring.plausible(token(phase=int(Phase.INSTALLED))) == taken
