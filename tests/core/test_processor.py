"""The face of the core: misuse is told and changes nothing; the same calls give the same answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rings import CONFIG, DATAGRAM_SIZE, counted, make_ring

from ringproto._core import Batch, Notice, Processor, Ready
from ringproto._core.wire.membership import Identity, Join, Limits, MembershipCodec
from ringproto._core.wire.regular import Codec, Kind
from ringproto.config import Config
from ringproto.errors import ConfigError, RingError, SlowConsumerError
from ringproto.events import Event, Message, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import NODE_MAX, Guarantee, Priority, RingId

SEED = bytes(range(16))
AGREED, SAFE = Guarantee
RECOVERY, HIGH, LOW = Priority


def processor(node: int = 1, config: Config = CONFIG, **changes: Any) -> Processor:
    arguments: dict[str, Any] = {"datagram_size": DATAGRAM_SIZE, "seed": SEED, "now": 100.0}
    return Processor(node, config, **{**arguments, **changes})


def turn(one: Processor) -> Ready:
    """A turn at a time at which no timer is due."""
    return one.turn([], math.nextafter(one.next_timeout, 0.0) if one.next_timeout < math.inf else 1000.0)


def operational(config: Config = CONFIG, audit: list[tuple[Any, ...]] | None = None) -> Processor:
    """A processor alone on its ring, its barrier complete."""
    one = processor(config=config, audit=audit)
    now = 100.0
    while one.state != "operational":
        one.turn([], now)
        now = one.next_timeout
    one.take_events(100)
    one.unblock(one.configuration.ring_id, now)
    assert turn(one).events == 1
    (complete,) = one.take_events(100)
    assert isinstance(complete, RecoveryComplete)
    assert not one.wants_turn
    return one


def visible(one: Processor) -> tuple[object, ...]:
    return (one.state, one.configuration, one.wants_turn, one.next_timeout, one.waiting_for, one.statistics())


def payloads(events: list[Event]) -> list[bytes]:
    return [event.payload for event in events if isinstance(event, Message)]


# A turn


def test_turn_says_all_that_follows_from_it_and_nothing_twice() -> None:
    pair = {node: processor(node, seed=bytes([node]) * 16) for node in (1, 2)}
    said: dict[int, list[Ready]] = {1: [], 2: []}
    now = 100.0
    batch: list[bytes] = []
    for step in range(400):
        node = 1 + step % 2
        one = pair[node]
        now += 0.001
        ready = one.turn(batch, now)
        assert ready.next_timeout == one.next_timeout > now
        assert ready.events == one.statistics()["events_waiting"]
        assert not ready.left and not ready.unfinished and not one.wants_turn
        said[node].append(ready)
        batch = [datagram for _, datagram in ready.transmits]
    for node, one in pair.items():
        assert one.configuration.members == (1, 2)
        changes = [change.event for ready in said[node] for change in ready.changes]
        assert changes == one.take_events(100) and changes[-1] == one.configuration
        assert [notice.kind for ready in said[node] for notice in ready.notices] == ["configuration"]


def test_what_a_turn_said_stays_as_it_was() -> None:
    one = processor()
    first = one.turn([], 100.0)
    before = list(first.transmits), list(first.changes), list(first.notices)
    for ready in (first, one.turn([], one.next_timeout)):
        ready.transmits.append((1, b""))
        ready.changes.clear()
        ready.notices.append(Notice("mine", ""))
    second = one.turn([], one.next_timeout)
    assert before[0] and before[1]
    assert (1, b"") not in second.transmits and not any(notice.kind == "mine" for notice in second.notices)


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
            ready = one.turn(batch, now)
            sent = [datagram for _, datagram in ready.transmits]
            pieces.append([datagram[1] for datagram in sent])
            inbox[peer] += sent
            if not ready.unfinished:
                break
            assert ready.next_timeout == math.nextafter(now, math.inf), "a driver that does not ask comes to it"
            inbox[node] += [datagram for _, datagram in pair[peer].turn(inbox[peer], now).transmits]
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
    join = one.turn([], 100.0).transmits[0][1]
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
    sent = one.turn([join], 100.0).transmits
    while one.state != "operational":
        sent += one.turn([], one.next_timeout).transmits
    assert max(len(datagram) for _, datagram in sent) <= size


def test_new_processor_is_alone_in_gather_and_says_a_join() -> None:
    one = processor()
    assert one.state == "gather"
    assert not one.left and one.failure is None and not one.complete
    (event,) = one.take_events(10)
    assert event == one.configuration == RegularConfiguration(one.configuration.ring_id, (1,), (1,), (), True)
    assert one.wants_turn
    ready = one.turn([], 100.0)
    assert [change.event for change in ready.changes] == [event]
    ((destination, datagram),) = ready.transmits
    assert not one.wants_turn
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
    offered = [bytes([number]) for number in range(8)]
    batch = Batch(offered)
    assert one.submit_batch(batch, 1, LOW, SAFE) == 5
    submitted = [record for record in audit if record[0] == "SUBMIT"]
    assert submitted == [("SUBMIT", LOW, SAFE, payload) for payload in offered[1:6]]
    before = visible(one)
    assert one.submit_batch(batch, 6, LOW, SAFE) == 0
    assert one.submit_batch(batch, 8, HIGH, AGREED) == 0
    assert visible(one) == before and one.statistics()["queue_low"] == 5


def test_batch_is_sent_like_single_messages() -> None:
    one = operational()
    submitted = [b"%d" % number for number in range(3 * CONFIG.send_queue_max)]
    batch = Batch(submitted)
    received: list[Any] = []
    place = 0
    while place < len(submitted):
        accepted = one.submit_batch(batch, place, LOW, AGREED)
        assert accepted, "alone on a ring, what was accepted was sent"
        place += accepted
        turn(one)
        received += one.take_events(len(submitted))
    assert payloads(received) == submitted


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
    offered = [*good[:place], unfit, *good[place:]]
    with pytest.raises(ValueError if type(unfit) is bytes else TypeError, match=r"message_size_max|must be bytes"):
        one.submit_batch(Batch(offered), min(first, len(offered) - 1), LOW, AGREED)
    assert visible(one) == before and one.take_events(99) == []


def test_batch_is_a_copy() -> None:
    offered = [b"a", b"b"]
    batch = Batch(offered)
    offered[1:] = ["no bytes", None]  # type: ignore[list-item]
    assert len(batch) == 2 and batch.payloads == (b"a", b"b") and batch.largest == 1
    one = operational()
    assert one.submit_batch(batch, 0, LOW, AGREED) == 2
    assert turn(one).events == 2
    assert payloads(one.take_events(9)) == [b"a", b"b"]


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


def test_processor_alone_delivers_what_it_sends_in_its_next_turn() -> None:
    one = operational()
    assert one.submit(b"high", HIGH, AGREED)
    assert one.submit(b"safe", LOW, SAFE)
    assert one.wants_turn
    turn(one)
    got = [
        (event.payload, event.priority, event.guarantee) for event in one.take_events(9) if isinstance(event, Message)
    ]
    assert got == [(b"high", HIGH, AGREED), (b"safe", LOW, SAFE)]


# Time


def test_early_turn_does_no_harm() -> None:
    one = processor()
    one.turn([], 100.0)
    before = visible(one)
    for now in (100.0, math.nextafter(one.next_timeout, 0.0)):
        ready = one.turn([], now)
        assert not (ready.transmits or ready.changes or ready.notices or ready.unfinished)
    assert visible(one) == before


def test_timeouts_of_a_processor_alone_go_on_for_ever_without_changing_its_ring() -> None:
    one = operational()
    ring_id = one.configuration.ring_id
    last = one.next_timeout
    for _ in range(1000):
        one.turn([], one.next_timeout)
        assert one.next_timeout > last
        last = one.next_timeout
    assert one.configuration.ring_id == ring_id


# Leaving


def test_leaver_takes_no_more_messages() -> None:
    one = operational(CONFIG.replace(send_queue_max=1))
    now = one.next_timeout
    one.leave(now)
    assert one.leaving and not one.left
    with pytest.raises(RingError, match="left the ring"):
        one.submit(b"x", HIGH, AGREED)
    ready = one.turn([], now)
    assert ready.left and one.left and one.state == "left" and one.failure is None
    with pytest.raises(RingError, match="left the ring"):
        one.submit(b"x", HIGH, AGREED)
    with pytest.raises(RingError):
        one.submit_recovery(one.configuration.ring_id, b"x", AGREED)
    assert ready.next_timeout == one.next_timeout == math.inf
    assert len([datagram for _, datagram in ready.transmits if datagram[1] == 7]) == 3


def test_leaving_again_says_nothing_more() -> None:
    one = operational()
    one.leave(200.0)
    one.turn([], 200.0)
    before = visible(one)
    one.leave(201.0)
    one.unblock(one.configuration.ring_id, 500.0)
    assert one.turn([], 500.0).transmits == []
    assert visible(one) == before


def test_leaver_alone_whose_application_did_not_read_is_out_at_once() -> None:
    one = operational(CONFIG.replace(events_max=2))
    for number in range(6):
        one.submit(b"%d" % number, HIGH, AGREED)
        turn(one)
    assert one.statistics()["packets_held"] > 0 or one.statistics()["queue_high"] > 0
    one.leave(200.0)
    assert one.turn([], 200.0).left
    assert one.next_timeout == math.inf
    assert payloads(one.take_events(9)) == [b"%d" % number for number in range(6)]


def waiting() -> Processor:
    """A processor alone that has not unblocked, with a message that waits for it."""
    one = processor()
    while one.state != "operational":
        one.turn([], one.next_timeout)
    one.submit(b"waits", HIGH, AGREED)
    return one


def test_leaver_waits_for_what_it_accepted_but_not_for_ever() -> None:
    one = waiting()
    began = one.next_timeout
    one.leave(began)
    assert not one.turn([], began).left and one.leaving
    while not one.left:
        now = one.next_timeout
        one.turn([], now)
    assert now == began + CONFIG.leave_timeout_s
    assert one.failure is None


def test_leaver_that_does_not_drain_is_gone_at_once() -> None:
    one = waiting()
    now = math.nextafter(one.next_timeout, 0.0)
    one.leave(now, drain=False)
    assert one.turn([], now).left


def test_leaver_goes_when_its_last_message_is_sent() -> None:
    one = waiting()
    now = one.next_timeout
    one.leave(now)
    assert not one.turn([], now).left
    one.unblock(one.configuration.ring_id, now)
    assert one.turn([], now).left
    assert payloads(one.take_events(9)) == [b"waits"]


def test_events_can_still_be_taken_when_it_has_left() -> None:
    one = operational()
    one.submit(b"last", HIGH, AGREED)
    one.leave(200.0)
    assert one.turn([], 200.0).left
    assert payloads(one.take_events(9)) == [b"last"]


# An application that does not read


def test_slow_consumer_leaves_past_its_bound_and_not_before() -> None:
    config = CONFIG.replace(events_max=4)
    one = operational(config)
    now = one.next_timeout
    one.turn([], now)
    for number in range(8):
        one.submit(b"%d" % number, HIGH, AGREED)
        ready = one.turn([], now)
    statistics = one.statistics()
    assert statistics["queue_high"] + ready.events + statistics["packets_held"] >= 8
    assert ready.events >= 4
    while one.next_timeout < now + config.slow_consumer_timeout_s:
        assert not one.turn([], one.next_timeout).left
    assert one.turn([], one.next_timeout).left
    assert isinstance(one.failure, SlowConsumerError)
    assert "took no event for 2.0 s" in str(one.failure)


def test_consumer_that_reads_a_little_stays() -> None:
    config = CONFIG.replace(events_max=4)
    one = operational(config)
    now = one.next_timeout
    for number in range(100):
        one.submit(b"%d" % number, HIGH, AGREED)
        one.turn([], now)
    for _ in range(20):
        now += 0.9 * config.slow_consumer_timeout_s
        while one.next_timeout < now:
            one.turn([], one.next_timeout)
        one.turn([], now)
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
    one = processor()
    changes = [change.event for change in one.turn([], 100.0).changes]
    while one.state != "operational":
        changes += [change.event for change in one.turn([], one.next_timeout).changes]
    one.unblock(one.configuration.ring_id, 200.0)
    changes += [change.event for change in one.turn([], 200.0).changes]
    assert [type(event) for event in changes] == [
        RegularConfiguration,
        TransitionalConfiguration,
        RegularConfiguration,
        RecoveryComplete,
    ]
    assert changes == one.take_events(9)


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
