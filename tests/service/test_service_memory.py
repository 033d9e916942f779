"""Memory: what went through a ring is forgotten, and large messages cost no more memory when there are more of them."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Iterator

import pytest
import trio

from ringproto import Config, Event, Message, Ring, open_ring
from ringproto.transports import LoopbackNetwork

NODES = (1, 2, 3)
BURSTS = 6
BURST = 1500
"""Messages that each member is given."""


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


class Sink:
    """An application that counts what it reads, and keeps nothing."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.messages = 0
        self.ring: Ring | None = None

    async def run(self, network: LoopbackNetwork, config: Config) -> None:
        async with open_ring(network.open(self.node), config=config) as self.ring:
            while True:
                self.count(await self.ring.events.receive_batch())

    def count(self, events: list[Event]) -> None:
        self.messages += sum(isinstance(event, Message) for event in events)


async def form(nursery: trio.Nursery, config: Config, loss: float) -> list[Sink]:
    network = LoopbackNetwork(seed=1, latency_s=0.0002, loss=loss)
    sinks = [Sink(node) for node in NODES]
    for sink in sinks:
        nursery.start_soon(sink.run, network, config)
    with trio.fail_after(30):
        while not all(sink.ring and sink.ring.configuration.members == NODES for sink in sinks):
            await trio.sleep(0.001)
    return sinks


@pytest.mark.parametrize("loss", [0.0, 0.02])
async def test_memory_after_a_burst_does_not_grow_from_burst_to_burst(traced: None, loss: float) -> None:
    used = []
    async with trio.open_nursery() as nursery:
        sinks = await form(nursery, Config.testing(), loss)
        for burst in range(1, BURSTS + 1):
            async with trio.open_nursery() as senders:
                for sink in sinks:
                    assert sink.ring is not None
                    senders.start_soon(sink.ring.low.send_batch, [bytes(500)] * (BURST // len(NODES)))
            with trio.fail_after(30):
                while min(sink.messages for sink in sinks) < burst * BURST:
                    await trio.sleep(0.001)
            await trio.sleep(0.05)  # until all know that all have it, and it is forgotten
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])
        nursery.cancel_scope.cancel()
    # The first bursts warm up. After that come four; one number or one reference kept for each message of one burst, at
    # each of three members, would be more.
    assert max(used[2:]) - used[1] < 16 * BURST


async def test_peak_of_large_messages_does_not_grow_with_their_number(traced: None) -> None:
    size = 2**20
    config = Config.testing(
        message_size_max=size, send_queue_bytes_max=size, events_bytes_max=size, window_size=256, visit_max=64
    )
    peaks = []
    async with trio.open_nursery() as nursery:
        sinks = await form(nursery, config, 0.0)
        sender = sinks[0].ring
        assert sender is not None
        for count in (2, 8):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            goal = sinks[0].messages + count
            for number in range(count):
                await sender.low.send(bytes([number]) * size)
            with trio.fail_after(30):
                while min(sink.messages for sink in sinks) < goal:
                    await trio.sleep(0.001)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        nursery.cancel_scope.cancel()
    # Six messages more; less than one of them more is kept.
    assert peaks[1] < peaks[0] + size


async def test_settings_that_allow_very_much_memory_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    config = Config.testing(message_size_max=64 * 2**20)
    with caplog.at_level(logging.WARNING, logger="ringproto"):
        async with open_ring(LoopbackNetwork().open(1), config=Config.testing()):
            pass
        assert caplog.records == []
        async with open_ring(LoopbackNetwork().open(1), config=config):
            pass
    (record,) = caplog.records
    assert record.ringproto_kind == "memory" and record.ringproto_node == 1  # type: ignore[attr-defined]
    assert record.getMessage().startswith("node 1: ") and "12.3 GiB" in record.getMessage()
    assert "members_max (64)" in record.getMessage() and "message_size_max (67108864)" in record.getMessage()
