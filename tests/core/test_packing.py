"""Messages into packets and back: contents, pieces, the gate, turns of HIGH and LOW, and pieces across changes."""

from __future__ import annotations

import random

import pytest
from ended import take_apart
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_samples import NEW, OLD, OLD_ID, WHOLE, codec

from ringproto._core.barrier import Barrier
from ringproto._core.packets.packing import Outbox, PacketContents
from ringproto._core.packets.reassembly import Reassembler, unblocked_ring
from ringproto._core.wire.regular import (
    CHUNK_CONTROL,
    CHUNK_FIRST,
    CHUNK_LAST,
    CHUNK_PRIORITY,
    CHUNK_SAFE,
    CHUNK_SIZE,
    CONTROL_SIZE,
    DATA_OVERHEAD,
    Packet,
    chunk_head,
    old_packet,
    unblock_chunk,
)
from ringproto.config import Config
from ringproto.events import RegularConfiguration
from ringproto.types import Guarantee, Priority, RingId

RECOVERY, HIGH, LOW = Priority
AGREED, SAFE = Guarantee
ROOM = 512 - DATA_OVERHEAD
NEXT_ID = RingId(6, 2, 1)


def configuration(ring_id: RingId, *members: int) -> RegularConfiguration:
    return RegularConfiguration(ring_id, members, (), (), True)


class Sender:
    """An outbox with its barrier, as processor 7 of a ring of 2 and 7 or alone."""

    def __init__(self, *members: int, complete: bool = True, low_every: int = 16) -> None:
        self.members = members or (7,)
        self.barrier = Barrier(configuration(OLD_ID, *self.members))
        self.outbox = Outbox(Config(low_every=low_every, send_queue_max=100), self.barrier)
        if complete:
            self.complete()

    def complete(self) -> None:
        for seq, member in enumerate(self.members, 1):
            self.barrier.deliver_unblock(member, self.barrier.ring_id, seq)
        assert self.barrier.complete

    def put(self, priority: Priority, *payloads: bytes, guarantee: Guarantee = AGREED) -> None:
        for payload in payloads:
            assert self.outbox.queues[priority].put(payload, guarantee)

    def change(self, ring_id: RingId = NEXT_ID) -> None:
        """A new regular configuration is installed."""
        self.barrier.install(configuration(ring_id, *self.members))
        self.outbox.abort_round()


def packed(contents: PacketContents) -> bytes:
    return b"".join(contents.chunks)


def pieces(contents: PacketContents) -> list[tuple[int, int, int]]:
    """(priority or -1 for the unblock, first and last bits, size) of each chunk."""
    found = []
    data = packed(contents)
    at = 0
    while at < len(data):
        flags, size = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        priority = -1 if flags & CHUNK_CONTROL else flags & CHUNK_PRIORITY
        found.append((priority, flags & WHOLE, size))
        at += CHUNK_SIZE + size
    assert at == len(data)
    return found


# PacketContents


def test_message_that_fits_exactly_fills_the_packet() -> None:
    sender = Sender()
    sender.put(HIGH, b"x" * (ROOM - CHUNK_SIZE))
    contents = sender.outbox.fill(ROOM)
    assert pieces(contents) == [(1, WHOLE, ROOM - CHUNK_SIZE)]
    assert len(packed(contents)) == ROOM
    assert not sender.outbox.ready()


def test_message_one_byte_too_large_fills_the_packet_and_goes_on_in_the_next() -> None:
    sender = Sender()
    sender.put(HIGH, b"x" * (ROOM - CHUNK_SIZE + 1))
    first, second = sender.outbox.fill(ROOM), sender.outbox.fill(ROOM)
    assert pieces(first) == [(1, CHUNK_FIRST, ROOM - CHUNK_SIZE)]
    assert pieces(second) == [(1, CHUNK_LAST, 1)]
    assert first.ended == [] and first.messages() == 0
    assert second.ended == [(HIGH, AGREED, b"x" * (ROOM - CHUNK_SIZE + 1))]


def test_packets_of_a_long_message_are_filled_to_the_last_byte() -> None:
    sender = Sender()
    sender.put(HIGH, b"a" * 10, b"x" * 3000, b"b" * 10)
    sizes = []
    while sender.outbox.ready():
        sizes.append(len(packed(sender.outbox.fill(ROOM))))
    assert sizes[:-1] == [ROOM] * (len(sizes) - 1)
    assert len(sizes) == 1 + 3020 // ROOM


