"""From packets in order to the stream of events: regular cut, safe, transitional, holes, back-pressure."""

from __future__ import annotations

from typing import Any

import pytest
from packets import chunk, packet, window
from wire_samples import NEW, NEW_ID, OLD, OLD_ID, codec

from ringproto._core.barrier import Barrier
from ringproto._core.packets.delivery import Delivery, StreamChange
from ringproto._core.packets.window import Window
from ringproto._core.wire.regular import CHUNK_FIRST, CHUNK_LAST, Packet, unblock_chunk
from ringproto.config import Config
from ringproto.events import Event, Message, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.types import Guarantee, Priority

MEMBERS = (1, 2, 3)
START = RegularConfiguration(OLD_ID, MEMBERS, MEMBERS, (), True)
ALL = 10**6


class Stream:
    """The delivery of one member of ring OLD with the members 1, 2 and 3."""

    def __init__(self, **changes: Any) -> None:
        self.audit: list[tuple[Any, ...]] = []
        self.barrier = Barrier(START)
        self.delivery = Delivery(Config(**changes), START, self.barrier, self.audit)
        self.delivery.take(1)
        self.window = Window(64)

    def arrive(self, *packets: Packet) -> None:
        for one in packets:
            assert self.window.insert(one)

    def deliver(self, stable: int = 0) -> bool:
        return self.delivery.deliver(self.window, OLD_ID, stable)

    def end(
        self, *, high_delivered: int = 0, members: tuple[int, ...] = (1, 2), deliver_set: tuple[int, ...] | None = None
    ) -> None:
        self.delivery.end_ring(
            self.window, OLD_ID, high_delivered, members, frozenset(members if deliver_set is None else deliver_set)
        )

    def events(self) -> list[Event]:
        return self.delivery.take(ALL)

    def payloads(self) -> list[bytes | str]:
        """What came, briefly: payloads of messages, and the kind of everything else."""
        return [event.payload if isinstance(event, Message) else type(event).__name__ for event in self.events()]


T = TransitionalConfiguration.__name__


# While the ring is there


def test_stream_begins_with_the_first_configuration() -> None:
    delivery = Delivery(Config(), START, Barrier(START), None)
    assert delivery.pending == 1
    assert delivery.take(ALL) == [START]
    assert delivery.configuration == START


def test_messages_of_a_forged_packet_are_numbered_on_beyond_what_a_datagram_may_say() -> None:
    stream = Stream()
    stream.arrive(packet(1, chunk(b"a"), chunk(b"b"), message_seq=2**63 - 1))
    stream.deliver()
    assert [event.seq for event in stream.events() if isinstance(event, Message)] == [2**63, 2**63 + 1]


def test_without_a_log_the_stream_is_the_same() -> None:
    quiet = Delivery(Config(), START, Barrier(START), None)
    logged = Stream()
    packets = [packet(seq, unblock_chunk(OLD), chunk(b"x"), sender=seq, message_seq=2 * seq - 2) for seq in (1, 2)]
    logged.arrive(*packets)
    logged.deliver()
    logged.end()
    logged.delivery.install(NEW_ID, (1, 2), True)
    have = window(packets)
    quiet.deliver(have, OLD_ID, 0)
    quiet.end_ring(have, OLD_ID, 0, (1, 2), frozenset((1, 2)))
    quiet.install(NEW_ID, (1, 2), True)
    assert quiet.take(ALL)[1:] == logged.events()


def test_packets_are_delivered_in_order_up_to_the_first_gap() -> None:
    stream = Stream()
    stream.arrive(packet(1), packet(2), packet(4))
    assert stream.deliver() is True
    assert stream.payloads() == [b"1", b"2"]
    assert stream.delivery.delivered == 2
    assert stream.deliver() is False
    stream.arrive(packet(3))
    stream.deliver()
    assert stream.payloads() == [b"3", b"4"]


def test_message_says_everything_about_itself() -> None:
    stream = Stream()
    stream.arrive(
        packet(1, chunk(b"a", Priority.LOW), chunk(b"b", Priority.HIGH, Guarantee.SAFE), sender=3, message_seq=7)
    )
    stream.deliver(1)
    assert stream.events() == [
        Message(b"a", 3, Priority.LOW, Guarantee.AGREED, OLD_ID, 8),
        Message(b"b", 3, Priority.HIGH, Guarantee.SAFE, OLD_ID, 9),
    ]


