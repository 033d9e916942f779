"""What the core costs without a network: codec, window, packing, and a whole rotation in memory."""

from __future__ import annotations

import pytest

from ringproto import Config, Guarantee, Message, Priority, RegularConfiguration
from ringproto._core import Processor
from ringproto._core.packets.window import Window
from ringproto._core.wire.regular import Codec, Packet

RING = bytes(range(20))
CHUNKS = b"\x1a" + (1000).to_bytes(2, "big") + bytes(1000)


def packets(count: int) -> list[Packet]:
    codec = Codec(7, 1)
    return [codec.encode_data(RING, seq, seq - 1, False, CHUNKS) for seq in range(1, count + 1)]


def test_codec_encodes_a_packet(benchmark) -> None:
    codec = Codec(7, 1)
    packet = benchmark(codec.encode_data, RING, 1, 0, False, CHUNKS)
    assert packet.chunks() == CHUNKS


def test_codec_opens_and_decodes_a_packet(benchmark) -> None:
    codec = Codec(7, 2)
    datagram = packets(1)[0].datagram

    def read() -> Packet:
        codec.open(datagram)
        return codec.decode_data(datagram)

    assert benchmark(read).seq == 1


def test_window_takes_and_releases_a_thousand_packets(benchmark) -> None:
    arrivals = packets(1000)

    def run() -> Window:
        window = Window(1024)
        for packet in arrivals:
            window.insert(packet)
        window.release(1000)
        return window

    assert benchmark(run).released == 1000


def test_window_takes_a_thousand_packets_in_reverse(benchmark) -> None:
    arrivals = packets(1000)[::-1]

    def run() -> Window:
        window = Window(1024)
        for packet in arrivals:
            window.insert(packet)
        return window

    assert benchmark(run).aru == 1000


class Memory:
    """Processors joined by lists: every datagram arrives, at once and in order."""

    def __init__(self, count: int, config: Config) -> None:
        self.now = 0.0
        self.processors = {
            node: Processor(node, config, datagram_size=1352, seed=bytes([node]) * 16, now=0.0)
            for node in range(1, count + 1)
        }
        self.inbox: dict[int, list[bytes]] = {node: [] for node in self.processors}
        self.delivered = 0

    def step(self) -> None:
        self.now += 0.0001
        for node, processor in self.processors.items():
            batch, self.inbox[node] = self.inbox[node], []
            # A driver wakes only if there is something to do.
            if batch or processor.wants_turn or processor.next_timeout <= self.now:
                for destination, datagram in processor.turn(batch, self.now).transmits:
                    for other in self.inbox:
                        if other != node and destination in (0, other):
                            self.inbox[other].append(datagram)
            for event in processor.take_events(10_000):
                if isinstance(event, RegularConfiguration):
                    processor.unblock(event.ring_id, self.now)
                elif isinstance(event, Message):
                    self.delivered += 1

    def form(self) -> None:
        count = len(self.processors)
        while not all(p.complete and len(p.configuration.members) == count for p in self.processors.values()):
            self.step()


@pytest.mark.parametrize("size", [64, 1350, 16_384])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_saturated_rotations_in_memory(benchmark, count: int, size: int) -> None:
    """A round delivers the same number of messages everywhere; divide by ``messages`` in the extra information."""
    memory = Memory(count, Config.lan())
    memory.form()
    payload = bytes(size)
    goal = 200 * count if size > 10_000 else 2000 * count

    def run() -> None:
        goal_reached = memory.delivered + goal * count
        left = dict.fromkeys(memory.processors, goal // count)
        while memory.delivered < goal_reached:
            for node, processor in memory.processors.items():
                while left[node] and processor.submit(payload, Priority.LOW, Guarantee.AGREED):
                    left[node] -= 1
            memory.step()

    benchmark.extra_info["messages"] = goal
    benchmark(run)
    assert memory.delivered > 0


def test_idle_rotation_in_memory(benchmark) -> None:
    memory = Memory(3, Config.lan(token_hold_s=0.0))
    memory.form()
    processor = memory.processors[1]

    def run() -> None:
        goal = processor.statistics()["rotations"] + 100
        while processor.statistics()["rotations"] < goal:
            memory.step()

    benchmark(run)
