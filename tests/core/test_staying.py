"""Who stays on a ring: what is no reason to leave it, to suspect a member, or to take somebody's word.

A ring that leaves somebody out without a reason forms again, and no rule of order is broken. So these are held one by
one, on a processor that is driven by hand.
"""

from __future__ import annotations

import pytest
from packets import packet
from papers import AGREED, Three, say
from rings import Seen, history
from test_states import (
    CONFIG,
    GATHER,
    LIMITS,
    MEMBER,
    NODES,
    OPERATIONAL,
    RECOVERY,
    REPRESENTATIVE,
    STRANGER,
    Ring,
    answer_challenges,
    decode,
    make_input,
)

from ringproto._core.membership import listening
from ringproto._core.membership.changes import Gather
from ringproto._core.membership.connectivity import Connectivity
from ringproto._core.ring.ring import ACKNOWLEDGED_ROTATIONS
from ringproto._core.states import Input
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Acknowledgement, Beacon, Challenge, Identity, Join, Leave
from ringproto._core.wire.regular import Codec, Kind, Token, ring_bytes
from ringproto.config import Config
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import Priority, RingId

SUCCESSOR, PREDECESSOR = 3, 1


def operational() -> Ring:
    """Processor 2 of 1, 2 and 3 has just passed the first token of the installed ring on to 3."""
    ring = Ring(MEMBER)
    ring.bring_to(OPERATIONAL)
    while ring.me.ring.forwarded_token is None:
        ring.step()
    ring.me.context.transmits.clear()
    return ring


def sent(ring: Ring, kind: Kind) -> list[object]:
    return [decode(ring.me.context.codec, datagram) for _, datagram in ring.me.context.transmits if datagram[1] == kind]


def counted(ring: Ring, name: str) -> int:
    return int(ring.me.context.counters.values.get(name, 0))


def consensus_wait_s(ring: Ring) -> float:
    return ring.me.context.timers.deadline(Timer.CONSENSUS) - ring.me.context.now


# Commit tokens of others


@pytest.mark.parametrize(
    ("known", "given_up", "taken"),
    [(NODES, (), True), (NODES, (3,), False), ((*NODES, 4), (), False), ((*NODES, 4), (4,), True)],
    ids=["as agreed", "with one given up", "without one that lives", "without one given up"],
)
def test_commit_token_is_taken_only_for_those_who_are_counted_on(
    known: tuple[int, ...], given_up: tuple[int, ...], taken: bool
) -> None:
    ring = Ring(MEMBER)
    ring.bring_to(GATHER)
    ring.me.membership._act(Gather(known, given_up))
    sender, part = make_input(ring, GATHER, Input.COMMIT)
    ring.me.handle(Input.COMMIT, sender, part)
    answer_challenges(ring.me)
    ring.me.handle(Input.COMMIT, sender, part)
    assert (ring.me.state is not GATHER) is taken
    assert bool(counted(ring, "dropped_other_membership")) is not taken


# Late words of members


@pytest.mark.parametrize("older", [True, False])
def test_beacon_of_a_member_from_a_former_ring_does_not_break_this_one(older: bool) -> None:
    ring = operational()
    sequence = ring.me.ring.id.sequence + (-1 if older else 1)
    other = ring_bytes(RingId(sequence, PREDECESSOR, 5))
    ring.me.handle(Input.BEACON, PREDECESSOR, Beacon(ring.identity(PREDECESSOR), other, 1, 100, (PREDECESSOR,), ()))
    assert ring.me.state is (OPERATIONAL if older else GATHER)
    assert counted(ring, "dropped_late_copy") == older


@pytest.mark.parametrize("older", [True, False])
def test_join_of_a_member_from_before_this_ring_does_not_break_it(older: bool) -> None:
    ring = operational()
    sequence = ring.me.ring.id.sequence - older
    ring.me.handle(Input.JOIN, PREDECESSOR, Join(ring.identity(PREDECESSOR), sequence, NODES, ()))
    assert ring.me.state is (OPERATIONAL if older else GATHER)
    assert counted(ring, "dropped_late_copy") == older


