"""How many datagrams a second go through each transport, and how long one takes there and back.

Each round is a whole ``trio.run``, so its start (some 0.2 ms) is in every figure; the batches are large enough for it
not to matter. ``extra_info`` holds the rates that a person wants to read. Compare only figures of one run: they drift
with what else the machine does.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio

from ringproto.transports import LoopbackNetwork, Transport, open_multicast_udp, open_unicast_udp
from ringproto.transports.interfaces import find_interface
from ringproto.transports.unicast_udp import UnicastUDP

DATAGRAMS = 6400
BATCH = 64
"""As many as one visit of the token sends, and few enough for the smallest receive buffer."""
ROUND_TRIPS = 500

Open = Callable[[Sequence[int]], Awaitable[Sequence[Transport]]]
_ports = itertools.count(20_000)


def free_port() -> int:
    """A UDP port that nobody has on any address."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                port = next(_ports)
                sock.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port


async def open_loopback(nodes: Sequence[int]) -> Sequence[Transport]:
    network = LoopbackNetwork()
    return [network.open(node) for node in nodes]


async def open_faulty_loopback(nodes: Sequence[int]) -> Sequence[Transport]:
    network = LoopbackNetwork(seed=7, latency_s=(0.0, 0.0001), duplication=0.01)
    return [network.open(node) for node in nodes]


async def open_unicast(nodes: Sequence[int]) -> Sequence[Transport]:
    peers = {node: ("127.0.0.1", free_port()) for node in nodes}
    return [await open_unicast_udp(node, peers) for node in nodes]


async def open_unicast_plain(nodes: Sequence[int]) -> Sequence[Transport]:
    peers = {node: ("127.0.0.1", free_port()) for node in nodes}
    return [await open_unicast_udp(node, peers, offload=False) for node in nodes]


async def open_multicast(nodes: Sequence[int]) -> Sequence[Transport]:
    interface, port = find_interface("127.0.0.1", 4).name, free_port()
    transports = [await open_multicast_udp(node, "239.192.7.1", port, interface=interface) for node in nodes]
    for transport in transports:
        await transport.send([(0, b"hello")])
    for transport in transports:
        heard = 1
        while heard < len(transports):
            heard += len(await transport.receive())
    return transports


OPENERS = {
    "loopback": open_loopback,
    "loopback-faulty": open_faulty_loopback,
    "unicast": open_unicast,
    "unicast-plain": open_unicast_plain,
    "multicast": open_multicast,
}


@pytest.mark.parametrize("size", [200, 1300])
@pytest.mark.parametrize("kind", OPENERS)
def test_broadcast_to_two(benchmark: Any, kind: str, size: int) -> None:
    """One sender, two receivers, in batches."""
    open_transports = OPENERS[kind]

    async def main() -> None:
        sender, *receivers = await open_transports((1, 2, 3))
        batch = [(0, bytes(size))] * BATCH
        for _ in range(DATAGRAMS // BATCH):
            await sender.send(batch)
            for receiver in receivers:
                arrived = 0
                while arrived < BATCH:
                    arrived += len(await receiver.receive())
        for transport in (sender, *receivers):
            await transport.aclose()

    benchmark(trio.run, main)
    if benchmark.stats is not None:
        benchmark.extra_info["datagrams_per_s_at_each"] = round(DATAGRAMS / benchmark.stats["median"])


async def open_segments(nodes: Sequence[int]) -> Sequence[UnicastUDP]:
    """As between hosts with frames of 1,500 bytes, where a datagram is cut into eight."""
    peers = {node: ("127.0.0.1", free_port()) for node in nodes}
    size = 8 * (1352 - 8)
    return [await open_unicast_udp(node, peers, datagram_size=size, segment_size=1352) for node in nodes]


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("what", ["sending", "receiving"])
@pytest.mark.parametrize("count", [5, 16])
def test_datagrams_in_segments(benchmark: Any, what: str, count: int) -> None:
    """Processor time to cut and send so many datagrams of 10,724 bytes, or to receive and join them.

    Five are 40 segments, one message of the system with offload. Sixteen fit into the smallest receive buffer.
    """

    async def main() -> None:
        first, second = await open_segments((1, 2))
        for transport in (first, second):
            transport.begin_blocking()
        batch = [(2, b"x" * (first.datagram_size_max - 28))] * count

        def send() -> None:
            first.send_blocking(batch)

        def receive() -> None:
            arrived = 0
            while arrived < count:
                arrived += len(second.receive_blocking(1.0))

        rounds = 2000
        if what == "sending":
            benchmark.pedantic(send, teardown=receive, rounds=rounds)
        else:
            benchmark.pedantic(receive, setup=send, rounds=rounds)
        await first.aclose()
        await second.aclose()

    trio.run(main)
    if benchmark.stats is not None:
        benchmark.extra_info["ns_per_segment"] = round(benchmark.stats["median"] / (8 * count) * 1e9)


@pytest.mark.parametrize("kind", ["loopback", "unicast", "multicast"])
def test_there_and_back(benchmark: Any, kind: str) -> None:
    """A unicast that is answered, in one process: twice a token's hop between two trio tasks."""
    open_transports = OPENERS[kind]

    async def main() -> None:
        first, second = await open_transports((1, 2))

        async def answer() -> None:
            for _ in range(ROUND_TRIPS):
                await second.receive()
                await second.send([(1, b"answer")])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            for _ in range(ROUND_TRIPS):
                await first.send([(2, b"question")])
                await first.receive()
        await first.aclose()
        await second.aclose()

    benchmark(trio.run, main)
    if benchmark.stats is not None:
        benchmark.extra_info["us_per_round_trip"] = round(benchmark.stats["median"] / ROUND_TRIPS * 1e6, 1)