def test_safe_message_waits_until_every_member_has_it_and_so_does_what_follows() -> None:
    stream = Stream()
    stream.arrive(packet(1), packet(2, safe=True), packet(3))
    stream.deliver(stable=1)
    assert stream.payloads() == [b"1"]
    stream.deliver(stable=1)
    assert stream.payloads() == []
    stream.deliver(stable=2)
    assert stream.payloads() == [b"2", b"3"]


def test_packet_that_carries_an_old_one_delivers_nothing_on_the_new_ring() -> None:
    stream = Stream()
    stream.arrive(codec().encode_recovered(OLD, 1, packet(9, ring=NEW)), packet(2))
    stream.deliver()
    assert stream.payloads() == [b"2"]


def test_long_message_is_delivered_when_its_last_piece_is() -> None:
    stream = Stream()
    stream.arrive(
        packet(1, chunk(b"one ", ends=CHUNK_FIRST), message_seq=0),
        packet(2, chunk(b"two ", ends=0), message_seq=0),
        packet(3, chunk(b"other"), sender=2, message_seq=0),
        packet(4, chunk(b"three", ends=CHUNK_LAST), message_seq=1),
    )
    stream.deliver()
    assert [(event.payload, event.seq) for event in stream.events() if isinstance(event, Message)] == [
        (b"other", 1),
        (b"one two three", 2),
    ]


def test_last_unblock_completes_at_its_place_in_the_stream() -> None:
    stream = Stream()
    stream.arrive(
        packet(1, unblock_chunk(OLD), sender=2),
        packet(2, chunk(b"state", Priority.RECOVERY), unblock_chunk(OLD), sender=1, message_seq=1),
        packet(3, unblock_chunk(OLD), sender=3, message_seq=3),
        packet(4, chunk(b"high"), sender=1, message_seq=4),
    )
    stream.deliver()
    events = stream.events()
    assert events[1] == RecoveryComplete(OLD_ID, 4, MEMBERS)
    assert [type(event) for event in events] == [Message, RecoveryComplete, Message]
    assert [entry for entry in stream.audit if entry[0] == "UNB_DELV"] == [
        ("UNB_DELV", 2, OLD_ID, 1),
        ("UNB_DELV", 1, OLD_ID, 3),
        ("UNB_DELV", 3, OLD_ID, 4),
    ]


def test_unblock_that_names_another_ring_than_its_packet_does_not_count() -> None:
    stream = Stream()
    stream.arrive(packet(1, unblock_chunk(NEW), sender=2))
    stream.deliver()
    assert stream.barrier.waiting_for == {1, 2, 3}
    assert not [entry for entry in stream.audit if entry[0] == "UNB_DELV"]


def test_events_and_audit_have_one_order() -> None:
    stream = Stream()
    stream.arrive(*(packet(1 + member, unblock_chunk(OLD), sender=member + 1) for member in range(3)), packet(4))
    stream.deliver()
    stream.end(members=(1,))
    stream.delivery.install(NEW_ID, (1, 4), True)
    told = [entry[1] for entry in stream.audit if entry[0] in ("CONF", "DELV", "DONE")]
    assert told == [START, *stream.events()]


# Back-pressure


def test_full_stream_stops_delivery_and_says_how_much_it_holds() -> None:
    stream = Stream(events_max=3)
    stream.arrive(*(packet(seq) for seq in range(1, 9)))
    stream.deliver()
    assert stream.delivery.full
    assert (stream.delivery.pending, stream.delivery.delivered, stream.delivery.held) == (3, 3, 5)
    assert len(stream.delivery.take(2)) == 2
    assert not stream.delivery.full
    stream.deliver()
    assert (stream.delivery.pending, stream.delivery.delivered, stream.delivery.held) == (3, 5, 3)
    assert stream.payloads() == [b"3", b"4", b"5"]
    stream.deliver()
    assert stream.payloads() == [b"6", b"7", b"8"]
    stream.deliver()
    assert stream.delivery.held == 0


