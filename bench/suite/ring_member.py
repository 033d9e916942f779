"""A member process that is a processor of ringproto: ``python -m bench.suite.ring_member SETUP``.

It uses the public interface that an application in a hurry would use: ``send_batch`` and ``receive_batch``. With one
message in flight the task that reads the stream sends the next message itself.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import Any

import trio

from bench.suite.member import Meter, Received, RunOrder, leave_no_garbage, parse, say
from bench.suite.traffic import HEADER, HEADER_SIZE, PAUSE_NS, due_count, first_word
from ringproto import Config, Message, RecoveryComplete, Ring, open_ring
from ringproto._processes.transports import open_transport
from ringproto.cli.latency.timerfd import Alarm

_BATCH_BYTES = 2**18
_BATCH_MAX = 256
_READ_MAX = 1024
"""Events taken at once: what a program does for each here is little, so the token hardly waits for it."""


class RingMember:
    """What one processor's application does."""

    def __init__(self, ring: Ring, log_stem: str) -> None:
        self._ring = ring
        self._log_stem = log_stem
        self._log = Received()
        self._meter = Meter()
        self._run: RunOrder | None = None
        # Set when so many messages have come.
        self._goal = sys.maxsize
        self._goal_reached = trio.Event()
        # One message in flight: the word and the filler of those that this member sends, while it may.
        self._ping_word = 0
        self._ping_filler = b""
        self._pings = 0
        self._pinging = False

    async def obey(self) -> None:
        """Do what the supervisor says until it says no more."""
        async with trio.open_nursery() as tasks:
            tasks.start_soon(self._read_events)
            lines = _Lines()
            while (line := await lines.receive()) is not None:
                command, values = parse(line)
                if command == "prepare":
                    self._run = RunOrder(values)
                    self._log = Received()
                    self._goal, self._goal_reached = sys.maxsize, trio.Event()
                    say("prepared")
                elif command == "start":
                    assert self._run is not None
                    self._run.start(values)
                    tasks.start_soon(self._measure, self._run)
                    tasks.start_soon(self._send, self._run)
                elif command == "drain":
                    await self._drain(values["total"], values["until_ns"])
                elif command == "leave":
                    break
            tasks.cancel_scope.cancel()

    async def _read_events(self) -> None:
        events = self._ring.events
        clock = time.monotonic_ns
        while True:
            batch = await events.receive_batch(_READ_MAX)
            now_ns = clock()
            headers = [event.payload[:HEADER_SIZE] for event in batch if type(event) is Message]
            if headers:
                self._log.add(now_ns, b"".join(headers), len(headers))
                if self._pinging:
                    self._ping()
            if len(headers) != len(batch):
                for event in batch:
                    if isinstance(event, RecoveryComplete):
                        say("complete", members=len(event.members), time_ns=now_ns)
            if self._log.count >= self._goal:
                self._goal_reached.set()

    async def _measure(self, run: RunOrder) -> None:
        await _sleep_until(run.measure_ns)
        self._meter.begin()
        await _sleep_until(run.end_ns)
        self._meter.end()

    async def _send(self, run: RunOrder) -> None:
        await _sleep_until(run.start_ns)
        sent = 0
        if run.sending and run.kind == RunOrder.SATURATE:
            sent = await self._saturate(run)
        elif run.sending and run.kind == RunOrder.PACED:
            sent = await self._pace(run)
        elif run.sending and run.kind == RunOrder.PING:
            self._ping_word = first_word(run.round_number, self._ring.node)
            self._ping_filler = bytes(run.size - HEADER_SIZE)
            self._pings = 0
            self._pinging = True
            self._ping()
            await _sleep_until(run.end_ns)
            self._pinging = False
            sent = self._pings
        await _sleep_until(run.end_ns)
        say("sent", sent=sent)

    def _ping(self) -> None:
        payload = HEADER.pack(self._ping_word + self._pings, time.monotonic_ns()) + self._ping_filler
        self._pings += 1
        self._ring.high.send_nowait(payload)

    async def _saturate(self, run: RunOrder) -> int:
        sender = self._ring.high
        word = first_word(run.round_number, self._ring.node)
        filler = bytes(run.size - HEADER_SIZE)
        batch = max(1, min(_BATCH_MAX, _BATCH_BYTES // run.size))
        pack, sent = HEADER.pack, 0
        while time.monotonic_ns() < run.end_ns:
            await sender.send_batch([pack(word + number, 0) + filler for number in range(sent, sent + batch)])
            sent += batch
        return sent

    async def _pace(self, run: RunOrder) -> int:
        with Alarm() as alarm:
            return await self._pace_by(alarm, run)

    async def _pace_by(self, alarm: Alarm, run: RunOrder) -> int:
        sender = self._ring.high
        word = first_word(run.round_number, self._ring.node)
        filler = bytes(run.size - HEADER_SIZE)
        first_ns, interval_ns, sent = run.first_ns, run.interval_ns, 0
        while sent < run.total:
            now_ns = time.monotonic_ns()
            due = due_count(now_ns, first_ns, interval_ns, run.total)
            if due > sent:
                payloads = [HEADER.pack(word + i, first_ns + i * interval_ns) + filler for i in range(sent, due)]
                await sender.send_batch(payloads)
                sent = due
            await alarm.until(max(now_ns + PAUSE_NS, first_ns + sent * interval_ns))
        return sent

    async def _drain(self, total: int, until_ns: int) -> None:
        self._goal = total
        if self._log.count < total:
            with trio.move_on_after(max(0.0, (until_ns - time.monotonic_ns()) / 1e9)):
                await self._goal_reached.wait()
        self._log.write(self._log_stem)
        say("done", **self._meter.report())


class _Lines:
    """The supervisor's lines."""

    def __init__(self) -> None:
        self._stream = trio.lowlevel.FdStream(sys.stdin.fileno())
        self._rest = b""

    async def receive(self) -> str | None:
        while b"\n" not in self._rest:
            more = await self._stream.receive_some()
            if not more:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


async def _sleep_until(time_ns: int) -> None:
    ahead_s = (time_ns - time.monotonic_ns()) / 1e9
    if ahead_s > 0:
        await trio.sleep(ahead_s)


async def _main(setup: dict[str, Any]) -> None:
    transport = await open_transport(setup["node"], setup["transport"])
    leave_no_garbage()
    async with open_ring(transport, config=Config.lan(**setup["config"])) as ring:
        await RingMember(ring, setup["log"]).obey()


if __name__ == "__main__":
    trio.run(partial(_main, json.loads(sys.argv[1])))
