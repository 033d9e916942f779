"""Messages: sizes, guarantees, priorities, back-pressure, loss."""

from __future__ import annotations

from stories import promise_behind_a_hole

from ringproto.events import Message, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.simulator.network import Weather, kind_of
from ringproto.types import Guarantee, Priority


def test_message_of_no_bytes_is_delivered(ring):
    assert ring.submit(2, b"")
    assert ring.run_until_settled({1, 2, 3})
    assert ring.messages(1) == ring.messages(2) == ring.messages(3) == [b""]


def test_message_of_many_datagrams_is_delivered_whole(ring):
    payload = b"2.1.1|" + bytes(range(256)) * 1000
    assert ring.submit(2, payload, Priority.LOW)
    assert ring.run_until_settled({1, 2, 3})
    assert ring.messages(1) == ring.messages(3) == [payload]


def test_message_of_many_datagrams_survives_loss(ring):
    payload = b"2.1.1|" + bytes(range(256)) * 400
    ring.network.weather = Weather(kind_loss=((1, 0.2),))
    assert ring.submit(2, payload, Priority.LOW)
    assert ring.run_until(lambda: all(ring.messages(node) == [payload] for node in (1, 2, 3)), 5.0, every_s=0.01)


def test_messages_of_all_sizes_come_in_one_order(ring):
    sizes = [0, 1, 100, 1300, 1340, 1400, 2800, 5000]
    for counter in range(120):
        node = 1 + counter % 3
        payload = b"%d.1.%d|%s" % (node, counter, b"z" * sizes[counter % len(sizes)])
        assert ring.submit(node, payload, Priority(1 + counter % 2), Guarantee(counter % 2))
    assert ring.run_until_settled({1, 2, 3})
    assert len(ring.messages(1)) == 120
    assert ring.messages(1) == ring.messages(2) == ring.messages(3)


def test_safe_message_waits_until_every_member_has_it(ring):
    ring.filter = lambda time, source, destination, datagram: not (kind_of(datagram) == "data" and destination == 3)
    ring.submit(1, b"1.1.1|agreed")
    ring.run(0.01)  # so that they do not share a packet
    ring.submit(1, b"1.1.2|safe", Priority.HIGH, Guarantee.SAFE)
    ring.run(0.08)
    assert ring.messages(2) == [b"1.1.1|agreed"]
    ring.filter = None
    assert ring.run_until_settled({1, 2, 3})
    assert ring.messages(2) == ring.messages(3) == [b"1.1.1|agreed", b"1.1.2|safe"]


def test_safe_message_that_a_crashed_member_never_had_comes_after_the_transitional_configuration(ring):
    ring.filter = lambda time, source, destination, datagram: not (kind_of(datagram) == "data" and destination == 3)
    ring.submit(1, b"1.1.1|safe", Priority.HIGH, Guarantee.SAFE)
    ring.run(0.05)
    ring.crash(3)
    ring.filter = None
    assert ring.run_until_settled({1, 2}, 3.0)
    for node in (1, 2):
        events = ring.events(node)
        place = next(place for place, event in enumerate(events) if isinstance(event, Message))
        change = max(place for place, event in enumerate(events) if isinstance(event, TransitionalConfiguration))
        assert change < place


def test_high_goes_before_low_of_the_same_processor(ring):
    for counter in range(40):
        ring.submit(2, b"2.1.%d|%s" % (counter, b"l" * 1000), Priority.LOW)
    ring.submit(2, b"2.1.99|high", Priority.HIGH)
    assert ring.run_until_settled({1, 2, 3})
    assert ring.messages(1).index(b"2.1.99|high") < 39


def test_low_is_not_starved_by_high(ring):
    ring.submit(2, b"2.1.0|low", Priority.LOW)
    for counter in range(1, 250):
        ring.submit(2, b"2.1.%d|%s" % (counter, b"h" * 1000), Priority.HIGH)
    assert ring.run_until_settled({1, 2, 3})
    assert ring.messages(1).index(b"2.1.0|low") < 249


def test_full_queue_refuses_and_changes_nothing(ring):
    size = ring.config.send_queue_max
    taken = sum(ring.submit(2, b"2.1.%d|" % counter, Priority.LOW) for counter in range(size + 50))
    assert taken < size + 50
    assert ring.run_until_settled({1, 2, 3})
    assert len(ring.messages(1)) == taken


def test_slow_consumer_slows_the_ring_and_loses_nothing(make_ring):
    cluster = make_ring(1, 2, 3, events_max=16, slow_consumer_timeout_s=60.0)
    cluster.stop_reading(3, 1.0)
    accepted = 0
    for counter in range(2000):
        accepted += cluster.submit(1, b"1.1.%d|%s" % (counter, b"s" * 500))
        cluster.run(0.0005)
    assert accepted < 2000
    assert cluster.run_until_settled({1, 2, 3}, 20.0)
    assert len(cluster.messages(3)) == accepted
    assert cluster.messages(3) == cluster.messages(1)


def test_application_that_never_reads_leaves_and_the_others_go_on(make_ring):
    cluster = make_ring(1, 2, 3, events_max=16, slow_consumer_timeout_s=0.5)
    cluster.stop_reading(3, 100.0)
    for counter in range(200):
        cluster.submit(1, b"1.1.%d|%s" % (counter, b"s" * 500))
    assert cluster.run_until_settled({1, 2}, 10.0)
    assert not cluster.alive(3)
    assert cluster.audits()[2][-1] == ("STOP", "slow consumer")
    assert cluster.messages(1) == cluster.messages(2)


def test_heavy_loss_delays_but_loses_nothing(make_ring):
    cluster = make_ring(1, 2, 3)
    cluster.network.weather = Weather(loss=0.15)
    count = 0
    for counter in range(150):
        node = 1 + counter % 3
        count += cluster.submit(node, b"%d.1.%d|" % (node, counter), Priority(1 + counter % 2), Guarantee(counter % 2))
        cluster.run(0.004)
    cluster.network.weather = Weather()
    assert cluster.run_until_settled({1, 2, 3}, 5.0)
    own = [sum(payload.startswith(b"%d." % node) for payload in cluster.messages(node)) for node in (1, 2, 3)]
    assert sum(own) == count


def test_damaged_datagrams_do_nothing(ring):
    before = ring.configuration(1)
    ring.network.weather = Weather(corruption=0.2)
    for counter in range(100):
        ring.submit(1 + counter % 3, b"%d.1.%d|" % (1 + counter % 3, counter))
        ring.run(0.005)
    ring.network.weather = Weather()
    assert ring.run_until_settled({1, 2, 3}, 3.0)
    assert ring.configuration(1).members == before.members


def test_promise_given_in_a_recovery_is_kept_when_its_end_is_missed(make_ring):
    """Processor 2 told the others that it can deliver a safe message of 3 with them; then it loses them both."""
    cluster = make_ring(1, 2, 3, 4)
    promise_behind_a_hole(cluster)
    assert cluster.messages(1) == [b"3.1.1|promised"]
    assert cluster.messages(2) == [b"3.1.1|promised"]
    regular = [event.members for event in cluster.events(1) if isinstance(event, RegularConfiguration)]
    assert regular[-2:] == [(1, 2, 3), (1, 3)]