def test_many_messages_share_a_packet_in_order() -> None:
    sender = Sender()
    payloads = [b"%d" % number for number in range(50)]
    sender.put(LOW, *payloads)
    contents = sender.outbox.fill(ROOM)
    assert [payload for _, _, payload in contents.ended] == payloads
    assert contents.messages() == 50


def test_messages_of_no_bytes_are_messages() -> None:
    sender = Sender()
    sender.put(HIGH, b"", b"", b"")
    contents = sender.outbox.fill(ROOM)
    assert pieces(contents) == [(1, WHOLE, 0)] * 3
    assert contents.messages() == 3
    assert not sender.outbox.ready()


def test_message_of_no_bytes_goes_into_the_last_three_bytes_and_not_into_two() -> None:
    for left, fits in ((3, True), (2, False), (0, False)):
        sender = Sender()
        sender.put(HIGH, b"x" * (ROOM - CHUNK_SIZE - left), b"")
        assert len(sender.outbox.fill(ROOM).ended) == (2 if fits else 1)
        assert sender.outbox.ready() is not fits


def test_message_is_begun_wherever_a_piece_of_it_fits() -> None:
    for left in range(40):
        sender = Sender()
        sender.put(HIGH, b"x" * (ROOM - CHUNK_SIZE - left), b"y" * 100)
        contents = sender.outbox.fill(ROOM)
        begun = len(pieces(contents)) == 2
        assert begun == (left > CHUNK_SIZE)
        assert sender.outbox.queues[HIGH].cursor == (left - CHUNK_SIZE if begun else 0)


def test_safe_message_makes_the_packet_in_which_it_ends_safe() -> None:
    sender = Sender()
    sender.put(HIGH, b"a")
    sender.put(HIGH, b"x" * ROOM, guarantee=SAFE)
    sender.put(HIGH, b"b")
    first, second = sender.outbox.fill(ROOM), sender.outbox.fill(ROOM)
    assert not first.safe
    assert second.safe
    assert [guarantee for _, guarantee, _ in first.ended + second.ended] == [AGREED, SAFE, AGREED]
    flags = [packed(second)[0], packed(second)[-4]]
    assert [bool(flag & CHUNK_SAFE) for flag in flags] == [True, False]


def test_every_piece_of_a_message_says_its_guarantee() -> None:
    sender = Sender()
    sender.put(LOW, b"x" * 2 * ROOM, guarantee=SAFE)
    while sender.outbox.ready():
        assert packed(sender.outbox.fill(ROOM))[0] & CHUNK_SAFE


# The gate


def test_nothing_is_ready_behind_a_closed_gate() -> None:
    sender = Sender(2, 7, complete=False)
    sender.put(HIGH, b"high")
    sender.put(LOW, b"low")
    assert not sender.outbox.ready()
    assert sender.outbox.backlog(ROOM) == 0
    sender.complete()
    assert sender.outbox.ready()
    assert [payload for _, _, payload in sender.outbox.fill(ROOM).ended] == [b"high", b"low"]


def test_recovery_messages_pass_the_closed_gate_alone() -> None:
    sender = Sender(2, 7, complete=False)
    sender.put(HIGH, b"high")
    sender.put(RECOVERY, b"state", guarantee=SAFE)
    assert sender.outbox.ready()
    contents = sender.outbox.fill(ROOM)
    assert contents.ended == [(RECOVERY, SAFE, b"state")]
    assert contents.safe
    assert not sender.outbox.ready()
    assert len(sender.outbox.queues[HIGH]) == 1


def test_unblock_follows_the_last_recovery_message_and_is_sent_once() -> None:
    sender = Sender(2, 7, complete=False)
    sender.put(RECOVERY, b"x" * (ROOM + 10))
    sender.barrier.ask(OLD_ID)
    first, second = sender.outbox.fill(ROOM), sender.outbox.fill(ROOM)
    assert pieces(first) == [(0, CHUNK_FIRST, ROOM - CHUNK_SIZE)] and not first.unblock
    assert pieces(second) == [(0, CHUNK_LAST, 13), (-1, WHOLE, CONTROL_SIZE)]
    assert second.unblock and second.messages() == 2
    assert not sender.barrier.unblock_due
    assert not sender.outbox.ready()