def test_stream_is_full_of_bytes_too() -> None:
    stream = Stream(events_bytes_max=1000)
    stream.arrive(*(packet(seq, chunk(b"x" * 600)) for seq in range(1, 5)))
    stream.deliver()
    assert stream.delivery.full
    assert (stream.delivery.pending, stream.delivery.bytes) == (2, 1200)
    stream.delivery.take(1)
    assert (stream.delivery.full, stream.delivery.bytes) == (False, 600)
    stream.deliver()
    assert stream.delivery.pending == 2


def test_packet_of_many_messages_is_delivered_whole() -> None:
    stream = Stream(events_max=3)
    stream.arrive(packet(1, *(chunk(b"%d" % number) for number in range(10))), packet(2, message_seq=10))
    stream.deliver()
    assert stream.delivery.pending == 10
    assert stream.delivery.held == 1


def test_configuration_does_not_wait_for_a_full_stream() -> None:
    stream = Stream(events_max=1)
    stream.arrive(packet(1), packet(2), packet(3))
    stream.deliver()
    assert stream.delivery.pending == 1
    stream.end(members=MEMBERS)
    stream.delivery.install(NEW_ID, MEMBERS, True)
    assert stream.payloads() == [b"1", b"2", b"3", T, "RegularConfiguration"]
    assert stream.delivery.held == 0


def test_stream_of_a_leaver_is_wide_enough_for_what_was_held_back() -> None:
    for limits in ({"events_max": 3}, {"events_bytes_max": 3}):
        stream = Stream(**limits)
        stream.arrive(*(packet(seq) for seq in range(1, 9)))
        stream.deliver()
        assert stream.delivery.held == 5
        stream.delivery.raise_limits()
        assert not stream.delivery.full
        stream.deliver()
        assert (stream.delivery.pending, stream.delivery.held) == (8, 0)


def test_take_gives_the_oldest_up_to_the_limit() -> None:
    stream = Stream()
    stream.arrive(*(packet(seq) for seq in range(1, 5)))
    stream.deliver()
    assert stream.delivery.take(0) == []
    taken = stream.delivery.take(3)
    assert [event.payload for event in taken if isinstance(event, Message)] == [b"1", b"2", b"3"]
    assert stream.delivery.bytes == 1
    assert stream.payloads() == [b"4"]
    assert stream.delivery.take(5) == []


def test_changes_say_which_message_and_which_completion_go_before_them() -> None:
    stream = Stream()
    assert stream.delivery.take_changes() == [StreamChange(START, 0, 0)]
    stream.arrive(packet(1), *(packet(1 + member, unblock_chunk(OLD), sender=member) for member in (1, 2, 3)))
    stream.deliver()
    stream.end(members=(1,))
    # Event 1 is START, 2 the message, 3 the completion, 4 the configuration.
    changes = stream.delivery.take_changes()
    assert changes == [
        StreamChange(RecoveryComplete(OLD_ID, 4, MEMBERS), 2, 0, last_unblocked=3),
        StreamChange(TransitionalConfiguration(OLD_ID, (1,)), 2, 3),
    ]
    assert stream.delivery.take_changes() == []


# What is settled


def complete_barrier() -> tuple[Stream, int]:
    """A stream in whose regular configuration all have unblocked, and the place of the last unblock."""
    stream = Stream()
    stream.arrive(*(packet(member, unblock_chunk(OLD), sender=member) for member in MEMBERS))
    stream.deliver(stable=3)
    stream.events()
    return stream, 3


def settled(stream: Stream) -> list[tuple[bytes, bool]]:
    return [(event.payload, event.settled) for event in stream.events() if isinstance(event, Message)]


def test_safe_high_and_low_are_settled_in_a_regular_configuration_that_is_complete() -> None:
    stream, last = complete_barrier()
    chunks = [
        chunk(b"%d.%d" % (priority, guarantee), priority, guarantee) for priority in Priority for guarantee in Guarantee
    ]
    stream.arrive(packet(last + 1, *chunks, safe=True, message_seq=last))
    stream.deliver(stable=last + 1)
    assert settled(stream) == [
        (b"0.0", False),
        (b"0.1", False),
        (b"1.0", False),
        (b"1.1", True),
        (b"2.0", False),
        (b"2.1", True),
    ]