# Suspicion


@pytest.mark.parametrize(
    ("copies", "part", "suspected"),
    [(0, 1.0, False), (1, 1.0, False), (2, 0.45, False), (2, 0.55, True), (5, 1.0, True)],
)
def test_successor_is_suspected_only_after_two_copies_and_half_of_the_timeout(
    copies: int, part: float, suspected: bool
) -> None:
    ring = operational()
    began = ring.me.context.now
    for _ in range(copies):
        ring.me.handle(Input.TOKEN_RETRANSMIT, 0, None)
    ring.me.context.now = began + part * CONFIG.token_timeout_s
    ring.me.handle(Input.TOKEN_LOSS, 0, None)
    assert consensus_wait_s(ring) == pytest.approx(
        CONFIG.join_timeout_s / 2 if suspected else CONFIG.consensus_timeout_s
    )


def test_suspicion_ends_with_the_first_datagram_of_the_suspect() -> None:
    ring = operational()
    for _ in range(3):
        ring.me.handle(Input.TOKEN_RETRANSMIT, 0, None)
    ring.me.context.now += CONFIG.token_timeout_s
    ring.me.handle(Input.TOKEN_LOSS, 0, None)
    assert consensus_wait_s(ring) < CONFIG.consensus_timeout_s
    ring.me.handle(Input.BEACON, SUCCESSOR, Beacon(ring.identity(SUCCESSOR), ring.me.ring.name, 1, 100, NODES, NODES))
    assert consensus_wait_s(ring) == pytest.approx(CONFIG.consensus_timeout_s)
    ring.me.context.now += CONFIG.join_timeout_s
    ring.me.handle(Input.CONSENSUS, 0, None)
    assert counted(ring, "successors_given_up") == 0


def test_data_of_the_successor_shows_that_it_lives() -> None:
    ring = operational()
    for _ in range(3):
        ring.me.handle(Input.TOKEN_RETRANSMIT, 0, None)
    sender, packet = make_input(ring, OPERATIONAL, Input.DATA)
    assert sender == SUCCESSOR
    ring.me.handle(Input.DATA, sender, packet)
    ring.me.context.now += CONFIG.token_timeout_s
    ring.me.handle(Input.TOKEN_LOSS, 0, None)
    assert consensus_wait_s(ring) == pytest.approx(CONFIG.consensus_timeout_s)


# A processor that stood still


def test_missed_deadline_is_put_off_once_and_within_its_bounds() -> None:
    ring = operational()
    me = ring.me
    me.context.now = me.context.timers.deadline(Timer.TOKEN_LOSS) + 10.0
    me.membership.extend_overdue_timers(0.001, 0.5)
    put_off = me.context.timers.deadline(Timer.TOKEN_LOSS)
    assert put_off == pytest.approx(me.context.now + 0.5)
    me.context.now = put_off + 10.0
    me.membership.extend_overdue_timers(0.001, 0.5)
    assert me.context.timers.deadline(Timer.TOKEN_LOSS) == put_off, "who is always late must judge at some time"
    me.membership.handle_timeouts()
    assert me.state is GATHER


# The token


def test_only_the_acknowledgement_of_the_token_that_was_passed_on_counts() -> None:
    ring = operational()
    token = ring.me.ring.forwarded_token
    assert token is not None
    soon = ring.me.context.timers.deadline(Timer.TOKEN_RETRANSMIT)
    late = ring.me.context.now + CONFIG.token_timeout_s / 2
    assert soon < late
    for number, deadline in ((token.token_seq - 1, soon), (token.token_seq, late)):
        body = Acknowledgement(MEMBER, ring.me.ring.name, int(Kind.TOKEN), 0, number)
        ring.me.handle(Input.ACKNOWLEDGEMENT, SUCCESSOR, body)
        assert ring.me.context.timers.deadline(Timer.TOKEN_RETRANSMIT) == deadline