def test_unblock_that_does_not_fit_has_a_packet_of_its_own() -> None:
    sender = Sender(2, 7, complete=False)
    sender.put(RECOVERY, b"x" * (ROOM - CHUNK_SIZE - CHUNK_SIZE - CONTROL_SIZE + 1))
    sender.barrier.ask(OLD_ID)
    assert not sender.outbox.fill(ROOM).unblock
    assert sender.outbox.ready()
    contents = sender.outbox.fill(ROOM)
    assert packed(contents) == unblock_chunk(OLD)


def test_unblock_that_fits_exactly_shares_the_packet() -> None:
    sender = Sender(2, 7, complete=False)
    sender.put(RECOVERY, b"x" * (ROOM - CHUNK_SIZE - CHUNK_SIZE - CONTROL_SIZE))
    sender.barrier.ask(OLD_ID)
    contents = sender.outbox.fill(ROOM)
    assert contents.unblock and len(packed(contents)) == ROOM


def test_unblock_without_recovery_messages_is_sent_at_once() -> None:
    sender = Sender(2, 7, complete=False)
    sender.put(HIGH, b"x")
    sender.barrier.ask(OLD_ID)
    assert sender.outbox.ready() and sender.outbox.backlog(ROOM) == 1
    contents = sender.outbox.fill(ROOM)
    assert pieces(contents) == [(-1, WHOLE, CONTROL_SIZE)]
    assert unblocked_ring(packed(contents)[CHUNK_SIZE:]) == OLD_ID


def test_half_sent_high_message_does_not_stop_recovery_and_is_begun_again_whole() -> None:
    """The second fault of 2004: the cursor of a half-sent message stood in the way of RECOVERY for ever."""
    sender = Sender(2, 7)
    message = bytes(random.Random(4).randbytes(3 * ROOM))
    sender.put(HIGH, message)
    sender.outbox.fill(ROOM)
    assert sender.outbox.queues[HIGH].cursor > 0
    sender.change()
    assert sender.outbox.queues[HIGH].cursor == 0
    sender.put(RECOVERY, b"state")
    sender.barrier.ask(NEXT_ID)
    contents = sender.outbox.fill(ROOM)
    assert [payload for _, _, payload in contents.ended] == [b"state"] and contents.unblock
    sender.complete()
    assert pieces(sender.outbox.fill(ROOM)) == [(1, CHUNK_FIRST, ROOM - CHUNK_SIZE)]
    sender.outbox.fill(ROOM)
    sender.outbox.fill(ROOM)
    assert sender.outbox.fill(ROOM).ended == [(HIGH, AGREED, message)]


def test_recovery_messages_of_an_aborted_round_are_gone() -> None:
    sender = Sender(2, 7, complete=False)
    sender.put(RECOVERY, b"x" * 2 * ROOM, b"y")
    sender.put(HIGH, b"kept")
    sender.barrier.ask(OLD_ID)
    sender.outbox.fill(ROOM)
    sender.change()
    assert not sender.outbox.ready()
    assert [len(queue) for queue in sender.outbox.queues] == [0, 1, 0]
    sender.put(RECOVERY, b"new")
    assert packed(sender.outbox.fill(ROOM)) == chunk_head(WHOLE, 3) + b"new"


# Turns of HIGH and LOW


def test_high_goes_before_low_whenever_it_came() -> None:
    sender = Sender()
    sender.put(LOW, b"low")
    sender.put(HIGH, b"high")
    assert [payload for _, _, payload in sender.outbox.fill(ROOM).ended] == [b"high", b"low"]


def test_high_passes_between_the_pieces_of_a_long_low_message() -> None:
    sender = Sender()
    sender.put(LOW, b"l" * 3 * ROOM)
    assert pieces(sender.outbox.fill(ROOM)) == [(2, CHUNK_FIRST, ROOM - CHUNK_SIZE)]
    sender.put(HIGH, b"h" * 50)
    middle = sender.outbox.fill(ROOM)
    assert pieces(middle) == [(1, WHOLE, 50), (2, 0, ROOM - 2 * CHUNK_SIZE - 50)]
    assert [priority for priority, _, _ in middle.ended] == [HIGH]
    while sender.outbox.ready():
        last = sender.outbox.fill(ROOM)
    assert last.ended == [(LOW, AGREED, b"l" * 3 * ROOM)]


