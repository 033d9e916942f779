"""What a program that keeps trio's loop busy does to its ring, with each driver.

Three processes on one host; two send by the clock and measure what they deliver, the third stalls for two seconds.
Run it by hand, and give the kinds of stall to measure fewer:

    python bench/stall.py [--repetitions 3] [--token-timeout 0.2] [--driver trio thread] [sleep compute collect held]

``sleep`` blocks in ``time.sleep``, ``compute`` is a loop in Python, ``collect`` collects the garbage of a heap of
200,000 lists, one collection after the other, and ``held`` is one call into C that does not let Python's lock go. A
latency counts from the time at which a message was due, so that no wait is left out; those that were due while the
third process was stalled are listed apart. «kept» says that no process saw a new configuration.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import trio

from ringproto import Config, Message, RegularConfiguration, Ring, open_ring
from ringproto.transports import open_unicast_udp

NODES = (1, 2, 3)
STALLED = 3
EVERY_S = 0.004
"""Each of the two senders sends so often."""
BEFORE_S = 1.0
STALL_S = 2.0
AFTER_S = 1.0
_DUE = struct.Struct("!dI")


def sleep(until: float) -> None:
    time.sleep(until - time.monotonic())


def compute(until: float) -> None:
    number = 0
    while time.monotonic() < until:
        for _ in range(10_000):
            number = (number * 31 + 7) % 1_000_003


def collect(until: float) -> None:
    heap = [[number] for number in range(200_000)]
    while time.monotonic() < until:
        gc.collect()
    del heap


def held(until: float) -> None:
    ctypes.PyDLL(None).usleep(round((until - time.monotonic()) * 1e6))


STALLS: dict[str, Callable[[float], None]] = {"sleep": sleep, "compute": compute, "collect": collect, "held": held}


class Member:
    """One process."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.node: int = setup["node"]
        self.setup = setup
        self.changes = 0
        self.latencies_s: dict[str, list[float]] = {"calm": [], "stalled": []}
        self.together = trio.Event()

    async def run(self) -> dict[str, Any]:
        peers = {int(node): ("127.0.0.1", port) for node, port in self.setup["ports"].items()}
        transport = await open_unicast_udp(self.node, peers)
        config = Config.lan(token_timeout_s=self.setup["token_timeout_s"])
        driver = self.setup["driver"]
        async with open_ring(transport, config=config, driver=driver) as ring, trio.open_nursery() as nursery:
            nursery.start_soon(self.read, ring)
            await self.together.wait()
            await self.work(ring)
            nursery.cancel_scope.cancel()
        return {"node": self.node, "changes": self.changes, "latencies_s": self.latencies_s}

    async def read(self, ring: Ring) -> None:
        while True:
            events = await ring.events.receive_batch()
            now = time.monotonic()
            for event in events:
                if isinstance(event, Message):
                    due, sender = _DUE.unpack(event.payload)
                    if sender == self.node:
                        stalled = self.stall_at <= due < self.stall_at + STALL_S
                        self.latencies_s["stalled" if stalled else "calm"].append(now - due)
                elif isinstance(event, RegularConfiguration):
                    if self.together.is_set():
                        self.changes += now < self.stall_at + STALL_S + AFTER_S / 2  # later they leave
                    elif len(event.members) == len(NODES):
                        # The configurations agree about who begins it; the clock is one for all processes of a host.
                        self.stall_at = time.monotonic() + BEFORE_S
                        self.together.set()

    async def work(self, ring: Ring) -> None:
        if self.node == STALLED:
            await trio.sleep(self.stall_at - time.monotonic())
            STALLS[self.setup["stall"]](self.stall_at + STALL_S)
            await trio.sleep(AFTER_S)
            return
        due = time.monotonic()
        while due < self.stall_at + STALL_S + AFTER_S / 2:
            await trio.sleep(max(0.0, due - time.monotonic()))
            await ring.high.send(_DUE.pack(due, self.node))
            due += EVERY_S
        await trio.sleep(AFTER_S / 2)


def free_ports() -> list[int]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in NODES]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def measure(driver: str, stall: str, token_timeout_s: float) -> list[dict[str, Any]]:
    ports = dict(zip(NODES, free_ports(), strict=True))
    setup = {"driver": driver, "stall": stall, "token_timeout_s": token_timeout_s, "ports": ports}
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--member", json.dumps({**setup, "node": node})], stdout=subprocess.PIPE
        )
        for node in NODES
    ]
    try:
        return [json.loads(child.communicate(timeout=60)[0]) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def report(driver: str, stall: str, runs: list[list[dict[str, Any]]]) -> str:
    kept = sum(all(not member["changes"] for member in run) for run in runs)
    columns = [f"{driver:7}{stall:9}{kept}/{len(runs)} kept"]
    for when in ("calm", "stalled"):
        of_runs = [
            [latency for member in run if member["node"] != STALLED for latency in member["latencies_s"][when]]
            for run in runs
        ]
        p50, p99, longest = (median(percentile(one, share) * 1e3 for one in of_runs) for share in (0.5, 0.99, 1.0))
        columns.append(f"{when}: p50 {p50:8.2f} ms, p99 {p99:8.2f} ms, max {longest:8.2f} ms")
    return "   ".join(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stalls", nargs="*", metavar="STALL", default=[])
    parser.add_argument("--driver", nargs="+", choices=["trio", "thread"], default=["trio", "thread"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--token-timeout", type=float, default=0.2)
    parser.add_argument("--member", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.member:
        print(json.dumps(trio.run(Member(json.loads(arguments.member)).run)))
        return
    for stall in arguments.stalls or STALLS:
        runs: dict[str, list[list[dict[str, Any]]]] = {driver: [] for driver in arguments.driver}
        for _ in range(arguments.repetitions):
            for driver in arguments.driver:
                runs[driver].append(measure(driver, stall, arguments.token_timeout))
        for driver in arguments.driver:
            print(report(driver, stall, runs[driver]), flush=True)


if __name__ == "__main__":
    main()
