"""The face of the core: misuse is told and changes nothing; the same calls give the same answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rings import CONFIG, DATAGRAM_SIZE, counted, make_ring

from ringproto._core import Batch, Processor
from ringproto._core.wire import Codec, Kind
from ringproto._core.wire_membership import Identity, Join, Limits, MembershipCodec
from ringproto.config import Config
from ringproto.errors import ConfigError, RingError, SlowConsumerError
from ringproto.events import Message, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.cluster import Cluster
from ringproto.types import NODE_MAX, Guarantee, Priority, RingId

SEED = bytes(range(16))
AGREED, SAFE = Guarantee
RECOVERY, HIGH, LOW = Priority


def processor(node: int = 1, config: Config = CONFIG, **changes: Any) -> Processor:
    arguments: dict[str, Any] = {"datagram_size": DATAGRAM_SIZE, "seed": SEED, "now": 100.0}
    return Processor(node, config, **{**arguments, **changes})


def operational(config: Config = CONFIG, audit: list[tuple[Any, ...]] | None = None) -> Processor:
    """A processor alone on its ring, its barrier complete."""
    one = processor(config=config, audit=audit)
    while one.state != "operational":
        now = one.next_timeout
        one.handle_timeout(now)
    one.take_events(100)
    one.unblock(one.configuration.ring_id, now)
    (complete,) = one.take_events(100)
    assert isinstance(complete, RecoveryComplete)
    one.take_transmits()
    return one


def visible(one: Processor) -> tuple[object, ...]:
    return (
        one.state,
        one.configuration,
        one.pending_events,
        one.has_transmits,
        one.next_timeout,
        one.waiting_for,
        one.statistics(),
    )


# A turn


def test_turn_is_the_datagrams_then_the_time_then_what_to_send() -> None:
    """Two processors driven by turns alone, and two by the single calls, come to the same."""

    def histories(turns: bool) -> list[list[tuple[int, bytes]]]:
        pair = {node: processor(node, seed=bytes([node]) * 16) for node in (1, 2)}
        sent: list[list[tuple[int, bytes]]] = []
        now = 100.0
        batch: list[bytes] = []
        for step in range(400):
            one = pair[1 + step % 2]
            now += 0.001
            if turns:
                transmits = one.turn(batch, now)
            else:
                if batch:
                    one.handle_datagrams(batch, now)
                if one.next_timeout <= now:
                    one.handle_timeout(now)
                transmits = one.take_transmits()
            assert not one.has_transmits
            assert one.next_timeout > now
            sent.append(transmits)
            batch = [datagram for _, datagram in transmits]
        assert pair[1].configuration.members == (1, 2)
        assert pair[1].has_changes and not pair[1].calm
        assert pair[1].take_changes()
        assert not pair[1].has_changes
        assert pair[1].has_notices and not pair[1].calm
        assert [notice.kind for notice in pair[1].take_notices()] == ["configuration"]
        assert not pair[1].has_notices and pair[1].calm
        return sent

    assert histories(turns=True) == histories(turns=False)


def exchange(pair: dict[int, Processor], now: float, turns: int) -> tuple[list[list[list[int]]], float]:
    """Two processors take turns; what one sends reaches the other at once, each piece of a visit by itself. What was
    sent, by turns and pieces, each datagram by its kind; and the time."""
    inbox: dict[int, list[bytes]] = {1: [], 2: []}
    said = []
    for step in range(turns):
        node, peer = 1 + step % 2, 2 - step % 2
        one = pair[node]
        now += 0.001
        batch, inbox[node] = inbox[node], []
        pieces = []
        while True:
            sent = [datagram for _, datagram in one.turn(batch, now)]
            pieces.append([datagram[1] for datagram in sent])
            inbox[peer] += sent
            if not one.goes_on:
                break
            assert not one.calm
            assert one.next_timeout == math.nextafter(now, math.inf), "who does not ask must come to it as well"
            inbox[node] += [datagram for _, datagram in pair[peer].turn(inbox[peer], now)]
            batch, inbox[peer] = [], []
        said.append(pieces)
    return said, now


def test_long_visit_comes_out_in_pieces_and_the_token_with_the_last() -> None:
    pair = {node: processor(node, seed=bytes([node]) * 16) for node in (1, 2)}
    _, now = exchange(pair, 100.0, 400)
    for one in pair.values():
        assert one.configuration.members == (1, 2)
        one.unblock(one.configuration.ring_id, now)
    _, now = exchange(pair, now, 400)
    for one in pair.values():
        assert one.complete
        one.take_events(100)
        one.take_changes()
        one.take_notices()
        assert one.calm
    assert pair[1].submit_batch(Batch([bytes(1000)] * 50), 0, HIGH, AGREED) == 50
    said, now = exchange(pair, now, 400)
    assert [len(one.take_events(100)) for one in pair.values()] == [50, 50]
    data, token = int(Kind.DATA), int(Kind.TOKEN)
    longest = max(said, key=len)
    assert len(longest) == 4  # of two packets each
    assert longest[:-1] == [[data, data]] * 3
    assert longest[-1] == [data, data, token]


# Making one


@pytest.mark.parametrize("node", [0, -1, NODE_MAX + 1, True, 1.0, "1", None])
def test_bad_node_id_is_told(node: Any) -> None:
    with pytest.raises(ValueError, match="node id is a whole number from 1"):
        processor(node)


@pytest.mark.parametrize("node", [1, 2**31, NODE_MAX])
def test_every_node_id_can_be_used(node: int) -> None:
    one = processor(node)
    assert one.node == node
    assert one.configuration.members == (node,)


@pytest.mark.parametrize("seed", [b"", bytes(15), bytes(17)])
def test_bad_seed_is_told(seed: bytes) -> None:
    with pytest.raises(ValueError, match="16 random bytes"):
        processor(seed=seed)


def test_datagrams_that_are_too_small_are_told() -> None:
    with pytest.raises(ConfigError, match="at least 512"):
        processor(datagram_size=511)


def test_datagram_size_above_that_of_the_transport_is_told() -> None:
    with pytest.raises(ConfigError, match="datagram_size is 1401, but the transport takes at most 1400"):
        processor(config=CONFIG.replace(datagram_size=1401))


def test_datagrams_of_a_large_transport_are_used_up_to_the_greatest() -> None:
    one = processor(datagram_size=65_507)
    join = one.take_transmits()[0][1]
    assert int.from_bytes(join[42:44], "big") == 65_000


@pytest.mark.parametrize("size", [512, 1400, 9000])
@pytest.mark.parametrize("members_max", [2, 64, 256])
def test_nothing_that_is_sent_is_larger_than_a_datagram_however_many_members_there_may_be(
    members_max: int, size: int
) -> None:
    """A join names everybody that is known and everybody that was given up."""
    config = CONFIG.replace(members_max=members_max)
    try:
        one = processor(config=config, datagram_size=size)
    except ConfigError as error:
        assert "members_max" in str(error)
        return
    limits = Limits(config.quorum, members_max, config.message_size_max, config.window_size, size)
    everybody = tuple(range(1, members_max + 1))
    join = MembershipCodec(Codec(config.cluster_hash, 2)).encode_join(Join(Identity(5, 1, limits), 1, everybody, ()))
    one.handle_datagrams([join], 100.0)
    sent = one.take_transmits()
    while one.state != "operational":
        one.handle_timeout(one.next_timeout)
        sent += one.take_transmits()
    assert max(len(datagram) for _, datagram in sent) <= size


def test_new_processor_is_alone_in_gather_and_says_a_join() -> None:
    one = processor()
    assert one.state == "gather"
    assert not one.left and one.failure is None and not one.complete
    (event,) = one.take_events(10)
    assert event == one.configuration == RegularConfiguration(one.configuration.ring_id, (1,), (1,), (), True)
    ((destination, datagram),) = one.take_transmits()
    assert (destination, datagram[1]) == (0, 3)
    assert one.next_timeout > 100.0
    assert one.waiting_for == {1}


def test_ring_sequence_that_was_stored_is_never_used_again() -> None:
    one = processor(ring_sequence=41)
    assert one.configuration.ring_id.sequence == 42
    assert one.ring_sequence == 42


def test_seed_alone_makes_ids_differ() -> None:
    names = {processor(seed=bytes([byte]) * 16).configuration.ring_id for byte in range(20)}
    assert len(names) == 20


# Sending


@pytest.mark.parametrize("payload", ["text", bytearray(b"x"), memoryview(b"x"), None, 5])
def test_payload_that_is_not_bytes_is_told_and_changes_nothing(payload: Any) -> None:
    one = operational()
    before = visible(one)
    with pytest.raises(TypeError, match="must be bytes, not"):
        one.submit(payload, HIGH, AGREED)
    assert visible(one) == before


def test_payload_above_the_maximum_is_told_and_changes_nothing() -> None:
    one = operational(CONFIG.replace(message_size_max=10))
    before = visible(one)
    with pytest.raises(ValueError, match=r"11 bytes is above Config.message_size_max \(10\)"):
        one.submit(b"x" * 11, LOW, SAFE)
    assert visible(one) == before
    assert one.submit(b"x" * 10, LOW, SAFE)


def test_batch_is_accepted_in_order_from_a_place_on_until_the_queue_is_full() -> None:
    audit: list[tuple[Any, ...]] = []
    one = processor(config=CONFIG.replace(send_queue_max=5), audit=audit)
    payloads = [bytes([number]) for number in range(8)]
    batch = Batch(payloads)
    assert one.submit_batch(batch, 1, LOW, SAFE) == 5
    submitted = [record for record in audit if record[0] == "SUBMIT"]
    assert submitted == [("SUBMIT", LOW, SAFE, payload) for payload in payloads[1:6]]
    before = visible(one)
    assert one.submit_batch(batch, 6, LOW, SAFE) == 0
    assert one.submit_batch(batch, 8, HIGH, AGREED) == 0
    assert visible(one) == before and one.statistics()["queue_low"] == 5


def test_batch_is_sent_like_single_messages() -> None:
    one = operational()
    payloads = [b"%d" % number for number in range(3 * CONFIG.send_queue_max)]
    batch = Batch(payloads)
    received: list[Any] = []
    place = 0
    while place < len(payloads):
        accepted = one.submit_batch(batch, place, LOW, AGREED)
        assert accepted, "alone on a ring, what was accepted was sent"
        place += accepted
        received += one.take_events(len(payloads))
    assert [message.payload for message in received if isinstance(message, Message)] == payloads


class Subclass(bytes):
    """It is no bytes to compiled code."""


UNFIT: list[Any] = [Subclass(b"ab"), bytearray(b"ab"), memoryview(b"ab"), "ab", None, 7, b"abcd"]
"""What cannot be sent where three bytes are the maximum."""


@given(
    good=st.lists(st.binary(max_size=3), max_size=6),
    place=st.integers(min_value=0, max_value=6),
    unfit=st.sampled_from(UNFIT),
    first=st.integers(min_value=0, max_value=7),
)
def test_batch_with_something_that_cannot_be_sent_is_refused_as_a_whole(
    good: list[bytes], place: int, unfit: Any, first: int
) -> None:
    one = operational(CONFIG.replace(message_size_max=3))
    before = visible(one)
    payloads = [*good[:place], unfit, *good[place:]]
    with pytest.raises(ValueError if type(unfit) is bytes else TypeError, match=r"message_size_max|must be bytes"):
        one.submit_batch(Batch(payloads), min(first, len(payloads) - 1), LOW, AGREED)
    assert visible(one) == before and one.take_events(99) == []


def test_batch_is_a_copy() -> None:
    payloads = [b"a", b"b"]
    batch = Batch(payloads)
    payloads[1:] = ["no bytes", None]  # type: ignore[list-item]
    assert len(batch) == 2 and batch.payloads == (b"a", b"b") and batch.largest == 1
    one = operational()
    assert one.submit_batch(batch, 0, LOW, AGREED) == 2
    assert [message.payload for message in one.take_events(9) if isinstance(message, Message)] == [b"a", b"b"]


@pytest.mark.parametrize("wrong", [[b"a"], (b"a",), b"a", None])
def test_only_a_batch_is_taken_as_one(wrong: Any) -> None:
    one = operational()
    before = visible(one)
    with pytest.raises(TypeError, match="Batch"):
        one.submit_batch(wrong, 0, LOW, AGREED)
    assert visible(one) == before


@pytest.mark.parametrize("payload", [Subclass(b"ab"), bytearray(b"ab")])
def test_subclass_of_bytes_is_told_what_it_is(payload: Any) -> None:
    one = operational()
    with pytest.raises(TypeError, match=r"must be bytes, not (the subclass Subclass|bytearray); convert it"):
        one.submit(payload, HIGH, AGREED)


def test_batch_is_refused_where_messages_are() -> None:
    one = operational()
    before = visible(one)
    with pytest.raises(ValueError, match="RECOVERY"):
        one.submit_batch(Batch([b"x"]), 0, RECOVERY, AGREED)
    assert visible(one) == before
    one.leave(101.0)
    with pytest.raises(RingError, match="left the ring"):
        one.submit_batch(Batch([b"x"]), 0, LOW, AGREED)


def test_recovery_is_not_sent_by_submit() -> None:
    one = operational()
    before = visible(one)
    with pytest.raises(ValueError, match="RECOVERY"):
        one.submit(b"x", RECOVERY, AGREED)
    assert visible(one) == before


def test_recovery_message_of_another_round_is_told_and_changes_nothing() -> None:
    one = processor()
    before = visible(one)
    with pytest.raises(RingError, match="round"):
        one.submit_recovery(RingId(9, 9, 9), b"x", AGREED)
    assert visible(one) == before


def test_recovery_message_after_the_unblock_is_told() -> None:
    one = processor()
    one.unblock(one.configuration.ring_id, 100.0)
    with pytest.raises(RingError, match="unblocked"):
        one.submit_recovery(one.configuration.ring_id, b"x", AGREED)


def test_unblock_of_another_round_is_ignored() -> None:
    one = processor()
    before = visible(one)
    one.unblock(RingId(9, 9, 9), 100.0)
    assert visible(one) == before
    assert one.submit_recovery(one.configuration.ring_id, b"x", AGREED)


def test_full_queue_says_so_and_changes_nothing() -> None:
    one = processor(config=CONFIG.replace(send_queue_max=2))
    assert one.submit(b"1", HIGH, AGREED) and one.submit(b"2", HIGH, AGREED)
    before = visible(one)
    assert not one.submit(b"3", HIGH, AGREED)
    assert visible(one) == before
    # The other queues have room of their own, the one of recovery above all (B17).
    assert one.submit(b"3", LOW, AGREED)
    assert one.submit_recovery(one.configuration.ring_id, b"4", AGREED)


def test_audit_says_what_was_accepted() -> None:
    audit: list[tuple[Any, ...]] = []
    one = processor(audit=audit, config=CONFIG.replace(send_queue_max=1))
    assert audit[0][:2] == ("START", 1)
    assert audit[1] == ("CONF", one.configuration)
    one.submit(b"a", LOW, SAFE)
    one.submit(b"b", LOW, SAFE)
    one.submit_recovery(one.configuration.ring_id, b"c", AGREED)
    assert audit[2:] == [("SUBMIT", LOW, SAFE, b"a"), ("SUBMIT", RECOVERY, AGREED, b"c")]


def test_processor_alone_delivers_at_once_what_it_sends() -> None:
    one = operational()
    assert one.submit(b"high", HIGH, AGREED)
    assert one.submit(b"safe", LOW, SAFE)
    got = [
        (event.payload, event.priority, event.guarantee) for event in one.take_events(9) if isinstance(event, Message)
    ]
    assert got == [(b"high", HIGH, AGREED), (b"safe", LOW, SAFE)]


# Time


def test_early_timeout_does_no_harm() -> None:
    one = processor()
    one.take_transmits()
    before = visible(one)
    one.handle_timeout(100.0)
    one.handle_timeout(math.nextafter(one.next_timeout, 0.0))
    assert visible(one) == before


def test_timeouts_of_a_processor_alone_go_on_for_ever_without_changing_its_ring() -> None:
    one = operational()
    ring_id = one.configuration.ring_id
    last = one.next_timeout
    for _ in range(1000):
        one.handle_timeout(one.next_timeout)
        assert one.next_timeout > last
        last = one.next_timeout
        one.take_transmits()
    assert one.configuration.ring_id == ring_id


# Leaving


def test_leaver_takes_no_more_messages() -> None:
    one = operational(CONFIG.replace(send_queue_max=1))
    one.leave(one.next_timeout)
    assert one.left and one.state == "left" and one.failure is None
    with pytest.raises(RingError, match="left the ring"):
        one.submit(b"x", HIGH, AGREED)
    with pytest.raises(RingError):
        one.submit_recovery(one.configuration.ring_id, b"x", AGREED)
    assert one.next_timeout == math.inf
    assert len([datagram for _, datagram in one.take_transmits() if datagram[1] == 7]) == 3


def test_leaving_again_says_nothing_more() -> None:
    one = operational()
    one.leave(200.0)
    one.take_transmits()
    before = visible(one)
    one.leave(201.0)
    one.handle_timeout(500.0)
    one.unblock(one.configuration.ring_id, 500.0)
    assert visible(one) == before


def test_leaver_alone_whose_application_did_not_read_is_out_at_once() -> None:
    one = operational(CONFIG.replace(events_max=2))
    for number in range(6):
        one.submit(b"%d" % number, HIGH, AGREED)
    assert one.statistics()["packets_held"] > 0 or one.statistics()["queue_high"] > 0
    one.leave(200.0)
    assert one.left
    assert one.next_timeout == math.inf
    assert [event.payload for event in one.take_events(9) if isinstance(event, Message)] == [
        b"%d" % number for number in range(6)
    ]


def waiting() -> Processor:
    """A processor alone that has not unblocked, with a message that waits for it."""
    one = processor()
    while one.state != "operational":
        one.handle_timeout(one.next_timeout)
    one.submit(b"waits", HIGH, AGREED)
    return one


def test_leaver_waits_for_what_it_accepted_but_not_for_ever() -> None:
    one = waiting()
    began = one.next_timeout
    one.leave(began)
    assert one.leaving and not one.left
    while not one.left:
        now = one.next_timeout
        one.handle_timeout(now)
    assert now == began + CONFIG.leave_timeout_s
    assert one.failure is None


def test_leaver_that_does_not_drain_is_gone_at_once() -> None:
    one = waiting()
    one.leave(one.next_timeout, drain=False)
    assert one.left


def test_leaver_goes_when_its_last_message_is_sent() -> None:
    one = waiting()
    now = one.next_timeout
    one.leave(now)
    one.unblock(one.configuration.ring_id, now)
    assert one.left
    assert [event.payload for event in one.take_events(9) if isinstance(event, Message)] == [b"waits"]


def test_events_can_still_be_taken_when_it_has_left() -> None:
    one = operational()
    one.submit(b"last", HIGH, AGREED)
    one.leave(200.0)
    assert [event.payload for event in one.take_events(9) if isinstance(event, Message)] == [b"last"]


# An application that does not read


def test_slow_consumer_leaves_past_its_bound_and_not_before() -> None:
    config = CONFIG.replace(events_max=4)
    one = operational(config)
    now = one.next_timeout
    one.handle_timeout(now)
    for number in range(8):
        one.submit(b"%d" % number, HIGH, AGREED)
    one.handle_timeout(now)
    assert one.statistics()["queue_high"] + one.pending_events + one.statistics()["packets_held"] >= 8
    assert one.pending_events >= 4
    while one.next_timeout < now + config.slow_consumer_timeout_s:
        one.handle_timeout(one.next_timeout)
        assert not one.left
    one.handle_timeout(one.next_timeout)
    assert one.left
    assert isinstance(one.failure, SlowConsumerError)
    assert "took no event for 2.0 s" in str(one.failure)


def test_consumer_that_reads_a_little_stays() -> None:
    config = CONFIG.replace(events_max=4)
    one = operational(config)
    now = one.next_timeout
    for number in range(100):
        one.submit(b"%d" % number, HIGH, AGREED)
    for _ in range(20):
        now += 0.9 * config.slow_consumer_timeout_s
        while one.next_timeout < now:
            one.handle_timeout(one.next_timeout)
        assert one.take_events(1)
    assert not one.left


# What it tells


def test_statistics_have_a_gauge_for_each_queue() -> None:
    one = processor()
    one.submit(b"abc", HIGH, AGREED)
    one.submit(b"d", LOW, AGREED)
    one.submit_recovery(one.configuration.ring_id, b"ef", AGREED)
    statistics = one.statistics()
    assert [statistics[f"queue_{name}"] for name in ("recovery", "high", "low")] == [1, 1, 1]
    assert [statistics[f"queue_{name}_bytes"] for name in ("recovery", "high", "low")] == [2, 3, 1]


def test_counters_only_rise_over_changes_of_configuration() -> None:
    cluster, _ = make_ring()
    names = (
        "rotations",
        "packets_sent",
        "retransmissions",
        "messages_delivered",
        "gathers",
        "configurations",
        "joins_sent",
    )
    last = dict.fromkeys(names, 0.0)
    for step in range(40):
        if step == 10:
            cluster.partition({1, 2}, {3})
        if step == 20:
            cluster.heal()
        cluster.submit(1, b"1.1.%d|" % step)
        cluster.run(0.05)
        now = {name: counted(cluster, 1, name) for name in names}
        assert all(now[name] >= last[name] for name in names)
        last = now
    assert all(last[name] > 0 for name in names if name != "retransmissions")


def test_changes_tell_the_configurations_beside_the_stream() -> None:
    one = operational()
    changes = [change.event for change in one.take_changes()]
    assert [type(event) for event in changes] == [
        RegularConfiguration,
        TransitionalConfiguration,
        RegularConfiguration,
        RecoveryComplete,
    ]
    assert one.take_changes() == []


def test_same_calls_give_the_same_answers() -> None:
    def run() -> tuple[str, list[Any]]:
        cluster = Cluster(5, CONFIG, datagram_size=DATAGRAM_SIZE)
        sent: list[Any] = []

        def remember(time: float, source: int, destination: int, datagram: bytes) -> bool:
            sent.append((time, source, destination, datagram))
            return True

        cluster.filter = remember
        cluster.start(1, 2, 3)
        for number in range(50):
            cluster.submit(1 + number % 3, b"%d.1.%d|%s" % (1 + number % 3, number, b"x" * 50 * number))
        cluster.run(0.3)
        cluster.crash(2)
        cluster.run(1.0)
        return cluster.log_hash(), sent

    assert run() == run()
