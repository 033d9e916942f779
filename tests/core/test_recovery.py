"""The exchange: the members of an old ring make their packets equal on the new one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from packets import packet, window
from wire_samples import NEW_ID, OLD, OLD_ID, codec

from ringproto._core.membership.recovery import Exchange
from ringproto._core.packets.window import Window
from ringproto._core.ring.ring import RingState
from ringproto._core.wire.membership import Entry
from ringproto._core.wire.regular import Packet, Phase, old_packet, ring_bytes
from ringproto.config import Config
from ringproto.types import RingId

LOW_MAX = 64
OTHER = ring_bytes(RingId(4, 9, 1))


def entry(node: int, aru: int = 0, delivered: int = 0, *, owes: tuple[int, ...] = (), ring: bytes = OLD) -> Entry:
    return Entry(node, node * 11, True, ring, aru, delivered, owes)


def new_ring(node: int = 1, *members: int) -> RingState:
    return RingState(NEW_ID, members or (1, 2, 3), node, Config().fitted(1400), 64)


def exchange(node: int, have: Window, *entries: Entry) -> Exchange:
    return Exchange(entries, OLD, have, node, codec(node=node))


def send_all(one: Exchange, ring: RingState) -> list[Packet]:
    sent: list[Packet] = []
    while (made := one.next_packet(ring, len(sent) + 1, 0)) is not None:
        sent.append(made[0])
    return sent


def have(*seqs: int) -> Window:
    return window(packet(seq) for seq in seqs)


# The plan that all make of one commit token


def test_those_of_one_old_ring_go_on_together() -> None:
    plan = exchange(1, have(), entry(1), entry(2, ring=OTHER), entry(3))
    assert plan.transitional == (1, 3)


def test_who_comes_alone_goes_on_alone_and_sends_nothing() -> None:
    plan = exchange(1, have(1, 2, 4), entry(1, 2, 1), entry(2, ring=OTHER))
    assert plan.transitional == (1,)
    assert plan.backlog(LOW_MAX) == 0
    assert send_all(plan, new_ring()) == []


def test_highest_delivered_is_that_of_all_who_go_on_together() -> None:
    plan = exchange(1, have(), entry(1, 5, 3), entry(2, 9, 9, ring=OTHER), entry(3, 6, 4))
    assert plan.high_delivered == 4


def test_messages_of_those_who_go_on_together_are_to_be_delivered() -> None:
    assert exchange(1, have(), entry(1), entry(3), entry(4, ring=OTHER)).deliver_set == {1, 3}


def test_promises_of_those_who_go_on_together_are_kept_by_all() -> None:
    plan = exchange(1, have(), entry(1), entry(3, owes=(2, 3)), entry(4, ring=OTHER, owes=(8,)))
    assert plan.deliver_set == {1, 2, 3}


def test_everybody_makes_the_same_plan() -> None:
    entries = (entry(1, 4, 2, owes=(7,)), entry(2, 6, 6), entry(3, 5, 5, owes=(8,)))
    plans = [exchange(node, have(*range(1, 5 + node)), *entries) for node in (1, 2, 3)]
    assert len({(plan.transitional, plan.high_delivered, plan.deliver_set) for plan in plans}) == 1


# Sending


def test_what_somebody_may_lack_is_sent_oldest_first() -> None:
    plan = exchange(1, have(1, 2, 3, 4, 6), entry(1, 4, 4), entry(2, 2, 2))
    assert plan.backlog(LOW_MAX) == 3
    sent = send_all(plan, new_ring())
    assert [one.old_seq for one in sent] == [3, 4, 6]
    assert plan.backlog(LOW_MAX) == 0


def test_nothing_is_sent_when_nobody_lacks_anything() -> None:
    plan = exchange(1, have(1, 2, 3), entry(1, 3, 3), entry(2, 3, 1))
    assert plan.backlog(LOW_MAX) == 0


def test_what_was_forgotten_because_all_have_it_is_not_sent() -> None:
    old = have(1, 2, 3, 4)
    old.release(2)
    assert [one.old_seq for one in send_all(exchange(1, old, entry(1, 4), entry(2, 2)), new_ring())] == [3, 4]


def test_old_packet_is_sent_as_it_was_inside_one_of_the_new_ring() -> None:
    old = window([packet(1, sender=5, safe=True, message_seq=40)])
    plan = exchange(1, old, entry(1, 1), entry(2, 0))
    made = plan.next_packet(new_ring(), 8, 12)
    assert made is not None
    carried, message_seq = made
    assert message_seq == 12  # what is carried takes no place in the order of the new ring
    assert (carried.ring, carried.seq) == (ring_bytes(NEW_ID), 8)
    inside = old_packet(codec().decode_data(carried.datagram))
    assert (inside.sender, inside.ring, inside.seq, inside.message_seq) == (5, OLD, 1, 40)
    assert inside.safe
    kept = old.get(1)
    assert kept is not None and inside.chunks() == kept.chunks()


def test_what_somebody_else_has_sent_is_not_sent_again() -> None:
    plan = exchange(1, have(1, 2, 3), entry(1, 3), entry(2, 0))
    for old_seq in (1, 3):
        plan.receive(codec(node=2).encode_recovered(ring_bytes(NEW_ID), old_seq, packet(old_seq)))
    assert [one.old_seq for one in send_all(plan, new_ring())] == [2]
    assert plan.recovered == 0


# Receiving


def test_packet_that_was_missing_is_put_into_the_old_window() -> None:
    old = have(1, 3)
    plan = exchange(2, old, entry(1, 3), entry(2, 1))
    plan.receive(codec(node=1).encode_recovered(ring_bytes(NEW_ID), 1, packet(2, sender=5)))
    assert plan.recovered == 1
    assert old.aru == 3
    kept = old.get(2)
    assert kept is not None and (kept.sender, kept.ring, kept.seq) == (5, OLD, 2)


def test_packet_of_somebody_elses_old_ring_is_left_alone() -> None:
    old = have(1, 3)
    plan = exchange(2, old, entry(1, 3), entry(2, 1))
    plan.receive(codec(node=9).encode_recovered(ring_bytes(NEW_ID), 1, packet(2, ring=OTHER)))
    assert plan.recovered == 0
    assert (old.aru, old.get(2)) == (1, None)
    assert plan.backlog(LOW_MAX) == 1


def test_packet_that_was_recovered_by_one_can_be_sent_on_to_another() -> None:
    """What was got in a recovery that failed is one's own in the next one."""
    old = have(1)
    exchange(2, old, entry(1, 2), entry(2, 1)).receive(
        codec(node=1).encode_recovered(ring_bytes(NEW_ID), 1, packet(2, sender=5))
    )
    plan = exchange(2, old, entry(2, 2), entry(3, 1))
    (sent,) = send_all(plan, new_ring())
    assert (sent.sender, sent.old_ring, sent.old_seq) == (5, OLD, 2)