def test_nothing_is_settled_before_the_completion_and_what_follows_it_in_one_packet_is() -> None:
    stream = Stream()
    safe = chunk(b"before", Priority.HIGH, Guarantee.SAFE)
    after = chunk(b"after", Priority.HIGH, Guarantee.SAFE)
    stream.arrive(packet(1, unblock_chunk(OLD), sender=1), packet(2, unblock_chunk(OLD), sender=2))
    stream.arrive(packet(3, safe, unblock_chunk(OLD), after, sender=3, safe=True, message_seq=2))
    stream.deliver(stable=3)
    assert settled(stream) == [(b"before", False), (b"after", True)]


def test_safe_message_that_somebody_delivered_is_settled_and_one_after_the_transitional_configuration_is_not() -> None:
    stream, last = complete_barrier()
    stream.arrive(packet(last + 1, safe=True), packet(last + 2, safe=True))
    stream.deliver(stable=last)
    stream.end(high_delivered=last + 1)
    assert settled(stream) == [(b"4", True), (b"5", False)]


def test_nothing_is_settled_between_a_regular_configuration_and_its_completion() -> None:
    stream, _ = complete_barrier()
    stream.end()
    stream.delivery.install(NEW_ID, (1, 2), True)
    stream.events()
    later = window([packet(1, safe=True, ring=NEW)])
    stream.delivery.delivered = 0
    stream.delivery.deliver(later, NEW_ID, 1)
    assert settled(stream) == [(b"1", False)]


def test_safe_messages_are_settled_again_after_the_next_completion() -> None:
    stream, _ = complete_barrier()
    stream.end()
    stream.delivery.install(NEW_ID, (1, 2), True)
    unblocks = [packet(member, unblock_chunk(NEW), sender=member, ring=NEW) for member in (1, 2)]
    stream.delivery.delivered = 0
    stream.delivery.deliver(window([*unblocks, packet(3, safe=True, ring=NEW)]), NEW_ID, 3)
    assert settled(stream) == [(b"3", True)]


def test_completion_after_the_transitional_configuration_settles_nothing() -> None:
    stream = Stream()
    stream.arrive(*(packet(member, unblock_chunk(OLD), sender=member) for member in MEMBERS[:2]))
    stream.deliver()
    stream.arrive(
        packet(3, chunk(b"state", Priority.RECOVERY, Guarantee.SAFE), unblock_chunk(OLD), sender=3, safe=True),
        packet(4, safe=True, message_seq=4),
    )
    stream.end()
    assert stream.barrier.complete
    assert settled(stream) == [(b"state", False), (b"4", False)]


# When the ring has ended


def test_rest_that_may_be_delivered_goes_before_the_transitional_configuration() -> None:
    stream = Stream()
    stream.arrive(packet(1), packet(2), packet(3))
    stream.end()
    assert stream.payloads() == [b"1", b"2", b"3", T]


def test_transitional_configuration_names_the_ring_that_it_ends_and_who_goes_on() -> None:
    stream = Stream()
    stream.end(members=(1, 3))
    assert stream.events() == [TransitionalConfiguration(OLD_ID, (1, 3))]


def test_safe_message_that_nobody_delivered_comes_in_the_transitional_configuration() -> None:
    stream = Stream()
    stream.arrive(packet(1), packet(2, safe=True), packet(3))
    stream.end(high_delivered=1)
    assert stream.payloads() == [b"1", T, b"2", b"3"]


def test_safe_message_that_somebody_delivered_comes_in_the_regular_configuration() -> None:
    stream = Stream()
    stream.arrive(packet(1), packet(2, safe=True), packet(3), packet(4, safe=True))
    stream.end(high_delivered=2)
    assert stream.payloads() == [b"1", b"2", b"3", T, b"4"]


def test_after_a_hole_only_those_who_go_on_are_delivered() -> None:
    stream = Stream()
    stream.arrive(packet(1, sender=3), packet(3, sender=3), packet(4, sender=2), packet(5, sender=1))
    stream.end(members=(1, 2))
    assert stream.payloads() == [b"1", T, b"4", b"5"]


def test_before_the_hole_everybody_is_delivered() -> None:
    stream = Stream()
    stream.arrive(packet(1, safe=True, sender=3), packet(2, sender=3), packet(4, sender=3))
    stream.end(members=(1, 2), high_delivered=0)
    assert stream.payloads() == [T, b"1", b"2"]


