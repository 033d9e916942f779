"""What an installed ring sends: packets filled from the application's queues, and the log of what was sent."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from ended import take_apart
from wire_samples import OLD, OLD_ID, codec

from ringproto._core.barrier import Barrier
from ringproto._core.packets.packing import Outbox
from ringproto._core.packets.reassembly import Reassembler
from ringproto._core.ring.regular_source import RegularSource
from ringproto._core.ring.ring import RingState
from ringproto._core.wire.regular import DATA_OVERHEAD
from ringproto.config import Config
from ringproto.events import RegularConfiguration
from ringproto.types import Guarantee, Priority

AGREED, SAFE = Guarantee
RECOVERY, HIGH, LOW = Priority
LOW_MAX = 64
SIZE = 512
ROOM = SIZE - DATA_OVERHEAD


class Sender:
    """Processor 7 of ring OLD, whose barrier is complete unless said otherwise."""

    def __init__(self, *, complete: bool = True) -> None:
        self.audit: list[tuple[Any, ...]] = []
        self.barrier = Barrier(RegularConfiguration(OLD_ID, (7,), (7,), (), True))
        self.outbox = Outbox(Config(), self.barrier)
        self.source = RegularSource(self.outbox, codec(), SIZE, self.audit)
        self.ring = RingState(OLD_ID, (7,), 7, Config().fitted(1400), 64)
        if complete:
            self.barrier.deliver_unblock(7, OLD_ID, 1)

    def put(self, priority: Priority, payload: bytes, guarantee: Guarantee = AGREED) -> None:
        assert self.outbox.queues[priority].put(payload, guarantee)


def test_nothing_waits_and_nothing_is_sent() -> None:
    sender = Sender()
    assert sender.source.backlog(LOW_MAX) == 0
    assert sender.source.next_packet(sender.ring, 1, 0) is None
    assert sender.audit == []


def test_packet_has_its_number_and_moves_the_message_number_on() -> None:
    sender = Sender()
    sender.put(HIGH, b"a")
    sender.put(LOW, b"b", SAFE)
    assert sender.source.backlog(LOW_MAX) == 1
    made = sender.source.next_packet(sender.ring, 9, 30)
    assert made is not None
    packet, message_seq = made
    assert (packet.ring, packet.seq, packet.message_seq, packet.sender) == (OLD, 9, 30, 7)
    assert packet.safe
    assert message_seq == 32
    assert [payload for _, payload in take_apart(Reassembler(100), packet)] == [b"a", b"b"]


@pytest.mark.parametrize("complete", [False, True])
def test_own_packets_have_their_messages_and_others_find_the_same_in_them(complete: bool) -> None:
    sender = Sender(complete=complete)
    payloads = [b"a", b"", b"long" * ROOM, b"safe", b"z" * ROOM]
    for payload in payloads:
        sender.put(HIGH if complete else RECOVERY, payload, SAFE if payload == b"safe" else AGREED)
    sender.barrier.ask(OLD_ID)
    own, others = Reassembler(10**6), Reassembler(10**6)
    seq = message_seq = 0
    ended = []
    while (made := sender.source.next_packet(sender.ring, seq + 1, message_seq)) is not None:
        packet, message_seq = made
        seq += 1
        mine = take_apart(own, packet)
        assert mine == take_apart(others, codec().decode_data(packet.datagram))
        ended += mine
    assert message_seq == len(ended) == len(payloads) + (not complete)
    assert all(found is given for (_, found), given in zip(ended, payloads, strict=False)), "they were not copied"
    assert seq > 5 and own.dropped == others.dropped == 0


@pytest.mark.parametrize("own", [True, False])
def test_nothing_is_kept_of_a_packet_that_was_taken_apart(own: bool) -> None:
    sender = Sender()
    sender.put(HIGH, b"last")
    made = sender.source.next_packet(sender.ring, 1, 0)
    assert made is not None
    packet = made[0] if own else codec().decode_data(made[0].datagram)
    reassembler = Reassembler(100)

    def kept() -> tuple[int, int]:
        return sys.getrefcount(packet.datagram), sys.getrefcount(packet.ended)

    before = kept()
    assert len(take_apart(reassembler, packet)) == 1 and reassembler.payload is None
    assert kept()[: 2 if own else 1] == before[: 2 if own else 1]
    assert not reassembler.next(), "and asked once more it still has none"


def test_log_says_where_each_message_went() -> None:
    sender = Sender()
    sender.put(HIGH, b"a")
    sender.put(LOW, b"b", SAFE)
    sender.source.next_packet(sender.ring, 9, 30)
    assert sender.audit == [
        ("SEND", HIGH, AGREED, OLD_ID, 31, b"a"),
        ("SEND", LOW, SAFE, OLD_ID, 32, b"b"),
    ]


def test_message_counts_as_sent_with_its_last_piece() -> None:
    sender = Sender()
    sender.put(HIGH, b"x" * 2 * ROOM)
    message_seq = 5
    for seq in (1, 2, 3):
        assert sender.audit == []
        made = sender.source.next_packet(sender.ring, seq, message_seq)
        assert made is not None
        packet, message_seq = made
        assert len(packet.datagram) <= SIZE
    assert message_seq == 6
    assert sender.audit == [("SEND", HIGH, AGREED, OLD_ID, 6, b"x" * 2 * ROOM)]


def test_unblock_takes_a_place_and_is_logged_behind_the_recovery_messages() -> None:
    sender = Sender(complete=False)
    sender.put(HIGH, b"waits")
    sender.put(RECOVERY, b"state")
    sender.barrier.ask(OLD_ID)
    made = sender.source.next_packet(sender.ring, 1, 0)
    assert made is not None and made[1] == 2
    assert sender.audit == [("SEND", RECOVERY, AGREED, OLD_ID, 1, b"state"), ("UNB_SEND", OLD_ID, 2)]
    assert sender.source.next_packet(sender.ring, 2, 2) is None


def test_full_packet_is_smaller_than_a_datagram_by_what_recovery_needs() -> None:
    sender = Sender()
    sender.put(HIGH, b"x" * 5000)
    made = sender.source.next_packet(sender.ring, 1, 0)
    assert made is not None
    assert len(made[0].datagram) == SIZE - 28
    assert len(codec().encode_recovered(OLD, 1, made[0]).datagram) == SIZE


def test_it_is_always_ready_for_the_next_phase() -> None:
    sender = Sender()
    sender.put(HIGH, b"x")
    assert not sender.source.unready(sender.ring, 9)


def test_without_a_log_nothing_is_logged() -> None:
    sender = Sender()
    quiet = RegularSource(sender.outbox, codec(), SIZE, None)
    sender.put(HIGH, b"x")
    assert quiet.next_packet(sender.ring, 1, 0) is not None
    assert sender.audit == []