def test_two_members_that_lack_different_packets_end_with_the_same() -> None:
    windows = {1: have(1, 2, 4, 5), 2: have(1, 3, 5, 6)}
    entries = (entry(1, 2), entry(2, 1))
    plans = {node: exchange(node, windows[node], *entries) for node in (1, 2)}
    seq = 0
    while any(plan.backlog(LOW_MAX) for plan in plans.values()):
        for node, plan in plans.items():
            made = plan.next_packet(new_ring(node, 1, 2), seq + 1, 0)
            if made is not None:
                seq += 1
                plans[3 - node].receive(codec().decode_data(made[0].datagram))
    assert seq == 5  # each but the first, once
    for one in windows.values():
        assert (one.aru, one.high) == (6, 6)
    assert [plan.recovered for plan in plans.values()] == [2, 2]


# Ready for the next phase


def test_member_with_packets_to_send_is_not_ready() -> None:
    plan = exchange(1, have(1, 2), entry(1, 2), entry(2, 0))
    ring = new_ring()
    assert plan.unready(ring, 0)
    send_all(plan, ring)
    assert not plan.unready(ring, 2)


@pytest.mark.parametrize("phase", list(Phase))
def test_member_that_lacks_a_packet_of_the_new_ring_is_not_ready_once_all_were_sent(phase: Phase) -> None:
    plan = exchange(1, have(1), entry(1, 1), entry(2, 1))
    ring = new_ring()
    ring.phase = int(phase)
    carried = codec(node=2).encode_recovered(ring.name, 1, packet(2))
    assert plan.unready(ring, 1) == (phase == Phase.RECEIVED)
    ring.window.insert(carried)
    assert not plan.unready(ring, 1)


def test_the_old_ring_is_named_by_more_than_its_sequence() -> None:
    twin = ring_bytes(OLD_ID._replace(nonce=OLD_ID.nonce + 1))
    assert exchange(1, have(), entry(1), entry(2, ring=twin)).transitional == (1,)


def test_member_that_claims_to_lack_what_all_had_costs_no_time() -> None:
    """What was released is not looked through: 2^40 packets would take days."""
    old = cast(Window, SimpleNamespace(released=2**40, aru=2**40, high=2**40, get=lambda seq: None))
    plan = exchange(1, old, entry(1, 2**40, 2**40), entry(3, 0, 0))
    assert plan.backlog(LOW_MAX) == 0


def test_packet_of_another_old_ring_with_the_same_number_takes_the_place_of_none() -> None:
    """Two old rings merge that both lack something; their numbers coincide."""
    mine = exchange(1, have(1, 2, 3), entry(1, 0), entry(3, 0))
    theirs = Exchange(
        (entry(4, ring=OTHER), entry(5, ring=OTHER)),
        OTHER,
        window(packet(seq, ring=OTHER) for seq in (1, 2, 3)),
        4,
        codec(node=4),
    )
    for sent in send_all(theirs, new_ring(4, 1, 3, 4, 5)):
        mine.receive(sent)
    assert mine.recovered == 0
    assert [sent.old_seq for sent in send_all(mine, new_ring())] == [1, 2, 3]
