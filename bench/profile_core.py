"""What the core costs a token hop, a datagram and a message, without a network: where the time of the hot path goes.

Three processors in one process are joined by lists. Every call of the core is timed apart, so that each figure names
one thing: the visit of a token with nothing to send, a batch of data taken in and delivered, events taken, messages
accepted, and a visit that fills packets. The clock is the CPU time of this process, so other programs disturb little.
Compare only figures of one run; ``--against`` runs another tree (with its extension modules built) alternately with
this one and prints the ratios.

    python bench/profile_core.py --payload 64
    python bench/profile_core.py --against /path/to/another/tree --repeat 5

Under ``perf record -g python bench/profile_core.py --only token --seconds 5`` it shows where one of them spends it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter, process_time

from ringproto import Config, Guarantee, Message, Priority, RegularConfiguration
from ringproto._core import Processor

TOKEN_TYPE = 2
"""The second byte of a token (docs/wire.md)."""


def _clock_cost() -> float:
    """What two looks at the clock of the processor cost, in seconds: it is a system call."""
    pairs = []
    for _ in range(2000):
        began = process_time()
        pairs.append(process_time() - began)
    return statistics.median(pairs)


CLOCK_S = _clock_cost()


class Trio:
    """Three processors and a network without loss; ``spent`` has the seconds that each kind of call took."""

    def __init__(self, config: Config, datagram_size: int) -> None:
        self.now = 0.0
        self.spent = dict.fromkeys(("token", "fill", "receive", "take", "submit"), 0.0)
        self.counted = dict.fromkeys(self.spent, 0)
        self.datagrams = 0
        self._queue: list[tuple[int, int, bytes]] = []
        """(sender, destination, datagram) on their way."""
        self.processors = {
            node: Processor(node, config, datagram_size=datagram_size, seed=bytes([node]) * 16, now=0.0)
            for node in (1, 2, 3)
        }
        self._form()

    def _form(self) -> None:
        inbox: dict[int, list[bytes]] = {node: [] for node in self.processors}
        while not all(p.complete and len(p.configuration.members) == 3 for p in self.processors.values()):
            self.now += 0.001
            for node, processor in self.processors.items():
                batch, inbox[node] = inbox[node], []
                ready = processor.turn(batch, self.now)
                for event in processor.take_events(1000):
                    if isinstance(event, RegularConfiguration):
                        processor.unblock(event.ring_id, self.now)
                for destination, datagram in ready.transmits:
                    for other in inbox:
                        if other != node and destination in (0, other):
                            inbox[other].append(datagram)
        for node, batch in inbox.items():
            self._turn(node, batch)

    def _turn(self, node: int, batch: list[bytes]) -> float:
        """A turn of a processor; the seconds that it took."""
        began = process_time()
        ready = self.processors[node].turn(batch, self.now)
        took_s = process_time() - began - CLOCK_S
        self._queue += [(node, *transmit) for transmit in ready.transmits]
        return took_s

    def run(self, payload: bytes | None, seconds: float) -> None:
        """Turn the token for so long; every processor sends as much as it may, or nothing if ``payload`` is None."""
        spent, counted = self.spent, self.counted
        holder = 0
        until = perf_counter() + seconds
        idle = 0
        while perf_counter() < until:
            self.now += 0.00002
            if payload is not None:
                for processor in self.processors.values():
                    began = process_time()
                    count = 0
                    while count < 2000 and processor.submit(payload, Priority.LOW, Guarantee.AGREED):
                        count += 1
                    spent["submit"] += process_time() - began - CLOCK_S
                    counted["submit"] += count
                for node, processor in self.processors.items():
                    if processor.wants_turn:
                        self._turn(node, [])
            if not self._queue:
                # The token rests; so it does where a ring has nothing to do.
                idle += 1
                self.now = max(self.now, min(p.next_timeout for p in self.processors.values()))
                for node, processor in self.processors.items():
                    if processor.next_timeout <= self.now:
                        self._turn(node, [])
                assert idle < 10**7
                continue
            batch, self._queue = self._queue, []
            data = [(node, datagram) for node, destination, datagram in batch if destination == 0]
            for node, processor in self.processors.items():
                mine = [datagram for sender, datagram in data if sender != node]
                if mine:
                    spent["receive"] += self._turn(node, mine)
                    self.datagrams += len(mine)
                self._take(processor)
            for _, destination, datagram in batch:
                if destination:
                    holder = destination
                    processor = self.processors[holder]
                    kind = "fill" if payload is not None else "token"
                    spent[kind] += self._turn(holder, [datagram])
                    counted[kind] += 1
                    assert datagram[1] == TOKEN_TYPE or payload is not None or processor.state == "operational"
                    self._take(processor)

    def _take(self, processor: Processor) -> None:
        began = process_time()
        events = processor.take_events(100_000)
        if not events:
            return
        self.spent["take"] += process_time() - began - CLOCK_S
        count = sum(isinstance(event, Message) for event in events)
        self.counted["take"] += count


def measure(payload_size: int, datagram_size: int, seconds: float, only: str | None) -> dict[str, float]:
    """Nanoseconds for each figure, of one run."""
    figures: dict[str, float] = {}
    gc.collect()
    if only in (None, "token"):
        idle = Trio(Config.lan(token_hold_s=0.0), datagram_size)
        idle.run(None, seconds)
        figures["token visit, nothing to send"] = idle.spent["token"] / idle.counted["token"] * 1e9
    if only in (None, "load"):
        config = Config.lan(message_size_max=max(2**20, payload_size), events_max=2**20, events_bytes_max=2**32)
        busy = Trio(config, datagram_size)
        payload = bytes(payload_size)
        busy.run(payload, seconds)
        spent, counted = busy.spent, busy.counted
        messages = max(1, counted["take"])
        sent = max(1, counted["submit"])
        figures["submit, a message"] = spent["submit"] / sent * 1e9
        figures["fill and pass the token, a message"] = spent["fill"] / sent * 1e9
        # A message is received by the two others; its own sender delivers it in the visit.
        figures["receive and deliver, a message"] = spent["receive"] / (messages * 2 / 3) * 1e9
        figures["receive and deliver, a datagram"] = spent["receive"] / max(1, busy.datagrams) * 1e9
        figures["take the event, a message"] = spent["take"] / messages * 1e9
        figures["all, a delivery"] = sum(spent.values()) / messages * 1e9
    return figures


def compare(other: str, arguments: list[str], repeat: int) -> None:
    """This tree and another one, alternately; the medians and their ratio."""
    here = str(Path(__file__).resolve().parents[1])
    results: dict[str, list[dict[str, float]]] = {other: [], here: []}
    for _ in range(repeat):
        for tree, figures in results.items():
            environment = {**os.environ, "PYTHONPATH": tree}
            command = [sys.executable, __file__, "--json", *arguments]
            child = subprocess.run(command, env=environment, check=True, capture_output=True, cwd=tree)
            figures.append(json.loads(child.stdout))
    print(f"{'ns, medians of ' + str(repeat):<40}{'other':>10}{'this':>10}{'ratio':>8}")
    for name in results[here][0]:
        before, after = (statistics.median(figures[name] for figures in results[tree]) for tree in (other, here))
        print(f"{name:<40}{before:>10.0f}{after:>10.0f}{before / after:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--payload", type=int, default=64, help="bytes of a message")
    parser.add_argument("--datagram", type=int, default=1352, help="bytes of a datagram")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each scenario runs")
    parser.add_argument("--only", choices=("token", "load"), help="one scenario alone")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--against", metavar="TREE", help="a tree to compare with")
    parser.add_argument("--repeat", type=int, default=3, help="with --against: how often each tree runs")
    options = parser.parse_args()
    if options.against:
        arguments = [f"--payload={options.payload}", f"--datagram={options.datagram}", f"--seconds={options.seconds}"]
        if options.only:
            arguments.append(f"--only={options.only}")
        compare(options.against, arguments, options.repeat)
        return
    figures = measure(options.payload, options.datagram, options.seconds, options.only)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<40}{value:>10.0f} ns")


if __name__ == "__main__":
    main()
