"""What an application sees: ``open_ring`` on the loopback and on UDP, three processors in one process.

For one process per node, and for latencies under load, there is ``ringproto latency``.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio

from ringproto import Config, Message, Ring, open_ring
from ringproto.transports import LoopbackNetwork, Transport, open_unicast_udp

MESSAGES = 3000
NODES = (1, 2, 3)


async def open_loopback() -> list[Transport]:
    network = LoopbackNetwork(seed=1, latency_s=0.0, loss=0.0, duplication=0.0)
    return [network.open(node=node) for node in NODES]


async def open_unicast() -> list[Transport]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in NODES]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    peers = {node: each.getsockname() for node, each in zip(NODES, sockets, strict=True)}
    for each in sockets:
        each.close()
    return [await open_unicast_udp(node, peers) for node in NODES]


async def saturate(open_transports: Callable[[], Awaitable[list[Transport]]], size: int) -> int:
    """All members send; returns how many messages the slowest member received."""
    received = dict.fromkeys(NODES, 0)

    async def member(transport: Transport) -> None:
        async with open_ring(transport, config=Config.lan()) as ring, trio.open_nursery() as nursery:
            while len(ring.configuration.members) < len(NODES):
                await ring.recovery_complete.receive()
            nursery.start_soon(send, ring)
            while received[ring.node] < MESSAGES:
                for event in await ring.events.receive_batch():
                    received[ring.node] += isinstance(event, Message)
            await done(ring)

    async def send(ring: Ring) -> None:
        await ring.low.send_batch([bytes(size)] * (MESSAGES // len(NODES)))

    async def done(ring: Ring) -> None:
        while min(received.values()) < MESSAGES:
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        for transport in await open_transports():
            nursery.start_soon(member, transport)
    return min(received.values())


@pytest.mark.parametrize("size", [64, 1350, 8192])
@pytest.mark.parametrize("opener", [open_loopback, open_unicast], ids=["loopback", "unicast"])
def test_formation_and_three_thousand_messages(benchmark, opener, size: int) -> None:
    """Includes the formation of the ring and its end: some 50 ms."""
    assert benchmark.pedantic(trio.run, args=(saturate, opener, size), rounds=3) == MESSAGES