def test_acknowledgement_that_comes_when_the_token_has_gone_on_changes_nothing() -> None:
    ring = operational()
    name, passed = ring.me.ring.name, ring.me.ring.forwarded_token
    assert passed is not None
    peer = Codec(CONFIG.cluster_hash, PREDECESSOR)
    later = peer.encode_data(name, passed.seq + 1, 0, False, packet(1).chunks())
    ring.me.handle(Input.DATA, PREDECESSOR, peer.decode_data(later.datagram))
    assert not ring.me.context.timers.is_set(Timer.TOKEN_RETRANSMIT)
    body = Acknowledgement(MEMBER, name, int(Kind.TOKEN), 0, passed.token_seq)
    ring.me.handle(Input.ACKNOWLEDGEMENT, SUCCESSOR, body)
    assert not ring.me.context.timers.is_set(Timer.TOKEN_RETRANSMIT)


def test_copy_of_a_token_that_came_before_is_answered() -> None:
    ring = operational()
    _, token = make_input(ring, OPERATIONAL, Input.TOKEN)
    assert isinstance(token, Token)
    ring.me.handle(Input.TOKEN, PREDECESSOR, token)
    assert ring.me.ring.token_seq == token.token_seq
    ring.me.context.transmits.clear()
    ring.me.handle(Input.TOKEN, PREDECESSOR, token._replace(copy=2))
    assert sent(ring, Kind.ACKNOWLEDGEMENT) == [
        Acknowledgement(PREDECESSOR, ring.me.ring.name, int(Kind.TOKEN), 2, token.token_seq)
    ]


def test_token_that_is_sent_again_has_its_hops_acknowledged_from_then_on() -> None:
    ring = operational()
    ring.me.handle(Input.TOKEN_RETRANSMIT, 0, None)
    (token,) = sent(ring, Kind.TOKEN)
    assert isinstance(token, Token)
    assert (token.copy, token.acknowledge) == (1, ACKNOWLEDGED_ROTATIONS)


@pytest.mark.parametrize("after_me", [False, True])
def test_only_a_packet_after_the_token_shows_while_a_ring_forms_that_it_arrived(after_me: bool) -> None:
    """One from before it may come later than the token; where the next hop is lost the formation would fail for it."""
    ring = Ring(MEMBER)
    ring.bring_to(RECOVERY)
    token = decode(ring.me.context.codec, ring.next_for_me(Kind.TOKEN))
    assert isinstance(token, Token)
    ring.me.handle(Input.TOKEN, PREDECESSOR, token._replace(seq=5))
    assert ring.me.context.timers.is_set(Timer.TOKEN_RETRANSMIT)
    peer = Codec(CONFIG.cluster_hash, SUCCESSOR)
    body = peer.encode_recovered(token.ring, 5 + after_me, packet(1, sender=SUCCESSOR))
    ring.me.handle(Input.DATA, SUCCESSOR, peer.decode_data(body.datagram))
    assert ring.me.forming_ring.window.high == 5 + after_me, "it is kept"
    assert ring.me.context.timers.is_set(Timer.TOKEN_RETRANSMIT) is not after_me


def test_token_is_not_missed_while_a_long_visit_is_sent_in_pieces() -> None:
    ring = operational()
    me = ring.me
    for _ in range(200):
        assert me.context.outbox.queues[Priority.RECOVERY].put(bytes(1000), AGREED)
    _, token = make_input(ring, OPERATIONAL, Input.TOKEN)
    missed_at = me.context.timers.deadline(Timer.TOKEN_LOSS)
    me.context.now = missed_at - 0.000_1
    me.handle(Input.TOKEN, PREDECESSOR, token)
    assert me.membership.visit_unfinished()
    me.context.now = missed_at
    me.membership.handle_timeouts()
    assert me.state is OPERATIONAL
    while me.membership.visit_unfinished():
        me.membership.continue_visit()
    assert me.context.timers.deadline(Timer.TOKEN_LOSS) == missed_at + CONFIG.token_timeout_s


# Proofs


