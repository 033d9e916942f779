"""One hop of the token, beside the least that a hop can cost under trio: ``wait_readable``, ``recv`` and ``sendto``.

All run in one process and one trio loop, two ends on two UDP sockets, alternately in rounds. The clock is the CPU time
of the process, kernel included: there is always a hop under way. Compare ratios of one run, not absolute figures.

- *bare*: two tasks that wait, read and write by hand;
- *transport*: the same datagram through ``open_unicast_udp``, which adds the batches, the checks and the counters;
- *core*: a token through two processors in memory, so no system call and no task: what a hop costs in the protocol;
- *ring*: the token of an idle ring of two by ``open_ring``, driver and all (``token_hold_s=0``: it does not rest).
"""

from __future__ import annotations

import socket
import statistics
from collections.abc import Awaitable, Callable
from time import process_time
from typing import Any

import trio

from ringproto import Config, open_ring
from ringproto._core import Processor
from ringproto.transports import open_unicast_udp

HOPS = 2000
ROUNDS = 5
TOKEN_SIZE = 92
NODES = (1, 2)


def bound_pair() -> list[socket.socket]:
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in NODES]
    for each in pair:
        each.setblocking(False)
        each.bind(("127.0.0.1", 0))
    return pair


async def table() -> dict[int, tuple[str, int]]:
    pair = bound_pair()
    peers = {node: each.getsockname() for node, each in zip(NODES, pair, strict=True)}
    for each in pair:
        each.close()
    return peers


async def bare() -> float:
    """Seconds for a hop by hand."""
    pair = bound_pair()
    datagram = bytes(TOKEN_SIZE)

    async def end(mine: socket.socket, address: Any) -> None:
        for _ in range(HOPS // 2):
            await trio.lowlevel.wait_readable(mine)
            mine.sendto(mine.recv(2048), address)

    began = process_time()
    pair[1].sendto(datagram, pair[0].getsockname())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end, pair[0], pair[1].getsockname())
        nursery.start_soon(end, pair[1], pair[0].getsockname())
    seconds = (process_time() - began) / HOPS
    for each in pair:
        each.close()
    return seconds


async def transport() -> float:
    """Seconds for a hop through the transport."""
    peers = await table()
    first, second = [await open_unicast_udp(node, peers) for node in NODES]
    datagram = bytes(TOKEN_SIZE)

    async def end(mine: Any, other: int) -> None:
        for _ in range(HOPS // 2):
            batch = await mine.receive()
            await mine.send([(other, batch[0])])

    began = process_time()
    await second.send([(1, datagram)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end, first, 2)
        nursery.start_soon(end, second, 1)
    seconds = (process_time() - began) / HOPS
    await first.aclose()
    await second.aclose()
    return seconds


async def core() -> float:
    """Seconds for a hop in the core alone: take a token in, do what its holder does, hand it on."""
    config = Config.lan(token_hold_s=0.0)
    first, second = (Processor(node, config, datagram_size=1352, seed=bytes([node]) * 16, now=0.0) for node in NODES)
    now = 0.0

    batch: list[bytes] = []

    def turn(step: float) -> None:
        nonlocal batch, now
        for there in (second, first):
            now += step
            batch = [datagram for _, datagram in there.turn(batch, now).transmits]

    while not first.configuration.members == second.configuration.members == NODES:
        turn(0.001)
    began = process_time()
    for _ in range(HOPS // 2):
        turn(0.00001)
    return (process_time() - began) / HOPS


async def ring() -> float:
    """Seconds for a hop of the token of a ring of two."""
    peers = await table()
    config = Config.lan(token_hold_s=0.0)
    async with (
        open_ring(await open_unicast_udp(1, peers), config=config) as first,
        open_ring(await open_unicast_udp(2, peers), config=config) as second,
    ):
        while not first.configuration.members == second.configuration.members == NODES:
            await trio.sleep(0.01)
        before, began = first.statistics()["rotations"], process_time()
        await trio.sleep(HOPS * 0.0001)
        rotations = first.statistics()["rotations"] - before
        return (process_time() - began) / (rotations * len(NODES))


KINDS: dict[str, Callable[[], Awaitable[float]]] = {"bare": bare, "transport": transport, "core": core, "ring": ring}


def test_hop_beside_the_bare_one(benchmark: Any) -> None:
    """``extra_info`` holds the microseconds of each kind and its ratio to the bare hop."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def rounds() -> None:
        for _ in range(ROUNDS):
            for kind, hop in KINDS.items():
                seconds[kind].append(trio.run(hop))

    benchmark.pedantic(rounds, rounds=1)
    medians = {kind: statistics.median(figures) for kind, figures in seconds.items()}
    for kind, median in medians.items():
        benchmark.extra_info[f"{kind}_us"] = round(median * 1e6, 1)
        benchmark.extra_info[f"{kind}_ratio"] = round(median / medians["bare"], 2)
        print(f"{kind}: {median * 1e6:.1f} us a hop, {median / medians['bare']:.2f} of the bare one")
    assert all(median > 0 for median in medians.values())