def test_after_a_hole_what_was_promised_is_delivered_too() -> None:
    stream = Stream()
    stream.arrive(packet(2, sender=3), packet(3, sender=2))
    stream.end(members=(1,), deliver_set=(1, 3))
    assert stream.payloads() == [T, b"2"]


def test_messages_behind_a_hole_keep_their_places() -> None:
    stream = Stream()
    stream.arrive(packet(1), packet(4, message_seq=9), packet(5, message_seq=10))
    stream.end(members=(1,))
    assert [event.seq for event in stream.events() if isinstance(event, Message)] == [1, 10, 11]


def test_message_whose_pieces_are_cut_by_a_hole_is_not_delivered() -> None:
    stream = Stream()
    stream.arrive(
        packet(1, chunk(b"first ", ends=CHUNK_FIRST), sender=3, message_seq=0),
        packet(3, chunk(b"last", ends=CHUNK_LAST), sender=3, message_seq=0),
        packet(4, chunk(b"other"), sender=1, message_seq=1),
    )
    stream.end(members=(1, 2))
    assert stream.payloads() == [T, b"other"]


def test_message_cut_by_the_change_is_forgotten_and_its_end_on_the_new_ring_is_no_message() -> None:
    stream = Stream()
    stream.arrive(packet(1, chunk(b"first ", ends=CHUNK_FIRST), message_seq=0))
    stream.end(members=MEMBERS)
    stream.delivery.install(NEW_ID, MEMBERS, True)
    stream.events()
    new = window([packet(1, chunk(b"last", ends=CHUNK_LAST), ring=NEW)])
    stream.delivery.deliver(new, NEW_ID, 0)
    assert stream.events() == []
    assert stream.delivery.reassembler.dropped == 1


def test_recovery_completes_in_the_transitional_configuration_too() -> None:
    """If it did not, a message that its sender sent after completion would be delivered before it."""
    stream = Stream()
    stream.arrive(
        packet(1, unblock_chunk(OLD), sender=1),
        packet(2, unblock_chunk(OLD), sender=2),
        packet(3, chunk(b"safe", Priority.RECOVERY, Guarantee.SAFE), unblock_chunk(OLD), sender=3, safe=True),
        packet(4, chunk(b"high"), sender=1),
    )
    stream.end(high_delivered=2)
    assert stream.payloads() == [T, b"safe", "RecoveryComplete", b"high"]


def test_no_completion_when_an_unblock_is_behind_the_hole() -> None:
    stream = Stream()
    stream.arrive(
        packet(1, unblock_chunk(OLD), sender=1),
        packet(2, unblock_chunk(OLD), sender=2),
        packet(4, unblock_chunk(OLD), sender=3),
    )
    stream.end(members=(1, 2))
    assert stream.payloads() == [T]
    stream.delivery.install(NEW_ID, (1, 2), True)
    assert ("ABORT", OLD_ID) in stream.audit


def test_regular_configuration_says_who_joined_and_who_left() -> None:
    stream = Stream()
    stream.end(members=(1, 3))
    stream.delivery.install(NEW_ID, (1, 3, 8, 9), False)
    assert stream.events()[-1] == RegularConfiguration(NEW_ID, (1, 3, 8, 9), (8, 9), (2,), False)
    assert stream.delivery.configuration.ring_id == NEW_ID


@pytest.mark.parametrize("complete", [False, True])
def test_change_before_completion_is_an_abort(complete: bool) -> None:
    stream = Stream()
    if complete:
        stream.arrive(*(packet(member, unblock_chunk(OLD), sender=member) for member in MEMBERS))
        stream.deliver()
    stream.end()
    stream.delivery.install(NEW_ID, (1, 2), True)
    assert (("ABORT", OLD_ID) in stream.audit) is not complete
    assert stream.audit[-1] == ("CONF", stream.delivery.configuration)


def test_nothing_of_the_old_ring_is_left_for_the_new_one() -> None:
    stream = Stream()
    stream.arrive(packet(1), packet(3, sender=3))
    stream.deliver()
    stream.end(members=(1, 2))
    stream.delivery.install(NEW_ID, (1, 2), True)
    stream.events()
    assert stream.delivery.held == 0
    stream.delivery.delivered = 0  # who installs a ring says where it begins
    stream.delivery.deliver(window([packet(1, ring=NEW)]), NEW_ID, 0)
    assert stream.payloads() == [b"1"]