@pytest.mark.parametrize("mine", [True, False])
def test_challenge_is_answered_only_by_the_life_that_it_asks(mine: bool) -> None:
    ring = operational()
    incarnation = ring.incarnation(MEMBER) + (not mine)
    ring.me.handle(Input.CHALLENGE, PREDECESSOR, Challenge(MEMBER, incarnation, 77, 78))
    assert len(sent(ring, Kind.RESPONSE)) == mine
    assert counted(ring, "dropped_not_for_me") == (not mine)


@pytest.mark.parametrize("stranger", [False, True])
@pytest.mark.parametrize("informed", [False, True])
def test_that_all_hear_all_is_handed_on_within_the_ring_of_who_has_seen_it(informed: bool, stranger: bool) -> None:
    """Between two that leave each other out, evidence that strangers hand on would go round for ever."""
    ring = operational()
    ring.me.context.now += 1.0
    sequence = ring.me.ring.id.sequence
    if stranger:
        join = Join(Identity(99, 1, LIMITS), sequence, (STRANGER,), (), informed)
        ring.me.handle(Input.JOIN, STRANGER, join)
        answer_challenges(ring.me)
    else:
        join = Join(ring.identity(PREDECESSOR), sequence, NODES, (), informed)
        ring.me.handle(Input.JOIN, PREDECESSOR, join)
    assert ring.me.state is GATHER
    ring.me.handle(Input.JOIN_TIMEOUT, 0, None)
    # Nor is what comes in gather.
    ring.me.handle(Input.JOIN, SUCCESSOR, Join(ring.identity(SUCCESSOR), sequence, NODES, (), True))
    ring.me.context.now = ring.me.context.timers.deadline(Timer.JOIN)
    ring.me.handle(Input.JOIN_TIMEOUT, 0, None)
    said = sent(ring, Kind.JOIN)
    assert len(said) >= 2
    assert {join.informed for join in said} == {informed and not stranger}


@pytest.mark.parametrize("informed", [False, True])
@pytest.mark.parametrize(
    ("times", "wanted", "followed"),
    [(2, PREDECESSOR, True), (3, PREDECESSOR, True), (4, PREDECESSOR, False), (2, STRANGER + 1, False)],
)
def test_join_of_who_has_seen_that_all_hear_all_is_followed_also_while_members_recover(
    monkeypatch: pytest.MonkeyPatch, times: int, wanted: int, followed: bool, informed: bool
) -> None:
    """Its gather would be in vain otherwise. Only who was left out more than three times waits (departure 8), and what
    was seen of another ring is no evidence for this one."""
    made: list[Connectivity] = []
    monkeypatch.setattr(listening, "Connectivity", lambda *args: made.append(Connectivity(*args)) or made[-1])
    ring = operational()
    assert not ring.me.context.barrier.complete
    for _ in range(times):
        for known in made:
            known.mark({STRANGER: 99}, ring.me.context.now)
    join = Join(Identity(99, 1, LIMITS), ring.me.ring.id.sequence, tuple(sorted((STRANGER, wanted))), (), informed)
    ring.me.handle(Input.JOIN, STRANGER, join)
    answer_challenges(ring.me)
    assert ring.me.state is (GATHER if informed and followed else OPERATIONAL)
    assert counted(ring, "rejoins_put_off") == (not (informed and followed))


def test_word_of_a_stranger_counts_when_it_has_proven_that_it_lives() -> None:
    ring = operational()
    ring.me.handle(Input.JOIN, STRANGER, Join(Identity(99, 1, LIMITS), 1, (STRANGER,), ()))
    assert ring.me.state is OPERATIONAL and len(sent(ring, Kind.CHALLENGE)) == 1
    answer_challenges(ring.me)
    assert ring.me.state is GATHER


def test_answer_that_comes_minutes_later_makes_no_old_word_count() -> None:
    """It was lost, and the network has kept a copy: who gave it may be dead since."""
    ring = operational()
    ring.me.handle(Input.JOIN, STRANGER, Join(Identity(99, 1, LIMITS), 1, (STRANGER,), ()))
    ring.me.context.now += 120.0
    answer_challenges(ring.me)
    assert ring.me.state is OPERATIONAL
    assert counted(ring, "dropped_late_copy") == 1


