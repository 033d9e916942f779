"""The simulated network: what it does to datagrams, and that it does nothing else."""

from __future__ import annotations

import random

import pytest

from ringproto.testing.simulator.network import Bottleneck, SimulatedNetwork, Weather, corrupt, kind_of
from ringproto.testing.simulator.timeline import Timeline


class Wires:
    """A network of ``nodes``, and what arrived where."""

    def __init__(self, *nodes: int, weather: Weather | None = None, in_flight_max: int = 100_000) -> None:
        self.network = SimulatedNetwork(random.Random(3), Timeline(), weather=weather, in_flight_max=in_flight_max)
        self.arrived: list[tuple[float, int, int, bytes]] = []
        for node in nodes:
            self.network.attach(node, self._handler(node))

    def _handler(self, node):
        def arrive(source: int, datagram: bytes) -> None:
            self.arrived.append((self.network.timeline.now, source, node, datagram))

        return arrive

    def send(self, count: int, source: int = 1, destination: int = 2, size: int = 40) -> list[bytes]:
        sent = [b"\1\1%04d%s" % (number, bytes(size)) for number in range(count)]
        for datagram in sent:
            self.network.send(source, destination, datagram)
        return sent

    def run(self, seconds: float = 30.0) -> list[bytes]:
        timeline = self.network.timeline
        timeline.run(timeline.now + seconds)
        return [datagram for _, _, _, datagram in self.arrived]


def test_in_fair_weather_a_link_is_first_in_first_out_and_loses_nothing():
    wires = Wires(1, 2)
    assert wires.send(500) == wires.run()


def test_destination_0_is_every_other_processor():
    wires = Wires(1, 2, 3, 4)
    wires.send(1, source=2, destination=0)
    wires.run()
    assert sorted(node for _, _, node, _ in wires.arrived) == [1, 3, 4]


def test_datagram_to_an_unknown_processor_is_lost():
    wires = Wires(1, 2)
    wires.send(1, destination=9)
    assert wires.run() == []


def test_a_node_is_attached_once():
    wires = Wires(1, 2)
    with pytest.raises(ValueError, match="attached to this network already"):
        wires.network.attach(2, lambda source, datagram: None)


@pytest.mark.parametrize(
    "weather",
    [
        Weather(loss=0.3),
        Weather(kind_loss=((1, 0.3),)),
        Weather(burst=0.1, burst_max=5),
        Weather(big_bytes=30, big_loss=0.3),
    ],
)
def test_weather_with_loss_loses_some_and_changes_none(weather):
    wires = Wires(1, 2, weather=weather)
    sent = wires.send(400)
    arrived = wires.run()
    assert 0 < len(arrived) < 400
    assert arrived == [datagram for datagram in sent if datagram in set(arrived)]
    assert wires.network.lost == 400 - len(arrived)


def test_loss_of_another_kind_or_size_spares_this_one():
    wires = Wires(1, 2, weather=Weather(kind_loss=((2, 1.0),), big_bytes=1000, big_loss=1.0))
    assert wires.send(100) == wires.run()


def test_every_third_token_is_lost():
    wires = Wires(1, 2, weather=Weather(every_kth_token=3))
    for number in range(9):
        wires.network.send(1, 2, b"\1\2%d" % number)
    assert wires.run() == [b"\1\2%d" % number for number in (0, 1, 3, 4, 6, 7)]


def test_duplication_brings_copies_up_to_ten_seconds_late():
    wires = Wires(1, 2, weather=Weather(duplication=0.5))
    sent = wires.send(300)
    arrived = wires.run()
    assert set(arrived) == set(sent)
    assert len(arrived) > 350
    assert 1.0 < max(time for time, *_ in wires.arrived) < 10.1


def test_reordering_changes_the_order_and_nothing_else():
    wires = Wires(1, 2, weather=Weather(reordering=0.3))
    sent = wires.send(300)
    arrived = wires.run()
    assert arrived != sent
    assert sorted(arrived) == sorted(sent)


def test_corruption_damages_some():
    wires = Wires(1, 2, weather=Weather(corruption=0.5))
    sent = wires.send(300)
    arrived = wires.run()
    assert len(arrived) == 300
    assert 50 < len(set(arrived) - set(sent)) < 250


def test_damage_never_leaves_the_bytes_as_they_were():
    draw = random.Random(4)
    same = sum(corrupt(draw, bytes(64)) == bytes(64) for _ in range(1000))
    assert same < 50  # a field may be overwritten with the number it had; bits turned over twice are as before


def test_replay_sends_old_datagrams_again():
    wires = Wires(1, 2, weather=Weather(replay=0.5))
    sent = wires.send(300)
    arrived = wires.run()
    assert len(arrived) > 350
    assert set(arrived) == set(sent)


def test_partition_and_heal():
    wires = Wires(1, 2, 3)
    wires.network.partition({1, 2}, {3})
    wires.send(1, destination=0)
    wires.run()
    assert [node for _, _, node, _ in wires.arrived] == [2]
    wires.network.heal()
    wires.send(1, destination=0)
    wires.run()
    assert len(wires.arrived) == 3


def test_a_bridge_in_two_groups_hears_both():
    wires = Wires(1, 2, 3)
    wires.network.partition({1, 2}, {2, 3})
    wires.send(1, source=2, destination=0)
    wires.send(1, source=1, destination=0)
    wires.run()
    assert sorted((source, node) for _, source, node, _ in wires.arrived) == [(1, 2), (2, 1), (2, 3)]


def test_a_blocked_link_blocks_one_direction():
    wires = Wires(1, 2)
    wires.network.link(1, 2).blocked = True
    wires.send(1, source=1, destination=2)
    wires.send(1, source=2, destination=1)
    wires.run()
    assert [node for _, _, node, _ in wires.arrived] == [1]