@pytest.mark.parametrize("low_every", [2, 3, 16])
def test_low_begins_one_packet_in_so_many_while_high_floods(low_every: int) -> None:
    sender = Sender(low_every=low_every)
    low_first = []
    for _ in range(4 * low_every):
        sender.put(HIGH, *[b"h" * ROOM] * (3 - len(sender.outbox.queues[HIGH])))
        if not len(sender.outbox.queues[LOW]):
            sender.put(LOW, b"l" * 100)
        low_first.append(pieces(sender.outbox.fill(ROOM))[0][0] == LOW)
    assert low_first == ([False] * (low_every - 1) + [True]) * 4


def test_room_that_low_leaves_when_it_is_its_turn_is_for_high() -> None:
    sender = Sender(low_every=2)
    sender.put(HIGH, b"h" * ROOM, b"h" * ROOM)
    sender.put(LOW, b"l" * 100, b"l" * 100)
    sender.outbox.fill(ROOM)
    second = sender.outbox.fill(ROOM)
    assert [priority for priority, _, _ in pieces(second)] == [LOW, LOW, HIGH, HIGH]
    assert len(packed(second)) == ROOM


def test_low_that_had_its_share_does_not_go_first() -> None:
    sender = Sender(low_every=2)
    for _ in range(10):
        sender.put(HIGH, b"h" * 100)
        sender.put(LOW, b"l" * 100)
        assert [priority for priority, _, _ in pieces(sender.outbox.fill(ROOM))] == [HIGH, LOW]