def test_second_process_with_the_id_of_a_member_does_not_take_its_place_at_once() -> None:
    ring = operational()
    ring.me.handle(Input.JOIN, SUCCESSOR, Join(Identity(88, 1, LIMITS), 1, (SUCCESSOR,), ()))
    assert len(sent(ring, Kind.CHALLENGE)) == 1
    answer_challenges(ring.me)
    assert ring.me.state is OPERATIONAL


def recovering_with_a_second_process() -> Ring:
    """A ring that forms while a second process with the id of a member proves that it lives."""
    ring = Ring(MEMBER)
    ring.bring_to(RECOVERY)
    ring.me.handle(Input.JOIN, SUCCESSOR, Join(Identity(88, 1, LIMITS), 1, (SUCCESSOR,), ()))
    answer_challenges(ring.me)
    return ring


def test_second_process_that_has_proven_that_it_lives_while_the_ring_formed_does_not_break_it() -> None:
    ring = recovering_with_a_second_process()
    while ring.me.state is not OPERATIONAL:
        ring.step()
    ring.me.handle(Input.JOIN, SUCCESSOR, Join(Identity(88, 2**41, LIMITS), 1, (SUCCESSOR,), ()))
    answer_challenges(ring.me)
    assert ring.me.state is OPERATIONAL


def test_who_was_left_out_must_prove_anew_that_it_lives() -> None:
    ring = operational()
    incarnation = ring.incarnation(SUCCESSOR)
    ring.nodes[SUCCESSOR].handle(Input.LEAVE_TIMEOUT, 0, None)
    ring.nodes[SUCCESSOR].context.transmits.clear()  # it is gone without a word
    while ring.me.ring.members != (PREDECESSOR, MEMBER):
        ring.step()
    other = ring_bytes(RingId(ring.me.ring.id.sequence + 1, SUCCESSOR, 5))
    late = Beacon(Identity(incarnation, 2**40, LIMITS), other, 1, 100, (SUCCESSOR,), ())
    before = counted(ring, "dropped_unproven")
    ring.me.handle(Input.BEACON, SUCCESSOR, late)
    assert ring.me.state is OPERATIONAL
    assert counted(ring, "dropped_unproven") == before + 1


def test_beacons_are_numbered_one_after_the_other() -> None:
    ring = Ring(REPRESENTATIVE)
    ring.bring_to(OPERATIONAL)
    for _ in range(3):
        ring.me.handle(Input.MERGE_DETECT, 0, None)
    numbers = [beacon.number for beacon in sent(ring, Kind.BEACON) if isinstance(beacon, Beacon)]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


@pytest.mark.parametrize("gathers", [False, True])
def test_operator_is_told_who_is_put_off(gathers: bool) -> None:
    ring = operational()
    if gathers:
        ring.me.handle(Input.TOKEN_LOSS, 0, None)
        assert ring.me.state is GATHER
    ring.me.context.notices.take()
    put_off = Beacon(Identity(99, 1, LIMITS), ring_bytes(RingId(1, STRANGER, 5)), 1, 100, (STRANGER,), (), (MEMBER,))
    ring.me.handle(Input.BEACON, STRANGER, put_off)
    answer_challenges(ring.me)
    (notice,) = [notice for notice in ring.me.context.notices.take() if notice.kind == "put_off"]
    assert notice.warning and dict(notice.fields) == {"processor": STRANGER}
    assert f"processor {STRANGER}" in notice.text


def test_member_says_beacons_while_somebody_is_put_off() -> None:
    ring = operational()

    def says_when_it_is_due() -> int:
        ring.me.context.transmits.clear()
        ring.me.handle(Input.MERGE_DETECT, 0, None)
        return len(sent(ring, Kind.BEACON))

    assert says_when_it_is_due() == 0, "the representative says them for all"
    other = ring_bytes(RingId(1, STRANGER, 5))
    put_off = Beacon(Identity(99, 1, LIMITS), other, 1, 100, (STRANGER,), (), (MEMBER,))
    ring.me.handle(Input.BEACON, STRANGER, put_off)
    answer_challenges(ring.me)
    assert len(sent(ring, Kind.BEACON)) == 1
    assert says_when_it_is_due() == 1
    ring.me.context.now += 1000 * CONFIG.merge_detect_s
    assert says_when_it_is_due() == 0