def test_a_clogged_link_flushes_in_order():
    wires = Wires(1, 2)
    wires.network.link(1, 2).clogged_until = 3.0
    sent = wires.send(50)
    assert wires.run(2.9) == []
    assert wires.run(0.2) == sent


def test_filter_may_drop_and_alter():
    wires = Wires(1, 2)
    seen = []

    def alter(time: float, source: int, destination: int, datagram: bytes) -> bool | bytes:
        seen.append((source, destination))
        return (True, False, b"in its place")[len(seen) % 3]

    wires.network.filter = alter
    sent = wires.send(3)
    assert wires.run() == [b"in its place", sent[2]]
    assert seen == [(1, 2)] * 3


def test_in_flight_datagrams_are_bounded():
    wires = Wires(1, 2, in_flight_max=100)
    wires.send(300)
    assert len(wires.run()) == 100


def test_calm_ends_bad_weather_and_forgets_late_copies_and_outsiders():
    wires = Wires(1, 2, 3, weather=Weather(duplication=1.0, duplicate_delay_s=9.0))
    wires.send(100, source=1)
    wires.send(100, source=3)
    wires.network.calm({1, 2}, horizon_s=0.05)
    wires.run()
    assert wires.network.weather.fair
    assert {source for _, source, _, _ in wires.arrived} == {1}
    assert max(time for time, *_ in wires.arrived) <= 0.05


def test_same_seed_same_arrivals():
    histories = []
    for _ in range(2):
        wires = Wires(1, 2, weather=Weather(loss=0.1, duplication=0.2, reordering=0.2, corruption=0.1, replay=0.1))
        wires.send(200)
        wires.run()
        histories.append(wires.arrived)
    assert histories[0] == histories[1]


def test_kinds_are_read_from_the_second_byte():
    assert kind_of(b"\1\2...") == "token"
    assert kind_of(b"\1\xff") == kind_of(b"") == "?"


def test_entries_of_equal_time_run_in_the_order_they_were_pushed():
    timeline = Timeline()
    ran = []
    for number in range(10):
        timeline.at(1.0, lambda a, b: ran.append(a), number)
    timeline.run(1.0)
    assert ran == list(range(10))


def test_late_copies_come_beside_the_datagrams_up_to_their_time_and_survive_the_calm():
    arrived: list[tuple[float, bytes]] = []
    timeline = Timeline()
    network = SimulatedNetwork(random.Random(5), timeline)
    network.attach(1, lambda source, datagram: None)
    network.attach(2, lambda source, datagram: arrived.append((timeline.now, datagram)))
    network.clear = network.weather = Weather(late=0.2, late_s=120.0)
    for number in range(1000):
        network.send(1, 2, b"\1\1%d" % number)
    timeline.run(1.0)
    at_once = len(arrived)
    network.calm({1, 2})
    timeline.run(200.0)
    copies = arrived[at_once:]
    assert 1000 <= at_once < 1010
    assert 150 < len(copies) < 250
    assert 100.0 < copies[-1][0] < 121.0
    assert {datagram for _, datagram in copies} < {datagram for _, datagram in arrived[:at_once]}


def test_late_copies_leave_room_for_what_is_on_its_way_now():
    network = SimulatedNetwork(random.Random(6), weather=Weather(late=1.0), in_flight_max=100)
    network.attach(1, lambda source, datagram: None)
    network.attach(2, lambda source, datagram: None)
    for _ in range(60):
        network.send(1, 2, b"\1\1")
    assert network.lost == 0
    assert len(network.timeline.heap) < 90


def narrowed(wires: Wires, *sources: int, rate: float = 10_000.0, queue_bytes: int = 500) -> Bottleneck:
    port = Bottleneck(rate, queue_bytes)
    for source in sources:
        wires.network.link(source, 2).bottleneck = port
    return port


def test_bottleneck_drops_what_finds_its_queue_full_and_passes_the_rest_in_order():
    wires = Wires(1, 2, weather=Weather(latency_s=(0.001, 0.001)))
    port = narrowed(wires, 1)
    sent = wires.send(25, size=94)  # 100 bytes each
    assert wires.run() == sent[:5]
    assert [time for time, _, _, _ in wires.arrived] == pytest.approx([0.011, 0.021, 0.031, 0.041, 0.051])
    assert (port.offered, port.dropped, wires.network.lost) == (25, 20, 20)


def test_bottleneck_has_room_again_when_its_queue_went_out():
    wires = Wires(1, 2)
    narrowed(wires, 1)
    for _ in range(3):
        wires.send(5, size=94)
        wires.run(0.06)
    wires.run()
    assert len(wires.arrived) == 15


def test_links_that_share_a_bottleneck_share_its_queue_and_other_links_do_not():
    wires = Wires(1, 2, 3)
    narrowed(wires, 1, 3)
    wires.send(4, source=1, size=94)
    wires.send(4, source=3, size=94)
    wires.send(8, source=2, destination=3, size=94)
    wires.run()
    assert [sum(source == node for _, source, _, _ in wires.arrived) for node in (1, 2, 3)] == [4, 8, 1]


def test_bottleneck_stays_when_a_network_is_healed():
    wires = Wires(1, 2)
    narrowed(wires, 1)
    wires.network.heal()
    wires.send(25, size=94)
    assert len(wires.run()) == 5


@pytest.mark.parametrize(("rate", "queue_bytes"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (1.0, 0)])
def test_bottleneck_without_rate_or_queue_is_refused(rate: float, queue_bytes: int):
    with pytest.raises(ValueError, match="needs a rate and a queue above 0"):
        Bottleneck(rate, queue_bytes)