def test_share_that_low_had_begins_the_count_again() -> None:
    sender = Sender(low_every=3)
    sender.put(LOW, b"l" * 3 * ROOM)
    first_is_low = []
    for size in (ROOM, ROOM // 2, ROOM, ROOM):
        sender.put(HIGH, b"h" * (size - CHUNK_SIZE))
        first_is_low.append(pieces(sender.outbox.fill(ROOM))[0][0] == LOW)
    # The second packet had room for LOW, so the third and fourth are the first two of a new count.
    assert first_is_low == [False, False, False, False]
    sender.put(HIGH, b"h" * ROOM)
    assert pieces(sender.outbox.fill(ROOM))[0][0] == LOW


def test_flood_of_high_without_low_saves_up_no_turn() -> None:
    sender = Sender(low_every=3)
    for _ in range(10):
        sender.put(HIGH, b"h" * (ROOM - CHUNK_SIZE))
        sender.outbox.fill(ROOM)
    sender.put(HIGH, b"h" * (ROOM - CHUNK_SIZE))
    sender.put(LOW, b"l" * 100)
    assert pieces(sender.outbox.fill(ROOM))[0][0] == HIGH


def test_backlog_is_about_the_packets_that_wait() -> None:
    sender = Sender()
    assert sender.outbox.backlog(ROOM) == 0
    sender.put(HIGH, b"x" * 10 * ROOM)
    assert sender.outbox.backlog(ROOM) == 11
    sender.put(LOW, b"x" * 10 * ROOM)
    assert 20 <= sender.outbox.backlog(ROOM) <= 22
    count = 0
    while sender.outbox.ready():
        sender.outbox.fill(ROOM)
        count += 1
    assert 20 <= count <= 22


def test_backlog_falls_while_a_long_message_is_sent() -> None:
    sender = Sender()
    sender.put(HIGH, b"x" * 10 * ROOM)
    seen = []
    while sender.outbox.ready():
        seen.append(sender.outbox.backlog(ROOM))
        sender.outbox.fill(ROOM)
    assert seen == sorted(seen, reverse=True) and seen[-1] == 1


# And back


def packet_of(chunks: bytes, sender: int = 7) -> Packet:
    return codec(node=sender).encode_data(OLD, 1, 0, False, chunks)


def piece(priority: Priority, ends: int, payload: bytes) -> bytes:
    return chunk_head(int(priority) | ends, len(payload)) + payload


def test_whole_messages_come_out_of_a_packet_in_order() -> None:
    packet = packet_of(
        piece(HIGH, WHOLE, b"a") + piece(LOW, WHOLE, b"") + unblock_chunk(OLD) + piece(HIGH, WHOLE, b"b")
    )
    flags, payloads = zip(*take_apart(Reassembler(100), packet), strict=True)
    assert payloads[:2] == (b"a", b"") and payloads[3] == b"b"
    assert unblocked_ring(payloads[2]) == OLD_ID
    assert flags == (WHOLE | 1, WHOLE | 2, WHOLE | CHUNK_CONTROL, WHOLE | 1)


def test_message_comes_out_where_it_ends() -> None:
    reassembler = Reassembler(100)
    assert take_apart(reassembler, packet_of(piece(HIGH, CHUNK_FIRST, b"one "))) == []
    assert take_apart(reassembler, packet_of(piece(HIGH, 0, b"two "))) == []
    ended = take_apart(reassembler, packet_of(piece(HIGH, CHUNK_LAST, b"three") + piece(HIGH, WHOLE, b"next")))
    assert [payload for _, payload in ended] == [b"one two three", b"next"]


def test_pieces_of_other_senders_and_priorities_are_kept_apart() -> None:
    reassembler = Reassembler(100)
    for sender in (1, 2):
        for priority in Priority:
            begin = piece(priority, CHUNK_FIRST, b"%d.%d " % (sender, priority))
            assert take_apart(reassembler, packet_of(begin, sender)) == []
    for sender in (2, 1):
        for priority in (LOW, RECOVERY, HIGH):
            (ended,) = take_apart(reassembler, packet_of(piece(priority, CHUNK_LAST, b"end"), sender))
            assert ended == (CHUNK_LAST | int(priority), b"%d.%d end" % (sender, priority))
    assert reassembler.dropped == 0


def test_message_without_its_beginning_keeps_its_place_and_is_dropped() -> None:
    reassembler = Reassembler(100)
    ended = take_apart(reassembler, packet_of(piece(HIGH, CHUNK_LAST, b"tail") + piece(HIGH, WHOLE, b"whole")))
    assert ended == [(CHUNK_LAST | 1, None), (WHOLE | 1, b"whole")]
    assert reassembler.dropped == 1


def test_message_above_the_maximum_keeps_its_place_and_is_dropped() -> None:
    reassembler = Reassembler(10)
    assert take_apart(reassembler, packet_of(piece(HIGH, WHOLE, b"x" * 11))) == [(WHOLE | 1, None)]
    assert take_apart(reassembler, packet_of(piece(HIGH, WHOLE, b"x" * 10))) == [(WHOLE | 1, b"x" * 10)]
    assert take_apart(reassembler, packet_of(piece(HIGH, CHUNK_FIRST, b"x" * 6))) == []
    for _ in range(50):
        assert take_apart(reassembler, packet_of(piece(HIGH, 0, b"x" * 6))) == []
    assert take_apart(reassembler, packet_of(piece(HIGH, CHUNK_LAST, b"x"))) == [(CHUNK_LAST | 1, None)]
    assert reassembler.dropped == 2


def test_message_of_many_pieces_may_be_as_large_as_the_maximum() -> None:
    reassembler = Reassembler(10)
    take_apart(reassembler, packet_of(piece(HIGH, CHUNK_FIRST, b"x" * 6)))
    assert take_apart(reassembler, packet_of(piece(HIGH, CHUNK_LAST, b"y" * 4))) == [(CHUNK_LAST | 1, b"xxxxxxyyyy")]
    take_apart(reassembler, packet_of(piece(HIGH, CHUNK_FIRST, b"x" * 6)))
    assert take_apart(reassembler, packet_of(piece(HIGH, CHUNK_LAST, b"y" * 5))) == [(CHUNK_LAST | 1, None)]


def test_unblock_passes_though_messages_may_be_smaller_than_it() -> None:
    ((flags, payload),) = take_apart(Reassembler(1), packet_of(unblock_chunk(OLD)))
    assert flags & CHUNK_CONTROL and payload is not None and unblocked_ring(payload) == OLD_ID


def test_message_that_begins_anew_replaces_what_had_begun() -> None:
    reassembler = Reassembler(100)
    take_apart(reassembler, packet_of(piece(HIGH, CHUNK_FIRST, b"old ")))
    ended = take_apart(reassembler, packet_of(piece(HIGH, CHUNK_FIRST, b"new ")))
    assert ended == []
    assert take_apart(reassembler, packet_of(piece(HIGH, CHUNK_LAST, b"end"))) == [(CHUNK_LAST | 1, b"new end")]


def test_pieces_of_two_rings_never_mix() -> None:
    reassembler = Reassembler(100)
    take_apart(reassembler, packet_of(piece(HIGH, CHUNK_FIRST, b"old ")))
    reassembler.clear()
    assert take_apart(reassembler, packet_of(piece(HIGH, CHUNK_LAST, b"end"))) == [(CHUNK_LAST | 1, None)]


def test_packet_that_came_in_recovery_is_taken_apart_like_any() -> None:
    carried = codec(node=3).encode_recovered(NEW, 9, packet_of(piece(HIGH, WHOLE, b"a") + piece(LOW, WHOLE, b"b")))
    assert [payload for _, payload in take_apart(Reassembler(100), old_packet(carried))] == [b"a", b"b"]


# There and back


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    room=st.integers(ROOM, 3 * ROOM),
    low_every=st.sampled_from((2, 3, 16)),
)
def test_everything_comes_back_whole_in_order_and_once_across_changes(seed: int, room: int, low_every: int) -> None:
    """Two senders, one order of packets, changes that cut messages in two; what is cut is begun again whole.

    A packet that was sent before a change may be delivered or not; here it always is, as at those who go on together.
    """
    source = random.Random(seed)
    senders = {1: Sender(1, low_every=low_every), 2: Sender(2, low_every=low_every)}
    reassembler = Reassembler(10_000)
    accepted: dict[tuple[int, int], list[bytes]] = {}
    recovery_ended: dict[int, list[bytes]] = {1: [], 2: []}
    delivered: dict[tuple[int, int], list[bytes]] = {}
    sequence = 10
    for _ in range(60):
        node = source.choice((1, 2))
        sender = senders[node]
        step = source.random()
        if step < 0.35:
            priority = source.choice((HIGH, LOW)) if sender.barrier.complete else source.choice(list(Priority))
            size = int(4 * room * source.random() ** 3)
            payload = (b"%d.%d." % (node, source.randrange(10**6)) + source.randbytes(size))[: max(size, 0)]
            sender.put(priority, payload, guarantee=source.choice(list(Guarantee)))
            if priority is not RECOVERY:
                accepted.setdefault((node, priority), []).append(payload)
        elif step < 0.9:
            if sender.outbox.ready():
                contents = sender.outbox.fill(room)
                assert 0 < len(packed(contents)) <= room
                recovery_ended[node] += [payload for priority, _, payload in contents.ended if priority is RECOVERY]
                packet = codec(node=node).encode_data(OLD, 1, 0, contents.safe, packed(contents))
                ended = take_apart(reassembler, packet)
                assert len(ended) == contents.messages()
                for flags, whole in ended:
                    assert whole is not None
                    if flags & CHUNK_CONTROL:
                        assert unblocked_ring(whole) == sender.barrier.ring_id
                        sender.complete()
                    else:
                        delivered.setdefault((node, flags & CHUNK_PRIORITY), []).append(whole)
            elif not sender.barrier.asked:
                sender.barrier.ask(sender.barrier.ring_id)
        else:
            sequence += 1
            for other in senders.values():
                other.change(RingId(sequence, 1, 0))
            reassembler.clear()
    for node, sender in senders.items():
        sender.barrier.ask(sender.barrier.ring_id)
        while sender.outbox.ready():
            contents = sender.outbox.fill(room)
            recovery_ended[node] += [payload for priority, _, payload in contents.ended if priority is RECOVERY]
            for flags, whole in take_apart(
                reassembler, codec(node=node).encode_data(OLD, 1, 0, contents.safe, packed(contents))
            ):
                assert whole is not None
                if flags & CHUNK_CONTROL:
                    sender.complete()
                else:
                    delivered.setdefault((node, flags & CHUNK_PRIORITY), []).append(whole)
    for node in senders:
        assert delivered.get((node, RECOVERY), []) == recovery_ended[node]
        for priority in (HIGH, LOW):
            assert delivered.get((node, priority), []) == accepted.get((node, priority), [])
    assert reassembler.dropped == 0