# Leaving


def test_last_messages_of_a_leaver_that_are_lost_once_are_delivered(ring: Three) -> None:
    lost: set[tuple[int, bytes]] = set()

    def lose_once(seen: Seen) -> bool:
        again = (seen.destination, seen.datagram) in lost
        lost.add((seen.destination, seen.datagram))
        return seen.kind is Kind.DATA and seen.source == 2 and not again

    ring.wire.lose = lose_once
    said = [say(ring.cluster, 2, number, AGREED) for number in range(3)]
    ring.cluster.leave(2)
    assert ring.cluster.run_until_settled({1, 3})
    for node in (1, 3):
        assert [entry for entry in history(ring.cluster, node) if isinstance(entry, bytes)] == said


@pytest.mark.parametrize("put_off", [(), (MEMBER,)])
def test_who_says_that_it_puts_this_processor_off_is_not_gathered_for_but_followed(put_off: tuple[int, ...]) -> None:
    ring = operational()
    other = ring_bytes(RingId(1, STRANGER, 5))
    beacon = Beacon(Identity(99, 1, LIMITS), other, 1, 100, (STRANGER,), (), put_off)
    ring.me.handle(Input.BEACON, STRANGER, beacon)
    answer_challenges(ring.me)
    assert ring.me.state is (OPERATIONAL if put_off else GATHER)
    assert counted(ring, "rejoins_put_off") == len(put_off)
    if put_off:
        assert len(sent(ring, Kind.BEACON)) == 1, "all members say whom they hear from now on"
        ring.me.handle(Input.JOIN, STRANGER, Join(Identity(99, 2**41, LIMITS), 1, (MEMBER, STRANGER), ()))
        assert ring.me.state is GATHER


@pytest.mark.parametrize("given_up", [MEMBER, PREDECESSOR, STRANGER + 1])
def test_stranger_that_has_given_a_member_up_is_waited_for_until_its_gather_has_ended(given_up: int) -> None:
    """A member may have been given up because it had given the stranger up before this ring was formed."""
    ring = operational()
    before = counted(ring, "ignored")
    sequence = ring.me.ring.id.sequence
    procs = tuple(sorted({*NODES, STRANGER, given_up}))
    ring.me.handle(Input.JOIN, STRANGER, Join(Identity(99, 1, LIMITS), sequence, procs, (given_up,)))
    answer_challenges(ring.me)
    assert ring.me.state is (OPERATIONAL if given_up in NODES else GATHER)
    assert counted(ring, "ignored") == before + (given_up in NODES)
    other = ring_bytes(RingId(sequence, STRANGER, 5))
    ring.me.handle(Input.BEACON, STRANGER, Beacon(Identity(99, 2**41, LIMITS), other, 1, 100, (STRANGER,), ()))
    assert ring.me.state is GATHER
    assert [join for join in sent(ring, Kind.JOIN) if not set(join.fail_set).isdisjoint(NODES)] == []


def test_what_a_member_that_started_anew_has_given_up_is_not_followed() -> None:
    """It may have heard no answer while the member that it was is asked whether it lives."""
    ring = operational()
    began = ring.me.context.now
    for number in range(10):
        ring.me.context.now = began + number * CONFIG.join_timeout_s
        join = Join(Identity(88, 2**41 + number, LIMITS), 1, NODES, (PREDECESSOR,))
        ring.me.handle(Input.JOIN, SUCCESSOR, join)
        answer_challenges(ring.me)
        ring.me.context.transmits.clear()
    assert ring.me.state is OPERATIONAL
    ring.me.handle(Input.JOIN, SUCCESSOR, Join(Identity(88, 2**42, LIMITS), 1, (SUCCESSOR,), ()))
    assert ring.me.state is GATHER, "it has its place"


