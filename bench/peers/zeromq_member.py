"""A member process of ZeroMQ's PUB/SUB: ``python -m bench.peers.zeromq_member NODE LOG OWN OTHER...``.

Everybody publishes at its own endpoint and subscribes at all others'. One thread does both, as a plain pyzmq program
would. What a member sends counts as delivered to itself at once, which costs it nothing. A publisher whose subscribers
are behind waits (``XPUB_NODROP``), so nothing is lost.
"""

from __future__ import annotations

import contextlib
import sys
import time

import zmq

from bench.suite.member import Meter, Received, RunOrder, leave_no_garbage, parse, say
from bench.suite.traffic import HEADER, HEADER_SIZE, due_count, first_word

# A low mark makes the publisher stop and go all the time, which costs ZeroMQ dearly: this one is hardly ever reached.
_HIGH_WATER = 100_000
_BATCH = 256
_HELLO = b"hello"
_IDLE_MS = 20
_FULL_S = 0.0001


class ZeromqMember:
    """Publisher and subscriber of one node."""

    def __init__(self, node: int, log_stem: str, own: str, others: list[str]) -> None:
        context = zmq.Context()
        self._node = node
        self._log_stem = log_stem
        self._publisher = context.socket(zmq.PUB)
        self._publisher.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        self._publisher.setsockopt(zmq.XPUB_NODROP, 1)
        self._publisher.setsockopt(zmq.LINGER, 0)
        self._publisher.bind(own)
        self._subscriber = context.socket(zmq.SUB)
        self._subscriber.setsockopt(zmq.RCVHWM, _HIGH_WATER)
        self._subscriber.setsockopt(zmq.LINGER, 0)
        self._subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        for other in others:
            self._subscriber.connect(other)
        self._others = len(others)
        self._log = Received()
        self._meter = Meter()
        self._run: RunOrder | None = None
        self._rest = b""

    def meet(self) -> None:
        """Say hello until everybody was heard. Until the first run hello is said on, for those who come late."""
        heard: set[bytes] = set()
        while len(heard) < self._others:
            self._say_hello()
            if self._subscriber.poll(_IDLE_MS):
                heard.add(self._subscriber.recv())
        say("complete", members=self._others + 1, time_ns=time.monotonic_ns())

    def _say_hello(self) -> None:
        with contextlib.suppress(zmq.Again):
            self._publisher.send(_HELLO + bytes([self._node]), zmq.NOBLOCK)

    def obey(self) -> None:
        """Do what the supervisor says until it says no more."""
        poller = zmq.Poller()
        poller.register(sys.stdin.fileno(), zmq.POLLIN)
        poller.register(self._subscriber, zmq.POLLIN)
        goal: int | None = None
        until_ns = 0
        while True:
            if self._run is None:
                self._say_hello()
            ready = dict(poller.poll(_IDLE_MS if goal is not None or self._run is None else None))
            if self._subscriber in ready:
                self._receive()
            if goal is not None and (self._log.count >= goal or time.monotonic_ns() >= until_ns):
                goal = None
                self._log.write(self._log_stem)
                say("done", **self._meter.report())
            if sys.stdin.fileno() in ready:
                line = sys.stdin.readline()
                command, values = parse(line)
                if command == "prepare":
                    self._run = RunOrder(values)
                    self._log = Received()
                    say("prepared")
                elif command == "start":
                    assert self._run is not None
                    self._run.start(values)
                    self._perform(self._run)
                elif command == "drain":
                    goal, until_ns = values["total"], values["until_ns"]
                else:
                    return

    def _perform(self, run: RunOrder) -> None:
        looks = self._meter.watch(run)
        sent = 0
        if run.sending and run.kind == RunOrder.SATURATE:
            sent = self._saturate(run)
        elif run.sending and run.kind == RunOrder.PACED:
            sent = self._pace(run)
        while time.monotonic_ns() < run.end_ns:
            if self._subscriber.poll(min(_IDLE_MS, max(1, (run.end_ns - time.monotonic_ns()) // 1_000_000))):
                self._receive()
        looks.join()
        say("sent", sent=sent)

    def _saturate(self, run: RunOrder) -> int:
        word, filler = first_word(run.round_number, self._node), bytes(run.size - HEADER_SIZE)
        while time.monotonic_ns() < run.start_ns:
            self._receive()
        sent = 0
        headers: list[bytes] = []
        while time.monotonic_ns() < run.end_ns:
            if not headers:
                headers = [HEADER.pack(word + i, 0) for i in range(sent, sent + _BATCH)]
            done = self._publish(headers, filler)
            del headers[:done]
            sent += done
            if not self._receive() and headers:
                # Full, and a PUB socket does not tell when it no longer is.
                time.sleep(_FULL_S)
        return sent

    def _pace(self, run: RunOrder) -> int:
        word, filler = first_word(run.round_number, self._node), bytes(run.size - HEADER_SIZE)
        first_ns, interval_ns, sent = run.first_ns, run.interval_ns, 0
        while sent < run.total:
            due = due_count(time.monotonic_ns(), first_ns, interval_ns, run.total)
            if due > sent:
                headers = [HEADER.pack(word + i, first_ns + i * interval_ns) for i in range(sent, due)]
                sent += self._publish(headers, filler)
                self._receive()
            else:
                # poll() counts in milliseconds; a shorter wait is a look and a short sleep.
                ahead_ns = first_ns + sent * interval_ns - time.monotonic_ns()
                if self._subscriber.poll(max(0, ahead_ns // 1_000_000)):
                    self._receive()
                elif ahead_ns > 0:
                    time.sleep(min(ahead_ns, 100_000) / 1e9)
        return sent

    def _publish(self, headers: list[bytes], filler: bytes) -> int:
        """How many could be published before the high-water mark."""
        done = 0
        send = self._publisher.send
        try:
            for header in headers:
                send(header + filler, zmq.NOBLOCK)
                done += 1
        except zmq.Again:
            pass
        if done:
            self._log.add(time.monotonic_ns(), b"".join(headers[:done]), done)
        return done

    def _receive(self) -> int:
        """How many messages came."""
        headers: list[bytes] = []
        receive = self._subscriber.recv
        try:
            while len(headers) < _BATCH:
                headers.append(receive(zmq.NOBLOCK)[:HEADER_SIZE])
        except zmq.Again:
            pass
        headers = [header for header in headers if len(header) == HEADER_SIZE]
        if headers:
            self._log.add(time.monotonic_ns(), b"".join(headers), len(headers))
        return len(headers)


if __name__ == "__main__":
    member = ZeromqMember(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
    member.meet()
    leave_no_garbage()
    member.obey()