def test_leave_of_a_member_that_started_anew_counts_while_the_ring_with_it_forms() -> None:
    ring = operational()
    ring.start_anew(SUCCESSOR)
    ring.bring_to(RECOVERY)
    assert SUCCESSOR in ring.me.forming_ring.members
    ring.me.handle(Input.LEAVE, SUCCESSOR, Leave(ring.identity(SUCCESSOR), bytes(20)))
    assert ring.me.state is GATHER


def test_leave_of_a_second_process_with_the_id_of_a_member_does_not_end_the_ring_that_forms() -> None:
    ring = recovering_with_a_second_process()
    ring.me.handle(Input.LEAVE, SUCCESSOR, Leave(Identity(88, 2**41, LIMITS), bytes(20)))
    assert ring.me.state is RECOVERY


@pytest.mark.parametrize("member", [True, False])
def test_only_a_member_that_leaves_is_a_reason_to_go_on_alone_at_once(member: bool) -> None:
    """Who has just started waits for those that may be about to answer, although one that it met has left."""
    ring = operational() if member else Ring(MEMBER)
    ring.me.membership._act(Gather((MEMBER, SUCCESSOR)))
    if not member:
        ring.me.handle(Input.JOIN, SUCCESSOR, Join(ring.identity(SUCCESSOR), 1, (SUCCESSOR,), ()))
        answer_challenges(ring.me)
    ring.me.handle(Input.LEAVE, SUCCESSOR, Leave(Identity(ring.incarnation(SUCCESSOR), 2**41, LIMITS), bytes(20)))
    assert (ring.me.state is OPERATIONAL) is member


def test_leap_of_joins_that_nobody_follows_takes_a_member_out_of_nobodys_reach() -> None:
    """A stranger that lives, and has given this processor up, says a sequence that is far ahead, again and again."""
    ring = operational()
    before = ring.me.context.ring_sequence
    for number in range(40):
        ring.me.context.now += CONFIG.join_timeout_s
        identity = Identity(99, 2**40 + number, LIMITS)
        ring.me.handle(Input.JOIN, STRANGER, Join(identity, before + 2**32, (STRANGER, MEMBER), (MEMBER,)))
        answer_challenges(ring.me)
    assert ring.me.state is OPERATIONAL
    assert ring.me.context.ring_sequence == before


def test_member_that_says_a_later_ring_breaks_this_one_also_if_it_puts_this_processor_off() -> None:
    ring = operational()
    other = ring_bytes(RingId(ring.me.ring.id.sequence + 1, PREDECESSOR, 5))
    beacon = Beacon(ring.identity(PREDECESSOR), other, 1, 100, (PREDECESSOR,), (), (MEMBER,))
    ring.me.handle(Input.BEACON, PREDECESSOR, beacon)
    assert ring.me.state is GATHER


def test_who_waits_for_others_that_recover_does_not_wait_longer_when_their_configuration_changes() -> None:
    """Nobody says that it is heard meanwhile, and that is no evidence that it is not, in a gather either."""
    config = Config.testing()
    cluster = Cluster(1, config)
    nodes, rest = (1, 2, 3, 4, 5), (1, 2, 4, 5)
    cluster.start(*nodes)
    for times in range(1, 9):
        assert cluster.run_until_settled(nodes, 5.0)
        if times == 8:
            cluster.hold(1, 2)
        cluster.partition(rest, (3,))
        assert cluster.run_until(lambda: {cluster.configuration(node).members for node in nodes} == {rest, (3,)}, 5.0)
        cluster.heal()
    cluster.run(200 * config.merge_detect_s)
    cluster.leave(5)
    cluster.run(20 * config.merge_detect_s)
    assert cluster.configuration(1).members == (1, 2, 4)
    assert cluster.run_until(lambda: cluster.configuration(1).members == (1, 2, 3, 4), 50 * config.merge_detect_s)
